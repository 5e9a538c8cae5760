#include "alias.h"

#include "alloc.h"
#include "json.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Each index at most as large as a manifest, and what is JSON at most doubles in a JSON string. */
#define RECORD_SIZE_MAX (2 * (size_t)MANIFEST_SIZE_MAX * (INDEX_DEPTH_MAX + 1) + 4096)

struct alias_pair {
    struct digest index, manifest;
};

struct alias_list {
    struct alias_pair *list;
    size_t count;
    struct timespec seen; /* mtime of .basewarm/aliases when it was read */
};

void alias_release(struct alias *alias)
{
    for (size_t i = 0; i < alias->index_count; i++)
        free(alias->indexes[i]);
    free(alias->indexes);
    *alias = (struct alias){0};
}

/* ---- the proof ---- */

int alias_prove(const struct digest *index, const struct digest *manifest,
                const struct cachedir_bytes *indexes, size_t count, struct error *err)
{
    struct digest next = *index;
    if (count == 0 || count > INDEX_DEPTH_MAX + 1)
        return error_set(err, ERROR_PROTOCOL, "%zu indexes lead from %s to %s", count, index->text,
                         manifest->text);
    for (size_t i = 0; i < count; i++) {
        cleanup_manifest struct manifest m = {0};
        struct digest wanted = *manifest;
        bool found = false;
        if (indexes[i].len > MANIFEST_SIZE_MAX)
            return error_set(err, ERROR_PROTOCOL, "an index of %zu bytes", indexes[i].len);
        if (digest_check(&next, indexes[i].bytes, indexes[i].len, err) < 0 ||
            manifest_parse(indexes[i].bytes, indexes[i].len, NULL, &m, NULL, err) < 0)
            return error_prefix(err, "the index %s", next.text);
        if (i + 1 < count)
            digest_of(indexes[i + 1].bytes, indexes[i + 1].len, &wanted);
        for (size_t j = 0; j < m.child_count && !found; j++)
            found = digest_equal(&m.children[j].digest, &wanted);
        if (!found)
            return error_set(err, ERROR_PROTOCOL, "the index %s does not lead to %s", next.text,
                             wanted.text);
        next = wanted;
    }
    return 0;
}

static struct cachedir_bytes *bytes_of(const struct alias *alias)
{
    struct cachedir_bytes *bytes = xcalloc(alias->index_count + 1, sizeof *bytes);
    for (size_t i = 0; i < alias->index_count; i++)
        bytes[i] = (struct cachedir_bytes){alias->indexes[i], strlen(alias->indexes[i])};
    return bytes;
}

/* ---- records ---- */

int alias_read(struct cachedir *cd, const struct digest *index, struct alias *ret,
               struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len, i;
    cleanup_alias struct alias alias = {.index = *index};
    json_t *one;

    if (cd->aliases < 0)
        return 0;
    if (fs_read(cd->aliases, digest_hex(index), RECORD_SIZE_MAX, &text, &len) < 0)
        return errno == EIO || errno == ESTALE || errno == EMFILE || errno == ENFILE
                   ? error_errno(err, errno, "cannot read " STORE_OWN "/aliases/%s",
                                 digest_hex(index))
                   : 0;
    cleanup_json json_t *record = json_object_parse(text, len, NULL);
    const char *manifest = json_member_string(record, "manifest");
    if (!manifest || digest_parse(manifest, &alias.manifest, NULL) < 0)
        return 0;
    json_array_foreach(json_object_get(record, "indexes"), i, one)
    {
        if (!json_is_string(one) || i > INDEX_DEPTH_MAX)
            return 0;
        *array_add(alias.indexes, alias.index_count) = xstrdup(json_string_value(one));
    }
    cleanup_free struct cachedir_bytes *bytes = bytes_of(&alias);
    if (alias_prove(index, &alias.manifest, bytes, alias.index_count, NULL) < 0)
        return 0;
    *ret = alias;
    alias = (struct alias){0};
    return 1;
}

