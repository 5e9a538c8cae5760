/*
 * without CALL=ERROR[,CALL=ERROR]... COMMAND [ARG]...
 *
 * Runs a command on a kernel, or in a sandbox, that lacks some system calls: they fail with ENOSYS,
 * EPERM or EOPNOTSUPP. It is a seccomp filter, so what the command starts lacks them, too.
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

#define FILTER_MAX 32

static const struct {
    const char *name;
    unsigned number;
} calls[] = {
    {"copy_file_range", SYS_copy_file_range},
    {"faccessat2", SYS_faccessat2},
    {"fallocate", SYS_fallocate},
    {"flock", SYS_flock},
    {"linkat", SYS_linkat},
    {"openat2", SYS_openat2},
    {"renameat2", SYS_renameat2},
};

static const struct {
    const char *name;
    unsigned number;
} errors[] = {{"ENOSYS", ENOSYS}, {"EPERM", EPERM}, {"EOPNOTSUPP", EOPNOTSUPP}};

static void usage(void)
{
    fputs("without CALL=ERROR[,CALL=ERROR]... COMMAND [ARG]...\n", stderr);
    exit(125);
}

/* "openat2=ENOSYS": two instructions, of which the second is for this call only. */
static void add_rule(struct sock_filter *filter, unsigned short *len, char *rule)
{
    char *error = strchr(rule, '=');
    if (!error || *len + 3 > FILTER_MAX)
        usage();
    *error++ = '\0';
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t j = 0; j < sizeof errors / sizeof *errors; j++)
            if (strcmp(rule, calls[i].name) == 0 && strcmp(error, errors[j].name) == 0) {
                filter[(*len)++] =
                    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
                filter[(*len)++] = (struct sock_filter)BPF_STMT(
                    BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errors[j].number);
                return;
            }
    usage();
}

int main(int argc, char **argv)
{
    struct sock_filter filter[FILTER_MAX] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {.len = 1, .filter = filter};
    if (argc < 3)
        usage();
    for (char *rules = argv[1], *rule; (rule = strsep(&rules, ","));)
        add_rule(filter, &program.len, rule);
    filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        perror("seccomp");
        return 125;
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
