/* Repairing what verify found, without a network. */
#include "alias.h"
#include "alloc.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Everything of the manifest into the stage. 1 all, 0 something is missing or bad, -1. */
static int take_everything(struct cachedir_stage *stage, struct error *err)
{
    const struct manifest *m = &stage->manifest;
    int all = cachedir_stage_take(stage, &m->config, err);
    /* Go on behind a missing one: what is good of the rest joins the pool. */
    for (size_t i = 0; i < m->layer_count && all >= 0; i++) {
        int taken = cachedir_stage_take(stage, &m->layers[i], err);
        if (taken <= 0)
            all = taken;
    }
    return all;
}

/* Is there anything to mend? Its bytes were just hashed, into the stage: what it holds is right if
 * it is the same files. */
static bool is_right(struct cachedir_stage *stage, const struct cachedir_entry *entry)
{
    struct cachedir *cd = stage->cd;
    cleanup_free char *layout = xasprintf("%s/oci-layout", entry->digest.text);
    struct stat st;
    if (entry->state != CACHEDIR_COMPLETE || fs_stat(cd->root, layout, &st) < 0)
        return false;
    for (size_t i = 0; i < entry->blob_count; i++) {
        int dir = blobs_directory(&stage->blobs, &entry->blobs[i].digest);
        if (dir < 0 ||
            fstatat(dir, digest_hex(&entry->blobs[i].digest), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_ino != entry->blobs[i].inode)
            return false;
    }
    return true;
}

/* 1 mended, 0 it cannot be, -1. CACHEDIR_REPAIR_NOTHING may come out instead. */
static int try_to_mend(struct cachedir *cd, const struct cachedir_entry *entry,
                       const struct digest *manifest, enum cachedir_repair *ret, struct error *err)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    struct cachedir_stage *stage = NULL;
    cleanup_error struct error why = {0};

    int found = cachedir_manifest(cd, manifest, &bytes, &len, err);
    if (found <= 0)
        return found;
    if (cachedir_stage_new(cd, manifest, entry->media_type, bytes, len, entry->reference, true,
                           &stage, &why) < 0) {
        if (why.kind == ERROR_PROTOCOL)
            return 0; /* its manifest is none */
        error_move(err, &why);
        return -1;
    }
    stage->key = entry->digest;
    stage->renewed = &entry->renewed;
    int all = take_everything(stage, err);
    if (all > 0) {
        *ret = (cd->format->is_file ? stage->stands : is_right(stage, entry))
                   ? CACHEDIR_REPAIR_NOTHING
                   : CACHEDIR_REPAIR_MENDED;
        if (*ret == CACHEDIR_REPAIR_MENDED && cachedir_stage_publish(stage, err) < 0)
            all = -1;
    }
    cachedir_stage_free(stage);
    return all;
}

/* Of an archive: the very file that its entry is, which is mended first. 1, 0 it cannot be, -1. */
static int mend_alias_file(struct cachedir *cd, const struct alias *alias,
                           enum cachedir_repair *ret, struct error *err)
{
    cleanup_error struct error why = {0};
    if (cachedir_repair(cd, &alias->manifest, ret, &why) < 0) {
        if (why.kind == ERROR_NOT_FOUND)
            return 0;
        error_move(err, &why);
        return -1;
    }
    if (*ret == CACHEDIR_REPAIR_REMOVED)
        return 0;
    if (*ret == CACHEDIR_REPAIR_NOTHING && alias_follows(cd, &alias->index, &alias->manifest))
        return 1;
    *ret = CACHEDIR_REPAIR_MENDED;
    return alias_publish(cd, alias, err) < 0 ? -1 : 1;
}

static int mend(struct cachedir *cd, const struct cachedir_entry *entry, enum cachedir_repair *ret,
                struct error *err)
{
    cleanup_alias struct alias alias = {0};
    int is_alias = alias_read(cd, &entry->digest, &alias, err);
    if (is_alias < 0)
        return -1;
    if (is_alias && cd->format->is_file)
        return mend_alias_file(cd, &alias, ret, err);
    return try_to_mend(cd, entry, is_alias ? &alias.manifest : &entry->digest, ret, err);
}

/* What a conversion has not come to yet, or had to leave, or kaniko's own warmer made: no builder
 * of this directory sees it, and it is all that there is of it here. */
static int look_other(struct cachedir *cd, const struct digest *digest, bool *ret,
                      struct error *err)
{
    const struct entry_format *other = cd->format->is_file ? &entry_oci : &entry_archive;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    if (other->look(cd, digest, &entry, err) < 0)
        return -1;
    *ret = entry.state == CACHEDIR_COMPLETE;
    return 0;
}

/* Whoever cannot read it knows nothing of it. */
static int look_at_readable(struct cachedir *cd, const struct digest *digest,
                            struct cachedir_entry *ret, struct error *err)
{
    if (cd->format->look(cd, digest, ret, err) < 0)
        return -1;
    return ret->unreadable ? error_set(err, ERROR_IO, "%s %s: it stays", digest->text, ret->problem)
                           : 0;
}

/* Nothing here mends it. */
static int remove_broken(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    return look_at_readable(cd, digest, &entry, err) < 0 ? -1
                                                         : entry_take_all_away(cd, digest, err);
}

int cachedir_repair(struct cachedir *cd, const struct digest *digest, enum cachedir_repair *ret,
                    struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (store_check_writable(cd, err) < 0 || look_at_readable(cd, digest, &entry, err) < 0)
        return -1;
    if (entry.state == CACHEDIR_ABSENT)
        return error_set(err, ERROR_NOT_FOUND, "no entry %s in %s", digest->text, cd->path);
    bool other = false;
    if (entry.state == CACHEDIR_BROKEN && look_other(cd, digest, &other, err) < 0)
        return -1;
    *ret = CACHEDIR_REPAIR_OTHER;
    if (other)
        return 0;
    int mended = mend(cd, &entry, ret, err);
    if (mended != 0)
        return mended < 0 ? -1 : 0;
    *ret = CACHEDIR_REPAIR_REMOVED;
    return remove_broken(cd, digest, err) < 0 ? -1 : 0;
}

int cachedir_repair_blob(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    int pool = blobs_directory(&cd->pool, digest);
    const char *name = digest_hex(digest);
    struct stat st;
    cleanup_error struct error why = {0};

    if (store_check_writable(cd, err) < 0)
        return -1;
    cleanup_close int fd = pool < 0 ? -1 : fs_open(pool, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &st) < 0)
        return errno == ENOENT ? 0 : error_errno(err, errno, "blob %s", digest->text);
    if (pool_hash(fd, WHOLE_FILE, digest, st.st_size, NULL, &why) == 0)
        return 0;
    if (why.kind != ERROR_DIGEST) {
        error_move(err, &why);
        return -1;
    }
    if (unlinkat(pool, name, 0) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove blob %s", digest->text);
    return 1;
}
