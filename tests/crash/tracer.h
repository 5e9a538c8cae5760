/*
 * Running a command, and all that it starts, under ptrace: each system call is shown before it is
 * made. Those that are watched are made one at a time, so that what is seen before and after is
 * theirs alone, and the order in which they are seen is the kernel's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tracer_call {
    pid_t pid;
    uint64_t number, args[6];
    int64_t result; /* known to after() */
};

enum tracer_verdict {
    TRACER_GO,    /* it is of no interest */
    TRACER_WATCH, /* before() and after() are called around it */
    TRACER_KILL,  /* the command is killed before it makes the call, with what it started */
};

struct tracer {
    enum tracer_verdict (*judge)(const struct tracer_call *call, void *userdata);
    void (*before)(const struct tracer_call *call, void *userdata);
    void (*after)(const struct tracer_call *call, void *userdata);
    void *userdata;
};

/* The command's exit code, 128 + n when signal n ended it, 137 when it was killed here. */
int tracer_run(const struct tracer *tracer, char **argv);

/* Could this call change a file? Of openat2, which keeps its flags in memory: perhaps. */
bool tracer_changes_files(const struct tracer_call *call);

/* Memory of the traced process; what cannot be read ends the program. */
void tracer_read(pid_t pid, uint64_t address, void *buf, size_t len);
void tracer_read_string(pid_t pid, uint64_t address, char *buf, size_t room);

/* Print `what` and errno, and exit with 125. */
_Noreturn void tracer_die(const char *what);
