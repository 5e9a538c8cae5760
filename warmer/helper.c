/*
 * Shared between threads: how many helpers run, behind a mutex of its own.
 */
#include "helper.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define TICK_MS 50 /* how often a helper's end, the stop and the time are looked at */
#define FIRST_FREE_FD 3

/* ---- what it says ---- */

bool helper_name_is_good(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= HELPER_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static bool is_text(const json_t *value)
{
    for (const char *p = json_string_value(value); p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return json_is_string(value);
}

static int read_answer(const json_t *root, struct credential *ret, struct error *err)
{
    const json_t *user = json_object_get(root, "Username"),
                 *secret = json_object_get(root, "Secret");
    if (!json_is_object(root))
        return error_set(err, ERROR_CONFIG, "its answer is no JSON object");
    if ((user && !is_text(user)) || (secret && !is_text(secret)))
        return error_set(err, ERROR_CONFIG,
                         "its Username and Secret must be text without control characters");
    const char *name = user ? json_string_value(user) : "";
    const char *word = secret ? json_string_value(secret) : "";
    if (!*name && !*word)
        return 0;
    if (!*name)
        return error_set(err, ERROR_CONFIG, "its answer has a Secret, but no Username");
    *ret = (struct credential){.username = xstrdup(name), .password = xstrdup(word)};
    if (strcmp(name, "<token>") == 0)
        ret->identity_token = xstrdup(word);
    return 1;
}

int helper_output_parse(const char *bytes, size_t len, struct credential *ret, struct error *err)
{
    json_t *root = json_loadb(bytes, len, 0, NULL);
    int result = read_answer(root, ret, err);
    json_decref(root);
    return result;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool helper_says_none(const char *bytes, size_t len)
{
    static const char words[] = "credentials not found in native keychain";
    while (len > 0 && is_blank(bytes[len - 1]))
        len--;
    while (len > 0 && is_blank(*bytes))
        bytes++, len--;
    return len == strlen(words) && memcmp(bytes, words, len) == 0;
}

/* ---- starting it ---- */

/* Not from a relative directory of $PATH: that would be wherever we happen to stand. */
static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    cleanup_free char *list = xstrdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
    char *rest = NULL;
    for (char *dir = strtok_r(list, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        cleanup_free char *program = xasprintf("%s/docker-credential-%s", dir, name);
        struct stat st;
        if (*dir == '/' && stat(program, &st) == 0 && S_ISREG(st.st_mode) &&
            access(program, X_OK) == 0)
            return take_ptr(program);
    }
    return NULL;
}

struct process {
    pid_t pid;
    int output; /* what it says; read without blocking */
    int64_t deadline;
    char *bytes; /* HELPER_OUTPUT_MAX + 1 */
    size_t len;
    bool ended, exited;
    int status; /* of its exit, or the signal's number */
};

struct ends { /* of its three pipes */
    int input[2], output[2], failure[2];
};

static void close_ends(struct ends *e)
{
    int *all[] = {e->input, e->output, e->failure};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t k = 0; k < 2; k++)
            if (all[i][k] >= 0) {
                (void)close(all[i][k]);
                all[i][k] = -1;
            }
}

/* In the child: only what is safe after a fork among threads. */
static int take_places(const struct ends *e, int null, unsigned last_fd)
{
    /* First to numbers that none of them is to have: ours may be among those. */
    const int from[] = {e->input[0], e->output[1], null};
    int above[3];
    for (int fd = 0; fd < 3; fd++)
        if ((above[fd] = fcntl(from[fd], F_DUPFD_CLOEXEC, FIRST_FREE_FD)) < 0)
            return -1;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(above[fd], fd) < 0)
            return -1;
    /* Ours close by themselves; what we inherited without knowing of it does not. */
    if (close_range(FIRST_FREE_FD, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        for (unsigned fd = FIRST_FREE_FD; fd < last_fd; fd++)
            (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

__attribute__((noreturn)) static void become(char *program, const struct ends *e, int null,
                                             unsigned last_fd)
{
    static char get[] = "get";
    char *const argv[] = {program, get, NULL};
    sigset_t none;
    sigemptyset(&none);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* should we be killed without a word */
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int failure = fcntl(e->failure[1], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    if (failure >= 0 && take_places(e, null, last_fd) == 0)
        (void)execve(program, argv, environ);
    int errnum = errno;
    if (failure >= 0)
        (void)!write(failure, &errnum, sizeof errnum);
    _exit(127);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Helpers that run, so that nobody else's child is reaped in their place. */
static pthread_mutex_t running_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned running;

static int make_ends(struct ends *e, int *null)
{
    *null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bool made = *null >= 0 && pipe2(e->input, O_CLOEXEC) == 0 && pipe2(e->output, O_CLOEXEC) == 0 &&
                pipe2(e->failure, O_CLOEXEC) == 0;
    return made && fcntl(e->output[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -1;
}

/* Returns errno, 0 when it runs. */
static int start(struct process *p, char *program, const char *server)
{
    struct ends e = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct rlimit limit = {.rlim_cur = 1024};
    cleanup_close int null = -1;
    int errnum = 0;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (make_ends(&e, &null) < 0) {
        errnum = errno;
        close_ends(&e);
        return errnum;
    }
    p->pid = fork();
    if (p->pid == 0)
        become(program, &e, null, (unsigned)limit.rlim_cur);
    if (p->pid < 0) {
        errnum = errno;
    } else {
        (void)setpgid(p->pid, p->pid); /* whoever comes first */
        (void)close(e.failure[1]);
        e.failure[1] = -1;
        (void)!read(e.failure[0], &errnum, sizeof errnum); /* nothing: it became the helper */
        /* Less than a pipe holds; one that does not want to read is none of our worries. */
        (void)!write(e.input[1], server, strlen(server));
        p->output = take_fd(&e.output[0]);
    }
    close_ends(&e);
    return errnum;
}

/* ---- and its end ---- */

/* Its number stays taken until finish(), which needs it. */
static void look_at_end(struct process *p)
{
    siginfo_t info = {0};
    if (p->ended ||
        (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0))
        return;
    p->ended = true;
    p->exited = info.si_code == CLD_EXITED;
    p->status = info.si_status;
}

/* While a helper runs they wait, so that its end is not taken from it. There are no other children.
 */
void helper_reap_orphans(void)
{
    if (getpid() != 1)
        return;
    pthread_mutex_lock(&running_mutex);
    while (running == 0 && waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    pthread_mutex_unlock(&running_mutex);
}

static void begin(void)
{
    pthread_mutex_lock(&running_mutex);
    running++;
    pthread_mutex_unlock(&running_mutex);
}

/* Itself, which may have gone to another group, and its whole group, which may have outlived it. */
static void finish(struct process *p)
{
    if (p->pid > 0) {
        (void)kill(-p->pid, SIGKILL);
        (void)kill(p->pid, SIGKILL); /* its number is still its own: nobody has reaped it */
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        while (waitpid(-p->pid, NULL, 0) > 0 || errno == EINTR)
            continue;
    }
    pthread_mutex_lock(&running_mutex);
    running--;
    pthread_mutex_unlock(&running_mutex);
    helper_reap_orphans();
    if (p->output >= 0)
        (void)close(p->output);
}

/* What has come. true: nothing more will. */
static bool read_output(struct process *p)
{
    while (p->len <= HELPER_OUTPUT_MAX) {
        ssize_t n = read(p->output, p->bytes + p->len, HELPER_OUTPUT_MAX + 1 - p->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 || errno != EAGAIN;
        p->len += (size_t)n;
    }
    return true;
}

/* Until it has ended and said all. What its children may still say does not count. */
static int await(struct process *p, const atomic_bool *stop, struct error *err)
{
    bool said_all = false;
    for (;;) {
        look_at_end(p);
        bool ended = p->ended; /* before reading: then all that it said is there */
        said_all = said_all || read_output(p);
        if (p->len > HELPER_OUTPUT_MAX)
            return error_set(err, ERROR_CONFIG, "it said more than %d bytes", HELPER_OUTPUT_MAX);
        if (ended)
            return 0;
        if (atomic_load(stop))
            return error_set(err, ERROR_INTERRUPTED, "stopped");
        if (now_ns() >= p->deadline)
            return error_set(err, ERROR_TRANSIENT, "it was not done in time, and was killed");
        struct pollfd fd = {.fd = said_all ? -1 : p->output, .events = POLLIN};
        (void)poll(&fd, 1, said_all ? TICK_MS / 5 : TICK_MS);
    }
}

/* It failed. By docker's rules its output is the reason then; but not if it looks like secrets. */
static int failed(const struct process *p, struct error *err)
{
    const bool quotable = p->len > 0 && p->len <= TEXT_FOREIGN_MAX &&
                          !memchr(p->bytes, '{', p->len) && !memchr(p->bytes, '"', p->len);
    size_t len = quotable ? p->len : 0;
    while (len > 0 && is_blank(p->bytes[len - 1]))
        len--;
    cleanup_free char *shown = text_foreign(p->bytes, len);
    return error_set(err, ERROR_TRANSIENT, "%s %d%s%s",
                     p->exited ? "exit code" : "it was ended by signal", p->status,
                     *shown ? ": " : "", shown);
}

static int ask(struct process *p, char *program, const char *server, const atomic_bool *stop,
               struct credential *ret, struct error *err)
{
    int errnum = start(p, program, server);
    if (errnum)
        return error_set(err, ERROR_CONFIG, "cannot be started: %s", strerror(errnum));
    if (await(p, stop, err) < 0)
        return -1;
    if (p->exited && p->status == 0)
        return helper_output_parse(p->bytes, p->len, ret, err);
    return helper_says_none(p->bytes, p->len) ? 0 : failed(p, err);
}

int helper_ask(const char *name, const char *server, int64_t timeout_ns, const atomic_bool *stop,
               struct credential *ret, struct error *err)
{
    *ret = (struct credential){0};
    if (!helper_name_is_good(name)) {
        cleanup_free char *shown = text_foreign_str(name);
        return error_set(err, ERROR_CONFIG, "\"%s\" is no credential helper's name", shown);
    }
    cleanup_free char *program = find_program(name);
    if (!program)
        return error_set(err, ERROR_CONFIG, "docker-credential-%s is not in $PATH", name);
    struct process p = {.pid = -1, .output = -1, .deadline = now_ns() + timeout_ns};
    p.bytes = xcalloc(1, HELPER_OUTPUT_MAX + 1);
    begin();
    int result = ask(&p, program, server, stop, ret, err);
    finish(&p);
    OPENSSL_cleanse(p.bytes, p.len);
    free(p.bytes);
    return result < 0 ? error_prefix(err, "%s", program) : result;
}