static int write_record(struct cachedir *cd, const struct alias *alias, struct error *err)
{
    cleanup_json json_t *indexes = json_array();
    for (size_t i = 0; i < alias->index_count; i++)
        (void)json_array_append_new(indexes, json_string(alias->indexes[i]));
    cleanup_json json_t *record =
        json_pack("{s:s, s:O}", "manifest", alias->manifest.text, "indexes", indexes);
    cleanup_free char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
    if (!text)
        abort(); /* out of memory: what was parsed is UTF-8 */
    if (store_put_file(cd, cd->aliases, digest_hex(&alias->index), text, err) < 0)
        return -1;
    if (fs_sync_directory(cd->aliases) < 0)
        return error_errno(err, errno, "cannot sync " STORE_OWN "/aliases");
    return 0;
}

/* ---- which there are ---- */

void aliases_release(struct cachedir *cd)
{
    if (cd->alias_list)
        free(cd->alias_list->list);
    free(cd->alias_list);
    cd->alias_list = NULL;
}

/* With the mutex held. Where the directory did not change since, nothing is read. */
static int refresh(struct cachedir *cd, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    struct stat st;
    if (fstat(cd->aliases, &st) < 0)
        return error_errno(err, errno, "cannot read " STORE_OWN "/aliases");
    if (cd->alias_list && cd->alias_list->seen.tv_sec == st.st_mtim.tv_sec &&
        cd->alias_list->seen.tv_nsec == st.st_mtim.tv_nsec)
        return 0;
    if (fs_names(cd->aliases, &names, &count) < 0)
        return error_errno(err, errno, "cannot read " STORE_OWN "/aliases");
    aliases_release(cd);
    struct alias_list *a = cd->alias_list = xcalloc(1, sizeof *a);
    a->seen = st.st_mtim;
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *text = xasprintf("sha256:%s", names[i]);
        cleanup_alias struct alias alias = {0};
        struct digest index;
        if (digest_parse(text, &index, NULL) < 0)
            continue;
        int there = alias_read(cd, &index, &alias, err);
        if (there < 0) {
            aliases_release(cd);
            return -1;
        }
        if (there > 0)
            *array_add(a->list, a->count) = (struct alias_pair){index, alias.manifest};
    }
    return 0;
}

/* What this process changed needs no reading, or thousands of aliases would cost their square.
 * `manifest` NULL: the record went. */
static void changed(struct cachedir *cd, const struct digest *index, const struct digest *manifest)
{
    struct stat st;
    pthread_mutex_lock(&cd->mutex);
    struct alias_list *a = cd->alias_list;
    size_t i = 0;
    while (a && i < a->count && !digest_equal(&a->list[i].index, index))
        i++;
    if (a && manifest && i == a->count)
        *array_add(a->list, a->count) = (struct alias_pair){*index, *manifest};
    else if (a && manifest)
        a->list[i].manifest = *manifest;
    else if (a && i < a->count)
        a->list[i] = a->list[--a->count];
    if (a && fstat(cd->aliases, &st) == 0)
        a->seen = st.st_mtim;
    pthread_mutex_unlock(&cd->mutex);
}

