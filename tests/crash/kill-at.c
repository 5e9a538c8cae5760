/*
 * kill-at N COMMAND [ARG]...
 *
 * Runs a command, and all that it starts, and kills them with SIGKILL before the N-th system call
 * that could change a file (0: never). Prints how many such calls were begun to file descriptor 3,
 * if that is open. Exits with the command's code, or 137 when it was killed here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

static bool is_write_to_file(pid_t pid, unsigned long long fd)
{
    char link[64], path[4096];
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%llu", pid, fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    return len > 0 && path[0] == '/' && strncmp(path, "/dev/", 5) != 0;
}

static bool changes(pid_t pid, const struct __ptrace_syscall_info *info)
{
    const unsigned long long *a = (const unsigned long long *)info->entry.args;
    switch (info->entry.nr) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        return is_write_to_file(pid, a[0]);
    case SYS_ioctl:
        return a[1] == FICLONE || a[1] == FICLONERANGE;
    case SYS_openat:
        return (a[2] & (O_CREAT | O_TRUNC)) != 0;
    case SYS_openat2: /* its flags are in memory; whoever creates calls again, so one too many */
    case SYS_mkdirat:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_linkat:
    case SYS_symlinkat:
    case SYS_unlinkat:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_copy_file_range:
    case SYS_sendfile:
    case SYS_fchmod:
    case SYS_fchmodat:
    case SYS_fchown:
    case SYS_utimensat:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_sync_file_range:
    case SYS_syncfs:
        return true;
    default:
        return false;
    }
}

static void die(const char *what)
{
    perror(what);
    exit(125);
}

/* A signal that belongs to the tracee; 0 for what is only ours. */
static int signal_of(int status)
{
    int number = WSTOPSIG(status);
    return status >> 16 || number == SIGSTOP || number == (SIGTRAP | 0x80) ? 0 : number;
}

static int trace(pid_t child, unsigned long limit, unsigned long *ret_count)
{
    int code = 0, status;
    bool killed = false;
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            return killed ? 137 : code; /* nobody is left */
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == child)
                code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        struct __ptrace_syscall_info info;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80) &&
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0 &&
            info.op == PTRACE_SYSCALL_INFO_ENTRY && !killed && changes(pid, &info) &&
            ++*ret_count == limit) {
            (void)kill(child, SIGKILL);
            (void)kill(pid, SIGKILL); /* a program that a shell started, perhaps */
            killed = true;
            continue;
        }
        /* ESRCH: it was killed meanwhile. */
        if (ptrace(PTRACE_SYSCALL, pid, 0, (long)signal_of(status)) < 0 && errno != ESRCH)
            die("ptrace");
    }
}

int main(int argc, char **argv)
{
    char *end;
    unsigned long limit = argc > 2 ? strtoul(argv[1], &end, 10) : 0, count = 0;
    int status;
    if (argc < 3 || *end) {
        fputs("kill-at N COMMAND [ARG]...\n", stderr);
        return 125;
    }
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0)
            _exit(125);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, child, 0, (long)OPTIONS) < 0 ||
        ptrace(PTRACE_SYSCALL, child, 0, 0) < 0)
        die("ptrace");
    int code = trace(child, limit, &count);
    (void)dprintf(3, "%lu\n", count);
    return code;
}
