/*
 * index.json at the root: the references that led to the entries, as an OCI image layout says them
 * (image-spec image-layout.md), so that other tools read the directory, too.
 *
 * One descriptor a reference. With one platform here it is the manifest's; with several it is that
 * of an index of ours, which names just those. What a later run must know stands in annotations of
 * the reference's descriptor, one set a platform that was asked for:
 *
 *     org.opencontainers.image.ref.name        docker.io/library/debian:bookworm
 *     dev.basewarm.checked.linux/amd64         2026-11-24T23:49:06Z
 *     dev.basewarm.source.linux/amd64          sha256:...   what the tag itself was then
 *     dev.basewarm.manifest.linux/amd64        sha256:...   the entry, if not the descriptor's
 *
 * Descriptors without a "checked" are somebody else's and stay as they are.
 *
 * In format docker-archive the root is no layout: the same document then is .basewarm/index.json,
 * and of several platforms its descriptor is the first one's manifest.
 */
#include "names.h"
#include "alloc.h"
#include "json.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define FLUSH_EVERY 10 /* seconds, at least */
#define FLUSH_SHARE 64 /* times what the last flush took: dozens of writers share one lock */
#define FLUSH_TRIES 5

void cachedir_name_release(struct cachedir_name *n)
{
    free(n->reference);
    free(n->platform);
    *n = (struct cachedir_name){0};
}

void cachedir_names_free(struct cachedir_name *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cachedir_name_release(&list[i]);
    free(list);
}

static void copy_name(struct cachedir_name *to, const struct cachedir_name *from)
{
    *to = *from;
    to->reference = xstrdup(from->reference);
    to->platform = xstrdup(from->platform);
}

static int compare_cachedir_names(const void *a, const void *b)
{
    const struct cachedir_name *x = a, *y = b;
    int order = strcmp(x->reference, y->reference);
    return order ? order : strcmp(x->platform, y->platform);
}

/* By name, and within one name the later one last. */
static int compare_places(const void *a, const void *b)
{
    const struct cachedir_name *x = *(struct cachedir_name *const *)a,
                               *y = *(struct cachedir_name *const *)b;
    int order = compare_cachedir_names(x, y);
    return order ? order : (x > y) - (x < y);
}

/* Sort a list, and of several with one name keep the last. Consumes `list`. */
static struct cachedir_name *sort_names(struct cachedir_name *list, size_t *count)
{
    if (*count == 0)
        return list;
    struct cachedir_name *sorted = xcalloc(*count, sizeof *sorted);
    cleanup_free struct cachedir_name **places = xcalloc(*count, sizeof(struct cachedir_name *));
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++)
        places[i] = &list[i];
    qsort(places, *count, sizeof(struct cachedir_name *), compare_places);
    for (size_t i = 0; i < *count; i++) {
        if (i + 1 < *count && compare_cachedir_names(places[i], places[i + 1]) == 0)
            cachedir_name_release(places[i]);
        else
            sorted[kept++] = *places[i];
    }
    free(list);
    *count = kept;
    return sorted;
}

/* ---- reading ---- */

static const char *annotation(const json_t *annotations, const char *prefix, const char *platform)
{
    cleanup_free char *key = xasprintf("%s%s", prefix, platform);
    return json_member_string(annotations, key);
}

/* What one descriptor says of ours; returns how many names were added. */
static size_t read_descriptor(const json_t *descriptor, struct cachedir_name **list, size_t *count)
{
    const char *digest = json_member_string(descriptor, "digest");
    json_t *annotations = json_object_get(descriptor, "annotations");
    const char *reference = json_member_string(annotations, STORE_REF_NAME), *key;
    const size_t before = *count;
    json_t *value;

    if (!reference)
        return 0;
    json_object_foreach(annotations, key, value)
    {
        if (strncmp(key, CHECKED_KEY, strlen(CHECKED_KEY)) != 0)
            continue;
        const char *platform = key + strlen(CHECKED_KEY);
        const char *checked = json_string_value(value);
        const char *manifest = annotation(annotations, MANIFEST_KEY, platform);
        const char *source = annotation(annotations, SOURCE_KEY, platform);
        struct cachedir_name name = {0};
        if (!manifest)
            manifest = digest;
        if (!manifest || digest_parse(manifest, &name.manifest, NULL) < 0)
            continue;
        if (source)
            (void)digest_parse(source, &name.source, NULL); /* unset: it is resolved anew */
        if (checked)
            (void)time_parse(checked, &name.checked); /* 0: long ago */
        name.reference = xstrdup(reference);
        name.platform = xstrdup(platform);
        *array_add(*list, *count) = name;
    }
    return *count - before;
}