int alias_forget(struct cachedir *cd, const char *entry, struct error *err)
{
    struct digest index;
    if (cd->aliases < 0 || digest_parse(entry, &index, NULL) < 0)
        return 0;
    /* Where the power fails, the alias must not come back without it: it would be broken. */
    if (faccessat(cd->aliases, digest_hex(&index), F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        fs_sync_directory(cd->root) < 0)
        return error_errno(err, errno, "cannot sync %s", cd->path);
    if (unlinkat(cd->aliases, digest_hex(&index), 0) == 0)
        changed(cd, &index, NULL);
    else if (errno != ENOENT)
        return store_error(cd, errno, cd->aliases, digest_hex(&index), err,
                           "cannot remove " STORE_OWN "/aliases/%s", digest_hex(&index));
    return 0;
}

int cachedir_aliases(struct cachedir *cd, const struct digest *manifest, struct digest **ret,
                     size_t *ret_count, struct error *err)
{
    struct digest *list = NULL;
    size_t count = 0;
    *ret = NULL;
    *ret_count = 0;
    if (cd->aliases < 0)
        return 0;
    pthread_mutex_lock(&cd->mutex);
    int r = refresh(cd, err);
    for (size_t i = 0; r == 0 && i < cd->alias_list->count; i++) {
        const struct alias_pair *pair = &cd->alias_list->list[i];
        if (digest_equal(&pair->manifest, manifest) &&
            faccessat(cd->root, pair->index.text, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            *array_add(list, count) = pair->index;
    }
    pthread_mutex_unlock(&cd->mutex);
    *ret = list;
    *ret_count = count;
    return r;
}

int cachedir_alias_state(struct cachedir *cd, const struct digest *index,
                         const struct digest *manifest, enum cachedir_alias_state *ret,
                         struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    cleanup_alias struct alias alias = {0};
    int known = alias_read(cd, index, &alias, err);
    if (known < 0 || cd->format->look(cd, index, &entry, err) < 0)
        return -1;
    const bool other = known && !digest_equal(&alias.manifest, manifest);
    if (other && entry.state != CACHEDIR_ABSENT)
        return error_set(err, ERROR_USAGE,
                         "the alias %s stands for %s, and can stand for one platform only: "
                         "\"cachedir remove %s\" makes room for another",
                         index->text, alias.manifest.text, index->text);
    *ret = !known || other                    ? CACHEDIR_ALIAS_UNKNOWN
           : entry.state == CACHEDIR_COMPLETE ? CACHEDIR_ALIAS_STANDS
                                              : CACHEDIR_ALIAS_PROVEN;
    return 0;
}

/* ---- making ---- */

/* Format oci: an entry like any other, but for its name. */
static int publish_directory(struct cachedir *cd, const struct alias *alias,
                             const struct cachedir_entry *entry, struct error *err)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    struct cachedir_stage *stage = NULL;
    const struct digest *digest = &alias->manifest;

    int r = cachedir_manifest(cd, digest, &bytes, &len, err);
    if (r == 0)
        r = error_set(err, ERROR_DIGEST, "the manifest of %s is damaged or gone", digest->text);
    if (r < 0 || cachedir_stage_new(cd, digest, entry->media_type, bytes, len, entry->reference,
                                    false, &stage, err) < 0)
        return -1;
    stage->key = alias->index;
    stage->renewed = &entry->renewed;
    const struct manifest *m = &stage->manifest;
    r = cachedir_stage_take(stage, &m->config, err);
    for (size_t i = 0; i < m->layer_count && r > 0; i++)
        r = cachedir_stage_take(stage, &m->layers[i], err);
    if (r == 0)
        r = error_set(err, ERROR_DIGEST, "a blob of %s is damaged", digest->text);
    if (r > 0)
        r = cachedir_stage_publish(stage, err);
    cachedir_stage_free(stage);
    return r;
}

static int copy_archive(struct cachedir *cd, const struct digest *from, const char *name,
                        const struct cachedir_entry *entry, struct error *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, entry->renewed};
    cleanup_close int in = fs_open(cd->root, from->text, O_RDONLY | O_NONBLOCK, 0);
    cleanup_close int out =
        in < 0 ? -1 : fs_open(cd->stage, name, O_RDWR | O_CREAT | O_EXCL, cd->file_mode);
    if (out < 0 || fs_copy(in, out, store_able(cd, CACHEDIR_REFLINKS)) < 0 ||
        fs_set_mode(out, cd->file_mode) < 0 || futimens(out, times) < 0 || fsync(out) < 0) {
        const int saved = errno;
        (void)unlinkat(cd->stage, name, 0);
        return error_errno(err, saved, "cannot copy the archive %s", from->text);
    }
    return 0;
}

/* An alias of format oci stands there: the two change places, or it goes first. */
static int replace_directory(struct cachedir *cd, const char *name, const char *entry)
{
    char away[FS_NAME_MAX];
    if (fs_rename(cd->stage, name, cd->root, entry, RENAME_EXCHANGE) == 0)
        return 0;
    store_temporary(cd, away, "alias");
    if (fs_rename(cd->root, entry, cd->trash, away, 0) < 0 ||
        fs_rename(cd->stage, name, cd->root, entry, 0) < 0)
        return -1;
    (void)store_remove_away(cd, cd->trash, away); /* else prune finds it */
    return 0;
}

/* Format docker-archive: one more name, so that the two share bytes and time. */
static int publish_file(struct cachedir *cd, const struct alias *alias,
                        const struct cachedir_entry *entry, struct error *err)
{
    char name[FS_NAME_MAX];
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, alias->index.text);
    store_temporary(cd, name, "alias");
    if ((!store_able(cd, CACHEDIR_HARD_LINKS) ||
         fs_link(cd->root, alias->manifest.text, cd->stage, name) < 0) &&
        copy_archive(cd, &alias->manifest, name, entry, err) < 0)
        return -1;
    /* Builders would believe what lies beside it. */
    if (fs_remove(cd->root, beside) < 0)
        return store_error(cd, errno, cd->root, beside, err, "cannot remove %s", beside);
    int r = fs_rename(cd->stage, name, cd->root, alias->index.text, 0);
    if (r < 0 && (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST))
        r = replace_directory(cd, name, alias->index.text);
    const int saved = errno;
    /* A second name of what stands there, or what stood there; else prune finds it. */
    (void)store_remove_away(cd, cd->stage, name);
    if (r < 0)
        return store_error(cd, saved, cd->root, ".", err, "cannot publish %s", alias->index.text);
    if (fs_sync_directory(cd->root) < 0)
        return error_errno(err, errno, "cannot sync %s", cd->path);
    return 0;
}

