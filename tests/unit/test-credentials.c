#include "warmer/credentials.h"

#include "cachedir/alloc.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* "alice:secret" */
#define ALICE "YWxpY2U6c2VjcmV0"

/* ---- places ---- */

#define DIRECTORY_SIZE 64
static char directory[DIRECTORY_SIZE];

static const char *const variables[] = {
    "HOME",
    "DOCKER_CONFIG",
    "REGISTRY_AUTH_FILE",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DOCKER_AUTH_CONFIG",
    "KANIKO_A_IO_USER",
    "KANIKO_A_IO_PASSWORD",
    "KANIKO_IO_USER",
    "KANIKO_IO_PASSWORD",
    "KANIKO_INDEX_DOCKER_IO_USER",
    "KANIKO_INDEX_DOCKER_IO_PASSWORD",
};

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    if (setenv("PATH", "/usr/bin:/bin", 1) < 0)
        return -1;
    (void)snprintf(directory, sizeof directory, "/tmp/test-credentials-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    cleanup_free char *home = xasprintf("%s/home", directory);
    return mkdir(home, 0700) < 0 || setenv("HOME", home, 1) < 0 ||
                   setenv("XDG_RUNTIME_DIR", directory, 1) < 0
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (setenv("PATH", "/usr/bin:/bin", 1) < 0)
        return -1;
    cleanup_free char *command = xasprintf("rm -rf '%s'", directory);
    return system(command) == 0 ? 0 : -1; /* NOLINT: a fixed command in a test */
}

/* Below the directory; makes the directories on the way. */
static char *write_file(const char *name, const char *content)
{
    char *path = xasprintf("%s/%s", directory, name);
    for (char *slash = strchr(path + strlen(directory) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(content, f) >= 0);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static char *login(const char *registry, const char *user)
{
    return xasprintf("{\"auths\":{\"%s\":{\"username\":\"%s\",\"password\":\"secret\"}}}", registry,
                     user);
}

static void write_login(const char *name, const char *registry, const char *user)
{
    cleanup_free char *text = login(registry, user);
    free(write_file(name, text));
}

struct said {
    char *warnings, *details;
};

static void append(char **to, const char *message)
{
    char *longer = xasprintf("%s%s\n", *to ? *to : "", message);
    free(*to);
    *to = longer;
}
static void warn(void *userdata, const char *message)
{
    append(&((struct said *)userdata)->warnings, message);
}
static void debug(void *userdata, const char *message)
{
    append(&((struct said *)userdata)->details, message);
}

static struct credentials *make(char **authfiles, struct said *said)
{
    struct credentials *c;
    cleanup_error struct error err = {0};
    const struct credentials_options options = {
        .authfiles = authfiles, .warn = warn, .debug = debug, .userdata = said};
    if (credentials_new(&options, &c, &err) < 0)
        fail_msg("%s", err.message);
    return c;
}

/* As if the registry had refused what is known. */
static void refuse(struct credentials *c, const char *registry)
{
    cleanup_credential struct credential refused = {0}, found = {0};
    cleanup_error struct error trouble = {0};
    struct credential_query q = {.registry = registry, .repository = "x/y"};
    (void)credentials_find(c, &q, &refused, &trouble);
    q.refused = &refused;
    (void)credentials_find(c, &q, &found, &trouble);
}

static void expect_user(struct credentials *c, const char *registry, const char *want)
{
    cleanup_credential struct credential found = {0};
    cleanup_error struct error trouble = {0};
    const struct credential_query q = {.registry = registry, .repository = "x/y"};
    bool is = credentials_find(c, &q, &found, &trouble);
    const char *got = is ? found.username : "-";
    if (strcmp(got, want) != 0)
        fail_msg("%s: %s where %s was due", registry, got, want);
}

/* Each place shadows those behind it, for its own registries alone. */
static void looks_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *value,
            *file; /* value: "" means the file's path, "/" its directory */
    } places[] = {
        {NULL, NULL, "home/.docker/config.json"},
        {NULL, NULL, "home/.config/containers/auth.json"},
        {NULL, NULL, "containers/auth.json"},
        {"REGISTRY_AUTH_FILE", "", "my-auth.json"},
        {"DOCKER_CONFIG", "/", "docker/config.json"},
    };
    struct said said = {0};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        cleanup_free char *user = xasprintf("user%zu", i);
        cleanup_free char *own = xasprintf("own%zu.io", i);
        cleanup_free char *text =
            xasprintf("{\"auths\":{\"a.io\":{\"username\":\"%s\",\"password\":\"p\"},"
                      "\"%s\":{\"username\":\"%s\",\"password\":\"p\"}}}",
                      user, own, user);
        cleanup_free char *path = write_file(places[i].file, text);
        if (places[i].value && *places[i].value)
            *strrchr(path, '/') = '\0';
        if (places[i].variable)
            assert_int_equal(setenv(places[i].variable, path, 1), 0);
        struct credentials *c = make(NULL, &said);
        expect_user(c, "a.io", user);
        expect_user(c, "own0.io", "user0");
        expect_user(c, own, user);
        credentials_free(c);
    }
    cleanup_free char *text = login("a.io", "env");
    assert_int_equal(setenv("DOCKER_AUTH_CONFIG", text, 1), 0);
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "env");
    expect_user(c, "own4.io", "user4");
    credentials_free(c);

    cleanup_free char *first_text = login("a.io", "first"), *second_text = login("b.io", "second");
    cleanup_free char *first = write_file("first", first_text);
    cleanup_free char *second = write_file("second", second_text);
    c = make((char *[]){second, first, NULL}, &said);
    expect_user(c, "a.io", "first");
    expect_user(c, "b.io", "second");
    expect_user(c, "own0.io", "user0");
    expect_user(c, "c.io", "-");
    credentials_free(c);
    assert_null(said.warnings);
    assert_non_null(strstr(said.details, "credentials for a.io: the environment's DOCKER_AUTH"));
    assert_null(strstr(said.details, "secret"));
    free(said.details);
}

