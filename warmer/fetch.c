/*
 * One blob on its way into the store, by one transfer or by several.
 *
 *     WAITING --opened--> RUNNING --last transfer ended, no gap left, committed--> LANDED
 *        ^                   |--a gap left, worth another try--> back in the queue (file kept open)
 *        '-- locked by another process: look again later         `-- else --> FAILED
 *
 * FAILED is what one repository could not give: who waits with another repository, or another size
 * in its manifest, begins again from there (the bytes that came are kept).
 *
 * A transfer fills one stretch [pos, end). A worker with nothing to do takes over the tail half of
 * the largest one: it moves its end, and the transfer stops there (its sink says "enough"). Whoever
 * ends last decides how it goes on.
 */
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

#include <search.h>
#include <string.h>

#define LOCK_POLL (NS_PER_S / 5)
#define SPLIT_LEFT (INT64_C(16) << 20) /* what has less to go is left alone */
#define SPLIT_TIME NS_PER_S            /* what would end within this is left alone */
#define SPLIT_IN_VAIN_MAX 3            /* tails that got nothing, until nobody tries again */

static int compare_fetches(const void *a, const void *b)
{
    const struct fetch *x = a, *y = b;
    return strcmp(x->digest.text, y->digest.text);
}

static struct work fetch_work(struct fetch *fetch, int64_t not_before)
{
    return (struct work){.kind = WORK_FETCH,
                         .subject = fetch,
                         .ref = &fetch->source.target->ref,
                         .weight = fetch->source.blob->size,
                         .not_before = not_before};
}

/* Keep run->missing the sum of what the fetches still lack. */
static void set_missing(struct fetch *fetch, int64_t bytes)
{
    int64_t before = atomic_exchange(&fetch->missing, bytes);
    atomic_fetch_add(&fetch->run->missing, bytes - before);
}

/* With run->mutex held. */
static struct fetch *find_fetch(struct run *run, const struct digest *digest)
{
    struct fetch key = {.digest = *digest};
    struct fetch **found = (struct fetch **)tfind(&key, &run->fetches, compare_fetches);
    return found ? *found : NULL;
}

bool fetch_is_wanted(struct run *run, const struct digest *digest)
{
    pthread_mutex_lock(&run->mutex);
    const struct fetch *fetch = find_fetch(run, digest);
    bool wanted = fetch && (fetch->state == FETCH_WAITING || fetch->state == FETCH_RUNNING);
    pthread_mutex_unlock(&run->mutex);
    return wanted;
}

static bool same_source(const struct waiter *a, const struct waiter *b)
{
    const struct reference *x = &a->target->ref, *y = &b->target->ref;
    return strcmp(x->registry, y->registry) == 0 && strcmp(x->repository, y->repository) == 0 &&
           a->blob->size == b->blob->size;
}

/* With run->mutex held, while nobody fetches it. */
static void begin_from(struct fetch *fetch, const struct waiter *source)
{
    fetch->source = *source;
    fetch->state = FETCH_WAITING;
    fetch->retry = (struct retry_state){0};
    fetch->wrong = 0;
    fetch->once = (struct registry_terms){.one_place = true};
    fetch->split_in_vain = 0;
    set_missing(fetch, source->blob->size);
}

/* With run->mutex held. true: it must be put into the queue. */
static bool find_or_begin(struct run *run, const struct waiter *waiter, struct fetch **ret)
{
    struct fetch *fetch = find_fetch(run, &waiter->blob->digest);
    if (!fetch) {
        fetch = xcalloc(1, sizeof *fetch);
        fetch->run = run;
        fetch->digest = waiter->blob->digest;
        begin_from(fetch, waiter);
        if (!tsearch(fetch, &run->fetches, compare_fetches))
            abort(); /* out of memory */
        *ret = fetch;
        return true;
    }
    *ret = fetch;
    bool begin = false;
    if (fetch->state == FETCH_FAILED)
        begin = !same_source(&fetch->source, waiter);
    else if (fetch->state == FETCH_LANDED)
        begin = fetch->lost++ > 0; /* twice it was gone before it could be taken */
    if (begin)
        begin_from(fetch, waiter);
    return begin;
}

