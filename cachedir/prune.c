/*
 * Pruning: a plan is made over a picture of the directory, then carried out, each step after
 * another look. A dry run makes the same plan and stops there.
 *
 *     by age:     leftovers, partial files, expired and superseded entries, unused blobs
 *     by limits:  unused blobs however young, partial files that nobody writes, entries (oldest
 *                 renewal first) with the blobs that only they named
 *
 * Why no reader and no warm is harmed beyond what the limits say: readers are protected by time
 * alone (ttl + grace); a warm holds links of its own to all that it counts on.
 */
#include "alloc.h"
#include "inventory.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#define LOCK_WAIT 10                              /* seconds */
#define STAGE_AGE (INT64_C(24) * 3600 * NS_PER_S) /* what a warm may take, whatever the grace */

const char *cachedir_prune_reason_name(enum cachedir_prune_reason reason)
{
    static const char *const names[] = {"leftover",   "partial", "expired",
                                        "superseded", "evicted", "unused"};
    return names[reason];
}

int cachedir_limits_min_free(struct cachedir_limits *ret, const char *text, struct error *err)
{
    char *end;
    if (!strchr(text, '%'))
        return size_parse(text, &ret->min_free, err) < 0 ? error_prefix(err, "--min-free") : 0;
    double percent = strtod(text, &end);
    if (end == text || strcmp(end, "%") != 0 || !(percent >= 0 && percent <= 100)) {
        cleanup_free char *shown = text_foreign_str(text);
        return error_set(err, ERROR_USAGE, "--min-free: \"%s\" is no percentage from 0%% to 100%%",
                         shown);
    }
    ret->min_free_percent = percent;
    return 0;
}

struct pruning {
    struct cachedir *cd;
    const struct cachedir_prune_options *options;
    void (*removed)(void *userdata, const struct cachedir_removal *removal);
    void *userdata;
    struct inventory inv;
    time_t now;
    int64_t volume, free; /* of the file system; `free` as it will be */
    struct cachedir_prune_result result;
};

static int64_t age(const struct pruning *p, const struct thing *thing)
{
    return p->now - thing->mtime;
}

static bool older(const struct pruning *p, const struct thing *thing, int64_t ns)
{
    return age(p, thing) > ns / NS_PER_S;
}

/* ---- carrying out ---- */

static struct timespec time_of(const struct thing *thing)
{
    return (struct timespec){thing->mtime, thing->mtime_ns};
}

static int remove_partial(struct pruning *p, const struct thing *thing, struct error *err)
{
    struct cachedir *cd = p->cd;
    struct cachedir_lock *lock = NULL;
    cleanup_free char *list = xasprintf("%s" PARTIAL_RANGES, thing->name);
    cleanup_error struct error why = {0};
    int r = 1;

    /* Whoever writes it holds its lock. */
    if (digest_is_set(&thing->digest) &&
        lock_take(cd, cd->blob_locks, digest_hex(&thing->digest), true, &lock, &why) < 0)
        return 0;
    const struct timespec seen = time_of(thing);
    if (entry_is_younger(cd->partial, thing->name, &seen))
        r = 0;
    else if (fs_remove(cd->partial, thing->name) < 0 || fs_remove(cd->partial, list) < 0)
        r = store_error(cd, errno, cd->partial, thing->name, err, "cannot remove %s", thing->path);
    cachedir_unlock(lock);
    return r;
}

static int carry_out(struct pruning *p, const struct thing *thing, struct error *err)
{
    struct cachedir *cd = p->cd;
    int dir = inventory_directory(&p->inv, thing);
    const struct timespec seen = time_of(thing);

    if (thing->kind == THING_ENTRY)
        return entry_take_away(cd, thing->name, &seen, err);
    if (thing->kind == THING_PARTIAL)
        return remove_partial(p, thing, err);
    if (thing->kind == THING_BLOB && entry_is_younger(dir, thing->name, &seen))
        return 0;
    if ((thing->kind == THING_BLOB ? fs_remove(dir, thing->name)
                                   : store_remove_away(cd, dir, thing->name)) < 0)
        return store_error(cd, errno, dir, thing->name, err, "cannot remove %s", thing->path);
    return 1;
}

static bool stopped(const struct pruning *p)
{
    return p->options->stop && *p->options->stop;
}