static void reads_kanikos_variables(void **state)
{
    (void)state;
    struct said said = {0};
    assert_int_equal(setenv("KANIKO_A_IO_USER", "whole", 1), 0);
    assert_int_equal(setenv("KANIKO_A_IO_PASSWORD", "p", 1), 0);
    assert_int_equal(setenv("KANIKO_IO_USER", "suffix", 1), 0);
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "whole");
    expect_user(c, "sub.a.io", "whole");
    expect_user(c, "b.io", "-"); /* no password */
    assert_int_equal(setenv("KANIKO_IO_PASSWORD", "p", 1), 0);
    expect_user(c, "b.io", "suffix");
    assert_int_equal(setenv("KANIKO_INDEX_DOCKER_IO_USER", "hub", 1), 0);
    assert_int_equal(setenv("KANIKO_INDEX_DOCKER_IO_PASSWORD", "p", 1), 0);
    expect_user(c, "docker.io", "hub");
    expect_user(c, "a-b.com", "-");
    credentials_free(c);
    free(said.details);
    free(said.warnings);
}

static void says_what_keeps_it_from_reading(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *value; /* below the directory */
        const char *file, *content;
        const char *authfile;
        const char *want; /* NULL: no error */
    } cases[] = {
        {NULL, NULL, "home/.docker/config.json", "{", NULL, "line 1, column 1: not JSON"},
        {NULL, NULL, NULL, NULL, "not-there", "not-there: cannot open it: No such file"},
        {"REGISTRY_AUTH_FILE", "not-there", NULL, NULL, NULL, NULL},
        {"DOCKER_CONFIG", "not-there", NULL, NULL, NULL, NULL},
        {"DOCKER_CONFIG", "d", "d/config.json/file", "", NULL, "config.json is a directory"},
        {"DOCKER_CONFIG", "f", "f", "[]", NULL, "f: a JSON object was expected"},
        {NULL, NULL, NULL, NULL, "", "is a directory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(set_up(NULL), 0);
        if (cases[i].file)
            free(write_file(cases[i].file, cases[i].content));
        cleanup_free char *value = xasprintf("%s/%s", directory, cases[i].value);
        if (cases[i].variable)
            assert_int_equal(setenv(cases[i].variable, value, 1), 0);
        cleanup_free char *authfile = xasprintf("%s/%s", directory, cases[i].authfile);
        char *authfiles[] = {cases[i].authfile ? authfile : NULL, NULL};
        const struct credentials_options options = {.authfiles = authfiles};
        struct credentials *c = NULL;
        cleanup_error struct error err = {0};
        int r = credentials_new(&options, &c, &err);
        if ((r < 0) != (cases[i].want != NULL))
            fail_msg("case %zu: %s", i, r < 0 ? err.message : "no error");
        if (cases[i].want && (err.kind != ERROR_CONFIG || !strstr(err.message, cases[i].want)))
            fail_msg("case %zu: %s", i, err.message);
        credentials_free(c);
        assert_int_equal(tear_down(NULL), 0);
    }
    assert_int_equal(set_up(NULL), 0);
    assert_int_equal(setenv("DOCKER_AUTH_CONFIG", "{\"auths\":", 1), 0);
    struct credentials *c = NULL;
    cleanup_error struct error err = {0};
    assert_int_equal(credentials_new(&(struct credentials_options){0}, &c, &err), -1);
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.message, "DOCKER_AUTH_CONFIG: line 1"));
}

