#include "queue.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <pthread.h>
#include <string.h>

#define IDLE_AFTER (NS_PER_S / 2)

struct list { /* a binary heap: each goes before its two children */
    bool (*goes_before)(const struct work *a, const struct work *b);
    struct work *items;
    size_t count;
};

struct host { /* a registry; the one without a name is for what talks to none */
    char *registry;
    unsigned active;
    struct list lists[WORK_KINDS];
};

struct queue {
    unsigned jobs_per_host;
    int64_t (*ready_at)(void *userdata, const struct reference *ref);
    void *userdata;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct list later; /* what has to wait for its time; what stands with its host need not */
    size_t waiting;    /* how many stand with the hosts */
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

static bool is_heavier(const struct work *a, const struct work *b)
{
    return a->weight != b->weight ? a->weight > b->weight : a->sequence < b->sequence;
}

static bool is_earlier(const struct work *a, const struct work *b)
{
    return a->not_before != b->not_before ? a->not_before < b->not_before
                                          : a->sequence < b->sequence;
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
    q->later.goes_before = is_earlier;
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
    for (size_t i = 0; i < q->host_count; i++) {
        for (size_t kind = 0; kind < WORK_KINDS; kind++)
            free(q->hosts[i].lists[kind].items);
        free(q->hosts[i].registry);
    }
    free(q->hosts);
    free(q->later.items);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->mutex);
    free(q);
}

/* With the mutex held; until the next call. */
static struct host *host_of(struct queue *q, const struct reference *ref)
{
    const char *registry = ref ? ref->registry : "";
    for (size_t i = 0; i < q->host_count; i++)
        if (strcmp(q->hosts[i].registry, registry) == 0)
            return &q->hosts[i];
    struct host *host = array_add(q->hosts, q->host_count);
    host->registry = xstrdup(registry);
    for (size_t kind = 0; kind < WORK_KINDS; kind++)
        host->lists[kind].goes_before = is_heavier;
    return host;
}

static void heap_add(struct list *list, const struct work *work)
{
    (void)array_add(list->items, list->count);
    size_t at = list->count - 1;
    for (; at > 0 && list->goes_before(work, &list->items[(at - 1) / 2]); at = (at - 1) / 2)
        list->items[at] = list->items[(at - 1) / 2];
    list->items[at] = *work;
}

static struct work heap_take(struct list *list)
{
    const struct work first = list->items[0], last = list->items[--list->count];
    size_t at = 0;
    for (size_t child = 1; child < list->count; child = 2 * at + 1) {
        if (child + 1 < list->count &&
            list->goes_before(&list->items[child + 1], &list->items[child]))
            child++;
        if (!list->goes_before(&list->items[child], &last))
            break;
        list->items[at] = list->items[child];
        at = child;
    }
    list->items[at] = last;
    return first;
}

/* With the mutex held. */
static void stand_by(struct queue *q, const struct work *work)
{
    heap_add(&host_of(q, work->ref)->lists[work->kind], work);
    q->waiting++;
}

void queue_push(struct queue *q, struct work work)
{
    pthread_mutex_lock(&q->mutex);
    work.sequence = q->sequence++;
    if (work.not_before > 0)
        heap_add(&q->later, &work);
    else
        stand_by(q, &work);
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->mutex);
}

/* When a host's first item of a kind may be taken: 0 now, INT64_MAX when only another's end can
 * tell. */
static int64_t available_at(const struct queue *q, const struct host *host, enum work_kind kind,
                            int64_t now)
{
    const struct work *first = host->lists[kind].items;
    if (!first->ref)
        return 0;
    if (q->jobs_per_host && host->active >= q->jobs_per_host)
        return INT64_MAX;
    int64_t ready = q->ready_at(q->userdata, first->ref);
    return ready > now ? ready : 0;
}

/* The best item of one kind that may be taken now. */
static bool pick_kind(struct queue *q, enum work_kind kind, int64_t now, struct work *ret,
                      int64_t *look_again)
{
    struct list *best = NULL;
    for (size_t i = 0; i < q->host_count; i++) {
        struct list *list = &q->hosts[i].lists[kind];
        if (list->count == 0 || (best && !is_heavier(&list->items[0], &best->items[0])))
            continue;
        int64_t at = available_at(q, &q->hosts[i], kind, now);
        if (at == 0)
            best = list;
        else if (at < *look_again)
            *look_again = at;
    }
    if (!best)
        return false;
    *ret = heap_take(best);
    q->waiting--;
    return true;
}

/* The best item that may be taken now; else when to look again. With the mutex held. */
static bool pick(struct queue *q, struct work *ret, int64_t *ret_look_again)
{
    const int64_t now = monotonic_now();
    while (q->later.count > 0 && q->later.items[0].not_before <= now) {
        const struct work due = heap_take(&q->later);
        stand_by(q, &due);
    }
    *ret_look_again = q->later.count > 0 ? q->later.items[0].not_before : INT64_MAX;
    for (enum work_kind kind = 0; kind < WORK_KINDS; kind++) {
        if (kind == WORK_PLAN && q->open_plans >= QUEUE_PLANS_MAX)
            continue;
        if (pick_kind(q, kind, now, ret, ret_look_again))
            return true;
    }
    return false;
}

static bool is_empty(const struct queue *q)
{
    return q->waiting == 0 && q->later.count == 0;
}

/* With the mutex held. */
static void begin(struct queue *q, const struct work *work)
{
    q->active++;
    if (work->kind == WORK_PLAN)
        q->open_plans++;
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