bool fetch_want(struct target *target, const struct descriptor *blob)
{
    struct run *run = target->run;
    const struct waiter waiter = {.target = target, .blob = blob};
    struct fetch *fetch;
    bool landed = false;
    struct error failed = {0};

    pthread_mutex_lock(&run->mutex);
    const bool begin = find_or_begin(run, &waiter, &fetch);
    switch (fetch->state) {
    case FETCH_WAITING:
    case FETCH_RUNNING:
        *array_add(fetch->waiters, fetch->waiter_count) = waiter;
        target->missing++;
        break;
    case FETCH_LANDED:
        landed = true;
        break;
    case FETCH_FAILED:
        target->missing++;
        (void)error_set(&failed, fetch->failed.kind, "%s", fetch->failed.message);
        break;
    }
    pthread_mutex_unlock(&run->mutex);
    if (failed.kind != ERROR_NONE)
        target_blob_failed(target, &failed);
    else if (begin)
        queue_push(run->queue, fetch_work(fetch, 0));
    return !landed;
}

void fetch_free(struct fetch *fetch)
{
    if (!fetch)
        return;
    cachedir_blob_close(fetch->file);
    error_clear(&fetch->failed);
    free(fetch->waiters);
    free(fetch);
}

/* ---- how it ended ---- */

/* Those who waited, taken out so that they can be told without the mutex. */
static struct waiter *end(struct fetch *fetch, enum fetch_state state, size_t *ret_count)
{
    struct run *run = fetch->run;
    cachedir_blob_close(fetch->file);
    fetch->file = NULL;
    set_missing(fetch, 0);
    if (fetch->shown)
        progress_transfer_ended(run->progress, fetch->shown);
    fetch->shown = NULL;
    pthread_mutex_lock(&run->mutex);
    fetch->state = state;
    struct waiter *waiters = take_ptr(fetch->waiters);
    *ret_count = fetch->waiter_count;
    fetch->waiter_count = 0;
    pthread_mutex_unlock(&run->mutex);
    return waiters;
}

/* Its blob has landed. `fetched`: what that cost. */
static void take(const struct fetch *fetch, const struct waiter *w, int64_t fetched)
{
    const struct descriptor *blob = w->blob, *came = fetch->source.blob;
    struct error err = {0};
    int taken = cachedir_stage_take(w->target->stage, blob, &err);
    if (taken == 0 && blob->size != came->size)
        (void)error_set(&err, ERROR_DIGEST, "%s has %lld bytes, its descriptor says %lld",
                        blob->digest.text, (long long)came->size, (long long)blob->size);
    else if (taken == 0)
        (void)error_set(&err, ERROR_IO,
                        "%s vanished from the cache directory as soon as it was there",
                        blob->digest.text);
    pthread_mutex_lock(&w->target->run->mutex);
    w->target->fetched += fetched;
    w->target->reused += blob->size > fetched ? blob->size - fetched : 0;
    pthread_mutex_unlock(&w->target->run->mutex);
    if (taken > 0)
        target_blob_landed(w->target);
    else
        target_blob_failed(w->target, &err);
}

static void landed(struct fetch *fetch)
{
    size_t count;
    const int64_t fetched = atomic_load(&fetch->fetched);
    cleanup_free struct waiter *waiters = end(fetch, FETCH_LANDED, &count);
    for (size_t i = 0; i < count; i++)
        take(fetch, &waiters[i], i == 0 ? fetched : 0);
}

bool fetch_is_sources_fault(enum error_kind kind)
{
    return kind != ERROR_IO && kind != ERROR_NO_SPACE && kind != ERROR_DIRECTORY &&
           kind != ERROR_INTERRUPTED;
}

/* Wait for it again, from one's own repository. */
static void begin_again(const struct waiter *w)
{
    struct error err = {0};
    int taken = 0;
    while (taken == 0 && !fetch_want(w->target, w->blob)) /* another was faster, and it landed */
        taken = cachedir_stage_take(w->target->stage, w->blob, &err);
    if (taken < 0)
        target_blob_failed(w->target, &err);
    else
        target_blob_landed(w->target); /* the wait that is over */
}

