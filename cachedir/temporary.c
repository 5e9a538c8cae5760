/*
 * Names of what is in the making, and what dead runs left of it.
 *
 *     .basewarm/locks/run-<boot>-<run>.lock       held as long as the run lives
 *     .basewarm/stage/run-<boot>-<run>-<what>     and in trash/: of no use once it does not
 *
 * <boot> tells one mount on one kernel from others: the boot's random id, and the device number.
 * A run that could not delete something leaves its lock file, too: the next one tries again.
 * Only there is a lock that can be had the proof of a dead run: some volumes keep locks on the
 * node, or in the mount. What others left goes by its age (prune.c).
 */
#include "alloc.h"
#include "store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "run-"
#define SUFFIX ".lock"
#define BOOT_LEN 16
#define ID_LEN (sizeof PREFIX - 1 + BOOT_LEN + 1 + 16) /* "run-<boot>-<run>" */
#define TRIES_MAX 100
/* s; a lock file of another mount's run, or of a blob: at worst somebody does without */
#define OLD_AGE (24 * 3600)

/* false: not to be had. */
static bool read_boot(const struct cachedir *cd, char boot[BOOT_LEN + 1])
{
    struct stat st;
    char id[9] = "";
    cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, id, 8) != 8 || strspn(id, "0123456789abcdef") != 8 ||
        fstat(cd->root, &st) < 0)
        return false;
    (void)snprintf(boot, BOOT_LEN + 1, "%s%08x", id, (unsigned)st.st_dev);
    return true;
}

/* Another uid's stays: prune names it, and the ways out. false: something is left. */
static bool remove_all(struct cachedir *cd, int dir, const char *id)
{
    cleanup_names char **names = NULL;
    size_t count;
    bool all = true;
    if (dir < 0)
        return true;
    if (fs_names(dir, &names, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strncmp(names[i], id, ID_LEN) == 0 && names[i][ID_LEN] == '-')
            all = store_remove_away(cd, dir, names[i]) == 0 && all;
    return all;
}

static void sweep_old(struct cachedir *cd, const char *name)
{
    struct stat st;
    if (fstatat(cd->blob_locks, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_mtime < time(NULL) - OLD_AGE)
        (void)unlinkat(cd->blob_locks, name, 0);
}

static void sweep(struct cachedir *cd)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(cd->blob_locks, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        cleanup_error struct error why = {0};
        struct cachedir_lock *lock = NULL;
        const char *name = names[i];
        const bool is_run =
            strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strlen(name) == ID_LEN + strlen(SUFFIX);
        if (!is_run || strncmp(name, cd->run, strlen(PREFIX) + BOOT_LEN + 1) != 0)
            sweep_old(cd, name);
        else if (strncmp(name, cd->run, ID_LEN) != 0 &&
                 /* Another uid's is not ours to judge. */
                 faccessat(cd->blob_locks, name, R_OK | W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) ==
                     0 &&
                 lock_take(cd, cd->blob_locks, name, true, &lock, &why) == 0) {
            if (lock_is_held(lock)) {
                (void)remove_all(cd, cd->stage, name);
                (void)remove_all(cd, cd->trash, name);
            }
            cachedir_unlock(lock);
        }
    }
}

/* Is it a list of ranges whose partial file has become a blob, or gone? That is there before its
 * list is. Or a partial file that has become a blob? Then it has a name in the pool, too. */
static bool is_done(const struct cachedir *cd, const char *name)
{
    const size_t len = strlen(name), end = strlen(PARTIAL_RANGES);
    struct stat st;
    if (len <= end || strcmp(name + len - end, PARTIAL_RANGES) != 0)
        return fstatat(cd->partial, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
               st.st_nlink > 1;
    cleanup_free char *partial = xstrndup(name, len - end);
    return faccessat(cd->partial, partial, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static bool is_directory(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* What is done, and entries that archives took the place of. */
static void sweep_partials(struct cachedir *cd)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(cd->partial, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) /* before their lists */
        if (is_directory(cd->partial, names[i]))
            (void)store_remove_away(cd, cd->partial, names[i]);
    for (size_t i = 0; i < count; i++)
        if (is_done(cd, names[i]))
            (void)unlinkat(cd->partial, names[i], 0);
}

int store_begin_run(struct cachedir *cd, struct error *err)
{
    char boot[BOOT_LEN + 1];
    const bool known = read_boot(cd, boot);
    cleanup_free char *prefix = xasprintf(PREFIX "%s-", known ? boot : "----------------");
    int taken = -1;
    for (int tries = 0; taken < 0; tries++) {
        cleanup_error struct error why = {0};
        fs_random_name(cd->run, prefix);
        if (!known)
            return 0;
        cleanup_free char *name = xasprintf("%s" SUFFIX, cd->run);
        /* One who sweeps may have it for a moment, between our making it and taking it. */
        taken = lock_take(cd, cd->blob_locks, name, true, &cd->run_lock, &why);
        if (taken < 0 && (why.kind != ERROR_LOCKED || tries == TRIES_MAX)) {
            error_move(err, &why);
            return -1;
        }
    }
    /* Unlocked, it must not look like a dead run's. */
    if (!lock_is_held(cd->run_lock))
        memset(cd->run + strlen(PREFIX), '-', BOOT_LEN);
    else
        sweep(cd);
    sweep_partials(cd);
    return 0;
}

void store_end_run(struct cachedir *cd)
{
    if (!*cd->run)
        return;
    const bool stage = remove_all(cd, cd->stage, cd->run);
    const bool trash = remove_all(cd, cd->trash, cd->run);
    if (!stage || !trash)
        lock_keep(cd->run_lock);
    cachedir_unlock(cd->run_lock);
}

void store_temporary(const struct cachedir *cd, char name[FS_NAME_MAX], const char *what)
{
    cleanup_free char *prefix = xasprintf("%s-%s-", cd->run, what);
    fs_random_name(name, prefix);
}