/* Owned, or NULL where there is none to be read: it is derived, and written anew. */
static int read_index(struct cachedir *cd, char **ret, size_t *ret_len, struct error *err)
{
    const int dir = store_names_directory(cd);
    *ret = NULL;
    if (dir < 0 || fs_read(dir, "index.json", INDEX_SIZE_MAX, ret, ret_len) == 0)
        return 0;
    if (errno == EIO || errno == ESTALE || errno == EMFILE || errno == ENFILE)
        return error_errno(err, errno, "%s/index.json", cd->path);
    if (errno != ENOENT)
        store_warn(cd, "%s/index.json: %s: it is written anew", cd->path, strerror(errno));
    return 0;
}

void names_standing_release(struct standing *s)
{
    json_decref(s->others);
    json_decref(s->ours);
    json_decref(s->said);
    fs_names_free(s->entries);
}

/* The names, and the descriptors (`ret`, empty; may be NULL). An index.json that is missing or
 * unreadable is empty: it is derived, and made anew. */
static int read_root(struct cachedir *cd, struct cachedir_name **list, size_t *count,
                     struct standing *ret, struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len, i;
    cleanup_error struct error why = {0};
    json_t *descriptor;

    if (ret)
        *ret =
            (struct standing){.others = json_array(), .ours = json_object(), .said = json_object()};
    if (read_index(cd, &text, &len, err) < 0)
        return -1;
    if (!text)
        return 0;
    cleanup_json json_t *root = json_object_parse(text, len, &why);
    if (!root) {
        store_warn(cd, "%s/index.json: %s: it is written anew", cd->path, why.message);
        return 0;
    }
    json_array_foreach(json_object_get(root, "manifests"), i, descriptor)
    {
        const size_t before = *count;
        if (read_descriptor(descriptor, list, count) > 0 && ret)
            (void)json_object_set(ret->ours, (*list)[before].reference, descriptor);
        else if (*count == before && ret)
            (void)json_array_append(ret->others, descriptor);
    }
    return 0;
}

/* Of a conversion that is under way or was interrupted: the names that the other format's document
 * still has are true of the entries that are still that format's. */
static int read_other_format(struct cachedir *cd, struct cachedir_name **list, size_t *count,
                             struct error *err)
{
    const int dir = cd->format->is_file ? cd->root : cd->own;
    cleanup_free char *text = NULL;
    size_t len, i;
    json_t *descriptor;
    if (dir < 0 || fs_read(dir, "index.json", INDEX_SIZE_MAX, &text, &len) < 0)
        return dir >= 0 && (errno == EIO || errno == ESTALE || errno == EMFILE || errno == ENFILE)
                   ? error_errno(err, errno, "%s: the other format's index.json", cd->path)
                   : 0;
    cleanup_json json_t *root = json_object_parse(text, len, NULL);
    json_array_foreach(json_object_get(root, "manifests"), i, descriptor)
        read_descriptor(descriptor, list, count);
    return 0;
}

int names_read_all(struct cachedir *cd, struct cachedir_name **list, size_t *count,
                   struct standing *ret, struct error *err)
{
    *list = NULL;
    *count = 0;
    if (read_other_format(cd, list, count, err) < 0 || read_root(cd, list, count, ret, err) < 0) {
        cachedir_names_free(*list, *count);
        *list = NULL;
        *count = 0;
        return -1;
    }
    pthread_mutex_lock(&cd->mutex);
    for (size_t i = 0; i < cd->said_count; i++) {
        copy_name(array_add(*list, *count), &cd->said[i]);
        if (ret)
            (void)json_object_set_new(ret->said, cd->said[i].reference, json_true());
    }
    pthread_mutex_unlock(&cd->mutex);
    *list = sort_names(*list, count);
    return 0;
}

int cachedir_names(struct cachedir *cd, struct cachedir_name **ret, size_t *ret_count,
                   struct error *err)
{
    return names_read_all(cd, ret, ret_count, NULL, err);
}

struct reading { /* cachedir_names(), beside cachedir_list() */
    struct cachedir *cd;
    struct cachedir_name *names;
    size_t count;
    struct error err;
    int result;
};

static void *read_aside(void *userdata)
{
    struct reading *r = userdata;
    r->result = cachedir_names(r->cd, &r->names, &r->count, &r->err);
    return NULL;
}