static void failed(struct fetch *fetch, struct error *err)
{
    char brief[DIGEST_SHORT_SIZE];
    size_t count;
    const struct waiter source = fetch->source;
    (void)error_prefix(err, "layer %s", digest_short(&fetch->digest, brief));
    /* On a full volume what was begun is in the way of what could be finished. */
    if (err->kind == ERROR_NO_SPACE && fetch->file)
        (void)cachedir_blob_reset(fetch->file, NULL);
    pthread_mutex_lock(&fetch->run->mutex);
    error_clear(&fetch->failed);
    (void)error_set(&fetch->failed, err->kind, "%s", err->message);
    pthread_mutex_unlock(&fetch->run->mutex);
    cleanup_free struct waiter *waiters = end(fetch, FETCH_FAILED, &count);
    for (size_t i = 0; i < count; i++) {
        if (fetch_is_sources_fault(err->kind) && !same_source(&source, &waiters[i])) {
            begin_again(&waiters[i]);
            continue;
        }
        struct error copy = {0};
        (void)error_set(&copy, err->kind, "%s", err->message);
        target_blob_failed(waiters[i].target, &copy);
    }
    error_clear(err);
}

/* Wrong bytes: once more from scratch, by one transfer from one place; then from the next place,
 * as long as there is one. */
static bool is_worth_another(struct fetch *fetch)
{
    if (fetch->wrong++ > 0)
        fetch->once.place++;
    return fetch->once.place <
           registries_places(fetch->run->registries, &fetch->source.target->ref);
}

static void commit(struct fetch *fetch)
{
    struct error err = {0};
    if (cachedir_blob_commit(fetch->file, &err) == 0) {
        landed(fetch);
    } else if (err.kind == ERROR_DIGEST && is_worth_another(fetch)) {
        log_warn("%s: %s: once more", fetch->source.target->name, err.message);
        error_clear(&err);
        queue_push(fetch->run->queue, fetch_work(fetch, 0));
    } else {
        failed(fetch, &err);
    }
}

/* ---- transfers ---- */

static int transfer_sink(void *userdata, int64_t offset, const void *data, size_t len,
                         struct error *err)
{
    struct stretch *t = userdata;
    int64_t stop = atomic_load(&t->end);
    bool enough = offset + (int64_t)len >= stop;
    if (offset + (int64_t)len > stop)
        len = offset < stop ? (size_t)(stop - offset) : 0;
    if (len > 0 && cachedir_blob_write(t->fetch->file, offset, data, len, err) < 0)
        return -1;
    atomic_store(&t->pos, offset + (int64_t)len);
    atomic_fetch_add(&t->fetch->fetched, (int64_t)len);
    atomic_fetch_sub(&t->fetch->missing, (int64_t)len);
    atomic_fetch_sub(&t->fetch->run->missing, (int64_t)len);
    progress_add(t->fetch->shown, (int64_t)len);
    return enough ? 1 : 0;
}

/* The last transfer of a blob ended: committed, once more, or given up. */
static void conclude(struct fetch *fetch, int64_t took, const struct registry_try *how,
                     struct error *err)
{
    int64_t start, past;
    int64_t progress = atomic_exchange(&fetch->progress, 0);

    if (!cachedir_blob_gap(fetch->file, 0, &start, &past)) {
        error_clear(err);
        commit(fetch);
        return;
    }
    if (err->kind == ERROR_NONE) {
        /* More gaps than one, or a helper that failed: go on with the next. */
        queue_push(fetch->run->queue, fetch_work(fetch, 0));
        return;
    }
    if (!run_again(fetch->run, &fetch->retry, fetch_work(fetch, 0), fetch->source.target->name,
                   progress, took, how, err))
        failed(fetch, err);
}

static void unlist(struct run *run, struct stretch *t)
{
    for (struct stretch **p = &run->stretches; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            return;
        }
}

