#include "fs.h"

#include "alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>

bool fs_without_openat2;

/* One component after another, each opened without following a symlink. */
static int open_stepwise(int dir, const char *path, int flags, mode_t mode)
{
    cleanup_close int held = -1;

    for (;;) {
        const char *slash = strchr(path, '/');
        if (!slash)
            return openat(dir, path, flags | O_NOFOLLOW, mode);
        char *name = strndupa(path, (size_t)(slash - path));
        if (strcmp(name, "..") == 0) {
            errno = EXDEV;
            return -1;
        }
        int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0) {
            /* A symlink opened with O_DIRECTORY | O_NOFOLLOW says ENOTDIR; openat2 says ELOOP. */
            struct stat st;
            if (errno == ENOTDIR && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
            return -1;
        }
        if (held >= 0)
            close(held);
        dir = held = next;
        path = slash + 1;
    }
}

int fs_open(int dir, const char *path, int flags, mode_t mode)
{
    static bool missing;

    flags |= O_CLOEXEC;
    if (fs_without_openat2 || __atomic_load_n(&missing, __ATOMIC_RELAXED))
        return open_stepwise(dir, path, flags, mode);

    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    do
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    /* EPERM is what old container sandboxes say to calls that they do not know. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
        int saved = errno;
        fd = open_stepwise(dir, path, flags, mode);
        if (saved == ENOSYS)
            __atomic_store_n(&missing, true, __ATOMIC_RELAXED);
    }
    return fd;
}

int fs_set_mode(int fd, mode_t mode)
{
    return fchmod(fd, mode) < 0 && errno != EPERM && errno != ENOTSUP && errno != ENOSYS ? -1 : 0;
}

int fs_open_directory(int dir, const char *path)
{
    int fd = fs_open(dir, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (fd < 0 && errno == ENOTDIR) {
        struct stat st;
        if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
            errno = ELOOP;
        else
            errno = ENOTDIR;
    }
    return fd;
}

int fs_make_directory(int dir, const char *name, mode_t mode)
{
    bool made = mkdirat(dir, name, mode) == 0;
    if (!made && errno != EEXIST)
        return -1;
    int fd = fs_open_directory(dir, name);
    /* Only what we made just now: a directory that stands there may have its mode on purpose. */
    if (fd >= 0 && made && fs_set_mode(fd, mode) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int fs_read(int dir, const char *path, size_t max, char **ret, size_t *ret_len)
{
    cleanup_close int fd = fs_open(dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    if (st.st_size < 0 || (uintmax_t)st.st_size > max) {
        errno = EFBIG;
        return -1;
    }
    /* The file may grow or shrink while it is read: what counts is what is read, up to max. */
    size_t room = (size_t)st.st_size + 1, len = 0;
    cleanup_free char *buf = xmalloc(room + 1);
    for (;;) {
        ssize_t n = read(fd, buf + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len == (size_t)st.st_size)
            break; /* fewer than asked for: the end */
        if (len > max) {
            errno = EFBIG;
            return -1;
        }
        if (len == room)
            buf = xreallocarray(buf, (room *= 2) + 1, 1);
    }
    buf[len] = '\0';
    *ret = take_ptr(buf);
    *ret_len = len;
    return 0;
}

bool fs_may_read(int dir, const char *name, const struct stat *st)
{
    const mode_t all = S_IRUSR | S_IRGRP | S_IROTH;
    /* What everybody may read need not be asked: of thousands of blobs that takes long. */
    return (st->st_mode & all) == all ||
           faccessat(dir, name, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == 0;
}

int fs_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fs_pwrite_all(int fd, const void *data, size_t len, off_t offset)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int fs_pread_all(int fd, void *buf, size_t len, off_t offset)
{
    char *p = buf;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return -1;
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int fs_create(int dir, const char *name, mode_t mode, const void *data, size_t len)
{
    int fd = fs_open(dir, name, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (fd < 0)
        return -1;
    int r = fs_write_all(fd, data, len);
    if (r == 0)
        r = fs_set_mode(fd, mode);
    if (r == 0)
        r = fsync(fd);
    int saved = errno;
    /* NFS, SMB and FUSE report failed writes here. */
    if (close(fd) < 0 && r == 0) {
        saved = errno;
        r = -1;
    }
    if (r < 0) {
        (void)unlinkat(dir, name, 0);
        errno = saved;
    }
    return r;
}

int fs_copy(int from, int to, bool reflink)
{
    if (reflink && ioctl(to, FICLONE, from) == 0)
        return 0;
    if (lseek(from, 0, SEEK_SET) < 0 || lseek(to, 0, SEEK_SET) < 0)
        return -1;
    bool by_kernel = true;
    cleanup_free char *buf = NULL;
    const size_t size = 1 << 18;
    for (;;) {
        ssize_t n = -1;
        if (by_kernel) {
            n = copy_file_range(from, NULL, to, NULL, 1 << 24, 0);
            if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                          errno == EOPNOTSUPP || errno == EPERM)) {
                by_kernel = false;
                buf = xmalloc(size);
                continue;
            }
        } else {
            n = read(from, buf, size);
            if (n > 0 && fs_write_all(to, buf, (size_t)n) < 0)
                return -1;
        }
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -1;
    }
}

/* How much of it could be cloned. */
static int64_t clone_range(int from, int64_t from_start, int to, int64_t to_start, int64_t len)
{
    len -= len % FS_CLONE_BLOCK;
    if (from_start % FS_CLONE_BLOCK || to_start % FS_CLONE_BLOCK || len == 0)
        return 0;
    struct file_clone_range range = {.src_fd = from,
                                     .src_offset = (uint64_t)from_start,
                                     .src_length = (uint64_t)len,
                                     .dest_offset = (uint64_t)to_start};
    return ioctl(to, FICLONERANGE, &range) == 0 ? len : 0;
}

static ssize_t copy_some(int from, off_t from_start, int to, off_t to_start, size_t len, char *buf,
                         size_t size)
{
    ssize_t n = pread(from, buf, len < size ? len : size, from_start);
    if (n > 0 && fs_pwrite_all(to, buf, (size_t)n, to_start) < 0)
        return -1;
    return n;
}

int fs_copy_range(int from, int64_t from_start, int to, int64_t to_start, int64_t len, bool reflink)
{
    const size_t size = 1 << 18;
    cleanup_free char *buf = NULL;
    int64_t done = reflink ? clone_range(from, from_start, to, to_start, len) : 0;
    while (done < len) {
        const size_t left = len - done < (1 << 24) ? (size_t)(len - done) : 1 << 24;
        off_t in = from_start + done, out = to_start + done;
        ssize_t n = buf ? copy_some(from, in, to, out, left, buf, size)
                        : copy_file_range(from, &in, to, &out, left, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && !buf &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ||
             errno == EPERM)) {
            buf = xmalloc(size);
            continue;
        }
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return -1;
        done += n;
    }
    return 0;
}

int fs_stat(int dir, const char *path, struct stat *ret)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return fstatat(dir, path, ret, AT_SYMLINK_NOFOLLOW);
    char *parent = strndupa(path, (size_t)(slash - path));
    cleanup_close int fd = fs_open(dir, parent, O_PATH | O_DIRECTORY, 0);
    if (fd < 0)
        return -1;
    return fstatat(fd, slash + 1, ret, AT_SYMLINK_NOFOLLOW);
}

static bool same_inode(int dir, const char *name, const struct stat *wanted)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == wanted->st_dev &&
           st.st_ino == wanted->st_ino;
}

int fs_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    struct stat st;
    if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    int r =
        flags ? renameat2(from_dir, from, to_dir, to, flags) : renameat(from_dir, from, to_dir, to);
    int saved = errno;
    if (r < 0 && same_inode(to_dir, to, &st))
        return 0;
    errno = saved;
    return r;
}

