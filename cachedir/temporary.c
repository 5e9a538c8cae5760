/*
 * Names of what is in the making, and what dead runs left of it.
 *
 *     .basewarm/locks/run-<boot>-<run>.lock       held as long as the run lives
 *     .basewarm/stage/run-<boot>-<run>-<what>     and in trash/: of no use once it does not
 *
 * <boot> tells one kernel from another. Only on our own is a lock that can be had the proof of a
 * dead run: some volumes keep locks on the node. What others left goes by its age (prune.c).
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
#define BOOT_LEN 8
#define ID_LEN (sizeof PREFIX - 1 + BOOT_LEN + 1 + 16) /* "run-<boot>-<run>" */
#define FOREIGN_AGE (24 * 3600) /* s; a lock file of another kernel's run, which nobody misses */

/* The first digits of this boot's random id. false: not to be had. */
static bool read_boot(char boot[BOOT_LEN + 1])
{
    cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, boot, BOOT_LEN) != BOOT_LEN)
        return false;
    boot[BOOT_LEN] = '\0';
    return strspn(boot, "0123456789abcdef") == BOOT_LEN;
}

static void remove_all(int dir, const char *id)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (dir < 0 || fs_names(dir, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (strncmp(names[i], id, ID_LEN) == 0 && names[i][ID_LEN] == '-')
            (void)fs_remove(dir,
                            names[i]); /* another uid's stays: prune names it, and the ways out */
}

static void sweep_foreign(struct cachedir *cd, const char *name)
{
    struct stat st;
    if (fstatat(cd->blob_locks, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_mtime < time(NULL) - FOREIGN_AGE)
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
        if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || strlen(name) != ID_LEN + strlen(SUFFIX))
            continue;
        if (strncmp(name, cd->run, strlen(PREFIX) + BOOT_LEN + 1) != 0)
            sweep_foreign(cd, name);
        else if (strncmp(name, cd->run, ID_LEN) != 0 &&
                 lock_take(cd, cd->blob_locks, name, true, &lock, &why) == 0) {
            if (lock_is_held(lock)) {
                remove_all(cd->stage, name);
                remove_all(cd->trash, name);
            }
            cachedir_unlock(lock);
        }
    }
}

int store_begin_run(struct cachedir *cd, struct error *err)
{
    char boot[BOOT_LEN + 1];
    const bool known = read_boot(boot);
    cleanup_free char *prefix = xasprintf(PREFIX "%s-", known ? boot : "--------");
    fs_random_name(cd->run, prefix);
    if (!known)
        return 0;
    cleanup_free char *name = xasprintf("%s" SUFFIX, cd->run);
    if (lock_take(cd, cd->blob_locks, name, true, &cd->run_lock, err) < 0)
        return -1;
    /* Unlocked, it must not look like a dead run's. */
    if (!lock_is_held(cd->run_lock))
        memset(cd->run + strlen(PREFIX), '-', BOOT_LEN);
    else
        sweep(cd);
    return 0;
}

void store_temporary(const struct cachedir *cd, char name[FS_NAME_MAX], const char *what)
{
    cleanup_free char *prefix = xasprintf("%s-%s-", cd->run, what);
    fs_random_name(name, prefix);
}
