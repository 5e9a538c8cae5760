/* Opening the directory, and what is true of it as long as it is open. */
#include "alias.h"
#include "alloc.h"
#include "archives.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>

void store_warn(struct cachedir *cd, const char *format, ...)
{
    if (!cd->warn)
        return;
    pthread_mutex_lock(&cd->mutex);
    bool new = true;
    for (size_t i = 0; i < cd->told_count; i++)
        if (strcmp(cd->told[i], format) == 0)
            new = false;
    if (new)
        *array_add(cd->told, cd->told_count) = xstrdup(format);
    pthread_mutex_unlock(&cd->mutex);
    if (!new)
        return;
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    cd->warn(cd->userdata, message);
}

bool store_able(const struct cachedir *cd, enum cachedir_ability ability)
{
    return !(atomic_load(&cd->without) & ability);
}

void store_unable(struct cachedir *cd, enum cachedir_ability ability, const char *what, int errnum,
                  const char *consequence)
{
    if (atomic_fetch_or(&cd->without, ability) & ability || !cd->warn)
        return;
    cleanup_free char *message = xasprintf("%s: this volume has no %s (%s): %s", cd->path, what,
                                           strerror(errnum), consequence);
    cd->warn(cd->userdata, message);
}

int store_check_writable(const struct cachedir *cd, struct error *err)
{
    if (cd->writable)
        return 0;
    struct stat st;
    if (fstat(cd->root, &st) < 0)
        return error_errno(err, errno, "%s", cd->path);
    return error_set(err, ERROR_REFUSED,
                     "%s: not writable for uid %u (owner %u, mode %04o, or mounted read-only): run "
                     "once as root, chown it, or set fsGroup",
                     cd->path, (unsigned)cd->uid, (unsigned)st.st_uid,
                     (unsigned)st.st_mode & 07777U);
}

int store_error(struct cachedir *cd, int errnum, int dir, const char *name, struct error *err,
                const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *what = xvasprintf(format, args);
    va_end(args);

    struct stat st;
    if ((errnum == EACCES || errnum == EPERM) &&
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0)
        return error_set(err, ERROR_REFUSED,
                         "%s: %s (owner %u, mode %04o; we are uid %u: run once as root, chown, or "
                         "set fsGroup)",
                         what, strerror(errnum), (unsigned)st.st_uid, (unsigned)st.st_mode & 07777U,
                         (unsigned)cd->uid);
    return error_errno(err, errnum, "%s", what);
}

/* mkdir -p, the user's own path: symlinks are followed. */
static int make_path(const char *path, struct error *err)
{
    cleanup_free char *copy = xstrdup(path);
    for (char *slash = copy;;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        bool made = mkdir(copy, 0755) == 0;
        if (made) { /* whatever the umask */
            cleanup_close int fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (fd < 0 || fs_set_mode(fd, 0755) < 0)
                return error_errno(err, errno, "cannot chmod %s", copy);
        }
        if (!made && errno != EEXIST) {
            int saved = errno;
            struct stat st;
            if (stat(copy, &st) < 0)
                return error_set(
                    err, saved == EACCES || saved == EPERM ? ERROR_REFUSED : ERROR_DIRECTORY,
                    "cannot make the cache directory %s%s%s: %s", path, slash ? ": " : "",
                    slash ? copy : "", strerror(saved));
        }
        if (!slash)
            return 0;
        *slash = '/';
    }
}

static int open_root(struct cachedir *cd, bool create, struct error *err)
{
    if (create && make_path(cd->path, err) < 0)
        return -1;
    cd->root = open(cd->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cd->root < 0) {
        if (errno == ENOENT)
            return error_set(err, ERROR_NOT_FOUND,
                             "there is no cache directory %s: is --cache-dir right?", cd->path);
        if (errno == ENOTDIR)
            return error_set(err, ERROR_DIRECTORY, "%s is not a directory", cd->path);
        return error_errno(err, errno, "cannot open the cache directory %s", cd->path);
    }
    /* What the directory's owner allows its group, we allow it too: fsGroup relies on it. */
    struct stat st;
    if (fstat(cd->root, &st) < 0)
        return error_errno(err, errno, "%s", cd->path);
    cd->file_mode = 0644 | (st.st_mode & S_IWGRP);
    cd->directory_mode = 0755 | (st.st_mode & (S_IWGRP | S_ISGID));
    cd->writable = faccessat(cd->root, ".", W_OK | X_OK, AT_EACCESS) == 0;
    return 0;
}

