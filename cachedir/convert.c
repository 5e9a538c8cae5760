/*
 * From one format of entries to the other, without fetching.
 *
 *     for each entry of the old kind:  its blobs --copied or cloned, hashed--> a stage of the new
 *                                      the stage takes its time, and its name, in one step where
 *                                      that is possible; what only it used goes
 *     then:                            names, .basewarm/format, and what the old format had at the
 *                                      root
 *
 * An entry's kind is seen on the disk: a directory is oci's, a file docker-archive's. So whatever a
 * killed conversion left, the next one goes on with, and one to the format that the directory has
 * already does what is left to do.
 */
#include "alias.h"
#include "alloc.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct conversion {
    struct cachedir *from, *to;
    const volatile bool *stop;
    void (*told)(void *userdata, const struct cachedir_conversion *conversion);
    void *userdata;
    struct cachedir_name *names; /* of the old format */
    size_t name_count;
    struct digest *named; /* blobs that index.json keeps for other tools */
    size_t named_count;
    struct cachedir_convert_result result;
};

static const char *reference_of(const struct conversion *c, const struct cachedir_entry *e)
{
    for (size_t i = 0; i < c->name_count; i++)
        if (digest_equal(&c->names[i].manifest, &e->digest))
            return c->names[i].reference;
    return e->reference;
}

/* `kept`: NULL when it was converted. */
static void tell(struct conversion *c, const struct cachedir_entry *e, const char *kept)
{
    const char *reference = reference_of(c, e);
    cleanup_free char *shown = reference ? text_foreign_str(reference) : NULL;
    if (kept) {
        c->result.kept++;
    } else {
        c->result.converted++;
        c->result.bytes += e->size;
    }
    if (c->told)
        c->told(c->userdata, &(struct cachedir_conversion){&e->digest, shown, kept, e->size});
}

/* ---- one entry ---- */

/* 1 it is in the stage, 0 it is not good, -1. */
static int give(const struct conversion *c, const struct cachedir_entry *e,
                struct cachedir_stage *stage, const struct descriptor *blob, struct error *err)
{
    int64_t start;
    int taken = cachedir_stage_take(stage, blob, err);
    const struct cachedir_blob_info *info = entry_blob(e, &blob->digest);
    if (taken != 0 || !info || info->size != blob->size)
        return taken;
    cleanup_free char *path = c->from->format->blob_path(&e->digest, info, &start);
    cleanup_close int fd = fs_open(c->from->root, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "cannot read %s", path);
    return c->to->format->stage_give(stage, blob, fd, start, err);
}

/* 1, 0 and *ret_why, -1. */
static int give_all(const struct conversion *c, const struct cachedir_entry *e,
                    struct cachedir_stage *stage, char **ret_why, struct error *err)
{
    const struct manifest *m = &stage->manifest;
    int given = give(c, e, stage, &m->config, err);
    if (given == 0)
        *ret_why = xasprintf("the config %s is damaged", m->config.digest.text);
    for (size_t i = 0; i < m->layer_count && given > 0; i++) {
        if (c->stop && *c->stop)
            return error_set(err, ERROR_INTERRUPTED, "stopped");
        given = give(c, e, stage, &m->layers[i], err);
        if (given == 0)
            *ret_why = xasprintf("layer %s is damaged", m->layers[i].digest.text);
    }
    return given;
}

/* Failures that are the image's, and not the directory's. 0 and *ret_why, or -1. */
static int explain(struct error *why, char **ret_why, struct error *err)
{
    if (why->kind == ERROR_PROTOCOL || why->kind == ERROR_LOCKED || why->kind == ERROR_DIGEST ||
        why->kind == ERROR_REFUSED) {
        *ret_why = text_foreign_str(why->message);
        return 0;
    }
    error_move(err, why);
    return -1;
}

/* Make it anew in the other format, over the old. 1, 0 and *ret_why, -1. */
static int make_anew(struct conversion *c, const struct cachedir_entry *e, char **ret_why,
                     struct error *err)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    struct cachedir_stage *stage = NULL;
    cleanup_error struct error why = {0};

    int r = cachedir_manifest(c->from, &e->digest, &bytes, &len, err);
    if (r == 0)
        *ret_why = xstrdup("the registry's manifest is not here: warm it again");
    if (r <= 0)
        return r;
    if (cachedir_stage_new(c->to, &e->digest, e->media_type, bytes, len, reference_of(c, e), false,
                           &stage, &why) < 0)
        return explain(&why, ret_why, err);
    stage->renewed = &e->renewed;
    r = give_all(c, e, stage, ret_why, err);
    if (r > 0 && cachedir_stage_publish(stage, &why) < 0)
        r = explain(&why, ret_why, err);
    stage->abandoned = r == 0;
    cachedir_stage_free(stage);
    return r;
}

