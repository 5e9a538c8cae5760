#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)
#define THREADS_MAX 1024

struct tracing {
    const struct tracer *tracer;
    pid_t child;
    int code;
    bool killed;
    struct tracer_call watched; /* the one that is being made; pid 0: none */
    struct tracer_call waiting[THREADS_MAX];
    size_t waiting_count;
};

void tracer_die(const char *what)
{
    perror(what);
    exit(125);
}

void tracer_read(pid_t pid, uint64_t address, void *buf, size_t len)
{
    struct iovec here = {buf, len}, there = {(void *)(uintptr_t)address, len};
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) != (ssize_t)len)
        tracer_die("process_vm_readv");
}

void tracer_read_string(pid_t pid, uint64_t address, char *buf, size_t room)
{
    for (size_t i = 0; i < room; i++) {
        tracer_read(pid, address + i, buf + i, 1);
        if (!buf[i])
            return;
    }
    errno = ENAMETOOLONG;
    tracer_die("a string");
}

static bool is_write_to_file(pid_t pid, uint64_t fd)
{
    char link[64], path[4096];
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%llu", pid, (unsigned long long)fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    return len > 0 && path[0] == '/' && strncmp(path, "/dev/", 5) != 0;
}

bool tracer_changes_files(const struct tracer_call *call)
{
    const uint64_t *a = call->args;
    switch (call->number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        return is_write_to_file(call->pid, a[0]);
    case SYS_ioctl:
        return a[1] == FICLONE || a[1] == FICLONERANGE;
    case SYS_openat:
        return (a[2] & (O_CREAT | O_TRUNC)) != 0;
    case SYS_openat2:
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

static void resume(pid_t pid, int signal)
{
    /* ESRCH: it was killed meanwhile. */
    if (ptrace(PTRACE_SYSCALL, pid, 0, (long)signal) < 0 && errno != ESRCH)
        tracer_die("ptrace");
}

static void kill_all(struct tracing *t, pid_t pid)
{
    (void)kill(t->child, SIGKILL);
    (void)kill(pid, SIGKILL); /* a program that a shell started, perhaps */
    t->killed = true;
}

static void watch(struct tracing *t, const struct tracer_call *call)
{
    t->watched = *call;
    t->tracer->before(call, t->tracer->userdata);
    resume(call->pid, 0);
}

/* The watched call is over: the next one's turn. */
static void next(struct tracing *t)
{
    t->watched.pid = 0;
    if (t->waiting_count == 0)
        return;
    const struct tracer_call call = t->waiting[0];
    memmove(t->waiting, t->waiting + 1, --t->waiting_count * sizeof *t->waiting);
    watch(t, &call);
}

static void forget(struct tracing *t, pid_t pid)
{
    for (size_t i = 0; i < t->waiting_count; i++)
        if (t->waiting[i].pid == pid)
            t->waiting[i--] = t->waiting[--t->waiting_count];
    if (t->watched.pid == pid)
        next(t);
}

/* A thread is before or behind a system call. */
static void at_call(struct tracing *t, pid_t pid, const struct __ptrace_syscall_info *info)
{
    if (info->op == PTRACE_SYSCALL_INFO_EXIT && t->watched.pid == pid) {
        t->watched.result = info->exit.rval;
        t->tracer->after(&t->watched, t->tracer->userdata);
        next(t);
    } else if (info->op == PTRACE_SYSCALL_INFO_ENTRY && !t->killed) {
        struct tracer_call call = {.pid = pid, .number = info->entry.nr};
        for (size_t i = 0; i < 6; i++)
            call.args[i] = info->entry.args[i];
        switch (t->tracer->judge(&call, t->tracer->userdata)) {
        case TRACER_GO:
            break;
        case TRACER_KILL:
            kill_all(t, pid);
            return;
        case TRACER_WATCH:
            if (t->watched.pid == 0)
                watch(t, &call);
            else if (t->waiting_count < THREADS_MAX)
                t->waiting[t->waiting_count++] = call;
            else
                tracer_die("too many threads");
            return;
        }
    }
    resume(pid, 0);
}

/* A signal that belongs to the tracee; 0 for what is only ours. */
static int signal_of(int status)
{
    int number = WSTOPSIG(status);
    return status >> 16 || number == SIGSTOP || number == (SIGTRAP | 0x80) ? 0 : number;
}

static int trace(struct tracing *t)
{
    for (;;) {
        int status;
        struct __ptrace_syscall_info info;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0)
            return t->killed ? 137 : t->code; /* nobody is left */
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == t->child)
                t->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            forget(t, pid);
        } else if (WSTOPSIG(status) == (SIGTRAP | 0x80) &&
                   ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0) {
            at_call(t, pid, &info);
        } else {
            resume(pid, signal_of(status));
        }
    }
}

int tracer_run(const struct tracer *tracer, char **argv)
{
    int status;
    struct tracing t = {.tracer = tracer, .child = fork()};
    if (t.child < 0)
        tracer_die("fork");
    if (t.child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0)
            _exit(125);
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    if (waitpid(t.child, &status, 0) < 0 || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, t.child, 0, (long)OPTIONS) < 0)
        tracer_die("ptrace");
    resume(t.child, 0);
    return trace(&t);
}
