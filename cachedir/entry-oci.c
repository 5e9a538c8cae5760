/*
 * Entries of format oci: what stands under a digest, read with suspicion. Making them is stage.c's.
 */
#include "alias.h"
#include "alloc.h"
#include "json.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define LOOKS_MAX 5 /* at an entry that others replace again and again */

void entry_broken(struct cachedir_entry *e, const char *format, ...)
{
    if (e->state == CACHEDIR_BROKEN)
        return; /* the first reason is the one that a builder would meet */
    va_list args;
    va_start(args, format);
    e->problem = xvasprintf(format, args);
    va_end(args);
    e->state = CACHEDIR_BROKEN;
}

/* Damage is what everybody sees. The rest may pass, or is another's permission. */
static bool is_damage(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == EISDIR ||
           errnum == EFBIG || errnum == EINVAL;
}

void entry_unread(struct cachedir_entry *e, const char *what)
{
    const int saved = errno;
    e->unreadable |= !is_damage(saved);
    if (saved == ENOENT)
        entry_broken(e, "%s is missing", what);
    else
        entry_broken(e, "%s: %s", what, strerror(saved));
}

void entry_unopened(struct cachedir_entry *e, const struct stat *st)
{
    const int saved = errno;
    e->unreadable |= !is_damage(saved);
    entry_broken(e, "cannot be opened: %s (owner %u, mode %04o)", strerror(saved),
                 (unsigned)st->st_uid, (unsigned)st->st_mode & 07777U);
}

void entry_add_blob(struct cachedir_entry *e, const struct digest *digest, int64_t size)
{
    for (size_t i = 0; i < e->blob_count; i++)
        if (digest_equal(&e->blobs[i].digest, digest))
            return;
    struct cachedir_blob_info *blob = array_add(e->blobs, e->blob_count);
    blob->digest = *digest;
    blob->size = size;
}

bool entry_name(const char *name, struct digest *ret)
{
    return strncmp(name, "sha256:", 7) == 0 && digest_parse(name, ret, NULL) == 0;
}

void cachedir_entry_release(struct cachedir_entry *e)
{
    free(e->problem);
    free(e->media_type);
    free(e->reference);
    platform_release(&e->platform);
    free(e->blobs);
    *e = (struct cachedir_entry){0};
}

/* The one descriptor of an entry's index.json. false: broken, and said why. */
static bool read_index(struct cachedir_entry *e, int dir, struct digest *ret, int64_t *ret_size)
{
    cleanup_free char *text = NULL;
    size_t len;
    cleanup_error struct error why = {0};

    if (fs_read(dir, "index.json", ENTRY_INDEX_SIZE_MAX, &text, &len) < 0) {
        entry_unread(e, "index.json");
        return false;
    }
    cleanup_json json_t *index = json_object_parse(text, len, &why);
    if (!index) {
        entry_broken(e, "index.json: %s", why.message);
        return false;
    }
    const json_t *manifests = json_object_get(index, "manifests");
    if (json_array_size(manifests) != 1) {
        entry_broken(e, "index.json names %zu manifests, not one", json_array_size(manifests));
        return false;
    }
    const json_t *descriptor = json_array_get(manifests, 0);
    const char *media_type = json_member_string(descriptor, "mediaType");
    const char *digest = json_member_string(descriptor, "digest");
    if (!media_type || !media_type_is_image(media_type)) {
        cleanup_free char *shown = text_foreign_str(media_type);
        entry_broken(e, "index.json: mediaType \"%s\" is none that the builder reads", shown);
        return false;
    }
    if (!digest || digest_parse(digest, ret, &why) < 0) {
        entry_broken(e, "index.json: %s", digest ? why.message : "no digest");
        return false;
    }
    if (!json_member_integer(descriptor, "size", ret_size) || *ret_size < 0) {
        entry_broken(e, "index.json: no size");
        return false;
    }
    e->media_type = xstrdup(media_type);
    const char *reference =
        json_member_string(json_object_get(descriptor, "annotations"), STORE_REF_NAME);
    e->reference = reference ? xstrdup(reference) : NULL;
    const json_t *platform = json_object_get(descriptor, "platform");
    const char *os = json_member_string(platform, "os");
    const char *architecture = json_member_string(platform, "architecture");
    const char *variant = json_member_string(platform, "variant");
    if (os && architecture)
        e->platform = (struct platform){
            .os = text_foreign_str(os),
            .architecture = text_foreign_str(architecture),
            .variant = variant ? text_foreign_str(variant) : NULL,
        };
    return true;
}

void entry_set_platform(struct cachedir_entry *e, const void *config, size_t len)
{
    struct platform raw = {0};
    if (e->platform.os || config_platform(config, len, &raw, NULL) < 0)
        return;
    e->platform = (struct platform){
        .os = text_foreign_str(raw.os),
        .architecture = text_foreign_str(raw.architecture),
        .variant = raw.variant && *raw.variant ? text_foreign_str(raw.variant) : NULL,
    };
    platform_release(&raw);
}

