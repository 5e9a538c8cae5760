/*
 * Entries of format docker-archive: what stands under a digest, read with suspicion. Making them is
 * stage-archive.c's.
 *
 *     sha256:<hex>          ours: manifest.json, config, layers, and the registry's manifest, all
 *                           but the first named blobs/sha256/<hex>
 *     sha256:<hex>          of kaniko's own warmer: config, layers, manifest.json, and the
 *     sha256:<hex>.json     registry's manifest beside it
 *
 * Where the registry's manifest is, its digest is the entry's name, and everything else follows
 * from it; an alias has another name, which .basewarm/aliases proves. Where the manifest is lost,
 * the builder reads the archive all the same, and so do we: then a layer is known by LayerSources,
 * or by its member's name.
 */
#include "alias.h"
#include "alloc.h"
#include "docker-archive.h"
#include "reference.h"
#include "store.h"
#include "tar.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BESIDE (-1) /* a blob's offset: it is the .json beside the archive */

struct reading {
    struct cachedir *cd;
    struct cachedir_entry *entry;
    int fd;
    struct stat st;
    struct tar_members members;
    struct manifest manifest; /* kind 0: it is not here */
    struct docker_archive image;
    struct digest *diff_ids;
    size_t diff_id_count;
};

static void reading_release(struct reading *r)
{
    if (r->fd >= 0)
        close(r->fd);
    tar_members_release(&r->members);
    manifest_release(&r->manifest);
    docker_archive_release(&r->image);
    free(r->diff_ids);
}

static void note_blob(struct reading *r, const struct digest *digest, int64_t size, int64_t offset)
{
    struct cachedir_entry *e = r->entry;
    const size_t before = e->blob_count;
    entry_add_blob(e, digest, size);
    if (e->blob_count == before)
        return; /* a layer that repeats */
    struct cachedir_blob_info *blob = &e->blobs[before];
    blob->present = true;
    blob->inode = r->st.st_ino;
    blob->links = r->st.st_nlink;
    blob->offset = offset;
    e->size += size;
}

/* A small member's bytes; owned; NULL: broken, and said why. */
static char *read_member(struct reading *r, const char *name, const char *what, size_t max,
                         const struct tar_member **ret)
{
    const struct tar_member *member = tar_find(&r->members, name);
    if (!member) {
        entry_broken(r->entry, "%s is missing in the archive", what);
        return NULL;
    }
    if (member->offset < 0 || (uintmax_t)member->size > max) {
        entry_broken(r->entry, "%s is no regular file of at most %zu bytes", what, max);
        return NULL;
    }
    char *bytes = xmalloc((size_t)member->size + 1);
    if (fs_pread_all(r->fd, bytes, (size_t)member->size, member->offset) < 0) {
        entry_unread(r->entry, what);
        free(bytes);
        return NULL;
    }
    bytes[member->size] = '\0';
    *ret = member;
    return bytes;
}

/* What kaniko's own warmer leaves beside the archive. The builder believes it, so it must be the
 * manifest, whether we need it or not. */
static void read_beside(struct reading *r, char **bytes, size_t *len)
{
    struct cachedir_entry *e = r->entry;
    cleanup_free char *name = xasprintf("%s" ARCHIVE_BESIDE, entry_manifest(e)->text);
    cleanup_free char *beside = NULL;
    size_t beside_len;
    cleanup_error struct error why = {0};

    if (fs_read(r->cd->root, name, MANIFEST_SIZE_MAX, &beside, &beside_len) < 0) {
        if (errno != ENOENT)
            entry_unread(e, "the manifest beside it");
    } else if (digest_check(entry_manifest(e), beside, beside_len, &why) < 0) {
        entry_broken(e, "the .json beside it is not its manifest");
    } else if (!*bytes) {
        note_blob(r, entry_manifest(e), (int64_t)beside_len, BESIDE);
        *bytes = take_ptr(beside);
        *len = beside_len;
    }
}

static char *manifest_name(const struct cachedir_entry *e)
{
    return xasprintf("blobs/sha256/%s", digest_hex(entry_manifest(e)));
}

/* Does it hold another manifest than its name says? */
static void read_alias(struct reading *r)
{
    cleanup_free char *name = manifest_name(r->entry);
    cleanup_alias struct alias alias = {0};
    if (!tar_find(&r->members, name) && alias_read(r->cd, &r->entry->digest, &alias, NULL) > 0)
        r->entry->alias_of = alias.manifest;
}

