/*
 * badfs [--silly] DIRECTORY MOUNTPOINT [FUSE-OPTION]...
 *
 * DIRECTORY once more, at MOUNTPOINT, as a volume that misbehaves. Nothing is wrong at first; what
 * is written to MOUNTPOINT/.badfs says what shall be, and sets all counters back:
 *
 *     OP=HOW[@FROM][+COUNT]   calls of this kind fail with the error HOW, from the FROM-th on,
 *                             COUNT times (else for ever); FROM of "read" and "write" may be bytes:
 *                             "write=ENOSPC@1000B". "HOW!": it is done, and then said to have
 *                             failed; "ignored": it is not done, and said to be.
 *     links=N                 a file has at most N names
 *     colon=HOW               a name with a colon in it cannot be made
 *     directory-time=N        every directory's mtime is N, or "now"
 *     late=MS                 what others do to a directory is seen up to MS later, as on NFS
 *
 * The kinds are faults.h's. ENOSYS to most of them is remembered by the kernel, which never asks
 * again as long as it is mounted.
 *
 * Reading it tells how many calls of each kind there were, and how often it misbehaved: a line
 * "OP CALLS FAULTS" each.
 *
 * --silly: a file that is deleted while somebody has it open stays, under another name, until it is
 * closed (NFS' silly rename).
 */
#define FUSE_USE_VERSION 314

#include "faults.h"
#include "views.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CONTROL "/.badfs"
#define CONTROL_HANDLE UINT64_MAX

static int root = -1;
static bool silly;

static bool is_control(const char *path)
{
    return path && strcmp(path, CONTROL) == 0;
}

