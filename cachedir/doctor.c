/* What this volume can do: each ability is tried for real, in a directory that goes again. */
#include "alloc.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#define CLOCK_SKEW_MAX 60 /* seconds */

struct doctor {
    struct cachedir *cd;
    void (*told)(void *userdata, const struct cachedir_finding *finding);
    void *userdata;
    int dir; /* where it tries */
};

static void tell(const struct doctor *d, const char *check, enum cachedir_verdict verdict,
                 const char *then, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void tell(const struct doctor *d, const char *check, enum cachedir_verdict verdict,
                 const char *then, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *detail = xvasprintf(format, args);
    va_end(args);
    d->told(d->userdata, &(struct cachedir_finding){check, verdict, detail, then});
}

static void try_ability(const struct doctor *d, const char *check, bool works,
                        enum cachedir_verdict otherwise, const char *then)
{
    if (works)
        tell(d, check, CACHEDIR_GOOD, NULL, "yes");
    else
        tell(d, check, otherwise, then, "no: %s", strerror(errno));
}

static bool make_file(int dir, const char *name)
{
    return fs_create(dir, name, 0644, "doctor", 6) == 0;
}

static bool can_have_colons(int dir)
{
    cleanup_close int fd = fs_make_directory(dir, "sha256:probe", 0755);
    return fd >= 0;
}

static bool can_link(int dir)
{
    struct stat a, b;
    if (fs_link(dir, "file", dir, "link") < 0)
        return false;
    return fstatat(dir, "file", &a, 0) == 0 && fstatat(dir, "link", &b, 0) == 0 &&
           a.st_ino == b.st_ino;
}

static bool can_reflink(int dir)
{
    cleanup_close int from = fs_open(dir, "file", O_RDONLY, 0);
    cleanup_close int to = fs_open(dir, "clone", O_WRONLY | O_CREAT, 0644);
    return from >= 0 && to >= 0 && ioctl(to, FICLONE, from) == 0;
}

static bool can_rename_directory(int dir)
{
    cleanup_close int above = fs_make_directory(dir, "above", 0755);
    cleanup_close int fd = fs_make_directory(dir, "from", 0755);
    return above >= 0 && fd >= 0 && make_file(fd, "inside") &&
           fs_rename(dir, "from", above, "to", 0) == 0;
}

static bool can_exchange(int dir)
{
    return make_file(dir, "one") && make_file(dir, "two") &&
           fs_rename(dir, "one", dir, "two", RENAME_EXCHANGE) == 0;
}

/* Does a directory keep the time that it was touched with? */
static bool can_touch_directory(int dir)
{
    const struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
    struct stat before, after;
    cleanup_close int fd = fs_make_directory(dir, "touched", 0755);
    if (fd < 0 || utimensat(dir, "touched", old, 0) < 0 ||
        fstatat(dir, "touched", &before, 0) < 0 || utimensat(dir, "touched", NULL, 0) < 0 ||
        fstatat(dir, "touched", &after, 0) < 0)
        return false;
    if (before.st_mtime == 1000000000 && after.st_mtime > before.st_mtime)
        return true;
    errno = EOPNOTSUPP;
    return false;
}

/* Two descriptors, so two owners: the second must be refused. */
static bool can_lock(int dir)
{
    cleanup_close int one = fs_open(dir, "file", O_RDWR, 0);
    cleanup_close int two = fs_open(dir, "file", O_RDWR, 0);
    if (one < 0 || two < 0 || flock(one, LOCK_EX | LOCK_NB) < 0)
        return false;
    if (flock(two, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK;
    errno = EOPNOTSUPP;
    return false;
}

static bool can_chmod(int dir)
{
    struct stat st;
    if (fchmodat(dir, "file", 0600, 0) < 0 || fstatat(dir, "file", &st, 0) < 0)
        return false;
    if ((st.st_mode & 07777) == 0600)
        return true;
    errno = EOPNOTSUPP;
    return false;
}

static bool can_sync(int dir)
{
    cleanup_close int fd = fs_open(dir, "file", O_RDWR, 0);
    return fd >= 0 && fsync(fd) == 0 && fsync(dir) == 0;
}

static void try_everything(const struct doctor *d)
{
    const int dir = d->dir;
    if (!make_file(dir, "file")) {
        tell(d, "writing", CACHEDIR_BAD, "nothing can be warmed here", "no: %s", strerror(errno));
        return;
    }
    tell(d, "writing", CACHEDIR_GOOD, NULL, "yes");
    try_ability(d, "colons in names", can_have_colons(dir), CACHEDIR_BAD,
                "the builder asks for names like sha256:...: an SMB share needs the mount option "
                "mapposix");
    try_ability(d, "hard links", can_link(dir), CACHEDIR_WEAKER,
                "every entry keeps a copy of its blobs, so the space is needed twice");
    try_ability(d, "reflinks", can_reflink(dir), CACHEDIR_GOOD, NULL);
    try_ability(d, "renaming directories", can_rename_directory(dir), CACHEDIR_WEAKER,
                "entries are made in place, index.json last");
    try_ability(d, "exchanging names", can_exchange(dir), CACHEDIR_GOOD,
                "replacing another uid's entry is a moment's miss");
    try_ability(d, "touching directories", can_touch_directory(dir), CACHEDIR_WEAKER,
                "an entry's age cannot be renewed, so the builder sees it as expired, or never: "
                "--format docker-archive has files instead");
    try_ability(d, "locks", can_lock(dir), CACHEDIR_WEAKER,
                "right all the same, but processes may do the same work twice");
    try_ability(d, "modes", can_chmod(dir), CACHEDIR_WEAKER,
                "the mount's file_mode and dir_mode decide who reads");
    try_ability(d, "syncing", can_sync(dir), CACHEDIR_WEAKER,
                "a power loss may lose what was warmed last");
}

static void look_at_space(const struct doctor *d)
{
    struct statvfs st;
    if (fstatvfs(d->cd->root, &st) < 0) {
        tell(d, "space", CACHEDIR_UNKNOWN, NULL, "%s", strerror(errno));
        return;
    }
    int64_t all = (int64_t)st.f_blocks * (int64_t)st.f_frsize;
    int64_t available = (int64_t)st.f_bavail * (int64_t)st.f_frsize;
    cleanup_free char *all_text = size_format(all), *free_text = size_format(available);
    bool tight = available < all / 20;
    tell(d, "space", tight ? CACHEDIR_WEAKER : CACHEDIR_GOOD,
         tight ? "prune with --max-size or --min-free" : NULL, "%s free of %s", free_text,
         all_text);
}

static void look_at_owner(const struct doctor *d)
{
    struct stat st;
    if (fstat(d->cd->root, &st) < 0) {
        tell(d, "owner", CACHEDIR_UNKNOWN, NULL, "%s", strerror(errno));
        return;
    }
    tell(d, "owner", d->cd->writable ? CACHEDIR_GOOD : CACHEDIR_WEAKER,
         d->cd->writable ? NULL
                         : "read-only for us: list, inspect, verify and du work; to warm, run once "
                           "as root, chown it, or set fsGroup",
         "uid %u, gid %u, mode %04o; we are uid %u, gid %u", (unsigned)st.st_uid,
         (unsigned)st.st_gid, (unsigned)st.st_mode & 07777U, (unsigned)d->cd->uid,
         (unsigned)getegid());
}

static void look_at_clock(const struct doctor *d)
{
    int64_t skew = cachedir_now(d->cd) - time(NULL);
    bool far = skew > CLOCK_SKEW_MAX || skew < -CLOCK_SKEW_MAX;
    tell(d, "clock", far ? CACHEDIR_WEAKER : CACHEDIR_GOOD,
         far ? "ages are judged by the volume's clock, but builders use their node's" : NULL,
         "the volume's is %lld s %s ours", (long long)(skew < 0 ? -skew : skew),
         skew < 0 ? "behind" : "ahead of");
}

int cachedir_doctor(struct cachedir *cd,
                    void (*told)(void *userdata, const struct cachedir_finding *finding),
                    void *userdata, struct error *err)
{
    struct doctor d = {.cd = cd, .told = told, .userdata = userdata, .dir = -1};
    char name[FS_NAME_MAX];

    look_at_owner(&d);
    look_at_space(&d);
    if (!cd->writable) {
        tell(&d, "writing", CACHEDIR_UNKNOWN, NULL, "not tried: read-only for us");
        return 0;
    }
    look_at_clock(&d);
    fs_random_name(name, STORE_OWN "-trash-"); /* so that prune sweeps it if we are killed */
    d.dir = fs_make_directory(cd->root, name, 0700);
    if (d.dir < 0)
        return store_error(cd, errno, cd->root, ".", err, "cannot make a directory in %s",
                           cd->path);
    try_everything(&d);
    close(d.dir);
    if (fs_remove(cd->root, name) < 0)
        return error_errno(err, errno, "cannot remove %s/%s", cd->path, name);
    return 0;
}