static void read_manifest(struct reading *r)
{
    struct cachedir_entry *e = r->entry;
    read_alias(r);
    cleanup_free char *name = manifest_name(e);
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    const struct tar_member *member;
    cleanup_error struct error why = {0};

    if (tar_find(&r->members, name)) {
        bytes = read_member(r, name, "the manifest", MANIFEST_SIZE_MAX, &member);
        if (!bytes)
            return;
        len = (size_t)member->size;
        if (digest_check(entry_manifest(e), bytes, len, NULL) < 0) {
            entry_broken(e, "the manifest is damaged");
            return;
        }
        note_blob(r, entry_manifest(e), member->size, member->offset);
    }
    read_beside(r, &bytes, &len);
    if (!bytes) { /* known by its digest alone */
        if (digest_is_set(&e->alias_of))
            entry_broken(e, "the manifest %s, which it is to hold, is missing", e->alias_of.text);
        entry_add_blob(e, entry_manifest(e), 0);
        return;
    }
    if (manifest_parse(bytes, len, NULL, &r->manifest, NULL, &why) < 0)
        entry_broken(e, "the manifest: %s", why.message);
    else if (r->manifest.kind != MANIFEST_IMAGE)
        entry_broken(e, "the manifest is an index");
    else
        e->media_type = xstrdup(r->manifest.media_type);
}

static void read_reference(struct reading *r)
{
    cleanup_reference struct reference ref = {0};
    if (r->image.tag_count > 0 && reference_parse(r->image.tags[0], &ref, NULL) == 0)
        r->entry->reference = xstrdup(ref.name);
}

static void read_config(struct reading *r)
{
    struct cachedir_entry *e = r->entry;
    const struct tar_member *member;
    struct digest digest, said;
    cleanup_error struct error why = {0};
    cleanup_free char *bytes =
        read_member(r, r->image.config, "the config", CONFIG_SIZE_MAX, &member);
    if (!bytes)
        return;
    const size_t len = (size_t)member->size;
    digest_of(bytes, len, &digest);
    const bool known = r->manifest.kind != 0;
    if (known)
        said = r->manifest.config.digest;
    if ((known || docker_archive_digest(r->image.config, &said)) && !digest_equal(&digest, &said))
        entry_broken(e, "the config is damaged");
    else if (config_diff_ids(bytes, len, &r->diff_ids, &r->diff_id_count, &why) < 0)
        entry_broken(e, "%s", why.message);
    else {
        note_blob(r, &digest, member->size, member->offset);
        entry_set_platform(e, bytes, len);
    }
}

/* What a layer should be, as far as anything here says; false: nothing does. */
static bool expected_layer(const struct reading *r, size_t i, struct digest *digest, int64_t *size)
{
    const struct docker_source *source = docker_archive_source(&r->image, &r->diff_ids[i]);
    if (r->manifest.kind != 0) {
        *digest = r->manifest.layers[i].digest;
        *size = r->manifest.layers[i].size;
        return true;
    }
    if (source) {
        *digest = source->digest;
        *size = source->size;
        return true;
    }
    return docker_archive_digest(r->image.layers[i], digest);
}

static void read_layer(struct reading *r, size_t i, enum layer_encoding *ret_encoding)
{
    struct cachedir_entry *e = r->entry;
    const struct docker_source *source = docker_archive_source(&r->image, &r->diff_ids[i]);
    const struct tar_member *member = tar_find(&r->members, r->image.layers[i]);
    char magic[LAYER_MAGIC_SIZE];
    struct digest digest;

    if (!member || member->offset < 0) {
        entry_broken(e, "layer %zu is %s", i + 1,
                     member ? "no regular file" : "missing in the archive");
        return;
    }
    int64_t size = member->size;
    const bool known = expected_layer(r, i, &digest, &size);
    if (size != member->size || (source && source->size != member->size)) {
        entry_broken(e, "layer %zu has %lld bytes instead of %lld", i + 1, (long long)member->size,
                     (long long)(size != member->size ? size : source->size));
        return;
    }
    const size_t len = size < LAYER_MAGIC_SIZE ? (size_t)size : LAYER_MAGIC_SIZE;
    if (fs_pread_all(r->fd, magic, len, member->offset) < 0) {
        cleanup_free char *what = xasprintf("layer %zu", i + 1);
        entry_unread(e, what);
        return;
    }
    *ret_encoding = layer_encoding(magic, len);
    if (known)
        note_blob(r, &digest, size, member->offset);
    else
        e->size += size;
}