static bool is_named(const struct conversion *c, const struct digest *digest)
{
    for (size_t i = 0; i < c->named_count; i++)
        if (digest_equal(&c->named[i], digest))
            return true;
    return false;
}

/* What only it used goes. */
static int finish_entry(struct conversion *c, const struct cachedir_entry *e, struct error *err)
{
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, e->digest.text);
    if (fs_remove(c->to->root, beside) < 0)
        return store_error(c->to, errno, c->to->root, beside, err, "cannot remove %s", beside);
    /* So that no more space is needed than one entry has. Entries that share a blob have links of
     * their own to it, or copies. */
    for (size_t i = 0; i < e->blob_count && c->to->format->is_file; i++) {
        const struct digest *digest = &e->blobs[i].digest;
        int pool = blobs_directory(&c->from->pool, digest);
        struct stat st;
        if (pool < 0 || is_named(c, digest) ||
            fstatat(pool, digest_hex(digest), &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_nlink > 1)
            continue;
        if (unlinkat(pool, digest_hex(digest), 0) < 0 && errno != ENOENT)
            return store_error(c->from, errno, pool, digest_hex(digest), err,
                               "cannot remove blob %s", digest->text);
    }
    return 0;
}

static int convert_entry(struct conversion *c, const struct digest *digest, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    struct cachedir_lock *lock = NULL;
    cleanup_free char *why = NULL;
    cleanup_error struct error locked = {0};

    if (c->from->format->look(c->from, digest, &e, err) < 0)
        return -1;
    if (e.state == CACHEDIR_ABSENT)
        return 0;
    int r = 0;
    if (e.state == CACHEDIR_BROKEN)
        why = xasprintf("it is broken: %s", e.problem);
    else if (cachedir_lock_entry(c->to, digest, &lock, &locked) < 0)
        r = explain(&locked, &why, err);
    else
        r = make_anew(c, &e, &why, err);
    if (r > 0)
        r = finish_entry(c, &e, err);
    cachedir_unlock(lock);
    if (r < 0)
        return error_prefix(err, "%s", digest->text);
    tell(c, &e, why);
    return 0;
}

/* An alias is converted with its entry. Here is what a killed conversion left, or what stays with
 * an entry that stays. */
static int convert_alias(struct conversion *c, const struct digest *index, struct error *err)
{
    cleanup_alias struct alias alias = {0};
    cleanup_cachedir_entry struct cachedir_entry e = {0}, entry = {0};
    int there = alias_read(c->to, index, &alias, err);
    if (there < 0 || c->from->format->look(c->from, index, &e, err) < 0 ||
        (there > 0 && c->to->format->look(c->to, &alias.manifest, &entry, err) < 0))
        return -1;
    if (there == 0 || e.state == CACHEDIR_ABSENT)
        return 0;
    if (entry.state != CACHEDIR_COMPLETE) {
        tell(c, &e, "it is an alias of an entry that stays, or is not here");
        return 0;
    }
    if (alias_publish(c->to, &alias, err) < 0)
        return -1;
    tell(c, &e, NULL);
    return 0;
}

