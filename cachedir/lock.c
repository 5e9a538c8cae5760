#include "alloc.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

struct cachedir_lock {
    int fd;  /* -1: granted without one */
    int dir; /* borrowed; -1: the file stays */
    char *name;
};

static struct cachedir_lock *granted(int fd, int dir, const char *name)
{
    struct cachedir_lock *lock = xcalloc(1, sizeof *lock);
    lock->fd = fd;
    lock->dir = dir;
    lock->name = xstrdup(name);
    return lock;
}

/* 1: the file that we locked still has its name; 0: its last owner removed it meanwhile. */
static bool still_named(int fd, int dir, const char *name)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

int lock_take(struct cachedir *cd, int dir, const char *name, bool remove,
              struct cachedir_lock **ret, struct error *err)
{
    if (!store_able(cd, CACHEDIR_LOCKS)) {
        *ret = granted(-1, -1, name);
        return 0;
    }
    /* The lock of kaniko's warmer must be open to every uid that shares the volume. */
    const mode_t mode = remove ? cd->file_mode : 0666;
    for (;;) {
        cleanup_close int fd = fs_open(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, mode);
        if (fd >= 0)
            (void)fchmod(fd, mode); /* best effort: at worst another uid does without the lock */
        else if (errno == EEXIST)
            fd = fs_open(dir, name, O_RDWR | O_NONBLOCK, 0);
        if (fd < 0 && errno == ENOENT)
            continue; /* removed between the two */
        if (fd < 0) {
            store_warn(cd, "%s: a lock file cannot be opened (%s): going on without it", cd->path,
                       strerror(errno));
            *ret = granted(-1, -1, name);
            return 0;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (remove && !still_named(fd, dir, name))
                continue;
            *ret = granted(take_fd(&fd), remove ? dir : -1, name);
            return 0;
        }
        if (errno == EWOULDBLOCK)
            return error_set(err, ERROR_LOCKED, "another process works on %.*s",
                             (int)strcspn(name, "."), name); /* without .lock */
        if (errno == EINTR)
            continue;
        store_unable(cd, CACHEDIR_LOCKS, "locks", errno,
                     "right all the same, but processes may do the same work twice");
        *ret = granted(-1, -1, name);
        return 0;
    }
}

void lock_keep(struct cachedir_lock *lock)
{
    if (lock)
        lock->dir = -1;
}

bool lock_is_held(const struct cachedir_lock *lock)
{
    return lock && lock->fd >= 0;
}

void cachedir_unlock(struct cachedir_lock *lock)
{
    if (!lock)
        return;
    /* Removed under the lock: whoever opened it meanwhile sees that the name is gone. */
    if (lock->dir >= 0)
        (void)unlinkat(lock->dir, lock->name, 0);
    if (lock->fd >= 0)
        close(lock->fd);
    free(lock->name);
    free(lock);
}

int cachedir_lock_entry(struct cachedir *cd, const struct digest *digest,
                        struct cachedir_lock **ret, struct error *err)
{
    cleanup_free char *name = xasprintf("%s.lock", digest->text);
    if (store_check_writable(cd, err) < 0)
        return -1;
    return lock_take(cd, cd->entry_locks, name, false, ret, err);
}
