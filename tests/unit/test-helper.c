/* Credential helpers: how they are started and ended, and what they may say. */
#include "warmer/helper.h"

#include "cachedir/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000000)

static char directory[64];
static atomic_bool no_stop;

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/test-helper-XXXXXX");
    return mkdtemp(directory) && setenv("PATH", directory, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    cleanup_free char *command = xasprintf("/bin/rm -rf '%s'", directory);
    return system(command) == 0 ? 0 : -1; /* NOLINT: a fixed command in a test */
}

/* docker-credential-<name>, a script; it stands in its directory. */
static void write_helper(const char *name, const char *script)
{
    cleanup_free char *path = xasprintf("%s/docker-credential-%s", directory, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fprintf(f, "#!/bin/bash\nPATH=/usr/bin:/bin\ncd %s\n%s\n", directory, script) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

/* What a file in the directory says, "" if there is none. Owned. */
static char *slurp(const char *name)
{
    cleanup_free char *path = xasprintf("%s/%s", directory, name);
    char *text = xcalloc(1, 4096);
    FILE *f = fopen(path, "re");
    if (f) {
        (void)!fread(text, 1, 4095, f);
        (void)fclose(f);
    }
    return text;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void judges_names(void **state)
{
    (void)state;
    static const char *const good[] = {"ecr-login", "a", "osxkeychain", "A.b_c-9", ".."};
    static const char *const bad[] = {"",    "a/b",  "../x",     "a b", "a;b",
                                      "a\n", "$(x)", "\xc3\xa4", "a\\b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!helper_name_is_good(good[i]))
            fail_msg("\"%s\" was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (helper_name_is_good(bad[i]))
            fail_msg("\"%s\" was taken", bad[i]);
    char longest[HELPER_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[HELPER_NAME_MAX + 1] = '\0';
    assert_false(helper_name_is_good(longest));
    longest[HELPER_NAME_MAX] = '\0';
    assert_true(helper_name_is_good(longest));
}

static const struct {
    const char *output;
    int result;
    const char *want; /* "user|secret|identity token", or the error */
} outputs[] = {
    {"{\"ServerURL\":\"a\",\"Username\":\"u\",\"Secret\":\"s\"}\n", 1, "u|s|"},
    {"{\"Username\":\"u\",\"Secret\":\"\"}", 1, "u||"},
    {"{\"Username\":\"u\"}", 1, "u||"},
    {"{\"Username\":\"<token>\",\"Secret\":\"t\"}", 1, "<token>|t|t"},
    {"{\"Username\":\"\",\"Secret\":\"\"}", 0, ""},
    {"{}", 0, ""},
    {"", -1, "no JSON object"},
    {"[]", -1, "no JSON object"},
    {"{\"Username\":\"u\",\"Secret\":\"hush\"", -1, "no JSON object"},
    {"{\"Username\":\"u\",\"Secret\":\"hush\"} more", -1, "no JSON object"},
    {"{\"Username\":\"\",\"Secret\":\"hush\"}", -1, "no Username"},
    {"{\"Username\":5,\"Secret\":\"hush\"}", -1, "must be text"},
    {"{\"Username\":\"u\",\"Secret\":[\"hush\"]}", -1, "must be text"},
    {"{\"Username\":\"u\\nx\",\"Secret\":\"hush\"}", -1, "without control characters"},
    {"{\"Username\":\"u\",\"Secret\":\"hush\\u007f\"}", -1, "without control characters"},
};

static void reads_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        cleanup_credential struct credential c = {0};
        cleanup_error struct error err = {0};
        int result = helper_output_parse(outputs[i].output, strlen(outputs[i].output), &c, &err);
        cleanup_free char *got =
            result < 0    ? xstrdup(err.message)
            : result == 0 ? xstrdup("")
                          : xasprintf("%s|%s|%s", c.username, c.password ? c.password : "",
                                      c.identity_token ? c.identity_token : "");
        bool same =
            result < 0 ? strstr(got, outputs[i].want) != NULL : strcmp(got, outputs[i].want) == 0;
        if (result != outputs[i].result || !same || (result < 0 && strstr(got, "hush")))
            fail_msg("%s: %d %s", outputs[i].output, result, got);
    }
}

static void knows_dockers_words(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        bool none;
    } rows[] = {
        {"credentials not found in native keychain", true},
        {"\tcredentials not found in native keychain\r\n", true},
        {"credentials not found", false},
        {"error: credentials not found in native keychain", false},
        {"", false},
        {"  ", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (helper_says_none(rows[i].words, strlen(rows[i].words)) != rows[i].none)
            fail_msg("\"%s\"", rows[i].words);
}

/* What a helper finds around it. */
static void starts_them_apart(void **state)
{
    (void)state;
    cleanup_error struct error err = {0};
    cleanup_credential struct credential c = {0};
    int inherited = open("/dev/null", O_RDONLY); /* NOLINT: without O_CLOEXEC, on purpose */
    assert_true(inherited >= 0);
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
    assert_int_equal(setenv("HELPERS_OWN", "yes", 1), 0);
    write_helper("look", "cat >input\n"
                         "echo \"$# $1\" >arguments\n"
                         "cut -d' ' -f1,5 </proc/$$/stat >group\n"
                         "ls /proc/$$/fd >descriptors\n"
                         "grep SigBlk /proc/self/status >signals\n"
                         "echo \"$HELPERS_OWN\" >environment\n"
                         "echo hush >&2\n"
                         "echo '{\"Username\":\"u\",\"Secret\":\"s\"}'");
    assert_int_equal(helper_ask("look", "a.io; rm -rf /", 20 * SECOND, &no_stop, &c, &err), 1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    assert_int_equal(close(inherited), 0);
    assert_string_equal(c.username, "u");

    cleanup_free char *input = slurp("input"), *arguments = slurp("arguments"),
                      *group = slurp("group"), *descriptors = slurp("descriptors"),
                      *signals = slurp("signals"), *environment = slurp("environment");
    assert_string_equal(input, "a.io; rm -rf /");
    assert_string_equal(arguments, "1 get\n");
    int pid = 0, pgid = 0;
    assert_int_equal(sscanf(group, "%d %d", &pid, &pgid), 2);
    assert_int_equal(pid, pgid);
    /* 255 is bash's own, for the script. A pipe to another program would be one of bash's, too. */
    assert_string_equal(descriptors, "0\n1\n2\n255\n");
    assert_string_equal(signals, "SigBlk:\t0000000000000000\n");
    assert_string_equal(environment, "yes\n");
}

static bool is_gone(const char *file)
{
    cleanup_free char *text = slurp(file);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    assert_true(pid > 0);
    /* Killed, and not ours to reap: somebody does soon. */
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++) {
        cleanup_free char *path = xasprintf("/proc/%d/stat", (int)pid);
        char state = 0;
        FILE *f = fopen(path, "re");
        if (f) {
            (void)!fscanf(f, "%*d %*s %c", &state); /* NOLINT: digits that the kernel wrote */
            (void)fclose(f);
        }
        if (state == 'Z')
            return true;
        (void)usleep(10000);
    }
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static const struct {
    const char *script;
    enum error_kind kind;
    const char *words;
    bool leaves_child; /* whose number is in the file "child" */
} failures[] = {
    {"sleep 1000 & echo $! >child; sleep 1000", ERROR_TRANSIENT, "not done in time", true},
    {"trap '' TERM; sleep 1000 & echo $! >child; wait", ERROR_TRANSIENT, "not done in time", true},
    {"sleep 1000 & echo $! >child; exec >&-; wait", ERROR_TRANSIENT, "not done in time", true},
    {"echo $$ >child; exec perl -e 'setpgrp(0, getpgrp(getppid)); sleep 1000'", ERROR_TRANSIENT,
     "not done in time", true}, /* it left its group */
    {"yes", ERROR_CONFIG, "more than 65536 bytes", false},
    {"sleep 1000 & echo $! >child; exit 2", ERROR_TRANSIENT, "exit code 2", true},
    {"echo it is locked; exit 2", ERROR_TRANSIENT, "exit code 2: it is locked", false},
    {"echo '{\"Secret\":\"hush\"}'; exit 2", ERROR_TRANSIENT, "exit code 2", false},
    {"echo hush >&2; exit 2", ERROR_TRANSIENT, "exit code 2", false},
    {"printf '\\033[2J'; exit 2", ERROR_TRANSIENT, "exit code 2: \\x1b[2J", false},
    {"kill -ABRT $$", ERROR_TRANSIENT, "ended by signal 6", false},
    {"echo nonsense", ERROR_CONFIG, "no JSON object", false},
    {"exec 0<&-; exit 9", ERROR_TRANSIENT, "exit code 9", false},
};

static void ends_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        cleanup_error struct error err = {0};
        cleanup_credential struct credential c = {0};
        write_helper("fails", failures[i].script);
        int64_t timeout = failures[i].leaves_child ? SECOND / 2 : 20 * SECOND;
        int result = helper_ask("fails", "a.io", timeout, &no_stop, &c, &err);
        if (result != -1 || err.kind != failures[i].kind || !strstr(err.message, failures[i].words))
            fail_msg("%s: %d %s", failures[i].script, result, err.message);
        if (strstr(err.message, "hush") || c.username)
            fail_msg("%s: a secret is told: %s", failures[i].script, err.message);
        if (failures[i].leaves_child && !is_gone("child"))
            fail_msg("%s: its child lives", failures[i].script);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* all are reaped */
    assert_int_equal(errno, ECHILD);
}

/* One that leaves somebody behind who holds its output open. */
static void takes_the_answer_of_one_that_is_done(void **state)
{
    (void)state;
    cleanup_error struct error err = {0};
    cleanup_credential struct credential c = {0};
    write_helper("leaves",
                 "sleep 1000 & echo $! >child\necho '{\"Username\":\"u\",\"Secret\":\"s\"}'");
    int64_t begun = now_ns();
    assert_int_equal(helper_ask("leaves", "a.io", 100 * SECOND, &no_stop, &c, &err), 1);
    assert_true(now_ns() - begun < 50 * SECOND);
    assert_true(is_gone("child"));
}

static void *stop_soon(void *userdata)
{
    cleanup_free char *text = NULL;
    do {
        (void)usleep(10000);
        free(text);
        text = slurp("child");
    } while (!*text);
    atomic_store((atomic_bool *)userdata, true);
    return NULL;
}

static void stops(void **state)
{
    (void)state;
    atomic_bool stop = false;
    cleanup_error struct error err = {0};
    cleanup_credential struct credential c = {0};
    pthread_t thread;
    write_helper("hangs", "trap '' TERM INT; sleep 1000 & echo $! >child; wait");
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stop), 0);
    assert_int_equal(helper_ask("hangs", "a.io", 1000 * SECOND, &stop, &c, &err), -1);
    assert_int_equal(err.kind, ERROR_INTERRUPTED);
    assert_true(is_gone("child"));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void finds_no_program(void **state)
{
    (void)state;
    static const struct {
        const char *path, *name, *words;
    } rows[] = {
        {NULL, "absent", "docker-credential-absent is not in $PATH"},
        {NULL, "plain", "docker-credential-plain is not in $PATH"}, /* not executable */
        {NULL, "dir", "docker-credential-dir is not in $PATH"},
        {NULL, "broken", "cannot be started: No such file"}, /* no such interpreter */
        {".:", "here", "docker-credential-here is not in $PATH"},
        {"", "here", "docker-credential-here is not in $PATH"},
    };
    write_helper("plain", "");
    write_helper("broken", "");
    write_helper("here", "echo {}");
    cleanup_free char *plain = xasprintf("%s/docker-credential-plain", directory);
    cleanup_free char *broken = xasprintf("%s/docker-credential-broken", directory);
    cleanup_free char *dir = xasprintf("%s/docker-credential-dir", directory);
    assert_int_equal(chmod(plain, 0600), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    FILE *f = fopen(broken, "we");
    assert_non_null(f);
    assert_true(fputs("#!/no/such/shell\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chdir(directory), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        cleanup_credential struct credential c = {0};
        assert_int_equal(setenv("PATH", rows[i].path ? rows[i].path : directory, 1), 0);
        assert_int_equal(helper_ask(rows[i].name, "a.io", 20 * SECOND, &no_stop, &c, &err), -1);
        if (err.kind != ERROR_CONFIG || !strstr(err.message, rows[i].words))
            fail_msg("row %zu: %s", i, err.message);
    }
    assert_int_equal(chdir("/"), 0);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_names),
        cmocka_unit_test(reads_answers),
        cmocka_unit_test(knows_dockers_words),
        cmocka_unit_test_setup_teardown(starts_them_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_answer_of_one_that_is_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_no_program, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