static void read_platform(struct cachedir_entry *e, struct blobs *blobs,
                          const struct digest *config)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    if (!e->platform.os && fs_read(blobs_directory(blobs, config), digest_hex(config),
                                   CONFIG_SIZE_MAX, &bytes, &len) == 0)
        entry_set_platform(e, bytes, len);
}

static void look_at_blobs(struct cachedir_entry *e, struct blobs *blobs,
                          const struct manifest *manifest)
{
    entry_add_blob(e, &manifest->config.digest, manifest->config.size);
    for (size_t i = 0; i < manifest->layer_count; i++)
        entry_add_blob(e, &manifest->layers[i].digest, manifest->layers[i].size);

    for (size_t i = 0; i < e->blob_count; i++) {
        struct cachedir_blob_info *blob = &e->blobs[i];
        int dir = blobs_directory(blobs, &blob->digest);
        const char *name = digest_hex(&blob->digest);
        struct stat st;
        char brief[DIGEST_SHORT_SIZE];
        digest_short(&blob->digest, brief);
        if (dir < 0) {
            entry_broken(e, "blob %s is missing", brief);
        } else if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            cleanup_free char *what = xasprintf("blob %s", brief);
            entry_unread(e, what);
        } else if (!S_ISREG(st.st_mode)) {
            entry_broken(e, "blob %s is %s", brief,
                         S_ISLNK(st.st_mode) ? "a symbolic link, which the builder refuses"
                                             : "no regular file");
        } else if (st.st_size != blob->size) {
            entry_broken(e, "blob %s has %lld bytes instead of %lld", brief, (long long)st.st_size,
                         (long long)blob->size);
        } else if (!fs_may_read(dir, name, &st)) {
            entry_broken(e, "blob %s cannot be read (owner %u, mode %04o)", brief,
                         (unsigned)st.st_uid, (unsigned)st.st_mode & 07777U);
        } else {
            blob->present = true;
            blob->inode = st.st_ino;
            blob->links = st.st_nlink;
            e->size += st.st_size;
        }
    }
}

/* An entry that holds another manifest than its name says is an alias, where that is proven. */
static bool is_alias(struct cachedir *cd, struct cachedir_entry *e, const struct digest *manifest)
{
    cleanup_alias struct alias alias = {0};
    if (alias_read(cd, &e->digest, &alias, NULL) <= 0 || !digest_equal(&alias.manifest, manifest)) {
        entry_broken(e, "index.json names another manifest, %s", manifest->text);
        return false;
    }
    e->alias_of = *manifest;
    return true;
}

/* Only what a look needs, for it is thousands of them: no blobs/ itself, and of sha512 nothing
 * before it is named. -1, errno. */
static int open_blobs(int entry, struct blobs *ret)
{
    *ret = (struct blobs){-1, fs_open_directory(entry, "blobs/sha256"), -1};
    if (ret->sha256 < 0 && errno == ENOENT)
        ret->parent = fs_open_directory(entry, "blobs");
    return ret->sha256 < 0 && ret->parent < 0 ? -1 : 0;
}

static void need_blob(int entry, struct blobs *blobs, const struct digest *digest)
{
    if (!digest_is_sha256(digest) && blobs->sha512 < 0)
        blobs->sha512 = fs_open_directory(entry, "blobs/sha512");
}

static void look_inside(struct cachedir *cd, struct cachedir_entry *e, int dir)
{
    struct digest digest;
    int64_t size;
    if (!read_index(e, dir, &digest, &size))
        return;
    if (!digest_equal(&digest, &e->digest) && !is_alias(cd, e, &digest))
        return;
    struct blobs blobs;
    if (open_blobs(dir, &blobs) < 0) {
        entry_unread(e, "blobs");
        return;
    }
    need_blob(dir, &blobs, &digest);
    cleanup_free char *bytes = NULL;
    size_t len;
    cleanup_error struct error why = {0};
    cleanup_manifest struct manifest manifest = {0};
    entry_add_blob(e, &digest, size);
    if (fs_read(blobs_directory(&blobs, &digest), digest_hex(&digest), MANIFEST_SIZE_MAX, &bytes,
                &len) < 0)
        entry_unread(e, "the manifest");
    else if ((int64_t)len != size || digest_check(&digest, bytes, len, &why) < 0)
        entry_broken(e, "the manifest is damaged");
    else if (manifest_parse(bytes, len, e->media_type, &manifest, NULL, &why) < 0)
        entry_broken(e, "the manifest: %s", why.message);
    else if (manifest.kind != MANIFEST_IMAGE)
        entry_broken(e, "the manifest is an index");
    else {
        need_blob(dir, &blobs, &manifest.config.digest);
        for (size_t i = 0; i < manifest.layer_count; i++)
            need_blob(dir, &blobs, &manifest.layers[i].digest);
        look_at_blobs(e, &blobs, &manifest);
        read_platform(e, &blobs, &manifest.config.digest);
    }
    blobs_close(&blobs);
}

