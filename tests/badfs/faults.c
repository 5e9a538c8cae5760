#include "faults.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const op_names[OP_COUNT] = {
#define FAULT_OP(op, name) name,
    FAULT_OPS(FAULT_OP)
#undef FAULT_OP
};

static const struct {
    const char *name;
    int error;
} errors[] = {
    {"EACCES", EACCES}, {"EDQUOT", EDQUOT},   {"EINVAL", EINVAL},         {"EIO", EIO},
    {"EMLINK", EMLINK}, {"ENOENT", ENOENT},   {"ENOLCK", ENOLCK},         {"ENOSPC", ENOSPC},
    {"ENOSYS", ENOSYS}, {"ENOTSUP", ENOTSUP}, {"EOPNOTSUPP", EOPNOTSUPP}, {"EPERM", EPERM},
    {"EROFS", EROFS},   {"ESTALE", ESTALE},   {"ETIMEDOUT", ETIMEDOUT},   {"EXDEV", EXDEV},
    {"ignored", 0}};

struct fault {
    bool set, afterwards, in_bytes;
    int error;
    uint64_t from, count; /* from: bytes, if in_bytes, else calls */
    uint64_t calls, bytes, given;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards `set` */
static struct {
    struct fault faults[OP_COUNT];
    nlink_t links;
    bool has_time, time_is_now;
    time_t directory_time;
    int64_t late;
} set;

/* With the mutex held. */
static struct verdict count_call(struct fault *f, uint64_t bytes)
{
    f->calls++;
    f->bytes += bytes;
    if (!f->set || (f->in_bytes ? f->bytes : f->calls) <= f->from || f->given >= f->count)
        return (struct verdict){false, 0};
    f->given++;
    return (struct verdict){!f->afterwards, f->error};
}

struct verdict faults_judge(enum op op)
{
    pthread_mutex_lock(&mutex);
    struct verdict v = count_call(&set.faults[op], 0);
    pthread_mutex_unlock(&mutex);
    return v;
}

struct verdict faults_judge_bytes(enum op op, size_t *size)
{
    struct fault *f = &set.faults[op];
    pthread_mutex_lock(&mutex);
    /* A short read would be taken for the file's end. */
    if (op == WRITE && f->set && f->in_bytes && f->bytes < f->from && f->bytes + *size > f->from)
        *size = f->from - f->bytes;
    struct verdict v = count_call(f, *size);
    pthread_mutex_unlock(&mutex);
    return v;
}

static int parse_how(char *how, struct fault *f)
{
    char *plus = strchr(how, '+'), *at = strchr(how, '@'), *end = NULL;
    f->count = plus ? strtoull(plus + 1, NULL, 10) : UINT64_MAX;
    f->from = at ? strtoull(at + 1, &end, 10) : 0;
    f->in_bytes = end && *end == 'B';
    if (!f->in_bytes && f->from > 0)
        f->from--; /* calls are counted from 1 */
    how[strcspn(how, "@+")] = '\0';
    const size_t len = strlen(how);
    f->afterwards = len > 0 && how[len - 1] == '!';
    if (f->afterwards)
        how[len - 1] = '\0';
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(how, errors[i].name) == 0) {
            f->set = true;
            f->error = errors[i].error;
            return 0;
        }
    return -EINVAL;
}

/* With the mutex held. */
static int parse_word(char *word)
{
    char *value = strchr(word, '=');
    if (!value)
        return -EINVAL;
    *value++ = '\0';
    if (strcmp(word, "links") == 0) {
        set.links = strtoul(value, NULL, 10);
        return 0;
    }
    if (strcmp(word, "late") == 0) {
        set.late = strtoll(value, NULL, 10);
        return 0;
    }
    if (strcmp(word, "directory-time") == 0) {
        set.has_time = true;
        set.time_is_now = strcmp(value, "now") == 0;
        set.directory_time = (time_t)strtoll(value, NULL, 10);
        return 0;
    }
    for (int op = 0; op < OP_COUNT; op++)
        if (strcmp(word, op_names[op]) == 0)
            return parse_how(value, &set.faults[op]);
    return -EINVAL;
}

int faults_set(const char *text, size_t len)
{
    char copy[FAULTS_TEXT_MAX + 1], *rest = copy, *word;
    int r = 0;
    if (len > FAULTS_TEXT_MAX)
        return -EFBIG;
    memcpy(copy, text, len);
    copy[len] = '\0';
    pthread_mutex_lock(&mutex);
    memset(&set, 0, sizeof set);
    while (r == 0 && (word = strsep(&rest, " \n")))
        r = *word ? parse_word(word) : 0;
    pthread_mutex_unlock(&mutex);
    return r;
}

size_t faults_tell(char text[FAULTS_TEXT_MAX])
{
    size_t len = 0;
    pthread_mutex_lock(&mutex);
    for (int op = 0; op < OP_COUNT; op++)
        len += (size_t)snprintf(text + len, FAULTS_TEXT_MAX - len, "%s %" PRIu64 " %" PRIu64 "\n",
                                op_names[op], set.faults[op].calls, set.faults[op].given);
    pthread_mutex_unlock(&mutex);
    return len;
}

struct verdict faults_judge_link(nlink_t names)
{
    pthread_mutex_lock(&mutex);
    struct fault *f = &set.faults[LINK];
    struct verdict v = count_call(f, 0);
    if (!v.error && set.links > 0 && names >= set.links) {
        v = (struct verdict){true, EMLINK};
        f->given++;
    }
    pthread_mutex_unlock(&mutex);
    return v;
}

int64_t faults_late(void)
{
    pthread_mutex_lock(&mutex);
    const int64_t late = set.late;
    pthread_mutex_unlock(&mutex);
    return late;
}

void faults_set_directory_time(struct stat *st)
{
    pthread_mutex_lock(&mutex);
    if (set.has_time)
        st->st_mtim = (struct timespec){set.time_is_now ? time(NULL) : set.directory_time, 0};
    pthread_mutex_unlock(&mutex);
}