int alias_publish(struct cachedir *cd, const struct alias *alias, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0}, made = {0};
    if (cd->format->look(cd, &alias->manifest, &entry, err) < 0)
        return -1;
    if (entry.state != CACHEDIR_COMPLETE)
        return error_set(err, entry.state == CACHEDIR_ABSENT ? ERROR_NOT_FOUND : ERROR_DIGEST,
                         "%s: %s", alias->manifest.text,
                         entry.problem ? entry.problem : "no such entry");
    if ((cd->format->is_file ? publish_file : publish_directory)(cd, alias, &entry, err) < 0 ||
        cd->format->look(cd, &alias->index, &made, err) < 0)
        return error_prefix(err, "alias %s", alias->index.text);
    if (made.state == CACHEDIR_COMPLETE)
        return 0;
    return error_set(err, ERROR_IO, "alias %s is not whole after it was published: %s",
                     alias->index.text, made.problem ? made.problem : "it vanished");
}

int cachedir_alias(struct cachedir *cd, const struct digest *index, const struct digest *manifest,
                   const struct cachedir_bytes *indexes, size_t count, struct error *err)
{
    enum cachedir_alias_state state;
    cleanup_alias struct alias alias = {0};
    if (store_check_writable(cd, err) < 0)
        return -1;
    if (!digest_is_sha256(index))
        return error_set(err, ERROR_PROTOCOL, "the builder reads only sha256, not %s", index->text);
    if (cachedir_alias_state(cd, index, manifest, &state, err) < 0)
        return -1;
    if (state == CACHEDIR_ALIAS_STANDS)
        return 0;
    if (state == CACHEDIR_ALIAS_UNKNOWN) {
        if (alias_prove(index, manifest, indexes, count, err) < 0)
            return -1;
        alias.index = *index;
        alias.manifest = *manifest;
        for (size_t i = 0; i < count; i++)
            *array_add(alias.indexes, alias.index_count) =
                xstrndup(indexes[i].bytes, indexes[i].len);
        if (write_record(cd, &alias, err) < 0)
            return -1;
        changed(cd, index, manifest);
    } else if (alias_read(cd, index, &alias, err) <= 0) {
        return error_set(err, ERROR_IO, "the record of the alias %s vanished", index->text);
    }
    return alias_publish(cd, &alias, err);
}

bool alias_follows(struct cachedir *cd, const struct digest *index, const struct digest *manifest)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    struct stat ours, theirs;
    if (cd->format->look(cd, index, &entry, NULL) < 0 || entry.state != CACHEDIR_COMPLETE)
        return false;
    return !cd->format->is_file ||
           (fstatat(cd->root, index->text, &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
            fstatat(cd->root, manifest->text, &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
            ours.st_ino == theirs.st_ino);
}

int aliases_mend(struct cachedir *cd, const struct digest *manifest, struct error *err)
{
    cleanup_free struct digest *aliases = NULL;
    size_t count;
    if (cachedir_aliases(cd, manifest, &aliases, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        cleanup_alias struct alias alias = {0};
        if (alias_follows(cd, &aliases[i], manifest))
            continue;
        const int there = alias_read(cd, &aliases[i], &alias, err);
        if (there < 0 || (there > 0 && alias_publish(cd, &alias, err) < 0))
            return -1;
    }
    return 0;
}
