/*
 * measure [-n TIMES] RESULT COMMAND...
 *
 * Runs the command (TIMES times, one after the other) and writes one JSON object a run to the file
 * RESULT: what it and all its children took. A small program of its own, because a process inherits
 * the peak memory of the one that it was forked from.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The lines of /proc/PID/io, which has everything of a dead process and of the children that it
 * waited for, as members. */
static void write_io(FILE *out, pid_t pid)
{
    char path[64], name[64];
    unsigned long long value;
    (void)snprintf(path, sizeof path, "/proc/%d/io", (int)pid);
    FILE *io = fopen(path, "re");
    if (!io)
        return; /* a kernel without this accounting */
    while (fscanf(io, "%63[^:]: %llu\n", name, &value) == 2)
        fprintf(out, ", \"%s\": %llu", name, value);
    (void)fclose(io);
}

static int run_once(FILE *out, char **command)
{
    siginfo_t info;
    struct rusage usage;
    int status;

    double began = now();
    pid_t pid = vfork();
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    if (pid < 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0) {
        perror("measure");
        return -1;
    }
    double wall = now() - began;
    fprintf(out, "{\"wall\": %.6f", wall);
    write_io(out, pid);
    if (wait4(pid, &status, 0, &usage) < 0) {
        perror("measure: wait4");
        return -1;
    }
    fprintf(out, ", \"user\": %.6f, \"system\": %.6f, \"rss\": %ld, \"code\": %d}\n",
            seconds(usage.ru_utime), seconds(usage.ru_stime), usage.ru_maxrss * 1024L,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}

int main(int argc, char **argv)
{
    long times = 1;
    int option;

    while ((option = getopt(argc, argv, "+n:")) == 'n')
        times = strtol(optarg, NULL, 10);
    if (option != -1 || argc - optind < 2 || times < 1) {
        fputs("usage: measure [-n TIMES] RESULT COMMAND...\n", stderr);
        return 64;
    }
    FILE *out = fopen(argv[optind], "we");
    if (!out) {
        fprintf(stderr, "measure: %s: %s\n", argv[optind], strerror(errno));
        return 74;
    }
    int r = 0;
    for (long i = 0; i < times && r == 0; i++)
        r = run_once(out, argv + optind + 1);
    return fclose(out) != 0 || r < 0 ? 74 : 0;
}