int store_put_file(struct cachedir *cd, int dir, const char *name, const char *text,
                   struct error *err)
{
    char temporary[FS_NAME_MAX];
    store_temporary(cd, temporary, "new");
    if (fs_create(cd->stage, temporary, cd->file_mode, text, strlen(text)) < 0 ||
        fs_rename(cd->stage, temporary, dir, name, 0) < 0) {
        const int saved = errno;
        (void)unlinkat(cd->stage, temporary, 0);
        return store_error(cd, saved, dir, ".", err, "cannot write %s in %s", name, cd->path);
    }
    return 0;
}

/* A directory of ours; `above` is where, for messages. Who only reads does without what is not
 * there, or is something else. */
static int open_one(struct cachedir *cd, int dir, const char *above, const char *name, mode_t mode,
                    bool create, int *ret, struct error *err)
{
    *ret = create ? fs_make_directory(dir, name, mode) : fs_open_directory(dir, name);
    if (*ret >= 0 || (!create && (errno == ENOENT || errno == EACCES || errno == EPERM ||
                                  errno == ENOTDIR || errno == ELOOP)))
        return 0;
    if (errno == ENOTDIR || errno == ELOOP || errno == EEXIST)
        return error_set(err, ERROR_IO, "%s/%s%s is no directory: remove it, and it is made anew",
                         cd->path, above, name);
    return store_error(cd, errno, dir, name, err, "%s/%s%s", cd->path, above, name);
}

const char *cachedir_format_name(enum cachedir_format format)
{
    return format == CACHEDIR_FORMAT_DOCKER_ARCHIVE ? entry_archive.name : entry_oci.name;
}

enum cachedir_format cachedir_format(const struct cachedir *cd)
{
    return cd->format->format;
}

int store_names_directory(const struct cachedir *cd)
{
    return cd->format->is_file ? cd->own : cd->root;
}

/* What .basewarm/format says. 1, 0 there is none, -1. */
static int recorded_format(const struct cachedir *cd, const struct entry_format **ret,
                           struct error *err)
{
    static const struct entry_format *const formats[] = {&entry_oci, &entry_archive};
    cleanup_free char *text = NULL;
    size_t len;
    /* An empty one is what a kill at the first use may leave: as good as none. */
    if (fs_read(cd->root, STORE_OWN "/format", 64, &text, &len) < 0 || len == 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(text, formats[i]->name) == 0) {
            *ret = formats[i];
            return 1;
        }
    cleanup_free char *shown = text_foreign_str(text);
    return error_set(err, ERROR_USAGE, "%s holds the format %s, which this version does not know",
                     cd->path, shown);
}

int store_check_format(const struct cachedir *cd, struct error *err)
{
    const struct entry_format *now = cd->format;
    if (cd->converting)
        return 0;
    if (recorded_format(cd, &now, err) < 0)
        return -1;
    return now == cd->format
               ? 0
               : error_set(err, ERROR_USAGE, "%s was converted to %s while this run was at work",
                           cd->path, now->name);
}

/* What a directory that we never wrote to was filled with. 1, 0 there are no entries, -1. Where
 * both kinds stand, it is oci: then the files are what is mended. */