int fs_link(int from_dir, const char *from, int to_dir, const char *to)
{
    struct stat st;
    if (linkat(from_dir, from, to_dir, to, 0) == 0)
        return 0;
    int saved = errno;
    if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) == 0 && same_inode(to_dir, to, &st))
        return 0;
    errno = saved;
    return -1;
}

/* As deep as anything of ours or of kaniko's is, and then some: a bound on recursion. */
#define REMOVE_DEPTH_MAX 32

static int remove_below(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    if (depth > REMOVE_DEPTH_MAX) {
        errno = ELOOP;
        return -1;
    }
    cleanup_close int fd = fs_open_directory(dir, name);
    cleanup_names char **names = NULL;
    size_t count;
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (fs_names(fd, &names, &count) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (remove_below(fd, names[i], depth + 1) < 0)
            return -1;
    if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return -1;
    return 0;
}

int fs_remove(int dir, const char *name)
{
    return remove_below(dir, name, 0);
}

void fs_random_name(char name[FS_NAME_MAX], const char *prefix)
{
    uint64_t random;
    while (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        continue;
    (void)snprintf(name, FS_NAME_MAX, "%s%016" PRIx64, prefix, random);
}

int fs_sync_directory(int dir)
{
    if (fsync(dir) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS)
        return 0;
    return -1;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int fs_names(int dir, char ***ret, size_t *ret_count)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0)
        return -1;
    DIR *stream = fdopendir(copy);
    if (!stream) {
        close(copy);
        return -1;
    }
    char **names = NULL;
    size_t count = 0;
    struct dirent *entry;
    while (errno = 0, (entry = readdir(stream)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            *array_add(names, count) = xstrdup(entry->d_name);
    int saved = errno;
    closedir(stream);
    size_t terminated = count;
    *array_add(names, terminated) = NULL;
    if (saved != 0) {
        fs_names_free(names);
        errno = saved;
        return -1;
    }
    qsort(names, count, sizeof *names, compare_names);
    *ret = names;
    *ret_count = count;
    return 0;
}

void fs_names_free(char **names)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free(names);
}