static const char *relative(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int outcome(struct verdict v, int r)
{
    if (v.error)
        return -v.error;
    return r < 0 ? -errno : r;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_directory(const char *path)
{
    struct stat st;
    return fstatat(root, relative(path), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* What a call that makes a name is to answer before anything else: 0, or minus an error. */
static int check_name(const char *path)
{
    struct verdict v = {false, 0};
    views_forget(path);
    if (strchr(strrchr(path, '/'), ':'))
        v = faults_judge(COLON);
    return -v.error;
}

static int bad_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    if (is_control(path)) {
        *st = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1, .st_ino = 1};
        return 0;
    }
    const struct verdict v = faults_judge(STAT);
    if (v.skip)
        return -v.error;
    if (!fi && views_hide_path(root, path))
        return -ENOENT;
    int r = fi ? fstat((int)fi->fh, st) : fstatat(root, relative(path), st, AT_SYMLINK_NOFOLLOW);
    if (r == 0 && S_ISDIR(st->st_mode))
        faults_set_directory_time(st);
    return outcome(v, r);
}

static int bad_readlink(const char *path, char *target, size_t size)
{
    ssize_t len = readlinkat(root, relative(path), target, size - 1);
    if (len < 0)
        return -errno;
    target[len] = '\0';
    return 0;
}

static int bad_mkdir(const char *path, mode_t mode)
{
    int no = check_name(path);
    const struct verdict v = faults_judge(MKDIR);
    if (no || v.skip)
        return no ? no : -v.error;
    return outcome(v, mkdirat(root, relative(path), mode));
}

static int bad_mknod(const char *path, mode_t mode, dev_t device)
{
    int no = check_name(path);
    return no ? no : outcome((struct verdict){0}, mknodat(root, relative(path), mode, device));
}

static int bad_symlink(const char *target, const char *path)
{
    int no = check_name(path);
    return no ? no : outcome((struct verdict){0}, symlinkat(target, root, relative(path)));
}

static int bad_unlink(const char *path)
{
    const struct verdict v = faults_judge(UNLINK);
    views_forget(path);
    return v.skip ? -v.error : outcome(v, unlinkat(root, relative(path), 0));
}

static int bad_rmdir(const char *path)
{
    const struct verdict v = faults_judge(RMDIR);
    views_forget(path);
    return v.skip ? -v.error : outcome(v, unlinkat(root, relative(path), AT_REMOVEDIR));
}

static int bad_rename(const char *from, const char *to, unsigned flags)
{
    int no = check_name(to);
    const bool directory = is_directory(from) || (flags && is_directory(to));
    struct verdict v = faults_judge(directory ? RENAME_DIRECTORY : RENAME);
    if (flags && !v.error)
        v = faults_judge(EXCHANGE);
    views_forget(from);
    if (no || v.skip)
        return no ? no : -v.error;
    return outcome(v, renameat2(root, relative(from), root, relative(to), flags));
}

static int bad_link(const char *from, const char *to)
{
    struct stat st = {0};
    int no = check_name(to);
    (void)fstatat(root, relative(from), &st, AT_SYMLINK_NOFOLLOW);
    const struct verdict v = faults_judge_link(st.st_nlink);
    if (no || v.skip)
        return no ? no : -v.error;
    return outcome(v, linkat(root, relative(from), root, relative(to), 0));
}

static int bad_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    const struct verdict v = faults_judge(CHMOD);
    if (v.skip)
        return -v.error;
    return outcome(v, fi ? fchmod((int)fi->fh, mode) : fchmodat(root, relative(path), mode, 0));
}

static int bad_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    return outcome((struct verdict){0},
                   fi ? fchown((int)fi->fh, uid, gid)
                      : fchownat(root, relative(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int bad_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    struct stat st;
    const bool directory =
        fi ? fstat((int)fi->fh, &st) == 0 && S_ISDIR(st.st_mode) : is_directory(path);
    const struct verdict v = faults_judge(directory ? TOUCH_DIRECTORY : TOUCH);
    if (v.skip)
        return -v.error;
    return outcome(v, fi ? futimens((int)fi->fh, times)
                         : utimensat(root, relative(path), times, AT_SYMLINK_NOFOLLOW));
}

static int bad_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    return outcome((struct verdict){0}, fstatvfs(root, st));
}

/* ---- files ----------------------------------------------------------------------------------- */

static int bad_open(const char *path, struct fuse_file_info *fi)
{
    if (is_control(path)) {
        fi->direct_io = 1;
        fi->fh = CONTROL_HANDLE;
        return 0;
    }
    const struct verdict v = faults_judge(OPEN);
    if (v.skip)
        return -v.error;
    int fd = openat(root, relative(path), (fi->flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC);
    if (fd >= 0 && v.error)
        close(fd);
    else if (fd >= 0)
        fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : -v.error;
}

static int bad_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int no = check_name(path);
    const struct verdict v = faults_judge(CREATE);
    if (no || v.skip)
        return no ? no : -v.error;
    int fd = openat(root, relative(path), fi->flags | O_CREAT | O_CLOEXEC, mode);
    if (fd >= 0 && v.error)
        close(fd);
    else if (fd >= 0)
        fi->fh = (uint64_t)fd;
    return fd < 0 ? -errno : -v.error;
}

static int bad_read(const char *path, char *buf, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh == CONTROL_HANDLE) {
        char text[FAULTS_TEXT_MAX];
        const size_t len = faults_tell(text);
        if ((size_t)offset >= len)
            return 0;
        size = size < len - (size_t)offset ? size : len - (size_t)offset;
        memcpy(buf, text + offset, size);
        return (int)size;
    }
    const struct verdict v = faults_judge_bytes(READ, &size);
    return v.skip ? -v.error : outcome(v, (int)pread((int)fi->fh, buf, size, offset));
}

static int bad_write(const char *path, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    (void)path;
    const size_t all = size;
    if (fi->fh == CONTROL_HANDLE) {
        int r = faults_set(buf, size);
        return r < 0 ? r : (int)all;
    }
    const struct verdict v = faults_judge_bytes(WRITE, &size);
    if (v.skip)
        return v.error ? -v.error : (int)all;
    return outcome(v, (int)pwrite((int)fi->fh, buf, size, offset));
}

static int bad_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    if (is_control(path))
        return 0;
    const struct verdict v = faults_judge(TRUNCATE);
    if (v.skip)
        return -v.error;
    int fd = fi ? (int)fi->fh : openat(root, relative(path), O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : ftruncate(fd, size);
    int result = outcome(v, r);
    if (!fi && fd >= 0)
        close(fd);
    return result;
}

/* close(): the last moment at which a program can learn of what went wrong. */
static int bad_flush(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh == CONTROL_HANDLE || (fcntl((int)fi->fh, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return 0;
    return -faults_judge(CLOSE).error;
}

static int bad_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh != CONTROL_HANDLE)
        close((int)fi->fh);
    return 0;
}

static int bad_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    if (fi->fh == CONTROL_HANDLE)
        return 0;
    const struct verdict v = faults_judge(FSYNC);
    if (v.skip)
        return -v.error;
    return outcome(v, data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int bad_flock(const char *path, struct fuse_file_info *fi, int op)
{
    (void)path;
    const struct verdict v = faults_judge(LOCK);
    return v.skip ? -v.error : outcome(v, flock((int)fi->fh, op));
}

/* ---- directories ----------------------------------------------------------------------------- */

static int bad_opendir(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(root, relative(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

/* No d_type: some file systems do not know it either. */
static int bad_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
                       struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    (void)offset;
    (void)flags;
    const struct verdict v = faults_judge(LIST);
    if (v.skip)
        return -v.error;
    int copy = openat((int)fi->fh, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    if (!stream) {
        int saved = errno;
        if (copy >= 0)
            close(copy);
        return -saved;
    }
    while ((entry = readdir(stream)))
        if (!path || !views_hide(root, path, entry->d_name))
            (void)fill(buf, entry->d_name, NULL, 0, 0);
    closedir(stream);
    return -v.error;
}

static int bad_releasedir(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close((int)fi->fh);
    return 0;
}

static int bad_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    (void)data_only;
    const struct verdict v = faults_judge(FSYNC_DIRECTORY);
    return v.skip ? -v.error : outcome(v, fsync((int)fi->fh));
}

/* ---- main ------------------------------------------------------------------------------------ */

/* Nothing is cached, and inodes are those of DIRECTORY. */
static void *bad_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->use_ino = 1;
    config->hard_remove = !silly;
    config->nullpath_ok = !silly;
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .getattr = bad_getattr,
    .readlink = bad_readlink,
    .mknod = bad_mknod,
    .mkdir = bad_mkdir,
    .unlink = bad_unlink,
    .rmdir = bad_rmdir,
    .symlink = bad_symlink,
    .rename = bad_rename,
    .link = bad_link,
    .chmod = bad_chmod,
    .chown = bad_chown,
    .truncate = bad_truncate,
    .open = bad_open,
    .read = bad_read,
    .write = bad_write,
    .statfs = bad_statfs,
    .flush = bad_flush,
    .release = bad_release,
    .fsync = bad_fsync,
    .opendir = bad_opendir,
    .readdir = bad_readdir,
    .releasedir = bad_releasedir,
    .fsyncdir = bad_fsyncdir,
    .init = bad_init,
    .create = bad_create,
    .utimens = bad_utimens,
    .flock = bad_flock,
};

int main(int argc, char **argv)
{
    char **args = argv + 1;
    silly = argc > 1 && strcmp(*args, "--silly") == 0;
    args += silly;
    if (argv + argc - args < 2) {
        fputs("badfs [--silly] DIRECTORY MOUNTPOINT [FUSE-OPTION]...\n", stderr);
        return 2;
    }
    root = open(*args, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        perror(*args);
        return 1;
    }
    umask(0); /* FUSE has taken the caller's off already */
    *args = argv[0];
    return fuse_main((int)(argv + argc - args), args, &operations, NULL);
}
