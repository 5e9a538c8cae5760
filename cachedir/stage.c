/*
 * Entries in the making.
 *
 *     .basewarm/stage/<name>/   blobs/..., oci-layout, index.json last    (invisible)
 *          |  synced; one rename
 *          v
 *     sha256:<hex>/             (visible, and from now on only renewed or mended)
 *
 * Where something stands under the digest already, it is mended from the stage, blob by blob, each
 * by a rename: the builder may be reading it. Where it belongs to another uid, or is no directory,
 * the two change places. Where directories cannot be renamed, the entry is made in place, and
 * index.json, which the reader looks for first, is its commit point, too.
 */
#include "alias.h"
#include "alloc.h"
#include "json.h"
#include "partial.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int cachedir_stage_new(struct cachedir *cd, const struct digest *digest, const char *media_type,
                       const void *manifest, size_t len, const char *reference, bool distrust,
                       struct cachedir_stage **ret, struct error *err)
{
    if (store_check_writable(cd, err) < 0)
        return -1;
    if (!digest_is_sha256(digest))
        return error_set(err, ERROR_PROTOCOL, "the builder reads only sha256 manifests, not %s",
                         digest->text);
    struct cachedir_stage *stage = xcalloc(1, sizeof *stage);
    stage->cd = cd;
    stage->digest = stage->key = *digest;
    stage->reference = reference ? xstrdup(reference) : NULL;
    stage->distrust = distrust;
    stage->dir = -1;
    stage->blobs = (struct blobs){-1, -1, -1};
    stage->bytes = xmalloc(len + 1);
    memcpy(stage->bytes, manifest, len);
    stage->len = len;
    if (digest_check(digest, manifest, len, err) < 0 ||
        manifest_parse(manifest, len, media_type, &stage->manifest, NULL, err) < 0)
        goto fail;
    if (stage->manifest.kind != MANIFEST_IMAGE) {
        (void)error_set(err, ERROR_PROTOCOL, "%s is an index, not an image", digest->text);
        goto fail;
    }
    stage->media_type = stage->manifest.media_type;
    if (cd->format->stage_begin(stage, err) < 0)
        goto fail;
    *ret = stage;
    return 0;
fail:
    cachedir_stage_free(stage);
    return -1;
}

int cachedir_stage_take(struct cachedir_stage *stage, const struct descriptor *blob,
                        struct error *err)
{
    return stage->cd->format->stage_take(stage, blob, err);
}

int cachedir_stage_publish(struct cachedir_stage *stage, struct error *err)
{
    if (store_check_format(stage->cd, err) < 0 || stage->cd->format->stage_publish(stage, err) < 0)
        return -1;
    /* What was wrong with the entry may be wrong with its aliases, too. */
    return digest_equal(&stage->key, &stage->digest) ? aliases_mend(stage->cd, &stage->digest, err)
                                                     : 0;
}

void cachedir_stage_free(struct cachedir_stage *stage)
{
    if (!stage)
        return;
    if (stage->cd->format->stage_end)
        stage->cd->format->stage_end(stage);
    blobs_close(&stage->blobs);
    if (stage->dir >= 0)
        close(stage->dir);
    /* What cannot be removed now is swept by age later. */
    if (!stage->published && *stage->name)
        (void)fs_remove(stage->cd->stage, stage->name);
    manifest_release(&stage->manifest);
    free(stage->bytes);
    free(stage->reference);
    free(stage);
}

