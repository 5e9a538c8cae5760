/*
 * One blob in the making: a stretch of a partial file, the ranges that are in it, and a hash that
 * follows.
 *
 *     0 ........... hashed ........ landed ...... gap ...... landed ...... size
 *                   ^ the frontier: whoever writes there hashes on the way; what landed beyond it
 *                     out of order is read back (from the page cache) when the frontier gets there
 *
 * The partial file's mutex guards ranges, frontier and the role of the hasher; writing and hashing
 * happen outside it. One thread has the hasher's role at a time, so that the digest sees the bytes
 * in order.
 */
#include "alloc.h"
#include "archives.h"
#include "partial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CATCH_UP 8 /* times what was written now: how much a writer reads back and hashes */
#define BLOCK ((size_t)1 << 18)
#define WRITE_BACK (INT64_C(8) << 20)

int cachedir_blob_open(struct cachedir_stage *stage, const struct descriptor *blob, bool insist,
                       struct cachedir_blob **ret, struct error *err)
{
    struct cachedir_blob *b = xcalloc(1, sizeof *b);
    b->stage = stage;
    b->digest = blob->digest;
    b->size = blob->size;
    b->hasher = hasher_new(&blob->digest);
    if (stage->cd->format->blob_place(b, insist, err) < 0) {
        cachedir_blob_close(b);
        return -1;
    }
    *ret = b;
    return 0;
}

bool cachedir_blob_gap(struct cachedir_blob *b, int64_t from, int64_t *ret_start, int64_t *ret_end)
{
    struct partial *p = b->partial;
    pthread_mutex_lock(&p->mutex);
    bool found = ranges_gap(&p->ranges, b->base + from, b->base + b->size, ret_start, ret_end);
    pthread_mutex_unlock(&p->mutex);
    if (found) {
        *ret_start -= b->base;
        *ret_end -= b->base;
    }
    return found;
}

/* Hash from the file what is there at the frontier, at most `most` bytes. The caller has the role.
 */
static int hash_landed(struct cachedir_blob *b, int64_t most, struct error *err)
{
    struct partial *p = b->partial;
    pthread_mutex_lock(&p->mutex);
    int64_t from = b->hashed, to = ranges_reach(&p->ranges, b->base + from) - b->base;
    pthread_mutex_unlock(&p->mutex);
    if (to > b->size)
        to = b->size;
    if (to > from + most)
        to = from + most;
    if (to == from)
        return 0;

    cleanup_free char *buf = xmalloc(BLOCK);
    while (from < to) {
        size_t want = to - from < (int64_t)BLOCK ? (size_t)(to - from) : BLOCK;
        ssize_t n = pread(p->fd, buf, want, b->base + from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? error_errno(err, errno, "cannot read back %s", b->digest.text)
                         : error_set(err, ERROR_IO, "the partial file of %s shrank under us",
                                     b->digest.text);
        hasher_update(b->hasher, buf, (size_t)n);
        from += n;
    }
    pthread_mutex_lock(&p->mutex);
    b->hashed = to;
    pthread_mutex_unlock(&p->mutex);
    return 0;
}

/* Let the disk begin with what is written, so that the sync at the end has little to wait for; that
 * one tells what goes wrong. */
static void write_back(int fd, int64_t written, int64_t end)
{
    if (end / WRITE_BACK > (end - written) / WRITE_BACK)
        (void)sync_file_range(fd, (end / WRITE_BACK - 1) * WRITE_BACK, WRITE_BACK,
                              SYNC_FILE_RANGE_WRITE);
}

/* A stretch of which nothing is there yet. */
static int write_new(struct cachedir_blob *b, int64_t offset, const void *data, size_t len,
                     struct error *err)
{
    struct partial *p = b->partial;
    if (fs_pwrite_all(p->fd, data, len, b->base + offset) < 0)
        return error_errno(err, errno, "cannot write %s/" STORE_OWN "/partial/%s", p->cd->path,
                           p->name);
    write_back(p->fd, (int64_t)len, b->base + offset + (int64_t)len);

    pthread_mutex_lock(&p->mutex);
    const bool mine = !b->hashing;
    const bool here = mine && b->hashed == offset;
    b->hashing = true;
    pthread_mutex_unlock(&p->mutex);
    if (here)
        hasher_update(b->hasher, data, len);

    pthread_mutex_lock(&p->mutex);
    if (here)
        b->hashed = offset + (int64_t)len;
    int r = partial_landed(p, b->base + offset, b->base + offset + (int64_t)len, err);
    pthread_mutex_unlock(&p->mutex);
    if (!mine)
        return r;
    if (r == 0)
        r = hash_landed(b, (int64_t)len * CATCH_UP, err);
    pthread_mutex_lock(&p->mutex);
    b->hashing = false;
    pthread_mutex_unlock(&p->mutex);
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
    if (cd->format->is_file)
        return archives_partial(cd, &blob->digest, blob->size);
    return partial_bytes(cd, digest_hex(&blob->digest), blob->size, 0, blob->size);
}

int cachedir_blob_reset(struct cachedir_blob *b, struct error *err)
{
    pthread_mutex_lock(&b->partial->mutex);
    b->hashed = 0;
    hasher_reset(b->hasher);
    pthread_mutex_unlock(&b->partial->mutex);
    return partial_forget(b->partial, b->base, b->base + b->size, err);
}

int cachedir_blob_commit(struct cachedir_blob *b, struct error *err)
{
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
    if (b->stage->cd->format->blob_publish(b, err) < 0)
        return -1;
    b->committed = true;
    return 0;
}

void cachedir_blob_close(struct cachedir_blob *b)
{
    if (!b)
        return;
    if (b->owns_partial)
        partial_close(b->partial, b->committed);
    cachedir_unlock(b->lock);
    hasher_free(b->hasher);
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
    if (digest && !cd->format->is_file) /* an archive in the making has the name of the whole */
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
