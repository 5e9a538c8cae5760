/*
 * refuse-calls CALL=ERROR... -- COMMAND [ARG]...
 *
 * Runs a command for which, and for all that it starts, these system calls fail with this error: a
 * kernel or a volume that cannot do them. Both are names from the tables below.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct named {
    const char *name;
    unsigned value;
};

static const struct named calls[] = {
    {"copy_file_range", SYS_copy_file_range},
    {"flock", SYS_flock},
    {"linkat", SYS_linkat},
    {"openat2", SYS_openat2},
    {"renameat2", SYS_renameat2},
    {NULL, 0},
};

static const struct named errors[] = {
    {"ENOLCK", ENOLCK},         {"ENOSYS", ENOSYS}, {"EINVAL", EINVAL},
    {"EOPNOTSUPP", EOPNOTSUPP}, {"EPERM", EPERM},   {NULL, 0},
};

#define PAIRS_MAX 16

static unsigned look_up(const struct named *table, const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table->value;
    fprintf(stderr, "refuse-calls: what is %s?\n", name);
    exit(125);
}

int main(int argc, char **argv)
{
    struct sock_filter program[2 * PAIRS_MAX + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    unsigned short len = 1;
    int arg = 1;
    for (; arg < argc && strcmp(argv[arg], "--") != 0; arg++) {
        char *error = strchr(argv[arg], '=');
        if (!error || len > 2 * PAIRS_MAX - 1) {
            fputs("refuse-calls CALL=ERROR... -- COMMAND [ARG]...\n", stderr);
            return 125;
        }
        *error++ = '\0';
        program[len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                      look_up(calls, argv[arg]), 0, 1);
        program[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                                      SECCOMP_RET_ERRNO | look_up(errors, error));
    }
    program[len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (arg + 1 >= argc) {
        fputs("refuse-calls: no command\n", stderr);
        return 125;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
              &(struct sock_fprog){.len = len, .filter = program}) < 0) {
        perror("refuse-calls: seccomp");
        return 125;
    }
    execvp(argv[arg + 1], argv + arg + 1);
    perror(argv[arg + 1]);
    return 127;
}
