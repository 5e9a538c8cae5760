/*
 * Blobs and the names they have: in the pool, in stages, in entries. Giving a blob another name is
 * a hard link where that is allowed, a reflink where it can be, else a copy; which of them is
 * decided anew for each file.
 */
#include "alloc.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <search.h>
#include <string.h>
#include <sys/ioctl.h>

int blobs_open(int dir, struct blobs *ret)
{
    *ret = (struct blobs){fs_open_directory(dir, "blobs"), -1, -1};
    if (ret->parent < 0)
        return -1;
    ret->sha256 = fs_open_directory(ret->parent, "sha256");
    ret->sha512 = fs_open_directory(ret->parent, "sha512");
    return 0;
}

int blobs_make(struct cachedir *cd, int dir, struct blobs *ret)
{
    *ret = (struct blobs){fs_make_directory(dir, "blobs", cd->directory_mode), -1, -1};
    if (ret->parent < 0)
        return -1;
    ret->sha512 = fs_open_directory(ret->parent, "sha512"); /* made when one is wanted */
    ret->sha256 = fs_make_directory(ret->parent, "sha256", cd->directory_mode);
    return ret->sha256 < 0 ? -1 : 0;
}

void blobs_close(struct blobs *b)
{
    const int fds[] = {b->parent, b->sha256, b->sha512};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *b = (struct blobs){-1, -1, -1};
}

int blobs_sync(struct blobs *b)
{
    if (b->sha256 >= 0 && fs_sync_directory(b->sha256) < 0)
        return -1;
    if (b->sha512 >= 0 && fs_sync_directory(b->sha512) < 0)
        return -1;
    return fs_sync_directory(b->parent);
}

int blobs_directory(struct blobs *b, const struct digest *d)
{
    int fd = digest_is_sha256(d) ? b->sha256 : b->sha512;
    if (fd < 0)
        errno = ENOENT;
    return fd;
}

int blobs_make_directory(struct cachedir *cd, struct blobs *b, const struct digest *d)
{
    _Atomic int *slot = digest_is_sha256(d) ? &b->sha256 : &b->sha512;
    if (*slot >= 0)
        return *slot;
    int fd =
        fs_make_directory(b->parent, digest_is_sha256(d) ? "sha256" : "sha512", cd->directory_mode);
    int expected = -1;
    if (fd >= 0 && !atomic_compare_exchange_strong(slot, &expected, fd))
        close(fd); /* another thread was faster */
    return fd < 0 ? -1 : *slot;
}