int cachedir_list_named(struct cachedir *cd, struct cachedir_entry **ret, size_t *ret_count,
                        struct cachedir_name **ret_names, size_t *ret_name_count, struct error *err)
{
    struct reading r = {.cd = cd};
    const int listed = entries_list_beside(cd, read_aside, &r, ret, ret_count, err);
    if (listed == 0 && r.result == 0) {
        *ret_names = r.names;
        *ret_name_count = r.count;
        return 0;
    }
    if (listed == 0) {
        cachedir_entries_free(take_ptr(*ret), *ret_count);
        error_move(err, &r.err);
    }
    cachedir_names_free(r.names, r.count);
    error_clear(&r.err);
    return -1;
}

/* Read index.json, once; with `naming` held. */
static int read_names(struct cachedir *cd, struct error *err)
{
    struct cachedir_name *list = NULL;
    size_t count = 0;

    if (cd->names_known)
        return 0;
    if (read_other_format(cd, &list, &count, err) < 0 ||
        read_root(cd, &list, &count, NULL, err) < 0) {
        cachedir_names_free(list, count);
        return -1;
    }
    cd->names = sort_names(list, &count);
    cd->name_count = count;
    cd->names_known = true;
    return 0;
}

int cachedir_name_find(struct cachedir *cd, const char *reference, const char *platform,
                       struct cachedir_name *ret, struct error *err)
{
    /* The strings are only compared. */
    struct cachedir_name key = {.reference = strdupa(reference), .platform = strdupa(platform)};

    pthread_mutex_lock(&cd->naming);
    int r = read_names(cd, err);
    pthread_mutex_unlock(&cd->naming);
    if (r < 0)
        return -1;
    /* Constant from here on. */
    struct cachedir_name *name = cd->name_count ? bsearch(&key, cd->names, cd->name_count,
                                                          sizeof *cd->names, compare_cachedir_names)
                                                : NULL;
    if (name)
        copy_name(ret, name);
    return name ? 1 : 0;
}

/* ---- writing ---- */

static int write_root(struct cachedir *cd, const struct cachedir_name *list, size_t count,
                      const struct standing *standing, struct error *err)
{
    cleanup_json json_t *manifests = json_copy(standing->others);
    cleanup_error struct error why = {0};

    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && strcmp(list[next].reference, list[i].reference) == 0;)
            next++;
        json_t *d = names_descriptor(cd, &list[i], next - i, standing, &why);
        if (why.kind != ERROR_NONE) {
            json_decref(d);
            error_move(err, &why);
            return -1;
        }
        if (d)
            (void)json_array_append_new(manifests, d);
    }
    cleanup_json json_t *root = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
                                          MEDIA_OCI_INDEX, "manifests", manifests);
    cleanup_free char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text)
        abort(); /* out of memory */
    /* One that nobody could read back would lose every name. */
    if (strlen(text) > INDEX_SIZE_MAX || !json_can_be_read(text, strlen(text)))
        return error_set(
            err, ERROR_NO_SPACE,
            "%s/index.json: %zu names are more than it can hold, and stay unwritten: the "
            "entries are there, and are found all the same",
            cd->path, count);
    char temporary[FS_NAME_MAX];
    store_temporary(cd, temporary, "index");
    /* What it names must be there before it names it. */
    if ((!cd->format->is_file && blobs_sync(&cd->pool) < 0) ||
        fs_create(cd->stage, temporary, cd->file_mode, text, strlen(text)) < 0)
        return error_errno(err, errno, "cannot write %s/index.json", cd->path);
    const int dir = store_names_directory(cd);
    int moved = fs_rename(cd->stage, temporary, dir, "index.json", 0);
    if (moved < 0 && errno == EISDIR) { /* whoever made that: it is no index */
        char away[FS_NAME_MAX];
        store_temporary(cd, away, "index");
        if (fs_rename(dir, "index.json", cd->trash, away, 0) == 0) {
            moved = fs_rename(cd->stage, temporary, dir, "index.json", 0);
            (void)fs_remove(cd->trash, away); /* else prune does */
        }
    }
    if (moved < 0) {
        int saved = errno;
        (void)unlinkat(cd->stage, temporary, 0);
        return store_error(cd, saved, dir, "index.json", err, "cannot write %s/index.json",
                           cd->path);
    }
    if (fs_sync_directory(dir) < 0)
        return error_errno(err, errno, "cannot sync %s", cd->path);
    return 0;
}