static int take_away(struct pruning *p, struct thing *thing, enum cachedir_prune_reason reason,
                     struct error *err)
{
    if (stopped(p))
        return error_set(err, ERROR_INTERRUPTED, "stopped before everything was pruned");
    if (!p->options->dry_run) {
        struct error why = {0};
        int r = carry_out(p, thing, &why);
        if (r < 0 && why.kind == ERROR_REFUSED) {
            /* Another uid's: told, and no reason to leave all the rest. */
            p->result.refused++;
            if (p->cd->warn)
                p->cd->warn(p->cd->userdata, why.message);
            error_clear(&why);
            return 0;
        }
        error_move(err, &why);
        if (r <= 0)
            return r;
    }
    int64_t freed = inventory_remove(&p->inv, thing);
    p->free += freed;
    p->result.removed[reason]++;
    p->result.freed[reason] += freed;
    if (p->removed) {
        cleanup_free char *reference = thing->reference ? text_foreign_str(thing->reference) : NULL;
        p->removed(p->userdata, &(struct cachedir_removal){reason, thing->path, reference,
                                                           age(p, thing), freed});
    }
    return 0;
}

/* Is it an alias whose entry is here and stays? */
static bool has_entry(const struct pruning *p, const struct thing *thing)
{
    const struct thing *entry =
        digest_is_set(&thing->alias_of) ? inventory_entry(&p->inv, &thing->alias_of) : NULL;
    return entry && !entry->gone;
}

/* An entry, and its aliases before it: one that stays keeps it. */
static int take_entry_away(struct pruning *p, struct thing *entry,
                           enum cachedir_prune_reason reason, struct error *err)
{
    for (size_t i = 0; i < p->inv.entry_count && p->inv.alias_count > 0; i++) {
        struct thing *alias = &p->inv.entries[i];
        if (alias->gone || !digest_equal(&alias->alias_of, &entry->digest))
            continue;
        if (take_away(p, alias, reason, err) < 0)
            return -1;
        if (!alias->gone)
            return 0;
    }
    return take_away(p, entry, reason, err);
}

/* ---- by age ---- */

/* What age alone takes; CACHEDIR_PRUNE_REASONS: nothing does. */
static enum cachedir_prune_reason by_age(const struct pruning *p, const struct thing *thing)
{
    const struct cachedir_prune_options *o = p->options;
    switch (thing->kind) {
    case THING_TRASH:
        return CACHEDIR_PRUNE_LEFTOVER;
    case THING_STAGE:
    case THING_ALIAS:
    case THING_KANIKO:
        return older(p, thing, o->grace_ns > STAGE_AGE ? o->grace_ns : STAGE_AGE)
                   ? CACHEDIR_PRUNE_LEFTOVER
                   : CACHEDIR_PRUNE_REASONS;
    case THING_PARTIAL:
        return older(p, thing, o->ttl_ns) ? CACHEDIR_PRUNE_PARTIAL : CACHEDIR_PRUNE_REASONS;
    case THING_ENTRY:
        if (thing->kept)
            return CACHEDIR_PRUNE_REASONS;
        if (age(p, thing) > o->ttl_ns / NS_PER_S + o->grace_ns / NS_PER_S)
            return CACHEDIR_PRUNE_EXPIRED;
        /* A build may have resolved the tag just before it moved. */
        return o->superseded && thing->superseded &&
                       p->now - thing->superseded > o->grace_ns / NS_PER_S && !has_entry(p, thing)
                   ? CACHEDIR_PRUNE_SUPERSEDED
                   : CACHEDIR_PRUNE_REASONS;
    case THING_BLOB:
        return thing->users == 0 && older(p, thing, o->grace_ns) ? CACHEDIR_PRUNE_UNUSED
                                                                 : CACHEDIR_PRUNE_REASONS;
    }
    return CACHEDIR_PRUNE_REASONS;
}

static int prune_by_age(struct pruning *p, struct error *err)
{
    /* Reason by reason: an entry that goes may leave a blob without a user. */
    for (int reason = 0; reason < CACHEDIR_PRUNE_REASONS; reason++)
        for (size_t i = 0; i < p->inv.thing_count; i++) {
            struct thing *thing = &p->inv.things[i];
            if (!thing->gone && by_age(p, thing) == (enum cachedir_prune_reason)reason &&
                (thing->kind == THING_ENTRY ? take_entry_away : take_away)(
                    p, thing, (enum cachedir_prune_reason)reason, err) < 0)
                return -1;
        }
    return 0;
}

/* ---- by limits ---- */