bool pool_has(int dir, const char *name, int64_t size, struct stat *ret)
{
    struct stat st;
    if (!ret)
        ret = &st;
    return dir >= 0 && fstatat(dir, name, ret, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(ret->st_mode) &&
           ret->st_size == size && fs_may_read(dir, name, ret);
}

int pool_judge(const struct digest *digest, int64_t size, const struct digest *got,
               int64_t got_size, struct error *err)
{
    if (got_size != size)
        return error_set(err, ERROR_DIGEST, "%s has %s bytes than the %lld that it should have",
                         digest->text, got_size > size ? "more" : "fewer", (long long)size);
    if (!digest_equal(got, digest))
        return error_set(err, ERROR_DIGEST, "%s is damaged: its bytes hash to %s", digest->text,
                         got->text);
    return 0;
}

int pool_hash(int fd, int64_t start, const struct digest *digest, int64_t size,
              const volatile bool *stop, struct error *err)
{
    const int64_t first = start == WHOLE_FILE ? 0 : start;
    const size_t room = 1 << 18;
    cleanup_free char *buf = xmalloc(room);
    cleanup_hasher struct hasher *hasher = hasher_new(digest);
    int64_t done = 0;

    (void)posix_fadvise(fd, first, start == WHOLE_FILE ? 0 : size, POSIX_FADV_SEQUENTIAL);
    while (start == WHOLE_FILE ? done <= size : done < size) {
        if (stop && *stop)
            return error_set(err, ERROR_INTERRUPTED, "%s: stopped", digest->text);
        /* A whole file may turn out to have more bytes than it should. */
        size_t want =
            start == WHOLE_FILE || size - done > (int64_t)room ? room : (size_t)(size - done);
        ssize_t n = pread(fd, buf, want, first + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read %s", digest->text);
        if (n == 0)
            break;
        hasher_update(hasher, buf, (size_t)n);
        done += n;
    }
    struct digest got;
    hasher_final(hasher, &got);
    return pool_judge(digest, size, &got, done, err);
}

static int compare_trusted(const void *a, const void *b)
{
    const struct trusted *x = a, *y = b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return strcmp(x->digest.text, y->digest.text);
}

static bool is_trusted(struct cachedir *cd, const struct stat *st, const struct digest *digest)
{
    const struct trusted key = {st->st_dev, st->st_ino, *digest};
    pthread_mutex_lock(&cd->mutex);
    bool found = tfind(&key, &cd->trusted, compare_trusted) != NULL;
    pthread_mutex_unlock(&cd->mutex);
    return found;
}

static void trust(struct cachedir *cd, const struct stat *st, const struct digest *digest)
{
    struct trusted *new = xcalloc(1, sizeof *new);
    *new = (struct trusted){st->st_dev, st->st_ino, *digest};
    pthread_mutex_lock(&cd->mutex);
    void *found = tsearch(new, &cd->trusted, compare_trusted);
    pthread_mutex_unlock(&cd->mutex);
    if (!found)
        abort(); /* out of memory */
    if (*(struct trusted **)found != new)
        free(new);
}

void pool_distrust(struct cachedir *cd)
{
    pthread_mutex_lock(&cd->mutex);
    void *trusted = cd->trusted;
    cd->trusted = NULL;
    pthread_mutex_unlock(&cd->mutex);
    tdestroy(trusted, free);
}

/* A link to a file that somebody else can write would let him change our blob later. */
static bool is_ours(const struct cachedir *cd, const struct stat *st)
{
    return st->st_uid == cd->uid && !(st->st_mode & (S_IWGRP | S_IWOTH) & ~cd->file_mode);
}

/* 1 linked, 0 a copy is needed, -1. */
static int give_link(struct cachedir *cd, int from, int to, const char *name, const char *name2,
                     struct error *err)
{
    if (!store_able(cd, CACHEDIR_HARD_LINKS))
        return 0;
    if (fs_link(from, name, to, name2) == 0)
        return 1;
    const int saved = errno;
    struct stat st;
    switch (saved) {
    case EMLINK: /* this file has as many as it may have; others can still be linked */
    case EXDEV:
    case ENOENT: /* it vanished: opening it for a copy will tell */
        return 0;
    case EPERM:
    case EOPNOTSUPP:
    case ENOSYS:
        if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid == cd->uid)
            store_unable(cd, CACHEDIR_HARD_LINKS, "hard links", saved,
                         "every entry keeps a copy of its blobs");
        return 0;
    default:
        return error_errno(err, saved, "cannot link blob %s", name);
    }
}

static int give_copy(struct cachedir *cd, int fd, int to, const char *name, struct error *err)
{
    cleanup_close int copy = fs_open(to, name, O_RDWR | O_CREAT | O_EXCL, cd->file_mode);
    if (copy < 0)
        return error_errno(err, errno, "cannot create blob %s", name);
    if (fs_copy(fd, copy, store_able(cd, CACHEDIR_REFLINKS)) < 0 ||
        fs_set_mode(copy, cd->file_mode) < 0 || fsync(copy) < 0) {
        int saved = errno;
        (void)unlinkat(to, name, 0);
        return error_errno(err, saved, "cannot copy blob %s", name);
    }
    return 0;
}

int pool_give(struct cachedir *cd, int from, int to, const struct digest *digest, int64_t size,
              bool check, struct error *err)
{
    const char *name = digest_hex(digest);
    struct stat st;
    if (!pool_has(from, name, size, &st))
        return 0;

    bool ours = is_ours(cd, &st);
    int linked = ours ? give_link(cd, from, to, name, name, err) : 0;
    if (linked < 0)
        return -1;
    if (!linked) {
        cleanup_close int fd = fs_open(from, name, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0)
            return errno == ENOENT || errno == EACCES ? 0
                                                      : error_errno(err, errno, "blob %s", name);
        if (give_copy(cd, fd, to, name, err) < 0)
            return -1;
    }
    /* What counts is what we hold now, under our own name: it cannot change hands any more. */
    cleanup_close int held = fs_open(to, name, O_RDONLY | O_NONBLOCK, 0);
    if (held < 0 || fstat(held, &st) < 0)
        return error_errno(err, errno, "blob %s", name);
    struct error why = {0};
    if (!S_ISREG(st.st_mode) || st.st_size != size)
        (void)error_set(&why, ERROR_DIGEST, "%s changed its size", digest->text);
    else if ((check || !ours) && !(linked && is_trusted(cd, &st, digest)) &&
             pool_hash(held, WHOLE_FILE, digest, size, NULL, &why) == 0 && linked)
        trust(cd, &st, digest); /* never a copy: its inode is another file's soon */
    if (why.kind == ERROR_NONE) {
        /* kaniko's warmer makes 0600. */
        if (linked && (st.st_mode & 07777) != cd->file_mode && fs_set_mode(held, cd->file_mode) < 0)
            (void)error_errno(&why, errno, "cannot chmod blob %s", name);
    }
    if (why.kind == ERROR_NONE) {
        /* A young mtime keeps prune's hands off the pool's name; only the owner can set it. */
        if (linked)
            (void)utimensat(to, name, NULL, AT_SYMLINK_NOFOLLOW);
        return 1;
    }
    (void)unlinkat(to, name, 0);
    if (why.kind == ERROR_DIGEST) {
        error_clear(&why);
        return 0;
    }
    error_move(err, &why);
    return -1;
}

int pool_replace(struct cachedir *cd, int from, const char *name, int to, const char *name2,
                 struct error *err)
{
    char temporary[FS_NAME_MAX];
    store_temporary(cd, temporary, "blob");

    int linked = give_link(cd, from, cd->stage, name, temporary, err);
    if (linked < 0)
        return -1;
    if (!linked) {
        cleanup_close int fd = fs_open(from, name, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0)
            return error_errno(err, errno, "blob %s", name);
        if (give_copy(cd, fd, cd->stage, temporary, err) < 0)
            return -1;
    }
    if (fs_rename(cd->stage, temporary, to, name2, 0) < 0) {
        int saved = errno;
        (void)unlinkat(cd->stage, temporary, 0);
        return store_error(cd, saved, to, ".", err, "cannot put blob %s in place", name2);
    }
    /* rename() of two names of one inode does nothing, and leaves the first. */
    (void)unlinkat(cd->stage, temporary, 0);
    return 0;
}

/* The bad inode may have names in entries, too: each gets the good one. */
static int mend_other_names(struct cachedir *cd, int from, const char *name,
                            const struct digest *digest, const struct stat *bad, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(cd->root, &names, &count) < 0)
        return error_errno(err, errno, "%s", cd->path);
    for (size_t i = 0; i < count; i++) {
        struct digest entry;
        struct stat st;
        if (!entry_name(names[i], &entry))
            continue;
        cleanup_free char *path =
            xasprintf("%s/blobs/%s", entry.text, digest_is_sha256(digest) ? "sha256" : "sha512");
        cleanup_close int dir = fs_open_directory(cd->root, path);
        if (dir < 0 || fstatat(dir, digest_hex(digest), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != bad->st_dev || st.st_ino != bad->st_ino)
            continue;
        if (pool_replace(cd, from, name, dir, digest_hex(digest), err) < 0)
            return error_prefix(err, "%s", entry.text);
        if (fs_sync_directory(dir) < 0)
            return error_errno(err, errno, "%s", path);
    }
    return 0;
}

int pool_put(struct cachedir *cd, int from, const char *name, const struct digest *digest,
             bool moves, struct error *err)
{
    int pool = blobs_make_directory(cd, &cd->pool, digest);
    if (pool < 0)
        return error_errno(err, errno, "%s/blobs", cd->path);
    struct stat good, bad;
    if (fstatat(from, name, &good, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(err, errno, "blob %s", name);
    bool replaces = fstatat(pool, digest_hex(digest), &bad, AT_SYMLINK_NOFOLLOW) == 0;
    if (replaces && bad.st_dev == good.st_dev && bad.st_ino == good.st_ino)
        return 0;
    /* Moved, nobody finds the blob under both names, however we end. */
    if (!(moves && fs_rename(from, name, pool, digest_hex(digest), 0) == 0) &&
        pool_replace(cd, from, name, pool, digest_hex(digest), err) < 0)
        return -1;
    if (replaces && bad.st_nlink > 1)
        return mend_other_names(cd, pool, digest_hex(digest), digest, &bad, err);
    return 0;
}

static int compare_holders(const void *a, const void *b)
{
    return strcmp(((const struct holder *)a)->blob.text, ((const struct holder *)b)->blob.text);
}

static void find_holders_in(struct cachedir *cd, const struct digest *entry, const char *algorithm)
{
    cleanup_free char *path = xasprintf("%s/blobs/%s", entry->text, algorithm);
    cleanup_close int dir = fs_open_directory(cd->root, path);
    cleanup_names char **names = NULL;
    size_t count;
    /* Unreadable or gone: then it is no help, which is all that is asked here. */
    if (dir < 0 || fs_names(dir, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct holder holder = {.entry = *entry};
        cleanup_free char *text = xasprintf("%s:%s", algorithm, names[i]);
        if (digest_parse(text, &holder.blob, NULL) < 0)
            continue;
        int pool = blobs_directory(&cd->pool, &holder.blob);
        if (pool < 0 || faccessat(pool, names[i], F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            *array_add(cd->holders, cd->holder_count) = holder;
    }
}

/* One walk a run, at the first blob that the pool lacks: entries of ours are all in the pool. */
static void find_holders(struct cachedir *cd)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(cd->root, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct digest entry;
        if (!entry_name(names[i], &entry))
            continue;
        find_holders_in(cd, &entry, "sha256");
        find_holders_in(cd, &entry, "sha512");
    }
    if (cd->holder_count > 0)
        qsort(cd->holders, cd->holder_count, sizeof *cd->holders, compare_holders);
}

bool pool_holder(struct cachedir *cd, const struct digest *digest, size_t n,
                 struct digest *ret_entry)
{
    pthread_mutex_lock(&cd->mutex);
    if (!cd->holders_known)
        find_holders(cd);
    cd->holders_known = true;
    size_t low = 0;
    for (size_t high = cd->holder_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(cd->holders[middle].blob.text, digest->text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = n < cd->holder_count - low && digest_equal(&cd->holders[low + n].blob, digest);
    if (found)
        *ret_entry = cd->holders[low + n].entry;
    pthread_mutex_unlock(&cd->mutex);
    return found;
}

/* With the mutex held. */
static bool try_to_clone(struct cachedir *cd)
{
    char from_name[FS_NAME_MAX], to_name[FS_NAME_MAX];
    store_temporary(cd, from_name, "clone");
    store_temporary(cd, to_name, "clone");
    bool works = false;
    if (fs_create(cd->stage, from_name, cd->file_mode, "block", 5) == 0) {
        cleanup_close int from = fs_open(cd->stage, from_name, O_RDONLY, 0);
        cleanup_close int to = fs_open(cd->stage, to_name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        works = from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0;
    }
    (void)unlinkat(cd->stage, from_name, 0);
    (void)unlinkat(cd->stage, to_name, 0);
    return works;
}

bool cachedir_copies(struct cachedir *cd)
{
    if (!cd->format->is_file && store_able(cd, CACHEDIR_HARD_LINKS))
        return false;
    if (!store_able(cd, CACHEDIR_REFLINKS) || cd->stage < 0)
        return true;
    pthread_mutex_lock(&cd->mutex);
    if (cd->cloning == CLONING_UNKNOWN)
        cd->cloning = try_to_clone(cd) ? CLONING_WORKS : CLONING_REFUSED;
    bool copies = cd->cloning == CLONING_REFUSED;
    pthread_mutex_unlock(&cd->mutex);
    return copies;
}
