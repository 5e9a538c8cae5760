#include "queue.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <pthread.h>
#include <string.h>

#define IDLE_AFTER (NS_PER_S / 2)

struct host { /* how many work on one registry */
    char *registry;
    unsigned active;
};

struct list { /* a binary heap: each goes before its two children */
    struct work *items;
    size_t count;
};

struct queue {
    unsigned jobs_per_host;
    int64_t (*ready_at)(void *userdata, const struct reference *ref);
    void *userdata;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct list lists[WORK_KINDS];
    uint64_t sequence;
    unsigned active;
    unsigned open_plans;
    struct host *hosts;
    size_t host_count;
    bool stopped;
};

int64_t monotonic_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

struct queue *queue_new(unsigned jobs_per_host,
                        int64_t (*ready_at)(void *userdata, const struct reference *ref),
                        void *userdata)
{
    struct queue *q = xcalloc(1, sizeof *q);
    pthread_condattr_t attributes;
    q->jobs_per_host = jobs_per_host;
    q->ready_at = ready_at;
    q->userdata = userdata;
    pthread_mutex_init(&q->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < WORK_KINDS; i++)
        free(q->lists[i].items);
    for (size_t i = 0; i < q->host_count; i++)
        free(q->hosts[i].registry);
    free(q->hosts);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

/* With the mutex held. */
static struct host *host_of(struct queue *q, const struct reference *ref)
{
    for (size_t i = 0; i < q->host_count; i++)
        if (strcmp(q->hosts[i].registry, ref->registry) == 0)
            return &q->hosts[i];
    struct host *host = array_add(q->hosts, q->host_count);
    host->registry = xstrdup(ref->registry);
    return host;
}

static bool goes_before(const struct work *a, const struct work *b)
{
    return a->weight != b->weight ? a->weight > b->weight : a->sequence < b->sequence;
}

static void heap_add(struct list *list, const struct work *work)
{
    (void)array_add(list->items, list->count);
    size_t at = list->count - 1;
    for (; at > 0 && goes_before(work, &list->items[(at - 1) / 2]); at = (at - 1) / 2)
        list->items[at] = list->items[(at - 1) / 2];
    list->items[at] = *work;
}

static struct work heap_take(struct list *list)
{
    const struct work first = list->items[0], last = list->items[--list->count];
    size_t at = 0;
    for (size_t child = 1; child < list->count; child = 2 * at + 1) {
        if (child + 1 < list->count && goes_before(&list->items[child + 1], &list->items[child]))
            child++;
        if (!goes_before(&list->items[child], &last))
            break;
        list->items[at] = list->items[child];
        at = child;
    }
    list->items[at] = last;
    return first;
}

void queue_push(struct queue *q, struct work work)
{
    pthread_mutex_lock(&q->mutex);
    work.sequence = q->sequence++;
    heap_add(&q->lists[work.kind], &work);
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

/* When an item may be taken: 0 now, INT64_MAX when only another's end can tell. */
static int64_t available_at(struct queue *q, const struct work *work, int64_t now)
{
    if (work->not_before > now)
        return work->not_before;
    if (!work->ref)
        return 0;
    if (q->jobs_per_host && host_of(q, work->ref)->active >= q->jobs_per_host)
        return INT64_MAX;
    int64_t ready = q->ready_at(q->userdata, work->ref);
    return ready > now ? ready : 0;
}

/* The first of one kind that may be taken now; those before it go back. */
static bool pick_kind(struct queue *q, struct list *list, int64_t now, struct work *ret,
                      int64_t *look_again)
{
    struct list passed = {0};
    bool found = false;
    while (!found && list->count > 0) {
        struct work work = heap_take(list);
        int64_t at = available_at(q, &work, now);
        found = at == 0;
        if (found)
            *ret = work;
        else
            *array_add(passed.items, passed.count) = work;
        if (!found && at < *look_again)
            *look_again = at;
    }
    for (size_t i = 0; i < passed.count; i++)
        heap_add(list, &passed.items[i]);
    free(passed.items);
    return found;
}

/* The best item that may be taken now; else when to look again. With the mutex held. */
static bool pick(struct queue *q, struct work *ret, int64_t *ret_look_again)
{
    const int64_t now = monotonic_now();
    *ret_look_again = INT64_MAX;
    for (size_t kind = 0; kind < WORK_KINDS; kind++) {
        if (kind == WORK_PLAN && q->open_plans >= QUEUE_PLANS_MAX)
            continue;
        if (pick_kind(q, &q->lists[kind], now, ret, ret_look_again))
            return true;
    }
    return false;
}

static bool is_empty(const struct queue *q)
{
    for (size_t i = 0; i < WORK_KINDS; i++)
        if (q->lists[i].count > 0)
            return false;
    return true;
}

/* With the mutex held. */
static void begin(struct queue *q, const struct work *work)
{
    q->active++;
    if (work->kind == WORK_PLAN)
        q->open_plans++;
    if (work->ref)
        host_of(q, work->ref)->active++;
}

void queue_close_plan(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->open_plans--;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

enum queue_answer queue_take(struct queue *q, struct work *ret)
{
    enum queue_answer answer = QUEUE_OVER;
    const int64_t idle_at = monotonic_now() + IDLE_AFTER;
    pthread_mutex_lock(&q->mutex);
    while (!q->stopped) {
        int64_t look_again;
        if (pick(q, ret, &look_again)) {
            begin(q, ret);
            answer = QUEUE_WORK;
            break;
        }
        if (q->active == 0 && is_empty(q)) {
            pthread_cond_broadcast(&q->changed);
            break;
        }
        if (q->active > 0 && monotonic_now() >= idle_at) {
            answer = QUEUE_IDLE;
            break;
        }
        if (look_again > idle_at && q->active > 0)
            look_again = idle_at;
        struct timespec until = {look_again / NS_PER_S, look_again % NS_PER_S};
        pthread_cond_timedwait(&q->changed, &q->mutex, &until);
    }
    pthread_mutex_unlock(&q->mutex);
    return answer;
}

bool queue_claim(struct queue *q, const struct work *work)
{
    pthread_mutex_lock(&q->mutex);
    bool room = !q->stopped && (!work->ref || !q->jobs_per_host ||
                                host_of(q, work->ref)->active < q->jobs_per_host);
    if (room)
        begin(q, work);
    pthread_mutex_unlock(&q->mutex);
    return room;
}

void queue_finish(struct queue *q, const struct work *work)
{
    pthread_mutex_lock(&q->mutex);
    q->active--;
    if (work->ref)
        host_of(q, work->ref)->active--;
    /* One who waits for this host may go, and all when this was the last. */
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

void queue_stop(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->stopped = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}
