/*
 * Entries of format docker-archive in the making.
 *
 *     .basewarm/partial/<hex>     the archive, all of its members' places known from the beginning;
 *          |                      layers land there in any order, and stay when we are killed
 *          |  manifest.json written, synced; one rename
 *          v
 *     sha256:<hex>                (visible, and from now on only renewed, or replaced when broken)
 *
 *     0        manifest.json     what it says is known last, when the config is here: room is
 *              |                 left for the longest it can be, and filled with blanks
 *              config
 *              layers            each once; large ones at bounds where file systems can share
 *              |                 blocks, behind a comment that fills the gap
 *              the manifest      byte for byte
 *              two blocks of zeros
 */
#include "alloc.h"
#include "archives.h"
#include "docker-archive.h"
#include "partial.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define SHARE_FROM (64 << 10) /* what is smaller is not worth a gap */

struct slot { /* a blob's place */
    struct digest digest;
    int64_t offset, size;
    size_t gap; /* before its header */
    bool taken; /* guarded by the partial file's mutex */
};

struct archive_stage {
    struct slot *slots; /* config, then layers, each digest once */
    size_t slot_count;
    int64_t json_size, manifest_offset, size;
    struct partial *partial;
    atomic_bool worth_keeping; /* more than copies of what stands here */
};

/* ---- the layout ---- */