static void reads_again(void **state)
{
    (void)state;
    struct said said = {0};
    write_login("home/.docker/config.json", "a.io", "old");
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "old");
    write_login("home/.docker/config.json", "a.io", "new");
    expect_user(c, "a.io", "old");
    refuse(c, "a.io");
    expect_user(c, "a.io", "new");
    /* Half-written, or gone for a moment: what was known still is. */
    free(write_file("home/.docker/config.json", "{\"auths\""));
    refuse(c, "a.io");
    expect_user(c, "a.io", "new");
    /* One that was not there before. */
    write_login("containers/auth.json", "a.io", "podman");
    refuse(c, "a.io");
    expect_user(c, "a.io", "podman");
    credentials_free(c);
    assert_null(said.warnings);
    free(said.details);
}

static void names_where_it_looked(void **state)
{
    (void)state;
    struct said said = {0};
    struct credentials *c = make(NULL, &said);
    cleanup_free char *nowhere = credentials_missing(c, "a.io");
    assert_non_null(strstr(nowhere, "no credentials for a.io were found: there is no credentials"));
    credentials_free(c);
    write_login("home/.docker/config.json", "b.io", "bob");
    c = make(NULL, &said);
    cleanup_free char *somewhere = credentials_missing(c, "a.io");
    assert_non_null(strstr(somewhere, "no credentials for a.io were found in: "));
    assert_non_null(strstr(somewhere, "/home/.docker/config.json"));
    credentials_free(c);
    free(said.details);
}

/* ---- helpers ---- */

/* bin/docker-credential-NAME, a shell script, which also counts its runs in the file NAME.runs;
 * $PATH holds nothing else. */