/* From an entry into the stage, hashed, and from there into the pool. 1, 0, -1. */
static int adopt_from(struct cachedir_stage *stage, const struct digest *entry,
                      const struct descriptor *blob, int to, struct error *err)
{
    struct cachedir *cd = stage->cd;
    cleanup_free char *path = xasprintf("%s/blobs/%s", entry->text,
                                        digest_is_sha256(&blob->digest) ? "sha256" : "sha512");
    cleanup_close int from = fs_open_directory(cd->root, path);
    if (from < 0)
        return 0;
    const bool there = pool_has(from, digest_hex(&blob->digest), blob->size, NULL);
    int given = pool_give(cd, from, to, &blob->digest, blob->size, true, err);
    if (given == 0 && there && digest_equal(entry, &stage->digest))
        stage->distrust = true;
    if (given <= 0)
        return given;
    cleanup_close int fd = fs_open(to, digest_hex(&blob->digest), O_RDONLY, 0);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "cannot sync blob %s", blob->digest.text);
    return pool_put(cd, to, digest_hex(&blob->digest), &blob->digest, false, err) < 0 ? -1 : 1;
}

int oci_stage_begin(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;

    store_temporary(cd, stage->name, "entry");
    stage->dir = fs_make_directory(cd->stage, stage->name, cd->directory_mode);
    if (stage->dir < 0 || blobs_make(cd, stage->dir, &stage->blobs) < 0)
        return store_error(cd, errno, cd->stage, ".", err, "cannot make a stage in %s/" STORE_OWN,
                           cd->path);
    /* The manifest is a blob like any other, and small: always hashed. */
    const struct descriptor manifest = {.digest = stage->digest, .size = (int64_t)stage->len};
    int pool = blobs_directory(&cd->pool, &stage->digest);
    int given = pool_give(cd, pool, stage->blobs.sha256, &stage->digest, manifest.size, true, err);
    if (given == 0)
        given = adopt_from(stage, &stage->digest, &manifest, stage->blobs.sha256, err);
    if (given != 0)
        return given < 0 ? -1 : 0;
    const char *name = digest_hex(&stage->digest);
    if (fs_create(stage->blobs.sha256, name, cd->file_mode, stage->bytes, stage->len) < 0)
        return error_errno(err, errno, "cannot write manifest %s", stage->digest.text);
    return pool_put(cd, stage->blobs.sha256, name, &stage->digest, false, err);
}

int oci_stage_take(struct cachedir_stage *stage, const struct descriptor *blob, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = digest_hex(&blob->digest);
    int to = blobs_make_directory(cd, &stage->blobs, &blob->digest);
    struct digest holder;

    if (to < 0)
        return error_errno(err, errno, "cannot make a directory for %s", blob->digest.text);
    if (pool_has(to, name, blob->size, NULL))
        return 1;
    int given = pool_give(cd, blobs_directory(&cd->pool, &blob->digest), to, &blob->digest,
                          blob->size, stage->distrust, err);
    if (given == 0)
        given = adopt_from(stage, &stage->digest, blob, to, err);
    for (size_t i = 0; given == 0 && pool_holder(cd, &blob->digest, i, &holder); i++)
        given = adopt_from(stage, &holder, blob, to, err);
    return given;
}

int oci_blob_place(struct cachedir_blob *b, bool insist, struct error *err)
{
    b->owns_partial = true;
    return partial_open(b->stage->cd, &b->digest, b->size, insist, &b->partial, err);
}

int oci_blob_publish(struct cachedir_blob *b, struct error *err)
{
    struct cachedir *cd = b->stage->cd;
    const int fd = b->partial->fd;
    /* A copy of somebody's partial file, or one that was longer once, may have a tail. */
    if (ftruncate(fd, b->size) < 0 || fs_set_mode(fd, cd->file_mode) < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "cannot sync %s", b->digest.text);
    return pool_put(cd, cd->partial, b->partial->name, &b->digest, true, err);
}

