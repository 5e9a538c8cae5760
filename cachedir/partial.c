#include "partial.h"

#include "alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SAVE_EVERY (INT64_C(16) << 20) /* how much a killed run may have to fetch again */

/* Written beside and renamed, unsynced. */
int partial_save(struct partial *p, struct error *err)
{
    cleanup_free char *text = ranges_format(&p->ranges, p->size);
    cleanup_free char *temporary = xasprintf("%s.new", p->list);
    int dir = p->cd->partial;
    cleanup_close int fd = fs_open(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC, p->cd->file_mode);
    if (fd < 0 || fs_write_all(fd, text, strlen(text)) < 0 ||
        fs_rename(dir, temporary, dir, p->list, 0) < 0) {
        int saved = errno;
        (void)unlinkat(dir, temporary, 0);
        return error_errno(err, saved, "cannot write %s/" STORE_OWN "/partial/%s", p->cd->path,
                           p->list);
    }
    p->unsaved = 0;
    return 0;
}

int partial_landed(struct partial *p, int64_t start, int64_t end, struct error *err)
{
    ranges_add(&p->ranges, start, end);
    p->unsaved += end - start;
    return p->unsaved >= SAVE_EVERY ? partial_save(p, err) : 0;
}

bool partial_covers(struct partial *p, int64_t start, int64_t end)
{
    pthread_mutex_lock(&p->mutex);
    bool covers = ranges_reach(&p->ranges, start) >= end;
    pthread_mutex_unlock(&p->mutex);
    return covers;
}

/* No list, or one that makes no sense, or of a file of another size: nothing is believed. */
static void read_list(struct cachedir *cd, const char *list, int64_t size, int64_t file_size,
                      struct ranges *ret)
{
    cleanup_free char *text = NULL;
    size_t len;
    if (fs_read(cd->partial, list, RANGES_TEXT_MAX, &text, &len) < 0 ||
        !ranges_parse(ret, text, size))
        return;
    if (ret->count == 0 || file_size < ret->list[ret->count - 1].end)
        ranges_clear(ret);
}

int64_t partial_bytes(struct cachedir *cd, const char *name, int64_t size, int64_t start,
                      int64_t end)
{
    cleanup_free char *list = xasprintf("%s" PARTIAL_RANGES, name);
    struct ranges ranges = {0};
    struct stat st;
    if (cd->partial < 0 || fstatat(cd->partial, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    read_list(cd, list, size, st.st_size, &ranges);
    ranges_remove(&ranges, 0, start);
    ranges_remove(&ranges, end, INT64_MAX);
    const int64_t total = ranges_total(&ranges);
    ranges_clear(&ranges);
    return total;
}

static void load_list(struct partial *p, const char *list)
{
    struct stat st;
    if (fstat(p->fd, &st) == 0)
        read_list(p->cd, list, p->size, st.st_size, &p->ranges);
}

/* Another process seems dead but holds the lock: copy what it left into a file of our own. */
static int take_copy(struct partial *p, const char *hex, struct error *err)
{
    cleanup_close int theirs = fs_open(p->cd->partial, hex, O_RDONLY | O_NONBLOCK, 0);
    if (theirs < 0)
        return 0;
    if (fs_copy(theirs, p->fd, store_able(p->cd, CACHEDIR_REFLINKS)) < 0)
        return error_errno(err, errno, "cannot copy " STORE_OWN "/partial/%s", hex);
    cleanup_free char *list = xasprintf("%s" PARTIAL_RANGES, hex);
    load_list(p, list);
    return 0;
}

static int open_file(struct partial *p, const char *hex, struct error *err)
{
    struct cachedir *cd = p->cd;
    struct stat st;
    const bool own = !lock_is_held(p->lock);

    p->fd = fs_open(cd->partial, p->name, O_RDWR | O_CREAT | O_NONBLOCK | (own ? O_EXCL : 0),
                    cd->file_mode);
    if (p->fd >= 0 && (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 1 ||
                       st.st_uid != cd->uid)) {
        /* Whatever that is, it is not a partial file of ours: make a new one in its place. */
        close(p->fd);
        p->fd = -1;
        errno = ELOOP;
    }
    if (p->fd < 0 && !own && (errno == ELOOP || errno == EACCES || errno == EISDIR)) {
        if (fs_remove(cd->partial, p->name) < 0)
            return store_error(cd, errno, cd->partial, p->name, err, "partial/%s", p->name);
        p->fd = fs_open(cd->partial, p->name, O_RDWR | O_CREAT | O_EXCL, cd->file_mode);
    }
    if (p->fd < 0)
        return store_error(cd, errno, cd->partial, ".", err,
                           "cannot open %s/" STORE_OWN "/partial/%s", cd->path, p->name);
    if (own)
        return take_copy(p, hex, err);
    load_list(p, p->list);
    return 0;
}

int partial_open(struct cachedir *cd, const struct digest *digest, int64_t size, bool insist,
                 struct partial **ret, struct error *err)
{
    const char *hex = digest_hex(digest);
    struct cachedir_lock *lock = NULL;
    cleanup_error struct error why = {0};

    if (lock_take(cd, cd->blob_locks, hex, true, &lock, &why) < 0 &&
        (why.kind != ERROR_LOCKED || !insist)) {
        error_move(err, &why);
        return -1;
    }
    struct partial *p = xcalloc(1, sizeof *p);
    p->cd = cd;
    p->size = size;
    p->lock = lock;
    p->fd = -1;
    pthread_mutex_init(&p->mutex, NULL);
    if (lock_is_held(lock)) {
        p->name = xstrdup(hex);
    } else {
        char own[FS_NAME_MAX];
        fs_random_name(own, "");
        p->name = xasprintf("%s.%s", hex, own);
    }
    p->list = xasprintf("%s" PARTIAL_RANGES, p->name);
    if (open_file(p, hex, err) < 0) {
        partial_close(p, false);
        return -1;
    }
    *ret = p;
    return 0;
}

int partial_forget(struct partial *p, int64_t start, int64_t end, struct error *err)
{
    int r = 0;
    pthread_mutex_lock(&p->mutex);
    ranges_remove(&p->ranges, start, end);
    if (p->ranges.count > 0)
        r = partial_save(p, err);
    else if (unlinkat(p->cd->partial, p->list, 0) < 0 && errno != ENOENT)
        r = error_errno(err, errno, "cannot remove partial/%s", p->list);
    p->unsaved = 0;
    pthread_mutex_unlock(&p->mutex);
    if (r < 0)
        return -1;
    if (start == 0 && end == p->size) {
        if (ftruncate(p->fd, 0) < 0)
            return error_errno(err, errno, "cannot empty partial/%s", p->name);
        return 0;
    }
    /* Of use on a full volume only; where the file system cannot, the bytes stay. */
    if (end > start)
        (void)fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start);
    return 0;
}

void partial_close(struct partial *p, bool done)
{
    if (!p)
        return;
    struct cachedir *cd = p->cd;
    if (done || (p->fd >= 0 && p->ranges.count == 0)) {
        /* It has its name elsewhere, or never held a byte. */
        (void)unlinkat(cd->partial, p->name, 0);
        (void)unlinkat(cd->partial, p->list, 0);
    } else if (p->fd >= 0 && p->unsaved > 0) {
        /* At worst the next run fetches again what the list does not claim. */
        (void)partial_save(p, NULL);
    }
    if (p->fd >= 0)
        close(p->fd);
    cachedir_unlock(p->lock);
    ranges_clear(&p->ranges);
    pthread_mutex_destroy(&p->mutex);
    free(p->name);
    free(p->list);
    free(p);
}