static int found_format(const struct cachedir *cd, const struct entry_format **ret,
                        struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    bool files = false;
    if (fs_names(cd->root, &names, &count) < 0)
        return error_errno(err, errno, "cannot read %s", cd->path);
    for (size_t i = 0; i < count; i++) {
        struct digest digest;
        struct stat st;
        if (!entry_name(names[i], &digest) ||
            fstatat(cd->root, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            *ret = &entry_oci;
            return 1;
        }
        files |= S_ISREG(st.st_mode);
    }
    *ret = &entry_archive;
    return files;
}

/* 1: it is recorded, 0 it is to be, -1. */
static int settle_format(struct cachedir *cd, enum cachedir_format wanted, struct error *err)
{
    const int recorded = recorded_format(cd, &cd->format, err);
    int known = recorded;
    if (known == 0)
        known = found_format(cd, &cd->format, err);
    if (known < 0)
        return -1;
    if (known == 0)
        cd->format = wanted == CACHEDIR_FORMAT_DOCKER_ARCHIVE ? &entry_archive : &entry_oci;
    if (wanted == CACHEDIR_FORMAT_ANY || wanted == cd->format->format)
        return recorded;
    return error_set(err, ERROR_USAGE,
                     "%s holds the format %s, not %s: \"cachedir convert --to %s\" changes that "
                     "without fetching",
                     cd->path, cd->format->name, cachedir_format_name(wanted),
                     cachedir_format_name(wanted));
}

static int try_name(const struct cachedir *cd, const char *name)
{
    cleanup_close int fd = fs_open(cd->own, name, O_WRONLY | O_CREAT, cd->file_mode);
    if (fd >= 0)
        (void)unlinkat(cd->own, name, 0);
    return fd < 0 ? -1 : 0;
}

static int record_format(struct cachedir *cd, struct error *err)
{
    /* One colon in a name says whether this volume can hold entries at all. */
    if (try_name(cd, "probe:colon") < 0) {
        const int saved = errno;
        if (try_name(cd, "probe") < 0) /* then it is not the colon */
            return store_error(cd, errno, cd->own, ".", err, "cannot write in %s/" STORE_OWN,
                               cd->path);
        return error_set(err, ERROR_DIRECTORY,
                         "%s: this volume refuses a colon in a name (%s), and the builder asks for "
                         "names like sha256:...: an SMB share needs the mount option mapposix",
                         cd->path, strerror(saved));
    }
    cleanup_free char *text = xasprintf("%s\n", cd->format->name);
    return store_put_file(cd, cd->own, "format", text, err);
}

static int open_parts(struct cachedir *cd, bool create, struct error *err)
{
    const mode_t mode = cd->directory_mode;
    if (open_one(cd, cd->root, "", STORE_OWN, mode, create, &cd->own, err) < 0)
        return -1;
    if (cd->own >= 0 &&
        (open_one(cd, cd->own, STORE_OWN "/", "partial", mode, create, &cd->partial, err) < 0 ||
         open_one(cd, cd->own, STORE_OWN "/", "stage", mode, create, &cd->stage, err) < 0 ||
         open_one(cd, cd->own, STORE_OWN "/", "trash", mode, create, &cd->trash, err) < 0 ||
         open_one(cd, cd->own, STORE_OWN "/", "aliases", mode, create, &cd->aliases, err) < 0 ||
         open_one(cd, cd->own, STORE_OWN "/", "locks", mode, create, &cd->blob_locks, err) < 0))
        return -1;
    if (create && store_begin_run(cd, err) < 0)
        return -1;
    cd->entry_locks = create ? fs_make_directory(cd->root, STORE_ENTRY_LOCKS, 01777)
                             : fs_open_directory(cd->root, STORE_ENTRY_LOCKS);
    if (cd->entry_locks < 0 && create)
        store_warn(cd, "%s/" STORE_ENTRY_LOCKS ": %s: going on without kaniko's locks", cd->path,
                   strerror(errno));
    return 0;
}

/* Of format oci: the pool, and what makes the root a layout. */
static int open_layout(struct cachedir *cd, bool create, struct error *err)
{
    if (!create) {
        if (blobs_open(cd->root, &cd->pool) < 0 && errno != ENOENT && errno != EACCES &&
            errno != ENOTDIR && errno != ELOOP)
            return error_errno(err, errno, "%s/blobs", cd->path);
        return 0;
    }
    if (blobs_make(cd, cd->root, &cd->pool) < 0)
        return store_error(cd, errno, cd->root, "blobs", err, "%s/blobs", cd->path);
    struct stat st;
    if (fstatat(cd->root, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
        return 0;
    return store_put_file(cd, cd->root, "oci-layout", LAYOUT_TEXT, err);
}

/* `forced`: with this format, whatever the directory has; NULL: with the directory's own. */
static int open_as(const char *path, const struct cachedir_options *options,
                   const struct entry_format *forced, struct cachedir **ret, struct error *err)
{
    cleanup_cachedir struct cachedir *cd = xcalloc(1, sizeof *cd);

    cd->path = xstrdup(path);
    cd->uid = geteuid();
    cd->warn = options->warn;
    cd->userdata = options->userdata;
    atomic_init(&cd->without, options->without);
    cd->root = cd->own = cd->partial = cd->stage = cd->trash = cd->aliases = cd->blob_locks =
        cd->entry_locks = -1;
    cd->pool = (struct blobs){-1, -1, -1};
    pthread_mutex_init(&cd->mutex, NULL);
    pthread_mutex_init(&cd->naming, NULL);
    if (options->without & CACHEDIR_OPENAT2)
        fs_without_openat2 = true;

    if (open_root(cd, options->create, err) < 0)
        return -1;
    if (options->create && store_check_writable(cd, err) < 0)
        return -1;
    /* Before anything is made: a wrong --format leaves no trace. */
    int recorded = 1;
    cd->converting = forced != NULL;
    if (forced)
        cd->format = forced;
    else
        recorded = settle_format(cd, options->format, err);
    if (recorded < 0 || open_parts(cd, options->create, err) < 0)
        return -1;
    if (!cd->format->is_file && open_layout(cd, options->create, err) < 0)
        return -1;
    if (options->create && !recorded && record_format(cd, err) < 0)
        return -1;
    *ret = take_ptr(cd);
    return 0;
}

int cachedir_open(const char *path, const struct cachedir_options *options, struct cachedir **ret,
                  struct error *err)
{
    return open_as(path, options, NULL, ret, err);
}

int store_open_as(const struct cachedir *cd, const struct entry_format *format, bool create,
                  struct cachedir **ret, struct error *err)
{
    const struct cachedir_options options = {.create = create,
                                             .without = atomic_load(&cd->without),
                                             .warn = cd->warn,
                                             .userdata = cd->userdata};
    return open_as(cd->path, &options, format, ret, err);
}

void cachedir_close(struct cachedir *cd)
{
    if (!cd)
        return;
    store_end_run(cd);
    const int fds[] = {cd->root,  cd->own,     cd->partial,    cd->stage,
                       cd->trash, cd->aliases, cd->blob_locks, cd->entry_locks};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    blobs_close(&cd->pool);
    for (size_t i = 0; i < cd->told_count; i++)
        free(cd->told[i]);
    free(cd->told);
    cachedir_names_free(cd->said, cd->said_count);
    cachedir_names_free(cd->names, cd->name_count);
    free(cd->holders);
    tdestroy(cd->trusted, free);
    archives_release(cd);
    aliases_release(cd);
    pthread_mutex_destroy(&cd->mutex);
    pthread_mutex_destroy(&cd->naming);
    free(cd->path);
    free(cd);
}

const char *cachedir_path(const struct cachedir *cd)
{
    return cd->path;
}
bool cachedir_writable(const struct cachedir *cd)
{
    return cd->writable;
}

time_t cachedir_now(struct cachedir *cd)
{
    struct stat st;
    if (cd->own >= 0 && utimensat(cd->own, "format", NULL, AT_SYMLINK_NOFOLLOW) == 0 &&
        fstatat(cd->own, "format", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return st.st_mtime;
    return time(NULL);
}
