/*
 * One blob in the making: a partial file, the set of ranges that are in it, and a hash that
 * follows.
 *
 *     0 ........... hashed ........ landed ...... gap ...... landed ...... size
 *                   ^ the frontier: whoever writes there hashes on the way; what landed beyond it
 *                     out of order is read back (from the page cache) when the frontier gets there
 *
 * The mutex guards ranges, frontier and the role of the hasher; writing and hashing happen outside
 * it. One thread has the hasher's role at a time, so that the digest sees the bytes in order.
 */
#include "alloc.h"
#include "ranges.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SAVE_EVERY (INT64_C(16) << 20) /* how much a killed run may have to fetch again */
#define CATCH_UP 8 /* times what was written now: how much a writer reads back and hashes */
#define BLOCK ((size_t)1 << 18)

struct cachedir_blob {
    struct cachedir *cd;
    struct digest digest;
    int64_t size;
    char *name; /* below partial/: the digest's hex, or that and a suffix for a file of our own */
    char *list; /* name.ranges */
    int fd;
    struct cachedir_lock *lock;
    bool committed;

    pthread_mutex_t mutex;
    struct ranges ranges;
    int64_t unsaved; /* bytes landed since the list was written */
    int64_t hashed;
    bool hashing; /* somebody has the hasher's role */
    struct hasher *hasher;
};

/* Written beside and renamed, unsynced: after a power loss it may claim too much, which costs a
 * refetch and no more. Called with the mutex held. */
static int save_list(struct cachedir_blob *b, struct error *err)
{
    cleanup_free char *text = ranges_format(&b->ranges, b->size);
    cleanup_free char *temporary = xasprintf("%s.new", b->list);
    int dir = b->cd->partial;
    cleanup_close int fd = fs_open(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC, b->cd->file_mode);
    if (fd < 0 || fs_write_all(fd, text, strlen(text)) < 0 ||
        renameat(dir, temporary, dir, b->list) < 0) {
        int saved = errno;
        (void)unlinkat(dir, temporary, 0);
        return error_errno(err, saved, "cannot write %s/" STORE_OWN "/partial/%s", b->cd->path,
                           b->list);
    }
    b->unsaved = 0;
    return 0;
}

static void load_list(struct cachedir_blob *b, const char *list)
{
    cleanup_free char *text = NULL;
    size_t len;
    struct stat st;
    /* No list, or one that makes no sense: nothing of the file is believed. */
    if (fs_read(b->cd->partial, list, RANGES_TEXT_MAX, &text, &len) < 0 ||
        !ranges_parse(&b->ranges, text, b->size))
        return;
    if (fstat(b->fd, &st) < 0 || b->ranges.count == 0 ||
        st.st_size < b->ranges.list[b->ranges.count - 1].end)
        ranges_clear(&b->ranges);
}

/* Another process seems dead but holds the lock: copy what it left into a file of our own. */
static int take_copy(struct cachedir_blob *b, const char *hex, struct error *err)
{
    cleanup_close int theirs = fs_open(b->cd->partial, hex, O_RDONLY | O_NONBLOCK, 0);
    if (theirs < 0)
        return 0;
    if (fs_copy(theirs, b->fd, store_able(b->cd, CACHEDIR_REFLINKS)) < 0)
        return error_errno(err, errno, "cannot copy the partial file of %s", b->digest.text);
    cleanup_free char *list = xasprintf("%s.ranges", hex);
    load_list(b, list);
    return 0;
}

