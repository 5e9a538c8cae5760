/* What can be asked of entries, and done to them, whatever their format. */
#include "alias.h"
#include "alloc.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define TIME_KEPT 60 /* s; what was touched just now is no older */

int cachedir_look(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                  struct error *err)
{
    return cd->format->look(cd, digest, ret, err);
}

const struct cachedir_blob_info *entry_blob(const struct cachedir_entry *e,
                                            const struct digest *digest)
{
    for (size_t i = 0; i < e->blob_count; i++)
        if (e->blobs[i].present && digest_equal(&e->blobs[i].digest, digest))
            return &e->blobs[i];
    return NULL;
}

int entry_blob_read(struct cachedir *cd, const struct digest *entry,
                    const struct cachedir_blob_info *blob, char **ret)
{
    int64_t start;
    cleanup_free char *path = cd->format->blob_path(entry, blob, &start);
    cleanup_close int fd = fs_open(cd->root, path, O_RDONLY | O_NONBLOCK, 0);
    cleanup_free char *bytes = xmalloc((size_t)blob->size + 1);
    if (fd < 0 || fs_pread_all(fd, bytes, (size_t)blob->size, start == WHOLE_FILE ? 0 : start) < 0)
        return -1;
    bytes[blob->size] = '\0';
    *ret = take_ptr(bytes);
    return 0;
}

struct inode_use { /* one blob of one entry in the list */
    ino_t inode;
    size_t entry;
    int64_t size;
};

static int compare_uses(const void *a, const void *b)
{
    const struct inode_use *x = a, *y = b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

static void count_shared(struct cachedir_entry *list, size_t count)
{
    struct inode_use *uses = NULL;
    size_t use_count = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < list[i].blob_count; j++)
            if (list[i].blobs[j].present)
                *array_add(uses, use_count) =
                    (struct inode_use){list[i].blobs[j].inode, i, list[i].blobs[j].size};
    if (use_count > 0)
        qsort(uses, use_count, sizeof *uses, compare_uses);
    for (size_t first = 0, past; first < use_count; first = past) {
        for (past = first + 1; past < use_count && uses[past].inode == uses[first].inode;)
            past++;
        /* All blobs of one archive have its inode: what counts is whether others have it, too. */
        for (size_t i = first; i < past && uses[first].entry != uses[past - 1].entry; i++)
            list[uses[i].entry].shared_size += uses[i].size;
    }
    free(uses);
}

/* A look waits for the volume a dozen times: on a network file system, where that is a round trip
 * each, several threads wait at once. */
#define LOOKERS_MAX 8
#define LOOKS_EACH 64 /* below that, a thread costs more than it saves */

struct looking {
    struct cachedir *cd;
    struct cachedir_entry *entries; /* the digest is set; each belongs to who counted to it */
    size_t count;
    atomic_size_t next;
    pthread_mutex_t mutex; /* guards: */
    struct error failed;
};

static void *look_at_some(void *userdata)
{
    struct looking *l = userdata;
    size_t i;
    while ((i = atomic_fetch_add(&l->next, 1)) < l->count) {
        const struct digest digest = l->entries[i].digest;
        struct error err = {0};
        if (l->cd->format->look(l->cd, &digest, &l->entries[i], &err) == 0)
            continue;
        atomic_store(&l->next, l->count);
        pthread_mutex_lock(&l->mutex);
        if (l->failed.kind == ERROR_NONE)
            error_move(&l->failed, &err);
        pthread_mutex_unlock(&l->mutex);
        error_clear(&err);
    }
    return NULL;
}