int oci_stage_give(struct cachedir_stage *stage, const struct descriptor *blob, int fd,
                   int64_t start, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = digest_hex(&blob->digest);
    const int to = blobs_make_directory(cd, &stage->blobs, &blob->digest);
    cleanup_error struct error why = {0};

    cleanup_close int copy =
        to < 0 ? -1 : fs_open(to, name, O_RDWR | O_CREAT | O_EXCL, cd->file_mode);
    if (copy < 0)
        return error_errno(err, errno, "cannot create blob %s", name);
    if (fs_copy_range(fd, start == WHOLE_FILE ? 0 : start, copy, 0, blob->size,
                      store_able(cd, CACHEDIR_REFLINKS)) < 0)
        (void)error_errno(&why, errno, "cannot copy blob %s", name);
    else if (pool_hash(copy, WHOLE_FILE, &blob->digest, blob->size, NULL, &why) == 0 &&
             (fs_set_mode(copy, cd->file_mode) < 0 || fsync(copy) < 0))
        (void)error_errno(&why, errno, "cannot sync blob %s", name);
    if (why.kind == ERROR_NONE)
        return pool_put(cd, to, name, &blob->digest, false, err) < 0 ? -1 : 1;
    (void)unlinkat(to, name, 0);
    if (why.kind == ERROR_DIGEST)
        return 0;
    error_move(err, &why);
    return -1;
}

/* ---- publishing ---- */

static json_t *platform_json(struct cachedir_stage *stage)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    struct platform p = {0};
    const struct digest *config = &stage->manifest.config.digest;

    if (fs_read(blobs_directory(&stage->blobs, config), digest_hex(config), CONFIG_SIZE_MAX, &bytes,
                &len) < 0 ||
        config_platform(bytes, len, &p, NULL) < 0)
        return NULL; /* no platform said: the builder does not ask for one here */
    json_t *json = json_pack("{s:s, s:s}", "architecture", p.architecture, "os", p.os);
    if (json && p.variant && *p.variant)
        (void)json_object_set_new(json, "variant", json_string(p.variant));
    if (json && p.os_version && *p.os_version)
        (void)json_object_set_new(json, "os.version", json_string(p.os_version));
    platform_release(&p);
    return json;
}

/* "exactly one descriptor": builders.md's rule is the reader's, go-containerregistry's layout. */
static char *index_text(struct cachedir_stage *stage)
{
    cleanup_json json_t *index = json_pack(
        "{s:i, s:s, s:[{s:s, s:s, s:I, s:o*, s:o*}]}", "schemaVersion", 2, "mediaType",
        MEDIA_OCI_INDEX, "manifests", "mediaType", stage->media_type, "digest", stage->digest.text,
        "size", (json_int_t)stage->len, "platform", platform_json(stage), "annotations",
        stage->reference ? json_pack("{s:s}", STORE_REF_NAME, stage->reference) : NULL);
    char *text = index ? json_dumps(index, JSON_INDENT(2)) : NULL;
    if (!text)
        abort(); /* out of memory: everything in it is valid UTF-8 by construction */
    return text;
}

static int finish_stage(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    cleanup_free char *index = index_text(stage);

    /* The pool, too: an entry does not outlive a power failure that its blobs' names there do not,
     * and no finished blob stands in partial/ again. */
    if (blobs_sync(&stage->blobs) < 0 || blobs_sync(&cd->pool) < 0)
        return error_errno(err, errno, "cannot sync the blobs of %s", stage->digest.text);
    if (fs_create(stage->dir, "oci-layout", cd->file_mode, LAYOUT_TEXT, strlen(LAYOUT_TEXT)) < 0 ||
        fs_create(stage->dir, "index.json", cd->file_mode, index, strlen(index)) < 0 ||
        fs_sync_directory(stage->dir) < 0)
        return error_errno(err, errno, "cannot write the index of %s", stage->digest.text);
    return 0;
}

