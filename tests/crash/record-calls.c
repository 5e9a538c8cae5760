/*
 * record-calls OUT COMMAND [ARG]...
 *
 * Runs a command and writes into the directory OUT what it does to files: OUT/calls, a line for
 * each system call that succeeded, in the kernel's order, and OUT/<n>, the bytes of a file after a
 * call that changed them. Fields are separated by tabs; files and directories are inode numbers,
 * and of names only the last component is there.
 *
 *     file       PARENT NAME INODE MODE      a new file
 *     directory  PARENT NAME INODE MODE      a new directory
 *     link       INODE PARENT NAME
 *     rename     PARENT NAME PARENT NAME FLAGS   renameat2(2)'s
 *     unlink     PARENT NAME                 of a file or a directory
 *     data       INODE MODE MTIME N          now it has the bytes of OUT/N
 *     meta       INODE MODE MTIME            ns
 *     sync       INODE
 *     syncfs
 */
#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct place { /* a directory and a name in it, as a call means them */
    ino_t parent;
    char name[256], path[4096];
    bool was_there;
};

struct recorder {
    FILE *calls;
    const char *out;
    unsigned long count;
    struct place a, b; /* of the call that is being made */
    ino_t target;      /* what a link is made to */
    uint64_t flags;    /* an open's */
};

static void descriptor_path(pid_t pid, uint64_t fd, char *ret, size_t room)
{
    if ((int)fd == AT_FDCWD)
        (void)snprintf(ret, room, "/proc/%d/cwd", pid);
    else
        (void)snprintf(ret, room, "/proc/%d/fd/%d", pid, (int)fd);
}

/* false: the directory that it is in is not there. */
static bool find_place(pid_t pid, uint64_t fd, uint64_t address, struct place *ret)
{
    char name[2048], base[64] = "";
    struct stat st;
    tracer_read_string(pid, address, name, sizeof name);
    if (name[0] != '/')
        descriptor_path(pid, fd, base, sizeof base);
    (void)snprintf(ret->path, sizeof ret->path, "%s/%s", base, name);
    char *slash = strrchr(ret->path, '/');
    if (strlen(slash + 1) >= sizeof ret->name || strpbrk(slash + 1, "\t\n"))
        tracer_die("a name that is none of ours");
    strcpy(ret->name, slash + 1);
    *slash = '\0';
    const bool there = stat(slash == ret->path ? "/" : ret->path, &st) == 0;
    *slash = '/';
    ret->parent = st.st_ino;
    struct stat self;
    ret->was_there = there && lstat(ret->path, &self) == 0;
    return there;
}

static ino_t inode_of(const char *path, bool follow)
{
    struct stat st;
    if ((follow ? stat : lstat)(path, &st) < 0)
        tracer_die(path);
    return st.st_ino;
}