static bool limits_met(const struct pruning *p)
{
    const struct cachedir_limits *l = &p->options->limits;
    return (l->max_size <= 0 || p->inv.size <= l->max_size) && p->free >= l->min_free &&
           (double)p->free >= l->min_free_percent / 100.0 * (double)p->volume;
}

/* What the limits take, in order: blobs, partial files, entries; the oldest of each first. */
static int limit_rank(const struct thing *thing)
{
    switch (thing->kind) {
    case THING_BLOB:
        return thing->users == 0 ? 0 : -1;
    case THING_PARTIAL:
        return 1;
    case THING_ENTRY:
        return thing->kept ? -1 : 2;
    case THING_STAGE:
    case THING_TRASH:
    case THING_ALIAS:
    case THING_KANIKO:
        break;
    }
    return -1;
}

static int compare_candidates(const void *a, const void *b)
{
    const struct thing *x = *(struct thing *const *)a, *y = *(struct thing *const *)b;
    int order = limit_rank(x) - limit_rank(y);
    if (order == 0)
        order = (x->mtime > y->mtime) - (x->mtime < y->mtime);
    if (order == 0)
        order = (x->mtime_ns > y->mtime_ns) - (x->mtime_ns < y->mtime_ns);
    return order ? order : strcmp(x->path, y->path);
}

/* An entry and what only it named. */
static int evict(struct pruning *p, struct thing *entry, struct error *err)
{
    if (take_entry_away(p, entry, CACHEDIR_PRUNE_EVICTED, err) < 0)
        return -1;
    for (size_t i = 0; i < entry->named_count && entry->gone; i++) {
        struct thing *blob = inventory_blob(&p->inv, &entry->named[i]);
        if (blob && !blob->gone && blob->users == 0 &&
            take_away(p, blob, CACHEDIR_PRUNE_UNUSED, err) < 0)
            return -1;
    }
    return 0;
}

static int prune_by_limits(struct pruning *p, struct error *err)
{
    cleanup_free struct thing **candidates = NULL;
    size_t count = 0;
    int r = 0;

    if (limits_met(p))
        return 0;
    for (size_t i = 0; i < p->inv.thing_count; i++)
        if (!p->inv.things[i].gone && limit_rank(&p->inv.things[i]) >= 0 &&
            !has_entry(p, &p->inv.things[i]))
            *array_add(candidates, count) = &p->inv.things[i];
    if (count > 0)
        qsort(candidates, count, sizeof(struct thing *), compare_candidates);
    for (size_t i = 0; i < count && r == 0 && !limits_met(p); i++) {
        struct thing *thing = candidates[i];
        if (thing->kind == THING_ENTRY)
            r = evict(p, thing, err);
        else
            r = take_away(
                p, thing,
                thing->kind == THING_BLOB ? CACHEDIR_PRUNE_UNUSED : CACHEDIR_PRUNE_PARTIAL, err);
    }
    return r;
}

/* ---- the whole ---- */

int cachedir_space(struct cachedir *cd, int64_t *ret_size, int64_t *ret_free, struct error *err)
{
    struct statvfs st;
    if (fstatvfs(cd->root, &st) < 0)
        return error_errno(err, errno, "cannot see how full %s is", cd->path);
    *ret_size = (int64_t)st.f_blocks * (int64_t)st.f_frsize;
    *ret_free = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    return 0;
}