/* Does it still have its name? Else it was taken away, and what it lacks says nothing. */
static bool still_stands(struct cachedir *cd, const char *name, int dir)
{
    struct stat held, named;
    return fstat(dir, &held) == 0 && fstatat(cd->root, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

static int look_once(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                     bool *ret_changed, struct error *err)
{
    struct cachedir_entry e = {.digest = *digest};
    struct stat st;

    *ret_changed = false;
    if (fstatat(cd->root, digest->text, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            return error_errno(err, errno, "%s", digest->text);
        *ret = e;
        return 0;
    }
    e.state = CACHEDIR_COMPLETE;
    e.renewed = st.st_mtim;
    cleanup_close int dir = fs_open_directory(cd->root, digest->text);
    if (dir >= 0) {
        look_inside(cd, &e, dir);
        *ret_changed = e.state == CACHEDIR_BROKEN && !still_stands(cd, digest->text, dir);
    } else if (errno == ENOTDIR)
        entry_broken(&e, "is a file (a docker-archive?) where format oci has a directory");
    else if (errno == ENOENT)
        e.state = CACHEDIR_ABSENT;
    else
        entry_unopened(&e, &st);
    *ret = e;
    return 0;
}

static int oci_look(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                    struct error *err)
{
    bool changed;
    int r = look_once(cd, digest, ret, &changed, err);
    for (int tries = 1; r == 0 && changed && tries < LOOKS_MAX; tries++) {
        cachedir_entry_release(ret);
        r = look_once(cd, digest, ret, &changed, err);
    }
    return r;
}

/* Names below `dir` that are none of `known`. */
static int report_strays(int dir, const char *where, bool (*known)(const char *, const void *),
                         const void *context,
                         void (*problem)(void *userdata, const char *where, const char *what),
                         void *userdata, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(dir, &names, &count) < 0)
        return error_errno(err, errno, "%s", where);
    for (size_t i = 0; i < count; i++) {
        if (known(names[i], context))
            continue;
        cleanup_free char *shown = text_foreign_str(names[i]);
        cleanup_free char *what = xasprintf("stray file \"%s\"", shown);
        problem(userdata, where, what);
    }
    return 0;
}

static bool known_at_top(const char *name, const void *context)
{
    (void)context;
    return strcmp(name, "oci-layout") == 0 || strcmp(name, "index.json") == 0 ||
           strcmp(name, "blobs") == 0;
}

struct known_blobs {
    const struct cachedir_entry *entry;
    const char *algorithm;
};

static bool known_blob(const char *name, const void *context)
{
    const struct known_blobs *known = context;
    for (size_t i = 0; i < known->entry->blob_count; i++) {
        const struct digest *digest = &known->entry->blobs[i].digest;
        if (strncmp(digest->text, known->algorithm, 6) == 0 &&
            strcmp(digest_hex(digest), name) == 0)
            return true;
    }
    return false;
}

static int oci_verify(struct cachedir *cd, const struct cachedir_entry *e,
                      void (*problem)(void *userdata, const char *where, const char *what),
                      void *userdata, struct error *err)
{
    const char *where = e->digest.text;
    if (e->state == CACHEDIR_BROKEN) {
        problem(userdata, where, e->problem);
        return 0; /* strays of a broken entry go with it */
    }
    cleanup_close int dir = fs_open_directory(cd->root, where);
    if (dir < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "%s", where);
    struct stat st;
    if (fstatat(dir, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) < 0 && still_stands(cd, where, dir))
        problem(userdata, where, "oci-layout is missing");
    if (report_strays(dir, where, known_at_top, NULL, problem, userdata, err) < 0)
        return -1;
    struct blobs blobs;
    if (blobs_open(dir, &blobs) < 0)
        return still_stands(cd, where, dir) ? error_errno(err, errno, "%s/blobs", where) : 0;
    int r = 0;
    if (blobs.sha256 >= 0)
        r = report_strays(blobs.sha256, where, known_blob, &(struct known_blobs){e, "sha256"},
                          problem, userdata, err);
    if (r == 0 && blobs.sha512 >= 0)
        r = report_strays(blobs.sha512, where, known_blob, &(struct known_blobs){e, "sha512"},
                          problem, userdata, err);
    blobs_close(&blobs);
    return r;
}

static char *oci_blob_path(const struct digest *entry, const struct cachedir_blob_info *blob,
                           int64_t *ret_start)
{
    *ret_start = WHOLE_FILE;
    return xasprintf("%s/blobs/%s/%s", entry->text,
                     digest_is_sha256(&blob->digest) ? "sha256" : "sha512",
                     digest_hex(&blob->digest));
}

const struct entry_format entry_oci = {
    .name = "oci",
    .format = CACHEDIR_FORMAT_OCI,
    .look = oci_look,
    .manifest = oci_manifest,
    .adopt = oci_adopt,
    .blob_path = oci_blob_path,
    .stage_begin = oci_stage_begin,
    .stage_take = oci_stage_take,
    .stage_publish = oci_stage_publish,
    .stage_give = oci_stage_give,
    .blob_place = oci_blob_place,
    .blob_publish = oci_blob_publish,
    .has_blob = oci_has_blob,
    .verify = oci_verify,
};