static void say_meta(struct recorder *r, const char *path, bool follow)
{
    struct stat st;
    if ((follow ? stat : lstat)(path, &st) < 0)
        tracer_die(path);
    fprintf(r->calls, "meta\t%ju\t%o\t%jd%09ld\n", (uintmax_t)st.st_ino, st.st_mode & 07777U,
            (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void say_data(struct recorder *r, pid_t pid, uint64_t fd)
{
    char path[64], copy[4096], buf[1 << 16];
    struct stat st;
    ssize_t n;
    descriptor_path(pid, fd, path, sizeof path);
    (void)snprintf(copy, sizeof copy, "%s/%lu", r->out, ++r->count);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (from < 0 || to < 0 || fstat(from, &st) < 0)
        tracer_die(path);
    while ((n = read(from, buf, sizeof buf)) > 0)
        if (write(to, buf, (size_t)n) != n)
            tracer_die(copy);
    if (n < 0 || close(to) < 0)
        tracer_die(path);
    close(from);
    fprintf(r->calls, "data\t%ju\t%o\t%jd%09ld\t%lu\n", (uintmax_t)st.st_ino, st.st_mode & 07777U,
            (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, r->count);
}

static uint64_t open_flags(const struct tracer_call *call)
{
    struct open_how how;
    if (call->number != SYS_openat2)
        return call->args[2];
    tracer_read(call->pid, call->args[2], &how, sizeof how);
    return how.flags;
}

static enum tracer_verdict judge(const struct tracer_call *call, void *userdata)
{
    (void)userdata;
    return tracer_changes_files(call) &&
                   (call->number != SYS_openat2 || (open_flags(call) & (O_CREAT | O_TRUNC)))
               ? TRACER_WATCH
               : TRACER_GO;
}

static void before(const struct tracer_call *call, void *userdata)
{
    struct recorder *r = userdata;
    const uint64_t *a = call->args;
    switch (call->number) {
    case SYS_openat:
    case SYS_openat2:
        r->flags = open_flags(call);
        (void)find_place(call->pid, a[0], a[1], &r->a);
        break;
    case SYS_mkdirat:
    case SYS_unlinkat:
        (void)find_place(call->pid, a[0], a[1], &r->a);
        break;
    case SYS_linkat:
        if (find_place(call->pid, a[0], a[1], &r->a) && r->a.was_there)
            r->target = inode_of(r->a.path, (a[4] & AT_SYMLINK_FOLLOW) != 0);
        (void)find_place(call->pid, a[2], a[3], &r->b);
        break;
    case SYS_renameat:
    case SYS_renameat2:
        (void)find_place(call->pid, a[0], a[1], &r->a);
        (void)find_place(call->pid, a[2], a[3], &r->b);
        break;
    }
}

static void say_new(struct recorder *r, const char *what)
{
    struct stat st;
    if (lstat(r->a.path, &st) < 0)
        tracer_die(r->a.path);
    fprintf(r->calls, "%s\t%ju\t%s\t%ju\t%o\n", what, (uintmax_t)r->a.parent, r->a.name,
            (uintmax_t)st.st_ino, st.st_mode & 07777U);
}

static void after(const struct tracer_call *call, void *userdata)
{
    struct recorder *r = userdata;
    const uint64_t *a = call->args;
    char path[64];
    if (call->result < 0)
        return;
    switch (call->number) {
    case SYS_openat:
    case SYS_openat2:
        if (!r->a.was_there)
            say_new(r, "file");
        else if (r->flags & O_TRUNC)
            say_data(r, call->pid, (uint64_t)call->result);
        break;
    case SYS_mkdirat:
        say_new(r, "directory");
        break;
    case SYS_unlinkat:
        fprintf(r->calls, "unlink\t%ju\t%s\n", (uintmax_t)r->a.parent, r->a.name);
        break;
    case SYS_linkat:
        fprintf(r->calls, "link\t%ju\t%ju\t%s\n", (uintmax_t)r->target, (uintmax_t)r->b.parent,
                r->b.name);
        break;
    case SYS_renameat:
    case SYS_renameat2:
        fprintf(r->calls, "rename\t%ju\t%s\t%ju\t%s\t%u\n", (uintmax_t)r->a.parent, r->a.name,
                (uintmax_t)r->b.parent, r->b.name,
                call->number == SYS_renameat2 ? (unsigned)a[4] : 0);
        break;
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_ioctl:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_sendfile:
        say_data(r, call->pid, a[0]);
        break;
    case SYS_copy_file_range:
        say_data(r, call->pid, a[2]);
        break;
    case SYS_fchmod:
    case SYS_fchown:
        descriptor_path(call->pid, a[0], path, sizeof path);
        say_meta(r, path, true);
        break;
    case SYS_utimensat:
        if (a[1]) {
            if (!find_place(call->pid, a[0], a[1], &r->a))
                tracer_die(r->a.path);
            say_meta(r, r->a.path, (a[3] & AT_SYMLINK_NOFOLLOW) == 0);
        } else {
            descriptor_path(call->pid, a[0], path, sizeof path);
            say_meta(r, path, true);
        }
        break;
    case SYS_fsync:
    case SYS_fdatasync:
        descriptor_path(call->pid, a[0], path, sizeof path);
        fprintf(r->calls, "sync\t%ju\n", (uintmax_t)inode_of(path, true));
        break;
    case SYS_syncfs:
        fputs("syncfs\n", r->calls);
        break;
    default: /* it would be missing in what is replayed */
        errno = ENOSYS;
        tracer_die("a call that is not recorded");
    }
}

int main(int argc, char **argv)
{
    char path[4096];
    if (argc < 3) {
        fputs("record-calls OUT COMMAND [ARG]...\n", stderr);
        return 125;
    }
    struct recorder r = {.out = argv[1]};
    (void)snprintf(path, sizeof path, "%s/calls", argv[1]);
    if (mkdir(argv[1], 0700) < 0 || !(r.calls = fopen(path, "we")))
        tracer_die(path);
    int code = tracer_run(
        &(struct tracer){.judge = judge, .before = before, .after = after, .userdata = &r},
        argv + 2);
    if (fclose(r.calls) != 0)
        tracer_die(path);
    return code;
}