static void write_helper(const char *name, const char *script)
{
    cleanup_free char *file = xasprintf("bin/docker-credential-%s", name);
    cleanup_free char *text = xasprintf(
        "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"$@\" >>%s/%s.runs\n%s\n", directory, name, script);
    cleanup_free char *path = write_file(file, text);
    assert_int_equal(chmod(path, 0700), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(setenv("PATH", path, 1), 0);
}

static void expect_runs(const char *name, const char *want)
{
    cleanup_free char *path = xasprintf("%s/%s.runs", directory, name);
    char got[256] = "";
    FILE *f = fopen(path, "re");
    if (f) {
        got[fread(got, 1, sizeof got - 1, f)] = '\0';
        (void)fclose(f);
    }
    if (strcmp(got, want) != 0)
        fail_msg("%s ran as \"%s\", not \"%s\"", name, got, want);
}

static void asks_helpers(void **state)
{
    (void)state;
    struct said said = {0};
    write_helper("named", "read server; echo \"{\\\"Username\\\":\\\"$server\\\",\\\"Secret\\\":"
                          "\\\"hush\\\"}\"");
    write_helper("store", "read server; echo \"{\\\"Username\\\":\\\"store $server\\\","
                          "\\\"Secret\\\":\\\"hush\\\"}\"");
    write_helper("none", "echo credentials not found in native keychain; exit 1");
    free(write_file(
        "home/.docker/config.json",
        "{\"credsStore\":\"store\",\"credHelpers\":{\"b.io\":\"named\",\"d.io\":\"none\"},"
        "\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}"));
    write_login("containers/auth.json", "e.io", "file");
    assert_int_equal(setenv("KANIKO_D_IO_USER", "env", 1), 0);
    assert_int_equal(setenv("KANIKO_D_IO_PASSWORD", "p", 1), 0);
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "alice");
    expect_user(c, "b.io", "b.io");
    expect_user(c, "b.io", "b.io");
    expect_user(c, "c.io:5000", "store c.io:5000");
    expect_user(c, "docker.io", "store https://index.docker.io/v1/");
    expect_user(c, "e.io", "file"); /* an earlier place */
    expect_user(c, "d.io", "env");  /* it has none: the next place */
    expect_runs("named", "get\n");
    expect_runs("store", "get\nget\n");
    credentials_free(c);
    assert_null(said.warnings);
    assert_non_null(strstr(said.details, "credentials for b.io: docker-credential-named"));
    assert_null(strstr(said.details, "hush"));
    free(said.details);
    assert_int_equal(unsetenv("KANIKO_D_IO_USER"), 0);
}

static void failing_helpers_are_told_of_once(void **state)
{
    (void)state;
    struct said said = {0};
    write_helper("bad", "echo no agent runs here; exit 3");
    free(write_file("home/.docker/config.json", "{\"credsStore\":\"bad\",\"credHelpers\":"
                                                "{\"b.io\":\"absent\",\"c.io\":\"../evil\"}}"));
    struct credentials *c = make(NULL, &said);
    static const struct {
        const char *registry;
        enum error_kind kind;
        const char *words;
    } cases[] = {
        {"a.io", ERROR_TRANSIENT, "docker-credential-bad: exit code 3: no agent runs here"},
        {"a.io", ERROR_TRANSIENT, "docker-credential-bad: exit code 3: no agent runs here"},
        {"b.io", ERROR_CONFIG, "docker-credential-absent is not in $PATH"},
        {"c.io", ERROR_CONFIG, "\"../evil\" is no credential helper's name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_credential struct credential found = {0};
        cleanup_error struct error trouble = {0};
        const struct credential_query q = {.registry = cases[i].registry, .repository = "x"};
        assert_false(credentials_find(c, &q, &found, &trouble));
        if (trouble.kind != cases[i].kind || !strstr(trouble.message, cases[i].words))
            fail_msg("case %zu: %s", i, trouble.message);
        if (!strstr(said.warnings, cases[i].words))
            fail_msg("case %zu: no warning: %s", i, said.warnings);
    }
    expect_runs("bad", "get\n"); /* a failure stands for a while */
    size_t lines = 0;
    for (const char *p = said.warnings; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 3);
    credentials_free(c);
    free(said.details);
    free(said.warnings);
}

static void asks_helpers_again(void **state)
{
    (void)state;
    struct said said = {0};
    free(write_file("user", "first"));
    write_helper("turn", "user=$(cat $(dirname $0)/../user); echo \"{\\\"Username\\\":"
                         "\\\"$user\\\",\\\"Secret\\\":\\\"hush\\\"}\"");
    free(write_file("home/.docker/config.json", "{\"credsStore\":\"turn\"}"));
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "first");
    free(write_file("user", "second"));
    expect_user(c, "a.io", "first");
    refuse(c, "a.io");
    expect_user(c, "a.io", "second");
    expect_runs("turn", "get\nget\n");
    refuse(c, "a.io"); /* the same again: */
    expect_runs("turn", "get\nget\nget\n");
    refuse(c, "a.io"); /* that settles it for a while */
    expect_runs("turn", "get\nget\nget\n");
    /* A refused credential that is the cache's no more: what is known is given. */
    cleanup_credential struct credential found = {0}, old = {.username = xstrdup("first"),
                                                             .password = xstrdup("hush")};
    cleanup_error struct error trouble = {0};
    const struct credential_query q = {.registry = "a.io", .repository = "x", .refused = &old};
    assert_true(credentials_find(c, &q, &found, &trouble));
    assert_string_equal(found.username, "second");
    expect_runs("turn", "get\nget\nget\n");
    credentials_free(c);
    assert_null(said.warnings);
    free(said.details);
}

