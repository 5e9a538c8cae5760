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

struct list {
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

void queue_push(struct queue *q, struct work work)
{
    pthread_mutex_lock(&q->mutex);
    struct list *list = &q->lists[work.kind];
    work.sequence = q->sequence++;
    *array_add(list->items, list->count) = work;
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

static bool goes_before(const struct work *a, const struct work *b)
{
    return a->weight != b->weight ? a->weight > b->weight : a->sequence < b->sequence;
}

/* The best item that may be taken now; else when to look again. With the mutex held. */
static bool pick(struct queue *q, struct work *ret, int64_t *ret_look_again)
{
    const int64_t now = monotonic_now();
    *ret_look_again = INT64_MAX;
    for (size_t kind = 0; kind < WORK_KINDS; kind++) {
        struct list *list = &q->lists[kind];
        size_t best = list->count;
        for (size_t i = 0; i < list->count; i++) {
            if (best < list->count && !goes_before(&list->items[i], &list->items[best]))
                continue;
            int64_t at = available_at(q, &list->items[i], now);
            if (at == 0)
                best = i;
            else if (at < *ret_look_again)
                *ret_look_again = at;
        }
        if (best == list->count)
            continue;
        *ret = list->items[best];
        list->items[best] = list->items[--list->count]; /* their order is in `sequence` */
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
    if (work->ref)
        host_of(q, work->ref)->active++;
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