static int lock_prune(const struct pruning *p, struct cachedir_lock **ret, struct error *err)
{
    struct cachedir *cd = p->cd;
    if (cd->own < 0)
        return 0; /* an empty directory: nobody can be at work */
    for (int tries = 0; tries < LOCK_WAIT * 20; tries++) {
        cleanup_error struct error why = {0};
        if (lock_take(cd, cd->own, "prune.lock", false, ret, &why) == 0)
            return 0;
        if (stopped(p))
            return error_set(err, ERROR_INTERRUPTED, "stopped while another prune was at work");
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    return error_set(err, ERROR_LOCKED, "another prune works on %s: try again when it is done",
                     cd->path);
}

static int prune_locked(struct pruning *p, struct error *err)
{
    const struct cachedir_prune_options *o = p->options;
    struct cachedir *cd = p->cd;

    if (cachedir_space(cd, &p->volume, &p->free, err) < 0 ||
        inventory_take(cd, o->keep, &p->inv, err) < 0)
        return -1;
    p->now = cachedir_now(cd);
    p->result.size_before = p->inv.size;
    if (prune_by_age(p, err) < 0 || prune_by_limits(p, err) < 0)
        return -1;
    size_t entries = p->result.removed[CACHEDIR_PRUNE_EXPIRED] +
                     p->result.removed[CACHEDIR_PRUNE_SUPERSEDED] +
                     p->result.removed[CACHEDIR_PRUNE_EVICTED];
    if (!o->dry_run && entries > 0 && cachedir_flush(cd, err) < 0)
        return -1;
    return 0;
}

int cachedir_prune(struct cachedir *cd, const struct cachedir_prune_options *options,
                   void (*removed)(void *userdata, const struct cachedir_removal *removal),
                   void *userdata, struct cachedir_prune_result *ret, struct error *err)
{
    struct pruning p = {.cd = cd, .options = options, .removed = removed, .userdata = userdata};
    struct cachedir_lock *lock = NULL;

    if (!options->dry_run && (store_check_writable(cd, err) < 0 || lock_prune(&p, &lock, err) < 0))
        return -1;
    int r = prune_locked(&p, err);
    cachedir_unlock(lock);
    p.result.size_after = p.inv.size;
    if (r == 0 && !options->dry_run)
        r = cachedir_space(cd, &p.volume, &p.free,
                           err); /* what others hold open is not freed yet */
    p.result.limits_met = limits_met(&p);
    p.result.free_after = p.free;
    *ret = p.result;
    inventory_release(&p.inv);
    return r;
}

int cachedir_remove(struct cachedir *cd, const struct digest *digest, int64_t *ret_freed,
                    struct error *err)
{
    struct inventory inv = {0};
    struct thing *entry = NULL;
    int r = -1;

    *ret_freed = 0;
    if (store_check_writable(cd, err) < 0 || inventory_take(cd, NULL, &inv, err) < 0)
        goto out;
    for (size_t i = 0; i < inv.thing_count && !entry; i++)
        if (inv.things[i].kind == THING_ENTRY && digest_equal(&inv.things[i].digest, digest))
            entry = &inv.things[i];
    if (!entry) {
        (void)error_set(err, ERROR_NOT_FOUND, "no entry %s in %s", digest->text, cd->path);
        goto out;
    }
    if (entry_take_all_away(cd, digest, err) < 0)
        goto out;
    for (size_t i = 0; i < inv.entry_count; i++)
        if (digest_equal(&inv.entries[i].alias_of, digest))
            *ret_freed += inventory_remove(&inv, &inv.entries[i]);
    *ret_freed += inventory_remove(&inv, entry);
    for (size_t i = 0; i < entry->named_count; i++) {
        struct thing *blob = inventory_blob(&inv, &entry->named[i]);
        if (!blob || blob->gone || blob->users > 0)
            continue;
        if (fs_remove(inventory_directory(&inv, blob), blob->name) < 0) {
            (void)error_errno(err, errno, "cannot remove %s", blob->path);
            goto out;
        }
        *ret_freed += inventory_remove(&inv, blob);
    }
    r = cachedir_flush(cd, err);
out:
    inventory_release(&inv);
    return r;
}

int cachedir_usage(struct cachedir *cd, struct cachedir_usage *ret, struct error *err)
{
    struct cachedir_usage usage = {0};
    struct inventory inv = {0};

    if (cachedir_space(cd, &usage.volume_bytes, &usage.free_bytes, err) < 0 ||
        inventory_take(cd, NULL, &inv, err) < 0) {
        inventory_release(&inv);
        return -1;
    }
    usage.total_bytes = inv.size;
    /* What each kind frees when it goes, blobs in use last: then each inode counts in one place. */
    for (size_t i = 0; i < inv.thing_count; i++) {
        struct thing *thing = &inv.things[i];
        if (thing->kind == THING_ENTRY)
            usage.entries++;
        else if (thing->kind == THING_BLOB)
            usage.blobs++;
        if (thing->kind == THING_BLOB && thing->users == 0)
            usage.unused_bytes += inventory_remove(&inv, thing);
    }
    for (size_t i = 0; i < inv.thing_count; i++) {
        struct thing *thing = &inv.things[i];
        if (thing->kind == THING_PARTIAL) {
            usage.partials++;
            usage.partial_bytes += inventory_remove(&inv, thing);
        } else if (thing->kind != THING_ENTRY && thing->kind != THING_BLOB) {
            usage.leftovers++;
            usage.leftover_bytes += inventory_remove(&inv, thing);
        }
    }
    usage.entry_bytes = inv.size;
    inventory_release(&inv);
    *ret = usage;
    return 0;
}