/* Does index.json hold all that this process said? 1, 0, -1. */
static int stands(struct cachedir *cd, struct error *err)
{
    struct cachedir_name *list = NULL;
    size_t count = 0;
    if (read_root(cd, &list, &count, NULL, err) < 0)
        return -1;
    list = sort_names(list, &count);
    bool all = true;
    pthread_mutex_lock(&cd->mutex);
    for (size_t i = 0; i < cd->said_count && all; i++) {
        const struct cachedir_name *said = &cd->said[i];
        struct stat st;
        const struct cachedir_name *found =
            count ? bsearch(said, list, count, sizeof *list, compare_cachedir_names) : NULL;
        /* A name whose entry went meanwhile is rightly not there. */
        all = (found && digest_equal(&found->manifest, &said->manifest)) ||
              fstatat(cd->root, said->manifest.text, &st, AT_SYMLINK_NOFOLLOW) < 0;
    }
    pthread_mutex_unlock(&cd->mutex);
    cachedir_names_free(list, count);
    return all;
}

static int merge_once(struct cachedir *cd, struct error *err)
{
    struct cachedir_name *list = NULL;
    size_t count = 0;
    struct standing standing = {0};
    int r = names_read_all(cd, &list, &count, &standing, err);
    /* After index.json: what that names by right is there by now. */
    if (r == 0 && fs_names(cd->root, &standing.entries, &standing.entry_count) < 0)
        r = error_errno(err, errno, "cannot read %s", cd->path);
    if (r == 0)
        r = write_root(cd, list, count, &standing, err);
    names_standing_release(&standing);
    cachedir_names_free(list, count);
    return r;
}

/* Saves another writer's work, no more: 1 s, then on without it. */
static struct cachedir_lock *lock_index(struct cachedir *cd)
{
    struct cachedir_lock *lock = NULL;
    for (int tries = 0; tries < 50; tries++) {
        if (lock_take(cd, cd->own, "index.lock", false, &lock, NULL) == 0)
            return lock;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return NULL;
}

/* What was said of an entry that is gone: nobody is told of it again, nor is it named when it comes
 * back without being said anew. */
static void forget_gone(struct cachedir *cd)
{
    cleanup_names char **entries = NULL;
    size_t entry_count, kept = 0;
    pthread_mutex_lock(&cd->mutex);
    const size_t known = cd->said_count; /* what is said from here on, the look may not see */
    pthread_mutex_unlock(&cd->mutex);
    if (known == 0 || fs_names(cd->root, &entries, &entry_count) < 0)
        return;
    pthread_mutex_lock(&cd->mutex);
    for (size_t i = 0; i < cd->said_count; i++) {
        if (i < known && !names_has_entry(entries, entry_count, &cd->said[i].manifest))
            cachedir_name_release(&cd->said[i]);
        else
            cd->said[kept++] = cd->said[i];
    }
    cd->said_count = kept;
    pthread_mutex_unlock(&cd->mutex);
}

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

int cachedir_flush(struct cachedir *cd, struct error *err)
{
    const time_t began = seconds();
    if (store_check_writable(cd, err) < 0)
        return -1;
    struct cachedir_lock *lock = lock_index(cd);
    int r = 0, stand = 0;
    forget_gone(cd);
    /* Another writer without locks may throw out what we wrote, once or twice. */
    for (int tries = 0; r == 0 && !stand && tries < FLUSH_TRIES; tries++) {
        r = merge_once(cd, err);
        if (r == 0) {
            stand = stands(cd, err);
            r = stand < 0 ? -1 : 0;
        }
    }
    cachedir_unlock(lock);
    /* The wait for the lock counts: the more writers there are, the more rarely each comes. */
    const time_t now = seconds(), pause = (now - began) * FLUSH_SHARE;
    pthread_mutex_lock(&cd->mutex);
    cd->flush_due = now + (pause > FLUSH_EVERY ? pause : FLUSH_EVERY);
    pthread_mutex_unlock(&cd->mutex);
    return r;
}

bool cachedir_has_news(struct cachedir *cd)
{
    pthread_mutex_lock(&cd->mutex);
    const bool has = cd->said_count > 0;
    pthread_mutex_unlock(&cd->mutex);
    return has;
}

int cachedir_name_set(struct cachedir *cd, const struct cachedir_name *name, struct error *err)
{
    const time_t now = seconds();
    pthread_mutex_lock(&cd->mutex);
    copy_name(array_add(cd->said, cd->said_count), name);
    if (cd->flush_due == 0)
        cd->flush_due = now + FLUSH_EVERY;
    const bool due = now >= cd->flush_due;
    if (due)
        cd->flush_due = now + FLUSH_EVERY; /* nobody else's turn meanwhile */
    pthread_mutex_unlock(&cd->mutex);
    return due ? cachedir_flush(cd, err) : 0;
}
