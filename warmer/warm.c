/* The workers, and the list they work through. */
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <search.h>
#include <string.h>

#define STOP_GRACE (700 * (NS_PER_S / 1000)) /* how long workers may take to leave */

struct crew { /* outlives run_warm() when a worker is stuck in the kernel */
    struct run *run;
    pthread_mutex_t mutex;
    pthread_cond_t left;
    unsigned working;
};

static void work_on(struct run *run, const struct work *work, struct registry_client *client)
{
    switch (work->kind) {
    case WORK_RESOLVE:
        image_resolve(run, work->subject, client);
        break;
    case WORK_PLAN:
        target_plan(work->subject, client);
        break;
    case WORK_FETCH:
        fetch_blob(work->subject, client);
        break;
    case WORK_PUBLISH:
        target_publish(work->subject);
        break;
    case WORK_KINDS:
        break;
    }
}

static void *worker(void *userdata)
{
    struct crew *crew = userdata;
    struct run *run = crew->run;
    struct registry_client *client = registry_client_new(run->registries);

    for (;;) {
        struct work work;
        enum queue_answer answer = queue_take(run->queue, &work);
        if (answer == QUEUE_OVER)
            break;
        if (answer == QUEUE_WORK) {
            work_on(run, &work, client);
            queue_finish(run->queue, &work);
        } else {
            (void)fetch_split(run, client); /* nothing worth it: ask again */
        }
    }
    registry_client_free(client);
    OPENSSL_thread_stop(); /* the process may end before this thread's destructors have run */
    pthread_mutex_lock(&crew->mutex);
    crew->working--;
    pthread_cond_signal(&crew->left);
    pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

void run_stop(struct run *run)
{
    atomic_store(&run->stopped, true);
    run->stop = true;
    registries_stop(run->registries);
    queue_stop(run->queue);
}

static struct crew *start_crew(struct run *run, unsigned jobs)
{
    struct crew *crew = xcalloc(1, sizeof *crew);
    pthread_condattr_t attributes;
    crew->run = run;
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->left, &attributes);
    pthread_condattr_destroy(&attributes);
    for (unsigned i = 0; i < jobs; i++) {
        pthread_t id;
        pthread_mutex_lock(&crew->mutex);
        crew->working++;
        pthread_mutex_unlock(&crew->mutex);
        int failed = pthread_create(&id, NULL, worker, crew);
        if (failed == 0) {
            (void)pthread_detach(id);
            continue;
        }
        pthread_mutex_lock(&crew->mutex);
        crew->working--;
        pthread_mutex_unlock(&crew->mutex);
        log_warn("only %u of %u workers could be started: %s", i, jobs, strerror(failed));
        break;
    }
    return crew;
}

/* Wait until all have left; once the run is stopped, no longer than the grace. */
static bool await_crew(struct run *run, struct crew *crew)
{
    int64_t deadline = INT64_MAX;
    pthread_mutex_lock(&crew->mutex);
    while (crew->working > 0) {
        int64_t now = monotonic_now();
        if (deadline == INT64_MAX && atomic_load(&run->stopped))
            deadline = now + STOP_GRACE;
        if (now >= deadline)
            break;
        /* run_stop() cannot signal this: it is seen within a tenth of a second. */
        int64_t until = now + NS_PER_S / 10 < deadline ? now + NS_PER_S / 10 : deadline;
        struct timespec at = {until / NS_PER_S, until % NS_PER_S};
        pthread_cond_timedwait(&crew->left, &crew->mutex, &at);
    }
    bool all = crew->working == 0;
    pthread_mutex_unlock(&crew->mutex);
    if (all) {
        pthread_cond_destroy(&crew->left);
        pthread_mutex_destroy(&crew->mutex);
        free(crew);
    }
    return all;
}

static void free_fetch(void *fetch)
{
    fetch_free(fetch);
}

void run_release(struct run *run)
{
    tdestroy(run->fetches, free_fetch);
    for (size_t i = 0; i < run->target_count; i++)
        target_free(run->targets[i]);
    free(run->targets);
    for (size_t i = 0; i < run->image_count; i++) {
        free(run->images[i].name);
        free(run->images[i].platform);
        image_forget_indexes(&run->images[i]);
    }
    free(run->images);
    free(run->claims);
    queue_free(run->queue);
    pthread_mutex_destroy(&run->mutex);
    pthread_mutex_destroy(&run->pruning);
}

static int64_t ready_at(void *userdata, const struct reference *ref)
{
    return registries_ready_at(userdata, ref);
}

void run_prepare(struct run *run, const struct wanted_list *list)
{
    run->queue = queue_new(run->settings->jobs_per_host, ready_at, run->registries);
    pthread_mutex_init(&run->mutex, NULL);
    pthread_mutex_init(&run->pruning, NULL);
    run->images = xcalloc(list->count ? list->count : 1, sizeof *run->images);
    run->image_count = list->count;
    for (size_t i = 0; i < list->count; i++) {
        struct image *image = &run->images[i];
        image->run = run;
        image->wanted = &list->items[i];
        image->platform = platform_format(&image->wanted->platform);
        image->name = image->wanted->explicit_platform
                          ? xasprintf("%s (%s)", image->wanted->reference.familiar, image->platform)
                          : xstrdup(image->wanted->reference.familiar);
        queue_push(run->queue, (struct work){.kind = WORK_RESOLVE,
                                             .subject = image,
                                             .ref = &image->wanted->reference});
    }
}

bool run_warm(struct run *run)
{
    bool all_left = await_crew(run, start_crew(run, run->settings->jobs));
    size_t unreached = 0;
    for (size_t i = 0; i < run->image_count; i++) {
        struct error err = {0};
        if (run->images[i].done)
            continue;
        (void)error_set(&err, ERROR_INTERRUPTED, "stopped before it was done");
        image_finish(&run->images[i], REPORT_FAILED, NULL, &err);
        unreached++;
    }
    if (unreached > 0)
        log_warn("stopped before %zu of %zu %s done", unreached, run->image_count,
                 run->image_count == 1 ? "image was" : "images were");
    return all_left;
}