static int convert_entries(struct conversion *c, bool aliases, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(c->to->root, &names, &count) < 0)
        return error_errno(err, errno, "cannot read %s", c->to->path);
    for (size_t i = 0; i < count; i++) {
        struct digest digest;
        struct stat st;
        if (!entry_name(names[i], &digest) ||
            fstatat(c->to->root, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (c->stop && *c->stop)
            return error_set(err, ERROR_INTERRUPTED, "stopped before everything was converted");
        cleanup_alias struct alias alias = {0};
        const int is_alias = alias_read(c->to, &digest, &alias, err);
        const bool is_new = c->to->format->is_file ? S_ISREG(st.st_mode) : S_ISDIR(st.st_mode);
        if (is_alias < 0)
            return -1;
        if ((is_alias > 0) != aliases)
            continue;
        if (is_new)
            c->result.already += !aliases;
        else if ((aliases ? convert_alias : convert_entry)(c, &digest, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the directory ---- */

/* Names of what stays in the old format are dropped: the new one's index.json cannot say them. */
static int convert_names(struct conversion *c, struct error *err)
{
    for (size_t i = 0; i < c->name_count; i++) {
        cleanup_cachedir_name struct cachedir_name known = {0};
        int found =
            cachedir_name_find(c->to, c->names[i].reference, c->names[i].platform, &known, err);
        if (found < 0)
            return -1;
        /* Unless an earlier conversion, or a warm since then, said it better. */
        if ((found == 0 || digest_equal(&known.manifest, &c->names[i].manifest)) &&
            cachedir_name_set(c->to, &c->names[i], err) < 0)
            return -1;
    }
    return cachedir_flush(c->to, err);
}

static int remove_pool_of(struct conversion *c, int dir, const char *algorithm, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (dir < 0)
        return 0;
    if (fs_names(dir, &names, &count) < 0)
        return error_errno(err, errno, "cannot read blobs/%s", algorithm);
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *text = xasprintf("%s:%s", algorithm, names[i]);
        struct digest digest;
        if (digest_parse(text, &digest, NULL) < 0 || is_named(c, &digest))
            continue; /* unknown, or another tool's */
        if (unlinkat(dir, names[i], 0) < 0 && errno != ENOENT)
            return store_error(c->from, errno, dir, names[i], err, "cannot remove blobs/%s/%s",
                               algorithm, names[i]);
    }
    (void)unlinkat(c->from->pool.parent, algorithm,
                   AT_REMOVEDIR); /* unless something stays in it */
    return 0;
}

/* What format oci has at the root, unless other tools have something there. */
static int remove_layout(struct conversion *c, struct error *err)
{
    static const char *const files[] = {"index.json", "oci-layout"};
    struct cachedir *from = c->from;
    if (from->pool.parent >= 0 && (remove_pool_of(c, from->pool.sha256, "sha256", err) < 0 ||
                                   remove_pool_of(c, from->pool.sha512, "sha512", err) < 0))
        return -1;
    (void)unlinkat(from->root, "blobs", AT_REMOVEDIR);
    if (c->named_count > 0)
        return cachedir_flush(from, err); /* without what is no entry of it any more */
    for (size_t i = 0; i < 2; i++)
        if (unlinkat(from->root, files[i], 0) < 0 && errno != ENOENT)
            return store_error(from, errno, from->root, files[i], err, "cannot remove %s",
                               files[i]);
    return 0;
}

/* First of all: a warm that is under way publishes nothing more in the old format. */
static int record_new_format(struct conversion *c, struct error *err)
{
    cleanup_free char *text = xasprintf("%s\n", c->to->format->name);
    if (store_put_file(c->to, c->to->own, "format", text, err) < 0)
        return -1;
    if (fs_sync_directory(c->to->own) < 0)
        return error_errno(err, errno, "cannot sync %s", c->to->path);
    return 0;
}

static int convert_directory(struct conversion *c, struct error *err)
{
    struct cachedir *to = c->to;
    if (convert_names(c, err) < 0)
        return -1;
    if (fs_sync_directory(to->own) < 0 || fs_sync_directory(to->root) < 0)
        return error_errno(err, errno, "cannot sync %s", to->path);
    if (to->format->is_file)
        return remove_layout(c, err);
    if (unlinkat(to->own, "index.json", 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove %s/" STORE_OWN "/index.json", to->path);
    return 0;
}

int cachedir_convert(struct cachedir *cd, enum cachedir_format to, const volatile bool *stop,
                     void (*told)(void *userdata, const struct cachedir_conversion *conversion),
                     void *userdata, struct cachedir_convert_result *ret, struct error *err)
{
    const bool archive = to == CACHEDIR_FORMAT_DOCKER_ARCHIVE;
    struct conversion c = {.stop = stop, .told = told, .userdata = userdata};
    struct cachedir_lock *lock = NULL;
    int r = -1;

    if (store_check_writable(cd, err) < 0)
        return -1;
    if (lock_take(cd, cd->own, "prune.lock", false, &lock, NULL) < 0)
        return error_set(err, ERROR_LOCKED, "a prune or another conversion works on %s", cd->path);
    if (store_open_as(cd, archive ? &entry_archive : &entry_oci, true, &c.to, err) == 0 &&
        store_open_as(cd, archive ? &entry_oci : &entry_archive, false, &c.from, err) == 0 &&
        names_and_blobs(c.from, true, &c.names, &c.name_count, &c.named, &c.named_count, err) == 0)
        r = record_new_format(&c, err);
    if (r == 0)
        r = convert_entries(&c, false, err);
    if (r == 0)
        r = convert_entries(&c, true, err);
    if (r == 0)
        r = convert_directory(&c, err);
    *ret = c.result;
    cachedir_names_free(c.names, c.name_count);
    free(c.named);
    cachedir_close(c.to);
    cachedir_close(c.from);
    cachedir_unlock(lock);
    return r;
}