static int look_at_all(struct cachedir *cd, struct cachedir_entry *entries, size_t count,
                       struct error *err)
{
    struct looking l = {.cd = cd, .entries = entries, .count = count};
    pthread_t ids[LOOKERS_MAX];
    size_t started = 0;
    pthread_mutex_init(&l.mutex, NULL);
    while (started + 1 < LOOKERS_MAX && (started + 1) * LOOKS_EACH < count &&
           pthread_create(&ids[started], NULL, look_at_some, &l) == 0)
        started++;
    look_at_some(&l);
    for (size_t i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
    pthread_mutex_destroy(&l.mutex);
    if (l.failed.kind == ERROR_NONE)
        return 0;
    error_move(err, &l.failed);
    return -1;
}

int cachedir_list(struct cachedir *cd, struct cachedir_entry **ret, size_t *ret_count,
                  struct error *err)
{
    cleanup_names char **names = NULL;
    size_t name_count, count = 0, kept = 0;

    if (fs_names(cd->root, &names, &name_count) < 0)
        return error_errno(err, errno, "cannot read %s", cd->path);
    struct cachedir_entry *list = xcalloc(name_count + 1, sizeof *list);
    for (size_t i = 0; i < name_count; i++)
        count += entry_name(names[i], &list[count].digest);
    if (look_at_all(cd, list, count, err) < 0) {
        cachedir_entries_free(list, count);
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (list[i].state != CACHEDIR_ABSENT)
            list[kept++] = list[i];
    count_shared(list, kept);
    *ret = list;
    *ret_count = kept;
    return 0;
}

int entries_list_beside(struct cachedir *cd, void *(*work)(void *userdata), void *userdata,
                        struct cachedir_entry **ret, size_t *ret_count, struct error *err)
{
    pthread_t worker;
    const bool beside = pthread_create(&worker, NULL, work, userdata) == 0;
    const int r = cachedir_list(cd, ret, ret_count, err);
    if (beside)
        pthread_join(worker, NULL);
    else
        work(userdata);
    return r;
}

void cachedir_entries_free(struct cachedir_entry *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cachedir_entry_release(&list[i]);
    free(list);
}

int cachedir_manifest(struct cachedir *cd, const struct digest *digest, char **ret, size_t *ret_len,
                      struct error *err)
{
    return cd->format->manifest(cd, digest, ret, ret_len, err);
}

int oci_manifest(struct cachedir *cd, const struct digest *digest, char **ret, size_t *ret_len,
                 struct error *err)
{
    const char *algorithm = digest_is_sha256(digest) ? "sha256" : "sha512";
    cleanup_free char *pool = xasprintf("blobs/%s/%s", algorithm, digest_hex(digest));
    cleanup_free char *entry = xasprintf("%s/%s", digest->text, pool);
    const char *const places[] = {pool, entry};