/* The first layer decides for the builder's library whether all are plain. */
static void read_layers(struct reading *r)
{
    struct cachedir_entry *e = r->entry;
    enum layer_encoding first = LAYER_GZIP, encoding = LAYER_GZIP;

    if (r->image.layer_count != r->diff_id_count ||
        (r->manifest.kind != 0 && r->image.layer_count != r->manifest.layer_count)) {
        entry_broken(e, "manifest.json names %zu layers, the config %zu", r->image.layer_count,
                     r->diff_id_count);
        return;
    }
    for (size_t i = 0; i < r->image.layer_count; i++) {
        read_layer(r, i, &encoding);
        if (i == 0)
            first = encoding;
        else if (first == LAYER_PLAIN && encoding != LAYER_PLAIN)
            entry_broken(e,
                         "layer %zu is compressed and the first is not, which builders "
                         "misread",
                         i + 1);
    }
}

/* One of ours has its manifest in it: a blob more than kaniko's have is that of another image, and
 * no alias that is proven. */
static void read_others(struct reading *r)
{
    for (size_t i = 0; i < r->members.count; i++) {
        const char *name = r->members.list[i].name;
        bool known = strncmp(name, "blobs/", 6) != 0 || strcmp(name, r->image.config) == 0;
        for (size_t j = 0; j < r->image.layer_count && !known; j++)
            known = strcmp(name, r->image.layers[j]) == 0;
        if (!known) {
            entry_broken(r->entry, "it holds another manifest than its name says");
            return;
        }
    }
}

static void look_inside(struct reading *r)
{
    struct cachedir_entry *e = r->entry;
    const struct tar_member *member;
    cleanup_error struct error why = {0};

    if (tar_scan(r->fd, &r->members, &why) < 0) {
        e->unreadable = why.kind != ERROR_PROTOCOL && why.kind != ERROR_DIGEST;
        entry_broken(e, "%s", why.message);
    }
    read_manifest(r);
    cleanup_free char *json =
        read_member(r, "manifest.json", "manifest.json", DOCKER_ARCHIVE_JSON_MAX, &member);
    if (!json)
        return;
    error_clear(&why);
    if (docker_archive_parse(json, (size_t)member->size, &r->image, &why) < 0) {
        entry_broken(e, "manifest.json: %s", why.message);
        return;
    }
    read_reference(r);
    if (r->manifest.kind != MANIFEST_INDEX)
        read_config(r);
    if (r->manifest.kind == 0)
        read_others(r);
    if (e->state == CACHEDIR_COMPLETE)
        read_layers(r);
}

static int archive_look(struct cachedir *cd, const struct digest *digest,
                        struct cachedir_entry *ret, struct error *err)
{
    struct cachedir_entry e = {.digest = *digest};
    struct reading r = {.cd = cd, .entry = &e, .fd = -1};