static int64_t padded(int64_t size)
{
    return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

static struct slot *find_slot(const struct archive_stage *a, const struct digest *digest)
{
    for (size_t i = 0; i < a->slot_count; i++)
        if (digest_equal(&a->slots[i].digest, digest))
            return &a->slots[i];
    return NULL;
}

/* Its manifest names no such blob, or with another size: whoever asks is wrong. */
static int no_place(const struct cachedir_stage *stage, const struct digest *digest,
                    struct error *err)
{
    return error_set(err, ERROR_IO, "%s has no place in the archive of %s", digest->text,
                     stage->digest.text);
}

/* Returns where the next member begins. */
static int64_t place(struct archive_stage *a, const struct descriptor *blob, int64_t at)
{
    if (find_slot(a, &blob->digest))
        return at;
    struct slot *slot = array_add(a->slots, a->slot_count);
    slot->digest = blob->digest;
    slot->size = blob->size;
    slot->offset = at + TAR_BLOCK;
    if (blob->size >= SHARE_FROM && slot->offset % FS_CLONE_BLOCK) {
        slot->gap = (size_t)(FS_CLONE_BLOCK - slot->offset % FS_CLONE_BLOCK);
        if (slot->gap < 2 * TAR_BLOCK)
            slot->gap += FS_CLONE_BLOCK;
        slot->offset += (int64_t)slot->gap;
    }
    return slot->offset + padded(slot->size);
}

static void lay_out(struct cachedir_stage *stage)
{
    struct archive_stage *a = stage->archive;
    const struct manifest *m = &stage->manifest;
    a->json_size = padded((int64_t)docker_archive_format_max(m));
    int64_t at = place(a, &m->config, TAR_BLOCK + a->json_size);
    for (size_t i = 0; i < m->layer_count; i++)
        at = place(a, &m->layers[i], at);
    a->manifest_offset = at + TAR_BLOCK;
    a->size = a->manifest_offset + padded((int64_t)stage->len) + TAR_END;
}

static int put(struct archive_stage *a, const void *bytes, size_t len, int64_t at,
               struct error *err)
{
    if (fs_pwrite_all(a->partial->fd, bytes, len, at) < 0)
        return error_errno(err, errno, "cannot write " STORE_OWN "/partial/%s", a->partial->name);
    return 0;
}

static int put_header(struct archive_stage *a, const struct digest *blob, int64_t size, size_t gap,
                      int64_t offset, struct error *err)
{
    char header[TAR_PADDING_MAX + TAR_BLOCK];
    cleanup_free char *name = xasprintf("blobs/sha256/%s", digest_hex(blob));
    tar_padding(header, gap);
    tar_header(header + gap, name, size);
    return put(a, header, gap + TAR_BLOCK, offset - TAR_BLOCK - (int64_t)gap, err);
}

/* Everything but manifest.json's text and the blobs; written anew each time, whatever was there. */
static int put_frame(struct cachedir_stage *stage, struct error *err)
{
    struct archive_stage *a = stage->archive;
    char header[TAR_BLOCK];
    tar_header(header, "manifest.json", a->json_size);
    if (put(a, header, sizeof header, 0, err) < 0)
        return -1;
    for (size_t i = 0; i < a->slot_count; i++) {
        const struct slot *slot = &a->slots[i];
        const size_t rest = (size_t)(padded(slot->size) - slot->size);
        static const char zeros[TAR_BLOCK];
        if (put_header(a, &slot->digest, slot->size, slot->gap, slot->offset, err) < 0 ||
            put(a, zeros, rest, slot->offset + slot->size, err) < 0)
            return -1;
    }
    const size_t tail = (size_t)(a->size - a->manifest_offset);
    cleanup_free char *end = xcalloc(tail, 1);
    memcpy(end, stage->bytes, stage->len);
    if (put_header(a, &stage->digest, (int64_t)stage->len, 0, a->manifest_offset, err) < 0 ||
        put(a, end, tail, a->manifest_offset, err) < 0)
        return -1;
    if (ftruncate(a->partial->fd, a->size) < 0)
        return error_errno(err, errno, "cannot set the size of " STORE_OWN "/partial/%s",
                           a->partial->name);
    return 0;
}

/* ---- beginning ---- */

/* What no reader could read is refused before anything is fetched. */
static int check_representable(const struct cachedir_stage *stage, struct error *err)
{
    const struct manifest *m = &stage->manifest;
    if (m->config.size > CONFIG_SIZE_MAX)
        return error_set(err, ERROR_PROTOCOL, "a config of %lld bytes is larger than %d",
                         (long long)m->config.size, CONFIG_SIZE_MAX);
    return docker_archive_check(m, &stage->digest, err);
}

/* Is what stands there whole? By its bytes, if these are not trusted. 1, 0, -1. */
static int stands(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    cleanup_error struct error why = {0};
    if (cd->format->look(cd, &stage->digest, &entry, err) < 0)
        return -1;
    if (entry.state != CACHEDIR_COMPLETE)
        return 0;
    if (!stage->distrust || archive_hash(cd, &entry, &why) == 0)
        return 1;
    if (why.kind == ERROR_DIGEST || why.kind == ERROR_NOT_FOUND)
        return 0;
    error_move(err, &why);
    return -1;
}

int archive_stage_begin(struct cachedir_stage *stage, struct error *err)
{
    struct archive_stage *a = stage->archive = xcalloc(1, sizeof *a);
    int there = stands(stage, err);
    if (there < 0)
        return -1;
    stage->stands = there;
    if (there)
        return 0;
    if (check_representable(stage, err) < 0)
        return -1;
    lay_out(stage);
    if (partial_open(stage->cd, &stage->digest, a->size, true, &a->partial, err) < 0)
        return -1;
    /* What was fetched for it before; and when the entry is suspect, its good parts may soon be
     * nowhere else. */
    a->worth_keeping = stage->distrust || a->partial->ranges.count > 0;
    return put_frame(stage, err);
}

void archive_stage_end(struct cachedir_stage *stage)
{
    struct archive_stage *a = stage->archive;
    if (!a)
        return;
    partial_close(a->partial, stage->published || stage->abandoned || !a->worth_keeping);
    free(a->slots);
    free(a);
    stage->archive = NULL;
}

/* ---- blobs ---- */

static bool is_taken(struct archive_stage *a, const struct slot *slot)
{
    pthread_mutex_lock(&a->partial->mutex);
    bool taken = slot->taken;
    pthread_mutex_unlock(&a->partial->mutex);
    return taken;
}

/* Its bytes are there and right. */
static int set_taken(struct cachedir_stage *stage, struct slot *slot, struct error *err)
{
    struct partial *p = stage->archive->partial;
    pthread_mutex_lock(&p->mutex);
    slot->taken = true;
    ranges_add(&p->ranges, slot->offset, slot->offset + slot->size);
    int r = partial_save(p, err); /* others take it from here only if the list says so */
    pthread_mutex_unlock(&p->mutex);
    archives_add(stage->cd, &slot->digest, p->name, slot->offset, slot->size);
    return r;
}

/* Hash what stands in its place: 1 it is taken, 0 it was wrong, and is forgotten, -1. */
static int check_slot(struct cachedir_stage *stage, struct slot *slot, struct error *err)
{
    struct partial *p = stage->archive->partial;
    cleanup_error struct error why = {0};
    if (pool_hash(p->fd, slot->offset, &slot->digest, slot->size, NULL, &why) == 0)
        return set_taken(stage, slot, err) < 0 ? -1 : 1;
    if (why.kind != ERROR_DIGEST) {
        error_move(err, &why);
        return -1;
    }
    return partial_forget(p, slot->offset, slot->offset + slot->size, err);
}

/* Whatever landed there before is overwritten: until the bytes are hashed the list says nothing. */
static int copy_in(struct cachedir_stage *stage, struct slot *slot, int fd, int64_t start,
                   struct error *err)
{
    struct partial *p = stage->archive->partial;
    const int64_t end = slot->offset + slot->size;
    if (partial_forget(p, slot->offset, end, err) < 0)
        return -1;
    if (fs_copy_range(fd, start, p->fd, slot->offset, slot->size,
                      store_able(stage->cd, CACHEDIR_REFLINKS)) < 0) {
        const int saved = errno;
        (void)partial_forget(p, slot->offset, end, NULL); /* on a full volume it is in the way */
        return saved == EIO ? 0 : error_errno(err, saved, "cannot copy %s", slot->digest.text);
    }
    return check_slot(stage, slot, err);
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* From another archive, published or in the making. */
static int take_from_others(struct cachedir_stage *stage, struct slot *slot, struct error *err)
{
    int fd = -1, taken = 0;
    int64_t offset;
    for (size_t n = 0; taken == 0; n++) {
        int open = archives_open(stage->cd, &slot->digest, slot->size, n, &fd, &offset);
        if (open < 0)
            break;
        if (open > 0 && !same_file(fd, stage->archive->partial->fd))
            taken = copy_in(stage, slot, fd, offset, err);
        if (open > 0)
            close(fd);
    }
    return taken;
}

int archive_stage_take(struct cachedir_stage *stage, const struct descriptor *blob,
                       struct error *err)
{
    struct archive_stage *a = stage->archive;
    if (stage->stands)
        return 1;
    struct slot *slot = find_slot(a, &blob->digest);
    if (!slot || slot->size != blob->size)
        return 0;
    if (is_taken(a, slot))
        return 1;
    if (partial_covers(a->partial, slot->offset, slot->offset + slot->size)) {
        int good = check_slot(stage, slot, err);
        if (good != 0)
            return good;
    }
    return take_from_others(stage, slot, err);
}

int archive_stage_give(struct cachedir_stage *stage, const struct descriptor *blob, int fd,
                       int64_t start, struct error *err)
{
    struct slot *slot = stage->stands ? NULL : find_slot(stage->archive, &blob->digest);
    if (!slot || slot->size != blob->size)
        return stage->stands;
    return copy_in(stage, slot, fd, start == WHOLE_FILE ? 0 : start, err);
}

bool archive_has_blob(struct cachedir *cd, const struct descriptor *blob)
{
    int fd, open = 0;
    int64_t offset;
    for (size_t n = 0; open == 0; n++)
        open = archives_open(cd, &blob->digest, blob->size, n, &fd, &offset);
    if (open > 0)
        close(fd);
    return open > 0;
}

int archive_blob_place(struct cachedir_blob *b, bool insist, struct error *err)
{
    struct cachedir *cd = b->stage->cd;
    const struct slot *slot = b->stage->stands ? NULL : find_slot(b->stage->archive, &b->digest);
    cleanup_error struct error why = {0};

    if (!slot || slot->size != b->size)
        return no_place(b->stage, &b->digest, err);
    /* One process fetches it, and all archives here take it from there. */
    if (lock_take(cd, cd->blob_locks, digest_hex(&b->digest), true, &b->lock, &why) < 0 &&
        (why.kind != ERROR_LOCKED || !insist)) {
        error_move(err, &why);
        return -1;
    }
    archives_refresh(cd);
    b->stage->archive->worth_keeping = true;
    b->partial = b->stage->archive->partial;
    b->base = slot->offset;
    return 0;
}

int archive_blob_publish(struct cachedir_blob *b, struct error *err)
{
    struct slot *slot = find_slot(b->stage->archive, &b->digest);
    return slot ? set_taken(b->stage, slot, err) : no_place(b->stage, &b->digest, err);
}

/* ---- publishing ---- */

/* RepoTags are names with a tag; other tools refuse digests there. */
static const char *tag_of(const struct cachedir_stage *stage)
{
    return stage->reference && !strchr(stage->reference, '@') ? stage->reference : NULL;
}

static int read_encodings(struct cachedir_stage *stage, enum layer_encoding *ret, struct error *err)
{
    struct archive_stage *a = stage->archive;
    const struct manifest *m = &stage->manifest;
    for (size_t i = 0; i < m->layer_count; i++) {
        char magic[LAYER_MAGIC_SIZE];
        const struct slot *slot = find_slot(a, &m->layers[i].digest);
        if (!slot)
            return no_place(stage, &m->layers[i].digest, err);
        const size_t len = slot->size < LAYER_MAGIC_SIZE ? (size_t)slot->size : LAYER_MAGIC_SIZE;
        if (fs_pread_all(a->partial->fd, magic, len, slot->offset) < 0)
            return error_errno(err, errno, "cannot read back %s", slot->digest.text);
        ret[i] = layer_encoding(magic, len);
    }
    return docker_archive_check_encodings(ret, m->layer_count, &stage->digest, err);
}

static int read_diff_ids(struct cachedir_stage *stage, struct digest **ret, struct error *err)
{
    struct archive_stage *a = stage->archive;
    const struct slot *config = &a->slots[0];
    cleanup_free char *bytes = xmalloc((size_t)config->size + 1);
    if (fs_pread_all(a->partial->fd, bytes, (size_t)config->size, config->offset) < 0)
        return error_errno(err, errno, "cannot read back %s", config->digest.text);
    return docker_archive_diff_ids(bytes, (size_t)config->size, stage->manifest.layer_count, ret,
                                   err);
}

/* manifest.json's text, and everything to the disk. */
static int finish(struct cachedir_stage *stage, struct error *err)
{
    struct archive_stage *a = stage->archive;
    const struct manifest *m = &stage->manifest;
    cleanup_free enum layer_encoding *encodings = xcalloc(m->layer_count + 1, sizeof *encodings);
    cleanup_free struct digest *diff_ids = NULL;

    for (size_t i = 0; i < a->slot_count; i++)
        if (!is_taken(a, &a->slots[i]))
            return error_set(err, ERROR_IO, "%s is missing in the archive of %s",
                             a->slots[i].digest.text, stage->digest.text);
    if (read_diff_ids(stage, &diff_ids, err) < 0 || read_encodings(stage, encodings, err) < 0)
        return -1;
    cleanup_free char *text = docker_archive_format(m, diff_ids, encodings, tag_of(stage));
    cleanup_free char *json = xmalloc((size_t)a->json_size);
    const size_t len = strlen(text);
    if (len > (size_t)a->json_size)
        return error_set(err, ERROR_IO, "manifest.json of %s does not fit", stage->digest.text);
    memset(json, ' ', (size_t)a->json_size);
    memcpy(json, text, len);
    if (put(a, json, (size_t)a->json_size, TAR_BLOCK, err) < 0)
        return -1;
    if (fchmod(a->partial->fd, stage->cd->file_mode) < 0 || fsync(a->partial->fd) < 0)
        return error_errno(err, errno, "cannot sync the archive of %s", stage->digest.text);
    return 0;
}

/* Was it renamed although an error was reported? NFS repeats requests that had succeeded. */
static bool renamed_after_all(const struct cachedir_stage *stage)
{
    struct stat ours, theirs;
    return fstat(stage->archive->partial->fd, &ours) == 0 &&
           fstatat(stage->cd->root, stage->digest.text, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* What kaniko's warmer left beside a broken archive would be believed beside ours, too. */
static int remove_beside(struct cachedir_stage *stage, struct error *err)
{
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, stage->digest.text);
    if (fs_remove(stage->cd->root, beside) < 0)
        return store_error(stage->cd, errno, stage->cd->root, beside, err, "cannot remove %s",
                           beside);
    return 0;
}

/* A directory stands there: the two change places, or it goes first. */
static int replace_directory(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = stage->archive->partial->name, *entry = stage->digest.text;
    char away[FS_NAME_MAX];

    store_temporary(cd, away, "entry");
    if (renameat2(cd->partial, name, cd->root, entry, RENAME_EXCHANGE) == 0) {
        if ((renameat(cd->partial, name, cd->trash, away) < 0 && errno != ENOENT) || /* swept */
            store_remove_away(cd, cd->trash, away) < 0)
            store_warn(cd, "%s: a directory that an archive took the place of cannot be removed",
                       cd->path);
        return 0;
    }
    if (entry_take_away(cd, entry, NULL, err) < 0)
        return -1;
    if (renameat(cd->partial, name, cd->root, entry) < 0)
        return store_error(cd, errno, cd->root, ".", err, "cannot publish %s", entry);
    return 0;
}

static int replace(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = stage->archive->partial->name, *entry = stage->digest.text;

    if (remove_beside(stage, err) < 0)
        return -1;
    const int failed = renameat(cd->partial, name, cd->root, entry) < 0 ? errno : 0;
    if (failed == 0 || renamed_after_all(stage))
        return 0;
    if (failed == EISDIR || failed == ENOTEMPTY || failed == EEXIST)
        return replace_directory(stage, err);
    if (failed == EINVAL)
        return error_set(err, ERROR_DIRECTORY, "this volume refuses the name %s", entry);
    return store_error(cd, failed, cd->root, ".", err, "cannot publish %s", entry);
}

/* What is whole is never replaced, for a build may be reading it, and archives of others have other
 * names inside. */
static int make_visible(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    struct stat st;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (fstatat(cd->root, stage->digest.text, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        if (remove_beside(stage, err) < 0)
            return -1;
        if (renameat2(cd->partial, stage->archive->partial->name, cd->root, stage->digest.text,
                      RENAME_NOREPLACE) == 0)
            return 0;
        /* Somebody was faster, or this file system has no such rename: look again. */
    }
    if (!stage->distrust) {
        if (cd->format->look(cd, &stage->digest, &entry, err) < 0)
            return -1;
        if (entry.state == CACHEDIR_COMPLETE)
            return 0; /* lost the race to the same content, or renamed after all */
    }
    return replace(stage, err);
}

int archive_stage_publish(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (!stage->stands) {
        if (finish(stage, err) < 0 || stage_set_time(stage, stage->archive->partial->fd, err) < 0)
            return -1;
        const bool all_seen = archives_all_seen(cd) && faccessat(cd->root, stage->digest.text, F_OK,
                                                                 AT_SYMLINK_NOFOLLOW) < 0;
        if (make_visible(stage, err) < 0)
            return -1;
        if (all_seen)
            archives_published(cd);
        stage->published = true;
        if (fs_sync_directory(cd->root) < 0)
            return error_errno(err, errno, "cannot sync %s", cd->path);
    }
    if (stage_begin_life(stage, err) < 0 || cd->format->look(cd, &stage->digest, &entry, err) < 0)
        return -1;
    if (entry.state != CACHEDIR_COMPLETE)
        return error_set(err, ERROR_IO, "%s is not whole after it was published: %s",
                         stage->digest.text, entry.problem ? entry.problem : "it vanished");
    return 0;
}
