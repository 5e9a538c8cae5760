/*
 * One blob on its way into the store, by one transfer or by several.
 *
 *     WAITING --opened--> RUNNING --last transfer ended, no gap left, committed--> LANDED
 *        ^                   |--a gap left, worth another try--> back in the queue (file kept open)
 *        '-- locked by another process: look again later         `-- else --> FAILED
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
#define SPLIT_TIME (2 * NS_PER_S)      /* what would end within this is left alone */
#define WRONG_MAX 2                    /* wrong bytes so often, and the blob is given up */

static int compare_fetches(const void *a, const void *b)
{
    const struct fetch *x = a, *y = b;
    return strcmp(x->blob.digest.text, y->blob.digest.text);
}

static struct work fetch_work(struct fetch *fetch, int64_t not_before)
{
    return (struct work){.kind = WORK_FETCH,
                         .subject = fetch,
                         .ref = &fetch->ref,
                         .weight = fetch->blob.size,
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
    struct fetch key = {.blob.digest = *digest};
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

bool fetch_want(struct target *target, const struct descriptor *blob)
{
    struct run *run = target->run;
    bool landed = false;
    struct error failed = {0};

    pthread_mutex_lock(&run->mutex);
    struct fetch *fetch = find_fetch(run, &blob->digest);
    const bool start = !fetch || (fetch->state == FETCH_LANDED && fetch->lost++ > 0);
    if (!fetch) {
        fetch = xcalloc(1, sizeof *fetch);
        fetch->run = run;
        fetch->name = xstrdup(target->name);
        descriptor_copy(&fetch->blob, blob);
        set_missing(fetch, blob->size);
        reference_copy(&fetch->ref, &target->ref);
        if (!tsearch(fetch, &run->fetches, compare_fetches))
            abort(); /* out of memory */
    } else if (start) {
        /* It landed, and twice it was gone before it could be taken: fetch it again. */
        fetch->state = FETCH_WAITING;
    }
    switch (fetch->state) {
    case FETCH_WAITING:
    case FETCH_RUNNING:
        *array_add(fetch->targets, fetch->target_count) = target;
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
    else if (start)
        queue_push(run->queue, fetch_work(fetch, 0));
    return !landed;
}

void fetch_free(struct fetch *fetch)
{
    if (!fetch)
        return;
    cachedir_blob_close(fetch->file);
    descriptor_release(&fetch->blob);
    reference_release(&fetch->ref);
    error_clear(&fetch->failed);
    free(fetch->targets);
    free(fetch->name);
    free(fetch);
}

/* ---- how it ended ---- */

/* Those who waited, taken out so that they can be told without the mutex. */
static struct target **end(struct fetch *fetch, enum fetch_state state, size_t *ret_count)
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
    struct target **targets = take_ptr(fetch->targets);
    *ret_count = fetch->target_count;
    fetch->target_count = 0;
    pthread_mutex_unlock(&run->mutex);
    return targets;
}

static void landed(struct fetch *fetch)
{
    size_t count;
    cleanup_free struct target **targets = end(fetch, FETCH_LANDED, &count);
    for (size_t i = 0; i < count; i++) {
        struct error err = {0};
        int taken = cachedir_stage_take(targets[i]->stage, &fetch->blob, &err);
        if (taken == 0)
            (void)error_set(&err, ERROR_IO,
                            "%s vanished from the cache directory as soon as it "
                            "was there",
                            fetch->blob.digest.text);
        pthread_mutex_lock(&fetch->run->mutex);
        int64_t fetched = i == 0 ? atomic_load(&fetch->fetched) : 0;
        targets[i]->fetched += fetched;
        targets[i]->reused += fetch->blob.size > fetched ? fetch->blob.size - fetched : 0;
        pthread_mutex_unlock(&fetch->run->mutex);
        if (taken > 0)
            target_blob_landed(targets[i]);
        else
            target_blob_failed(targets[i], &err);
    }
}

static void failed(struct fetch *fetch, struct error *err)
{
    char brief[DIGEST_SHORT_SIZE];
    size_t count;
    (void)error_prefix(err, "layer %s", digest_short(&fetch->blob.digest, brief));
    /* On a full volume what was begun is in the way of what could be finished. */
    if (err->kind == ERROR_NO_SPACE && fetch->file)
        (void)cachedir_blob_reset(fetch->file, NULL);
    pthread_mutex_lock(&fetch->run->mutex);
    error_clear(&fetch->failed);
    (void)error_set(&fetch->failed, err->kind, "%s", err->message);
    pthread_mutex_unlock(&fetch->run->mutex);
    cleanup_free struct target **targets = end(fetch, FETCH_FAILED, &count);
    for (size_t i = 0; i < count; i++) {
        struct error copy = {0};
        (void)error_set(&copy, err->kind, "%s", err->message);
        target_blob_failed(targets[i], &copy);
    }
    error_clear(err);
}

static void commit(struct fetch *fetch)
{
    struct error err = {0};
    if (cachedir_blob_commit(fetch->file, &err) == 0) {
        landed(fetch);
    } else if (err.kind == ERROR_DIGEST && ++fetch->wrong < WRONG_MAX) {
        /* Once more from scratch, by one transfer from one source. */
        log_warn("%s: %s: once more", fetch->name, err.message);
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
    if (!run_again(fetch->run, &fetch->retry, fetch_work(fetch, 0), fetch->name, progress, took,
                   how, err))
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

/* Fill [t->start, t->end); it is in run->stretches already. */
static void transfer(struct stretch *t, struct registry_client *client)
{
    struct fetch *fetch = t->fetch;
    struct run *run = fetch->run;
    struct registry_try how = {.retry_after_ns = -1};
    struct error err = {0};

    (void)registry_blob(client, &fetch->ref, &fetch->blob, t->start, atomic_load(&t->end),
                        transfer_sink, t, &how, &err);
    /* Cut short by a splitter after the connection died: the rest is the splitter's. */
    if (err.kind == ERROR_TRANSIENT && atomic_load(&t->pos) >= atomic_load(&t->end))
        error_clear(&err);
    atomic_fetch_add(&fetch->progress, atomic_load(&t->pos) - t->start);

    pthread_mutex_lock(&run->mutex);
    unlist(run, t);
    if (err.kind != ERROR_NONE && fetch->trouble.kind == ERROR_NONE)
        error_move(&fetch->trouble, &err);
    const bool last = --fetch->active == 0;
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
    pthread_mutex_lock(&run->mutex);          /* others may join and move the list */
    struct target *first = fetch->targets[0]; /* it waits for us, so it and its stage stay */
    pthread_mutex_unlock(&run->mutex);
    if (cachedir_blob_open(first->stage, &fetch->blob, fetch->insist, &fetch->file, &why) < 0) {
        if (why.kind != ERROR_LOCKED) {
            error_move(err, &why);
            return -1;
        }
        int64_t now = monotonic_now();
        int64_t progress = cachedir_progress(run->cd, &fetch->blob.digest);
        if (fetch->locked_since == 0 || progress != fetch->locked_progress) {
            if (fetch->locked_since == 0)
                log_debug("%s: another process fetches %s", fetch->name, fetch->blob.digest.text);
            fetch->locked_since = now;
            fetch->locked_progress = progress;
        }
        fetch->insist = now - fetch->locked_since > 2 * run->settings->stall_timeout_ns;
        if (fetch->insist)
            log_warn("%s: the lock of %s is held, but nobody writes it: going on without",
                     fetch->name, fetch->blob.digest.text);
        queue_push(run->queue, fetch_work(fetch, fetch->insist ? 0 : now + LOCK_POLL));
        return 0;
    }
    /* Another process may have finished it before we had the lock. */
    int taken = cachedir_stage_take(first->stage, &fetch->blob, err);
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
        fetch->shown = progress_transfer_started(run->progress, &fetch->blob.digest, fetch->name,
                                                 fetch->blob.size, start);
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
        if (left < SPLIT_LEFT || left <= best_left || t->fetch->wrong > 0)
            continue;
        /* done / took is its rate; left / rate is how long it would still take. */
        if (done > 0 && (double)left / (double)done * (double)took < (double)SPLIT_TIME)
            continue;
        if (took < NS_PER_S / 4 || !registries_has_ranges(run->registries, &t->fetch->ref))
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
    log_debug("%s: taking over bytes %lld to %lld of %s", t.fetch->name, (long long)t.start,
              (long long)t.end, t.fetch->blob.digest.text);
    transfer(&t, client);
    queue_finish(run->queue, &work);
    return true;
}