/* One blob of the entry, from the stage, unless a good one stands there. */
static int mend_blob(struct cachedir_stage *stage, struct blobs *entry, const struct digest *digest,
                     int64_t size, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = digest_hex(digest);
    int from = blobs_directory(&stage->blobs, digest);
    int to = blobs_make_directory(cd, entry, digest);
    struct stat ours, theirs;

    if (to < 0 || fstatat(from, name, &ours, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(err, errno, "blob %s", digest->text);
    if (pool_has(to, name, size, &theirs) &&
        (!stage->distrust || (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino)))
        return 0;
    return pool_replace(cd, from, name, to, name, err);
}

static int mend_blobs(struct cachedir_stage *stage, struct blobs *entry, struct error *err)
{
    const struct manifest *m = &stage->manifest;
    if (mend_blob(stage, entry, &stage->digest, (int64_t)stage->len, err) < 0 ||
        mend_blob(stage, entry, &m->config.digest, m->config.size, err) < 0)
        return -1;
    for (size_t i = 0; i < m->layer_count; i++)
        if (mend_blob(stage, entry, &m->layers[i].digest, m->layers[i].size, err) < 0)
            return -1;
    if (blobs_sync(entry) < 0)
        return error_errno(err, errno, "cannot sync the blobs of %s", stage->digest.text);
    return 0;
}

static int mend_file(struct cachedir_stage *stage, int dir, const char *name, struct error *err)
{
    if (fs_rename(stage->dir, name, dir, name, 0) < 0)
        return store_error(stage->cd, errno, dir, ".", err, "cannot put %s in place", name);
    return 0;
}

/* Blobs first, index.json last, so that whatever a reader sees on the way is a miss or whole. */
static int make_in_place(struct cachedir_stage *stage, int dir, struct error *err)
{
    struct cachedir *cd = stage->cd;
    struct blobs blobs;
    struct stat st;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (fs_set_mode(dir, cd->directory_mode) < 0)
        return error_errno(err, errno, "%s", stage->key.text);
    int r = blobs_make(cd, dir, &blobs);
    if (r < 0)
        (void)store_error(cd, errno, dir, ".", err, "%s/blobs", stage->key.text);
    else
        r = mend_blobs(stage, &blobs, err);
    blobs_close(&blobs);
    if (r < 0)
        return -1;
    if (fstatat(dir, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) < 0 &&
        mend_file(stage, dir, "oci-layout", err) < 0)
        return -1;
    if (cd->format->look(cd, &stage->key, &entry, err) < 0)
        return -1;
    if (entry.state != CACHEDIR_COMPLETE && mend_file(stage, dir, "index.json", err) < 0)
        return -1;
    if (fs_sync_directory(dir) < 0)
        return error_errno(err, errno, "cannot sync %s", stage->key.text);
    return 0;
}

/* Under a name that is free: by a rename, or in place. 1: it is not free, 0, -1. */
static int enter(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = stage->key.text;

    if (store_able(cd, CACHEDIR_RENAME_DIRECTORIES)) {
        if (fs_rename(cd->stage, stage->name, cd->root, name, 0) == 0) {
            stage->published = true;
            return 0;
        }
        const int failed = errno;
        switch (failed) {
        case EEXIST:
        case ENOTEMPTY:
        case ENOTDIR:
            return 1;
        case EINVAL:
            return error_set(err, ERROR_DIRECTORY, "this volume refuses the name %s", name);
        case EOPNOTSUPP:
        case ENOSYS:
        case EXDEV:
        case EIO:
        case EPERM:
            store_unable(cd, CACHEDIR_RENAME_DIRECTORIES, "renaming of directories", failed,
                         "entries are made in place, index.json last");
            break;
        default:
            return store_error(cd, failed, cd->root, ".", err, "cannot publish %s", name);
        }
    }
    cleanup_close int dir = fs_make_directory(cd->root, name, cd->directory_mode);
    if (dir < 0)
        return errno == ENOTDIR || errno == ELOOP
                   ? 1
                   : store_error(cd, errno, cd->root, ".", err, "cannot make %s", name);
    return make_in_place(stage, dir, err);
}

/* What stands there is no directory, or not ours: ours takes its name, it takes ours. */
static int swap_in(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    const char *name = stage->key.text;

    /* One step where the kernel and the file system have it; what was swapped out then lies in
     * the stage and is removed with it. */
    if (store_able(cd, CACHEDIR_RENAME_DIRECTORIES) &&
        fs_rename(cd->stage, stage->name, cd->root, name, RENAME_EXCHANGE) == 0)
        return 0;
    char away[FS_NAME_MAX];
    store_temporary(cd, away, "entry");
    int trash = cd->trash;
    int r = fs_rename(cd->root, name, trash, away, 0);
    if (r < 0 && (errno == EACCES || errno == EPERM)) {
        /* A directory that is not ours may change its name but not its parent. */
        fs_random_name(away, STORE_OWN "-trash-");
        trash = cd->root;
        r = fs_rename(cd->root, name, trash, away, 0);
    }
    if (r < 0 && errno != ENOENT)
        return store_error(cd, errno, cd->root, name, err, "cannot replace %s", name);
    r = enter(stage, err);
    if (store_remove_away(cd, trash, away) < 0)
        store_warn(cd, "%s: what another uid left broken could not be removed: %s/%s", cd->path,
                   trash == cd->root ? "." : STORE_OWN "/trash", away);
    return r > 0 ? error_set(err, ERROR_IO, "something else was put at %s meanwhile", name) : r;
}

/* Something stands under our digest: whole, broken, a file, somebody else's. */
static int settle(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    struct stat st;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (!stage->distrust) {
        if (cd->format->look(cd, &stage->key, &entry, err) < 0)
            return -1;
        if (entry.state == CACHEDIR_COMPLETE)
            return 0; /* lost the race to the same content */
    }
    cleanup_close int dir = fs_open_directory(cd->root, stage->key.text);
    if (dir >= 0 && fstat(dir, &st) == 0 && st.st_uid == cd->uid)
        return make_in_place(stage, dir, err);
    return swap_in(stage, err);
}

static int make_visible(struct cachedir_stage *stage, struct error *err)
{
    int r = enter(stage, err);
    return r > 0 ? settle(stage, err) : r;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

int stage_set_time(struct cachedir_stage *stage, int fd, struct error *err)
{
    struct stat st;
    /* Somebody may have renewed it while its bytes were read. */
    if (stage->renewed &&
        fstatat(stage->cd->root, stage->key.text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        is_later(&st.st_mtim, stage->renewed)) {
        stage->life = st.st_mtim;
        stage->renewed = &stage->life;
    }
    if (stage->renewed &&
        futimens(fd, (const struct timespec[]){{.tv_nsec = UTIME_OMIT}, *stage->renewed}) < 0)
        return error_errno(err, errno, "cannot give %s its time back", stage->key.text);
    return 0;
}

int stage_begin_life(const struct cachedir_stage *stage, struct error *err)
{
    if (!stage->renewed)
        return cachedir_renew(stage->cd, &stage->key, err);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *stage->renewed};
    if (utimensat(stage->cd->root, stage->key.text, times, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(err, errno, "cannot give %s its time back", stage->key.text);
    return 0;
}

int oci_stage_publish(struct cachedir_stage *stage, struct error *err)
{
    struct cachedir *cd = stage->cd;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (finish_stage(stage, err) < 0 || stage_set_time(stage, stage->dir, err) < 0 ||
        make_visible(stage, err) < 0)
        return -1;
    if (fs_sync_directory(cd->root) < 0)
        return error_errno(err, errno, "cannot sync %s", cd->path);
    /* Whichever way it came to stand there, its life begins now, and it must be whole. */
    if (stage_begin_life(stage, err) < 0 || cd->format->look(cd, &stage->key, &entry, err) < 0)
        return -1;
    if (entry.state != CACHEDIR_COMPLETE)
        return error_set(err, ERROR_IO, "%s is not whole after it was published: %s",
                         stage->key.text, entry.problem ? entry.problem : "it vanished");
    return 0;
}