/* Whoever fetches what lies before goes on to the end after all. With run->mutex held. */
static void give_back(struct run *run, const struct stretch *t)
{
    for (struct stretch *p = run->stretches; p; p = p->next)
        if (p->fetch == t->fetch && atomic_load(&p->end) == t->start)
            atomic_store(&p->end, atomic_load(&t->end));
}

/* Fill [t->start, t->end); it is in run->stretches already. */
static void transfer(struct stretch *t, struct registry_client *client)
{
    struct fetch *fetch = t->fetch;
    struct run *run = fetch->run;
    const struct waiter *source = &fetch->source;
    struct registry_terms tail = {.only_ranges = true};
    struct registry_terms *terms = fetch->wrong > 0 ? &fetch->once : t->is_tail ? &tail : NULL;
    struct registry_try how = {.retry_after_ns = -1};
    struct error err = {0};

    (void)registry_blob(client, &source->target->ref, source->blob, t->start, atomic_load(&t->end),
                        terms, transfer_sink, t, &how, &err);
    /* Cut short by a splitter after the connection died: the rest is the splitter's. */
    if (err.kind == ERROR_TRANSIENT && atomic_load(&t->pos) >= atomic_load(&t->end))
        error_clear(&err);
    atomic_fetch_add(&fetch->progress, atomic_load(&t->pos) - t->start);
    /* No ranges, or not now: one stream may still do what two may not. */
    const bool in_vain = t->is_tail && atomic_load(&t->pos) == t->start &&
                         (err.kind == ERROR_PROTOCOL || err.kind == ERROR_REFUSED ||
                          err.kind == ERROR_NOT_FOUND || err.kind == ERROR_TRANSIENT);

    pthread_mutex_lock(&run->mutex);
    unlist(run, t);
    if (in_vain) {
        log_debug("%s: %s could not be split: %s", source->target->name, fetch->digest.text,
                  err.message);
        fetch->split_in_vain += err.kind == ERROR_TRANSIENT ? 1 : SPLIT_IN_VAIN_MAX;
        give_back(run, t);
        error_clear(&err);
    }
    if (err.kind != ERROR_NONE && fetch->trouble.kind == ERROR_NONE) {
        error_move(&fetch->trouble, &err);
        fetch->trouble_how = how;
    }
    const bool last = --fetch->active == 0;
    if (last && fetch->trouble.kind != ERROR_NONE)
        how = fetch->trouble_how;
    if (last)
        error_move(&err, &fetch->trouble);
    pthread_mutex_unlock(&run->mutex);
    if (last)
        conclude(fetch, monotonic_now() - t->began, &how, &err);
    else
        error_clear(&err);
}

/* With run->mutex held. */
static void enlist(struct run *run, struct stretch *t)
{
    t->began = monotonic_now();
    t->next = run->stretches;
    run->stretches = t;
    t->fetch->active++;
}

static int64_t count_gaps(struct cachedir_blob *file)
{
    int64_t start, past = 0, total = 0;
    while (cachedir_blob_gap(file, past, &start, &past))
        total += past - start;
    return total;
}

/*
 * Open the blob, unless another process is at it. 1 open, 0 done with for now, -1.
 */
