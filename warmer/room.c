/* Space: looked at before the first byte is fetched, and made by pruning where that is allowed. */
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

static void tell(void *userdata, const struct cachedir_removal *removal)
{
    const struct run *run = userdata;
    const char *what = removal->reference ? removal->reference : removal->path;
    const char *would = run->settings->dry_run ? "would be " : "";
    cleanup_free char *age = duration_format((removal->age_s > 0 ? removal->age_s : 0) * NS_PER_S);
    if (removal->reason == CACHEDIR_PRUNE_EVICTED)
        log_warn("%s: %sevicted to meet the limits, although it was renewed only %s ago: a running "
                 "build that uses it may fail",
                 what, would, age);
    else
        log_info("%s: %spruned (%s, age %s)", what, would,
                 cachedir_prune_reason_name(removal->reason), age);
}

/* The sums of all prunes of this run; what was left, of the last. */
static void sum_up(struct run *run, const struct cachedir_prune_result *last)
{
    const struct cachedir_prune_result before = run->pruned;
    run->pruned = *last;
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++) {
        run->pruned.removed[i] += before.removed[i];
        run->pruned.freed[i] += before.freed[i];
    }
    if (run->has_pruned)
        run->pruned.size_before = before.size_before;
    run->has_pruned = true;
}

static bool has_removed(const struct cachedir_prune_result *result)
{
    size_t count = 0;
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        count += result->removed[i];
    return count > 0;
}

int run_prune(struct run *run, struct error *err)
{
    const struct settings *s = run->settings;
    struct cachedir_prune_options how = {
        .ttl_ns = s->cache_ttl_ns,
        .grace_ns = s->grace_ns,
        .limits = s->limits,
        .keep = s->keep,
        .dry_run = s->dry_run,
        .stop = &run->stop,
    };
    struct cachedir_prune_result result = {0};
    int r = cachedir_prune(run->cd, &how, tell, run, &result, err);
    if (r == 0 || has_removed(&result)) /* what went before a failure counts, too */
        sum_up(run, &result);
    return r < 0 ? error_prefix(err, "pruning") : 0;
}

static int look(struct run *run, int64_t bytes, struct error *err)
{
    int64_t size, available, missing = atomic_load(&run->missing) + bytes;
    if (cachedir_space(run->cd, &size, &available, err) < 0)
        return -1;
    if (missing <= available)
        return 0;
    cleanup_free char *needed = size_format(missing), *there = size_format(available);
    return error_set(err, ERROR_NO_SPACE, "%s are needed and %s are free in %s%s", needed, there,
                     cachedir_path(run->cd),
                     run->settings->prune ? ", and pruning gave no more"
                                          : ": make room, or allow --prune, --max-size or "
                                            "--min-free to do it");
}

int run_make_room(struct run *run, int64_t bytes, struct error *err)
{
    struct error why = {0};
    int r = look(run, bytes, &why);
    if (r < 0 && why.kind == ERROR_NO_SPACE && run->settings->prune) {
        pthread_mutex_lock(&run->pruning);
        error_clear(&why);
        r = look(run, bytes, &why); /* another worker may have pruned meanwhile */
        if (r < 0 && why.kind == ERROR_NO_SPACE) {
            error_clear(&why);
            r = run_prune(run, &why) < 0 ? -1 : look(run, bytes, &why);
        }
        pthread_mutex_unlock(&run->pruning);
    }
    error_move(err, &why);
    return r;
}