struct asker {
    struct credentials *c;
    bool found;
};

static void *ask_in_thread(void *userdata)
{
    struct asker *a = userdata;
    cleanup_credential struct credential found = {0};
    cleanup_error struct error trouble = {0};
    const struct credential_query q = {.registry = "a.io", .repository = "x"};
    a->found = credentials_find(a->c, &q, &found, &trouble);
    return NULL;
}

static void one_question_at_a_time(void **state)
{
    (void)state;
    struct said said = {0};
    struct asker askers[8];
    pthread_t threads[8];
    write_helper("slow", "sleep 0.3; "
                         "echo '{\"Username\":\"u\",\"Secret\":\"hush\"}'");
    free(write_file("home/.docker/config.json", "{\"credsStore\":\"slow\"}"));
    struct credentials *c = make(NULL, &said);
    for (size_t i = 0; i < 8; i++) {
        askers[i] = (struct asker){.c = c};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_thread, &askers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(askers[i].found);
    }
    expect_runs("slow", "get\n");
    credentials_free(c);
    free(said.details);
}

static void a_stop_ends_helpers(void **state)
{
    (void)state;
    struct said said = {0};
    struct asker askers[3];
    pthread_t threads[3];
    write_helper("hangs", "sleep 1000 & echo $! >$(dirname $0)/../child; sleep 1000");
    free(write_file("home/.docker/config.json", "{\"credsStore\":\"hangs\"}"));
    struct credentials *c = make(NULL, &said);
    for (size_t i = 0; i < 3; i++) {
        askers[i] = (struct asker){.c = c};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_thread, &askers[i]), 0);
    }
    cleanup_free char *path = xasprintf("%s/child", directory);
    struct stat st;
    while (stat(path, &st) < 0 || st.st_size == 0)
        (void)usleep(10000);
    credentials_stop(c);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(askers[i].found);
    }
    credentials_free(c);
    assert_null(said.warnings);
    free(said.details);
}

static void warns_of_what_everybody_may_read(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        mode_t mode;
        bool warned;
    } cases[] = {
        {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", 0644, true},
        {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", 0604, true},
        {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", 0640, false},
        {"{\"auths\":{\"a.io\":{}},\"credsStore\":\"x\"}", 0644, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said = {0};
        cleanup_free char *path = write_file("home/.docker/config.json", cases[i].content);
        assert_int_equal(chmod(path, cases[i].mode), 0);
        struct credentials *c = make(NULL, &said);
        if ((said.warnings && strstr(said.warnings, "everybody may read it")) != cases[i].warned)
            fail_msg("case %zu: %s", i, said.warnings ? said.warnings : "no warning");
        credentials_free(c);
        free(said.warnings);
        free(said.details);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(looks_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_kanikos_variables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_what_keeps_it_from_reading, NULL, tear_down),
        cmocka_unit_test_setup_teardown(reads_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_where_it_looked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(asks_helpers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_helpers_are_told_of_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(asks_helpers_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_question_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stop_ends_helpers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(warns_of_what_everybody_may_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