static int open_partial(struct cachedir_blob *b, const char *hex, struct error *err)
{
    struct cachedir *cd = b->cd;
    struct stat st;
    const bool own = !lock_is_held(b->lock);

    b->fd = fs_open(cd->partial, b->name, O_RDWR | O_CREAT | O_NONBLOCK | (own ? O_EXCL : 0),
                    cd->file_mode);
    if (b->fd >= 0 && (fstat(b->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 1 ||
                       st.st_uid != cd->uid)) {
        /* Whatever that is, it is not a partial file of ours: make a new one in its place. */
        close(b->fd);
        b->fd = -1;
        errno = ELOOP;
    }
    if (b->fd < 0 && !own && (errno == ELOOP || errno == EACCES || errno == EISDIR)) {
        if (fs_remove(cd->partial, b->name) < 0)
            return store_error(cd, errno, cd->partial, b->name, err, "partial/%s", b->name);
        b->fd = fs_open(cd->partial, b->name, O_RDWR | O_CREAT | O_EXCL, cd->file_mode);
    }
    if (b->fd < 0)
        return store_error(cd, errno, cd->partial, ".", err,
                           "cannot open %s/" STORE_OWN "/partial/%s", cd->path, b->name);
    if (own)
        return take_copy(b, hex, err);
    load_list(b, b->list);
    return 0;
}

int cachedir_blob_open(struct cachedir_stage *stage, const struct descriptor *blob, bool insist,
                       struct cachedir_blob **ret, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *hex = digest_hex(&blob->digest);
    struct cachedir_lock *lock = NULL;
    cleanup_error struct error why = {0};

    if (lock_take(cd, cd->blob_locks, hex, true, &lock, &why) < 0 &&
        (why.kind != ERROR_LOCKED || !insist)) {
        error_move(err, &why);
        return -1;
    }
    struct cachedir_blob *b = xcalloc(1, sizeof *b);
    b->cd = cd;
    b->digest = blob->digest;
    b->size = blob->size;
    b->lock = lock;
    b->fd = -1;
    b->hasher = hasher_new(&blob->digest);
    pthread_mutex_init(&b->mutex, NULL);
    if (lock_is_held(lock)) {
        b->name = xstrdup(hex);
    } else {
        char own[FS_NAME_MAX];
        fs_random_name(own, "");
        b->name = xasprintf("%s.%s", hex, own);
    }
    b->list = xasprintf("%s.ranges", b->name);
    if (open_partial(b, hex, err) < 0) {
        cachedir_blob_close(b);
        return -1;
    }
    *ret = b;
    return 0;
}

bool cachedir_blob_gap(struct cachedir_blob *b, int64_t from, int64_t *ret_start, int64_t *ret_end)
{
    pthread_mutex_lock(&b->mutex);
    bool found = ranges_gap(&b->ranges, from, b->size, ret_start, ret_end);
    pthread_mutex_unlock(&b->mutex);
    return found;
}

/* Hash from the file what is there at the frontier, at most `most` bytes. The caller has the role.
 */
static int hash_landed(struct cachedir_blob *b, int64_t most, struct error *err)
{
    pthread_mutex_lock(&b->mutex);
    int64_t from = b->hashed, to = ranges_reach(&b->ranges, from);
    pthread_mutex_unlock(&b->mutex);
    if (to > from + most)
        to = from + most;
    if (to == from)
        return 0;

    cleanup_free char *buf = xmalloc(BLOCK);
    while (from < to) {
        size_t want = to - from < (int64_t)BLOCK ? (size_t)(to - from) : BLOCK;
        ssize_t n = pread(b->fd, buf, want, from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? error_errno(err, errno, "cannot read back %s", b->digest.text)
                         : error_set(err, ERROR_IO, "the partial file of %s shrank under us",
                                     b->digest.text);
        hasher_update(b->hasher, buf, (size_t)n);
        from += n;
    }
    pthread_mutex_lock(&b->mutex);
    b->hashed = to;
    pthread_mutex_unlock(&b->mutex);
    return 0;
}

/* A stretch of which nothing is there yet. */
static int write_new(struct cachedir_blob *b, int64_t offset, const void *data, size_t len,
                     struct error *err)
{
    if (fs_pwrite_all(b->fd, data, len, offset) < 0)
        return error_errno(err, errno, "cannot write %s/" STORE_OWN "/partial/%s", b->cd->path,
                           b->name);

    int r = 0;
    pthread_mutex_lock(&b->mutex);
    const bool mine = !b->hashing;
    const bool here = mine && b->hashed == offset;
    b->hashing = true;
    pthread_mutex_unlock(&b->mutex);
    if (here)
        hasher_update(b->hasher, data, len);

    pthread_mutex_lock(&b->mutex);
    if (here)
        b->hashed = offset + (int64_t)len;
    ranges_add(&b->ranges, offset, offset + (int64_t)len);
    b->unsaved += (int64_t)len;
    if (b->unsaved >= SAVE_EVERY)
        r = save_list(b, err);
    pthread_mutex_unlock(&b->mutex);
    if (!mine)
        return r;
    if (r == 0)
        r = hash_landed(b, (int64_t)len * CATCH_UP, err);
    pthread_mutex_lock(&b->mutex);
    b->hashing = false;
    pthread_mutex_unlock(&b->mutex);
    return r;
}

int cachedir_blob_write(struct cachedir_blob *b, int64_t offset, const void *data, size_t len,
                        struct error *err)
{
    if (offset < 0 || offset > b->size || (int64_t)len > b->size - offset)
        return error_set(err, ERROR_DIGEST, "%s: more bytes than the %lld it should have",
                         b->digest.text, (long long)b->size);
    /* What landed may be hashed already: it is never written over. */
    const int64_t past = offset + (int64_t)len;
    int64_t start, end = offset;
    while (end < past && cachedir_blob_gap(b, end, &start, &end) && start < past) {
        if (end > past)
            end = past;
        if (write_new(b, start, (const char *)data + (start - offset), (size_t)(end - start), err) <
            0)
            return -1;
    }
    return 0;
}

int64_t cachedir_partial(struct cachedir *cd, const struct descriptor *blob)
{
    cleanup_free char *list = xasprintf("%s.ranges", digest_hex(&blob->digest));
    cleanup_free char *text = NULL;
    struct ranges ranges = {0};
    size_t len;
    if (cd->partial < 0 || fs_read(cd->partial, list, RANGES_TEXT_MAX, &text, &len) < 0 ||
        !ranges_parse(&ranges, text, blob->size))
        return 0;
    int64_t total = ranges_total(&ranges);
    ranges_clear(&ranges);
    return total;
}

int cachedir_blob_reset(struct cachedir_blob *b, struct error *err)
{
    pthread_mutex_lock(&b->mutex);
    ranges_clear(&b->ranges);
    b->hashed = b->unsaved = 0;
    hasher_reset(b->hasher);
    pthread_mutex_unlock(&b->mutex);
    if (unlinkat(b->cd->partial, b->list, 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove partial/%s", b->list);
    if (ftruncate(b->fd, 0) < 0)
        return error_errno(err, errno, "cannot empty partial/%s", b->name);
    return 0;
}

int cachedir_blob_commit(struct cachedir_blob *b, struct error *err)
{
    struct cachedir *cd = b->cd;
    struct digest got;
    int64_t start, end;

    if (cachedir_blob_gap(b, 0, &start, &end))
        return error_set(err, ERROR_IO, "%s is not complete: bytes %lld to %lld are missing",
                         b->digest.text, (long long)start, (long long)end);
    if (hash_landed(b, b->size, err) < 0)
        return -1;
    hasher_final(b->hasher, &got);
    if (!digest_equal(&got, &b->digest)) {
        if (cachedir_blob_reset(b, err) < 0)
            return -1;
        return error_set(err, ERROR_DIGEST, "wrong bytes: %s expected, %s received", b->digest.text,
                         got.text);
    }
    /* A copy of somebody's partial file, or one that was longer once, may have a tail. */
    if (ftruncate(b->fd, b->size) < 0 || fchmod(b->fd, cd->file_mode) < 0 || fsync(b->fd) < 0)
        return error_errno(err, errno, "cannot sync %s", b->digest.text);
    if (cd->format->blob_publish(cd, cd->partial, b->name, &b->digest, err) < 0)
        return -1;
    b->committed = true;
    return 0;
}

void cachedir_blob_close(struct cachedir_blob *b)
{
    if (!b)
        return;
    struct cachedir *cd = b->cd;
    if (b->committed || (b->fd >= 0 && b->ranges.count == 0)) {
        /* It has its name in the pool, or never held a byte. */
        (void)unlinkat(cd->partial, b->name, 0);
        (void)unlinkat(cd->partial, b->list, 0);
    } else if (b->fd >= 0 && b->unsaved > 0) {
        /* At worst the next run fetches again what the list does not claim. */
        (void)save_list(b, NULL);
    }
    if (b->fd >= 0)
        close(b->fd);
    cachedir_unlock(b->lock);
    hasher_free(b->hasher);
    ranges_clear(&b->ranges);
    pthread_mutex_destroy(&b->mutex);
    free(b->name);
    free(b->list);
    free(b);
}

static int64_t written_at(struct cachedir *cd, const char *name)
{
    struct stat st;
    if (fstatat(cd->partial, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
}

int64_t cachedir_progress(struct cachedir *cd, const struct digest *digest)
{
    if (digest)
        return written_at(cd, digest_hex(digest));
    cleanup_names char **names = NULL;
    size_t count;
    int64_t latest = 0;
    if (fs_names(cd->partial, &names, &count) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        int64_t at = written_at(cd, names[i]);
        if (at > latest)
            latest = at;
    }
    return latest;
}
