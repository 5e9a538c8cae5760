/*
 * kill-at N COMMAND [ARG]...
 *
 * Runs a command, and all that it starts, and kills them with SIGKILL before the N-th system call
 * that could change a file (0: never). Prints how many such calls were begun to file descriptor 3,
 * if that is open. Exits with the command's code, or 137 when it was killed here.
 */
#include "tracer.h"

#include <stdio.h>
#include <stdlib.h>

struct killing {
    unsigned long limit, count;
};

static enum tracer_verdict judge(const struct tracer_call *call, void *userdata)
{
    struct killing *k = userdata;
    /* openat2's flags are in memory; whoever creates calls again, so one too many. */
    return tracer_changes_files(call) && ++k->count == k->limit ? TRACER_KILL : TRACER_GO;
}

int main(int argc, char **argv)
{
    char *end;
    struct killing k = {.limit = argc > 2 ? strtoul(argv[1], &end, 10) : 0};
    if (argc < 3 || *end) {
        fputs("kill-at N COMMAND [ARG]...\n", stderr);
        return 125;
    }
    int code = tracer_run(&(struct tracer){.judge = judge, .userdata = &k}, argv + 2);
    (void)dprintf(3, "%lu\n", k.count);
    return code;
}