    for (size_t i = 0; i < 2; i++) {
        cleanup_free char *bytes = NULL;
        size_t len;
        if (fs_read(cd->root, places[i], MANIFEST_SIZE_MAX, &bytes, &len) < 0) {
            if (errno == EIO || errno == ESTALE || errno == EMFILE || errno == ENFILE)
                return error_errno(err, errno, "cannot read %s", places[i]);
            continue; /* not there, or not to be read: as good as not there */
        }
        if (digest_check(digest, bytes, len, NULL) == 0) {
            *ret = take_ptr(bytes);
            *ret_len = len;
            return 1;
        }
    }
    return 0;
}

bool cachedir_is_cache(struct cachedir *cd)
{
    cleanup_names char **names = NULL;
    size_t count;
    bool found = cd->own >= 0;
    if (found || fs_names(cd->root, &names, &count) < 0)
        return found;
    for (size_t i = 0; i < count && !found; i++) {
        struct digest digest;
        found = entry_name(names[i], &digest);
    }
    return found;
}

bool cachedir_is_empty(struct cachedir *cd)
{
    static const char *const no_matter[] = {"lost+found", ".snapshot", STORE_ENTRY_LOCKS};
    cleanup_names char **names = NULL;
    size_t count, others = 0;
    if (fs_names(cd->root, &names, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        bool matters = true;
        for (size_t j = 0; j < sizeof no_matter / sizeof *no_matter; j++)
            matters &= strcmp(names[i], no_matter[j]) != 0;
        others += matters;
    }
    return others == 0;
}

bool cachedir_has_blob(struct cachedir *cd, const struct descriptor *blob)
{
    return cd->format->has_blob(cd, blob);
}

bool oci_has_blob(struct cachedir *cd, const struct descriptor *blob)
{
    struct digest holder;
    return pool_has(blobs_directory(&cd->pool, &blob->digest), digest_hex(&blob->digest),
                    blob->size, NULL) ||
           pool_holder(cd, &blob->digest, 0, &holder);
}

/* A builder that finds an expired alias looks no further: so they come first. */
static int renew_aliases(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    cleanup_free struct digest *aliases = NULL;
    size_t count;
    if (cachedir_aliases(cd, digest, &aliases, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (utimensat(cd->root, aliases[i].text, NULL, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
            return store_error(cd, errno, cd->root, aliases[i].text, err, "cannot renew %s",
                               aliases[i].text);
    return 0;
}

/* The builder compares this time with its own clock's. */
static void check_time(struct cachedir *cd, const struct digest *digest)
{
    struct stat st;
    if (fstatat(cd->root, digest->text, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_mtime > time(NULL) - TIME_KEPT || st.st_mtime > cachedir_now(cd) - TIME_KEPT)
        return;
    if (cd->format->is_file)
        store_warn(cd,
                   "%s: this volume does not keep the times of files: builders take what is "
                   "warmed here for expired",
                   cd->path);
    else
        store_warn(cd,
                   "%s: this volume does not keep the times of directories: builders take what "
                   "is warmed here for expired; --format docker-archive has files instead",
                   cd->path);
}

int cachedir_renew(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    struct stat st;

    if (renew_aliases(cd, digest, err) < 0)
        return -1;
    /* By path, and with the file system's own clock: that needs only write permission. */
    if (utimensat(cd->root, digest->text, NULL, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return error_set(err, ERROR_NOT_FOUND, "%s vanished", digest->text);
        return store_error(cd, errno, cd->root, digest->text, err, "cannot renew %s", digest->text);
    }
    /* A prune may have taken it away between the look and the touch. */
    cleanup_free char *commit_point =
        xasprintf("%s%s", digest->text, cd->format->is_file ? "" : "/index.json");
    if (fs_stat(cd->root, commit_point, &st) < 0) {
        if (errno == ENOENT)
            return error_set(err, ERROR_NOT_FOUND, "%s vanished while it was renewed",
                             digest->text);
        return error_errno(err, errno, "%s", commit_point);
    }
    check_time(cd, digest);
    return 0;
}

int cachedir_adopt(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    return cd->format->adopt(cd, digest, err);
}

int oci_adopt(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    cleanup_free char *bytes = NULL;
    size_t len;
    struct cachedir_stage *stage = NULL;

    int found = cachedir_manifest(cd, digest, &bytes, &len, err);
    if (found <= 0)
        return found < 0 ? -1
                         : error_set(err, ERROR_DIGEST, "the manifest of %s is damaged or gone",
                                     digest->text);
    if (cachedir_stage_new(cd, digest, NULL, bytes, len, NULL, false, &stage, err) < 0)
        return -1;
    const struct manifest *m = &stage->manifest;
    int taken = cachedir_stage_take(stage, &m->config, err);
    for (size_t i = 0; i < m->layer_count && taken > 0; i++)
        taken = cachedir_stage_take(stage, &m->layers[i], err);
    cachedir_stage_free(stage);
    if (taken < 0)
        return -1;
    if (taken == 0)
        return error_set(err, ERROR_DIGEST, "a blob of %s is damaged", digest->text);
    /* kaniko's warmer leaves 0700, which only it can read. Not ours to change: then it stays. */
    cleanup_close int dir = fs_open_directory(cd->root, digest->text);
    struct stat st;
    if (dir >= 0 && fstat(dir, &st) == 0 && st.st_uid == cd->uid &&
        (st.st_mode & 07777) != cd->directory_mode && fs_set_mode(dir, cd->directory_mode) < 0)
        return error_errno(err, errno, "%s", digest->text);
    return 0;
}

/* ---- taking away ---- */

bool entry_is_younger(int dir, const char *name, const struct timespec *seen)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtim.tv_sec > seen->tv_sec ||
           (st.st_mtim.tv_sec == seen->tv_sec && st.st_mtim.tv_nsec > seen->tv_nsec);
}

/* Where directories cannot be renamed: its commit point goes first, then the rest. */
static int unlink_commit_point(struct cachedir *cd, const char *name, struct error *err)
{
    cleanup_close int dir = fs_open_directory(cd->root, name);
    if (dir >= 0 && unlinkat(dir, "index.json", 0) < 0 && errno != ENOENT)
        return store_error(cd, errno, dir, "index.json", err, "cannot remove %s", name);
    if (dir >= 0 && fs_sync_directory(dir) < 0)
        return error_errno(err, errno, "cannot sync %s", name);
    return 0;
}

int store_remove_away(struct cachedir *cd, int dir, const char *name)
{
    return fs_sync_directory(cd->root) < 0 ? -1 : fs_remove(dir, name);
}

/* What belongs to an entry and lies elsewhere: of an archive's, the manifest; of an alias', the
 * record. */
static int forget_entry(struct cachedir *cd, const char *name, struct error *err)
{
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, name);
    if (faccessat(cd->root, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0; /* made anew already, and so is what belongs to it */
    if (unlinkat(cd->root, beside, 0) < 0 && errno != ENOENT && errno != EISDIR)
        return store_error(cd, errno, cd->root, beside, err, "cannot remove %s", beside);
    return alias_forget(cd, name, err);
}

int entry_take_away(struct cachedir *cd, const char *name, const struct timespec *seen,
                    struct error *err)
{
    char away[FS_NAME_MAX];
    int trash = cd->trash;

    if (seen && entry_is_younger(cd->root, name, seen))
        return 0;
    /* What could not be deleted is not taken away: its bytes would stay, and nobody's. */
    if (faccessat(cd->root, name, W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0 && errno == EACCES)
        return store_error(cd, EACCES, cd->root, name, err, "cannot remove %s", name);
    store_temporary(cd, away, "entry");
    int r = fs_rename(cd->root, name, trash, away, 0);
    if (r < 0 && (errno == EACCES || errno == EPERM)) {
        /* A directory that is not ours may change its name but not its parent. */
        fs_random_name(away, STORE_OWN "-trash-");
        trash = cd->root;
        r = fs_rename(cd->root, name, trash, away, 0);
    }
    if (r < 0 && errno == ENOENT)
        return 0;
    if (r < 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EXDEV && errno != EIO &&
        errno != EPERM)
        return store_error(cd, errno, cd->root, name, err, "cannot remove %s", name);
    if (r < 0) {
        if (unlink_commit_point(cd, name, err) < 0)
            return -1;
        trash = cd->root;
        (void)snprintf(away, sizeof away, "%s", name);
    } else if (seen && entry_is_younger(trash, away, seen)) {
        /* Renewed between the look and the rename: a warm counts on it, so it comes back. */
        if (fs_rename(trash, away, cd->root, name, RENAME_NOREPLACE) == 0 ||
            ((errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) &&
             fs_rename(trash, away, cd->root, name, 0) == 0))
            return 0;
    }
    /* It was not put back; before the bytes go, which takes long, and the entry may be made anew.
     */
    if (trash != cd->root && forget_entry(cd, name, err) < 0)
        return -1;
    if (store_remove_away(cd, trash, away) < 0)
        return store_error(cd, errno, trash, away, err, "%s is out of sight, but cannot be deleted",
                           name);
    return trash == cd->root && forget_entry(cd, name, err) < 0 ? -1 : 1;
}

int entry_take_all_away(struct cachedir *cd, const struct digest *digest, struct error *err)
{
    cleanup_free struct digest *aliases = NULL;
    size_t count;
    if (cachedir_aliases(cd, digest, &aliases, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (entry_take_away(cd, aliases[i].text, NULL, err) < 0)
            return -1;
    return entry_take_away(cd, digest->text, NULL, err);
}