static int open_file(struct fetch *fetch, struct error *err)
{
    struct run *run = fetch->run;
    cleanup_error struct error why = {0};

    if (fetch->file)
        return 1;
    pthread_mutex_lock(&run->mutex);                 /* others may join and move the list */
    struct target *first = fetch->waiters[0].target; /* it waits for us, so it and its stage stay */
    pthread_mutex_unlock(&run->mutex);
    if (cachedir_blob_open(first->stage, fetch->source.blob, fetch->insist, &fetch->file, &why) <
        0) {
        if (why.kind != ERROR_LOCKED) {
            error_move(err, &why);
            return -1;
        }
        int64_t now = monotonic_now();
        int64_t progress = cachedir_progress(run->cd, &fetch->digest);
        if (fetch->locked_since == 0 || progress != fetch->locked_progress) {
            if (fetch->locked_since == 0)
                log_info("%s: another process fetches %s: waiting for it",
                         fetch->source.target->name, fetch->digest.text);
            fetch->locked_since = now;
            fetch->locked_progress = progress;
        }
        fetch->insist = now - fetch->locked_since > 2 * run->settings->stall_timeout_ns;
        if (fetch->insist)
            log_warn("%s: the lock of %s is held, but nobody writes it: going on without",
                     fetch->source.target->name, fetch->digest.text);
        queue_push(run->queue, fetch_work(fetch, fetch->insist ? 0 : now + LOCK_POLL));
        return 0;
    }
    /* Another process may have finished it before we had the lock. */
    int taken = cachedir_stage_take(first->stage, fetch->source.blob, err);
    if (taken > 0)
        landed(fetch);
    else if (taken == 0)
        set_missing(fetch, count_gaps(fetch->file));
    return taken < 0 ? -1 : !taken;
}

void fetch_blob(struct fetch *fetch, struct registry_client *client)
{
    struct run *run = fetch->run;
    struct error err = {0};
    int64_t start, past;

    pthread_mutex_lock(&run->mutex);
    fetch->state = FETCH_RUNNING;
    pthread_mutex_unlock(&run->mutex);
    int open = open_file(fetch, &err);
    if (open < 0)
        failed(fetch, &err);
    if (open <= 0)
        return;
    if (!cachedir_blob_gap(fetch->file, 0, &start, &past)) {
        commit(fetch);
        return;
    }
    if (!fetch->shown)
        fetch->shown =
            progress_transfer_started(run->progress, &fetch->digest, fetch->source.target->name,
                                      fetch->source.blob->size, start);
    struct stretch t = {.fetch = fetch, .start = start, .pos = start, .end = past};
    pthread_mutex_lock(&run->mutex);
    enlist(run, &t);
    pthread_mutex_unlock(&run->mutex);
    transfer(&t, client);
}

/* The transfer that is worth splitting most; NULL: none. With run->mutex held. */
static struct stretch *largest(struct run *run, int64_t now)
{
    struct stretch *best = NULL;
    int64_t best_left = 0;
    for (struct stretch *t = run->stretches; t; t = t->next) {
        int64_t pos = atomic_load(&t->pos), left = atomic_load(&t->end) - pos;
        int64_t took = now - t->began, done = pos - t->start;
        if (left < SPLIT_LEFT || left <= best_left || t->fetch->wrong > 0 ||
            t->fetch->split_in_vain >= SPLIT_IN_VAIN_MAX)
            continue;
        /* done / took is its rate; left / rate is how long it would still take. */
        if (done > 0 && (double)left / (double)done * (double)took < (double)SPLIT_TIME)
            continue;
        if (took < NS_PER_S / 4 ||
            !registries_has_ranges(run->registries, &t->fetch->source.target->ref))
            continue;
        best = t;
        best_left = left;
    }
    return best;
}

bool fetch_split(struct run *run, struct registry_client *client)
{
    struct stretch t = {0};

    pthread_mutex_lock(&run->mutex);
    struct stretch *running = largest(run, monotonic_now());
    if (running) {
        int64_t pos = atomic_load(&running->pos), past = atomic_load(&running->end);
        t = (struct stretch){.fetch = running->fetch,
                             .is_tail = true,
                             .start = pos + (past - pos) / 2,
                             .pos = pos + (past - pos) / 2,
                             .end = past};
        struct work work = fetch_work(t.fetch, 0);
        if (queue_claim(run->queue, &work)) {
            atomic_store(&running->end, t.start);
            enlist(run, &t);
        } else {
            running = NULL;
        }
    }
    pthread_mutex_unlock(&run->mutex);
    if (!running)
        return false;
    struct work work = fetch_work(t.fetch, 0);
    log_debug("%s: taking over bytes %lld to %lld of %s", t.fetch->source.target->name,
              (long long)t.start, (long long)t.end, t.fetch->digest.text);
    transfer(&t, client);
    queue_finish(run->queue, &work);
    return true;
}