    if (fstatat(cd->root, digest->text, &r.st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_errno(err, errno, "%s", digest->text);
        *ret = e;
        return 0;
    }
    e.state = CACHEDIR_COMPLETE;
    e.renewed = r.st.st_mtim;
    if (S_ISDIR(r.st.st_mode)) {
        entry_broken(&e, "is a directory (format oci?) where format docker-archive has a file");
    } else if (!S_ISREG(r.st.st_mode)) {
        entry_broken(&e, "is not a regular file");
    } else {
        r.fd = fs_open(cd->root, digest->text, O_RDONLY | O_NONBLOCK, 0);
        const bool opened = r.fd >= 0 && fstat(r.fd, &r.st) == 0;
        if (opened && S_ISDIR(r.st.st_mode)) /* since the look above */
            entry_broken(&e, "is a directory (format oci?) now");
        else if (opened)
            look_inside(&r);
        else if (errno == ENOENT)
            e.state = CACHEDIR_ABSENT;
        else
            entry_unopened(&e, &r.st);
    }
    reading_release(&r);
    *ret = e;
    return 0;
}

static char *archive_blob_path(const struct digest *entry, const struct cachedir_blob_info *blob,
                               int64_t *ret_start)
{
    const bool beside = blob->offset == BESIDE;
    *ret_start = beside ? WHOLE_FILE : blob->offset;
    /* Of an alias, too, it is the entry's, whose name is the manifest's digest. */
    return beside ? xasprintf("%s" ARCHIVE_BESIDE, blob->digest.text) : xstrdup(entry->text);
}

static int archive_manifest(struct cachedir *cd, const struct digest *digest, char **ret,
                            size_t *ret_len, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    cleanup_free char *bytes = NULL;
    if (archive_look(cd, digest, &e, err) < 0)
        return -1;
    const struct cachedir_blob_info *blob = entry_blob(&e, digest);
    if (!blob && e.unreadable)
        return error_set(err, ERROR_IO, "%s %s", digest->text, e.problem);
    /* It may have gone or changed since the look: then it is not here. */
    if (!blob || entry_blob_read(cd, digest, blob, &bytes) < 0 ||
        digest_check(digest, bytes, (size_t)blob->size, NULL) < 0)
        return 0;
    *ret = take_ptr(bytes);
    *ret_len = (size_t)blob->size;
    return 1;
}

int archive_hash(struct cachedir *cd, const struct cachedir_entry *e, struct error *err)
{
    for (size_t i = 0; i < e->blob_count; i++) {
        int64_t start;
        if (!e->blobs[i].present)
            continue;
        cleanup_free char *path = archive_blob_path(&e->digest, &e->blobs[i], &start);
        cleanup_close int fd = fs_open(cd->root, path, O_RDONLY | O_NONBLOCK, 0);
        if (fd < 0 && errno == ENOENT)
            return error_set(err, ERROR_NOT_FOUND, "%s vanished", path);
        if (fd < 0)
            return error_errno(err, errno, "cannot read %s", path);
        if (pool_hash(fd, start, &e->blobs[i].digest, e->blobs[i].size, NULL, err) < 0)
            return -1;
    }
    return 0;
}

/* kaniko's warmer leaves 0600, which only it can read, and unsynced. Not ours to change: then it
 * stays. */
static int make_readable(struct cachedir *cd, const char *name, struct error *err)
{
    struct stat st;
    cleanup_close int fd = fs_open(cd->root, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot read %s", name);
    if (st.st_uid == cd->uid && (st.st_mode & 07777) != cd->file_mode &&
        fs_set_mode(fd, cd->file_mode) < 0)
        return error_errno(err, errno, "%s", name);
    if (fsync(fd) < 0)
        return error_errno(err, errno, "cannot sync %s", name);
    return 0;
}

/* Nobody hashed it before it was published here: we do, once. */
static int archive_adopt(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, digest->text);
    if (archive_look(cd, digest, &e, err) < 0)
        return -1;
    if (e.state != CACHEDIR_COMPLETE)
        return error_set(err, ERROR_DIGEST, "%s is broken: %s", digest->text,
                         e.problem ? e.problem : "it vanished");
    if (archive_hash(cd, &e, err) < 0 || make_readable(cd, digest->text, err) < 0 ||
        make_readable(cd, beside, err) < 0)
        return -1;
    const struct cachedir_blob_info *manifest = entry_blob(&e, digest);
    if (manifest && manifest->offset == BESIDE && strcmp(e.media_type, MEDIA_OCI_MANIFEST) == 0)
        store_warn(cd,
                   "%s: what archived kaniko's warmer left beside its archives makes builders "
                   "write images that registries refuse: remove those entries and warm again",
                   cd->path);
    return 0;
}

static int archive_verify(struct cachedir *cd, const struct cachedir_entry *e,
                          void (*problem)(void *userdata, const char *where, const char *what),
                          void *userdata, struct error *err)
{
    (void)cd;
    (void)err;
    if (e->state == CACHEDIR_BROKEN)
        problem(userdata, e->digest.text, e->problem);
    return 0;
}

const struct entry_format entry_archive = {
    .name = "docker-archive",
    .format = CACHEDIR_FORMAT_DOCKER_ARCHIVE,
    .is_file = true,
    .look = archive_look,
    .manifest = archive_manifest,
    .adopt = archive_adopt,
    .blob_path = archive_blob_path,
    .stage_begin = archive_stage_begin,
    .stage_take = archive_stage_take,
    .stage_publish = archive_stage_publish,
    .stage_give = archive_stage_give,
    .stage_end = archive_stage_end,
    .blob_place = archive_blob_place,
    .blob_publish = archive_blob_publish,
    .has_blob = archive_has_blob,
    .verify = archive_verify,
};
