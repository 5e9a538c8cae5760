#include "warmer/credentials.h"

#include "cachedir/alloc.h"
#include "corpus.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* "alice:secret", "bob:secret", ... */
#define ALICE "YWxpY2U6c2VjcmV0"
#define BOB "Ym9iOnNlY3JldA=="
#define CAROL "Y2Fyb2w6czpl"

/* ---- one file ---- */

/* What is found, as "user|password|identity token|registry token" or "helper NAME" or "-". */
static const struct {
    const char *file, *registry, *repository, *want;
} rows[] = {
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x/y", "alice|secret||"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "b.io", "x/y", "-"},
    {"{\"auths\":{\"a.io:5000\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x", "-"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io:5000", "x", "-"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "xa.io", "x", "-"},
    {"{\"auths\":{\"A.io\":{\"auth\":\"" ALICE "\"}}}", "a.IO", "x", "alice|secret||"},
    {"{\"auths\":{\"[::1]:5000\":{\"auth\":\"" ALICE "\"}}}", "[::1]:5000", "x", "alice|secret||"},
    /* The ways to write it. */
    {"{\"auths\":{\"a.io\":{\"username\":\"u\",\"password\":\"p:q\"}}}", "a.io", "x", "u|p:q||"},
    {"{\"auths\":{\"a.io\":{\"username\":\"u\"}}}", "a.io", "x", "u|||"},
    {"{\"auths\":{\"a.io\":{\"username\":\"u\",\"password\":\"p\",\"auth\":\"" BOB "\"}}}", "a.io",
     "x", "bob|secret||"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"" CAROL "\"}}}", "a.io", "x", "carol|s:e||"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"Ym9iOnNlY3JldA\"}}}", "a.io", "x", "bob|secret||"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"Ym9iOnNl\\nY3JldA==\\n\"}}}", "a.io", "x", "bob|secret||"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"Ym9iOnAAAA==\"}}}", "a.io", "x", "bob|p||"}, /* p NUL NUL */
    {"{\"auths\":{\"a.io\":{\"auth\":\"Ym9iOg==\"}}}", "a.io", "x", "bob|||"},
    {"{\"auths\":{\"a.io\":{\"identitytoken\":\"i\"}}}", "a.io", "x", "||i|"},
    {"{\"auths\":{\"a.io\":{\"registrytoken\":\"r\"}}}", "a.io", "x", "|||r"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\",\"identitytoken\":\"i\"}}}", "a.io", "x",
     "alice|secret|i|"},
    {"{\"auths\":{\"a.io\":{\"username\":\"<token>\",\"password\":\"t\"}}}", "a.io", "x",
     "<token>|t|t|"},
    {"{\"auths\":{\"a.io\":{\"auth\":\"\",\"email\":5,\"username\":\"u\",\"password\":null}}}",
     "a.io", "x", "u|||"},
    /* Nothing at all. */
    {"", "a.io", "x", "-"},
    {" \n", "a.io", "x", "-"},
    {"{}", "a.io", "x", "-"},
    {"{\"auths\":null,\"credHelpers\":null,\"credsStore\":null}", "a.io", "x", "-"},
    {"{\"auths\":{\"a.io\":{}}}", "a.io", "x", "-"},
    /* The Hub's names. */
    {"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"" ALICE "\"}}}", "docker.io",
     "library/debian", "alice|secret||"},
    {"{\"auths\":{\"index.docker.io\":{\"auth\":\"" ALICE "\"}}}", "docker.io", "x/y",
     "alice|secret||"},
    {"{\"auths\":{\"docker.io\":{\"auth\":\"" ALICE "\"}}}", "docker.io", "x/y", "alice|secret||"},
    {"{\"auths\":{\"registry-1.docker.io\":{\"auth\":\"" ALICE "\"}}}", "docker.io", "x/y",
     "alice|secret||"},
    {"{\"auths\":{\"hub.docker.io\":{\"auth\":\"" ALICE "\"}}}", "docker.io", "x/y", "-"},
    /* URLs. */
    {"{\"auths\":{\"https://a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x", "alice|secret||"},
    {"{\"auths\":{\"http://a.io:5000/v2/\":{\"auth\":\"" ALICE "\"}}}", "a.io:5000", "x",
     "alice|secret||"},
    {"{\"auths\":{\"a.io/v1/\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x", "alice|secret||"},
    /* Paths: the most specific, by whole segments, wherever it stands. */
    {"{\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"},\"a.io/x\":{\"auth\":\"" BOB
     "\"},\"a.io/x/y\":{\"auth\":\"" CAROL "\"}}}",
     "a.io", "x/y", "carol|s:e||"},
    {"{\"auths\":{\"a.io/x/y\":{\"auth\":\"" CAROL "\"},\"a.io/x\":{\"auth\":\"" BOB
     "\"},\"a.io\":{\"auth\":\"" ALICE "\"}}}",
     "a.io", "x/z", "bob|secret||"},
    {"{\"auths\":{\"a.io/x/y\":{\"auth\":\"" CAROL "\"},\"a.io\":{\"auth\":\"" ALICE "\"}}}",
     "a.io", "x/yy", "alice|secret||"},
    {"{\"auths\":{\"a.io/x\":{\"auth\":\"" BOB "\"}}}", "a.io", "xx/y", "-"},
    {"{\"auths\":{\"a.io/x/\":{\"auth\":\"" BOB "\"}}}", "a.io", "x/y/z", "bob|secret||"},
    {"{\"auths\":{\"a.io/x\":{},\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x/y",
     "alice|secret||"},
    {"{\"auths\":{\"docker.io/library\":{\"auth\":\"" BOB "\"}}}", "docker.io", "library/debian",
     "bob|secret||"},
    /* Helpers. */
    {"{\"credHelpers\":{\"a.io\":\"ecr\"}}", "a.io", "x", "helper ecr"},
    {"{\"credHelpers\":{\"a.io\":\"ecr\"},\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io",
     "x", "helper ecr"},
    {"{\"credHelpers\":{\"b.io\":\"ecr\"},\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io",
     "x", "alice|secret||"},
    {"{\"credsStore\":\"desktop\",\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}", "a.io", "x",
     "alice|secret||"},
};

static char *describe(const struct auth_entry *e)
{
    if (!e)
        return xstrdup("-");
    if (e->helper)
        return xasprintf("helper %s", e->helper);
    const struct credential *c = &e->credential;
    return xasprintf("%s|%s|%s|%s", c->username ? c->username : "", c->password ? c->password : "",
                     c->identity_token ? c->identity_token : "",
                     c->registry_token ? c->registry_token : "");
}

static void finds_in_a_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_auth_file struct auth_file file = {0};
        cleanup_error struct error err = {0};
        if (auth_file_parse(rows[i].file, strlen(rows[i].file), "config.json", false, &file, &err))
            fail_msg("%s: %s", rows[i].file, err.message);
        cleanup_free char *got =
            describe(auth_file_find(&file, rows[i].registry, rows[i].repository));
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s/%s: %s", rows[i].file, rows[i].registry, rows[i].repository, got);
    }
}

static void reads_dockercfg(void **state)
{
    (void)state;
    static const char text[] =
        "{\"https://index.docker.io/v1/\":{\"auth\":\"" ALICE "\",\"email\":\"a@b\"}}";
    cleanup_auth_file struct auth_file file = {0};
    cleanup_error struct error err = {0};
    assert_int_equal(auth_file_parse(text, strlen(text), ".dockercfg", true, &file, &err), 0);
    assert_non_null(auth_file_find(&file, "docker.io", "library/debian"));
}

static void must_refuse(const char *name, const char *bytes, size_t len)
{
    cleanup_auth_file struct auth_file file = {0};
    cleanup_error struct error err = {0};
    if (auth_file_parse(bytes, len, "FILE", false, &file, &err) == 0)
        fail_msg("taken: %s", name);
    if (err.kind != ERROR_CONFIG || strncmp(err.message, "FILE: ", 6) != 0)
        fail_msg("%s: %s", name, err.message);
    if (strstr(err.message, "secret") || strstr(err.message, "c2VjcmV0"))
        fail_msg("%s: a secret is shown: %s", name, err.message);
    assert_int_equal(file.count, 0);
}

static void refuses_the_corpus(void **state)
{
    (void)state;
    corpus_each("credentials/refused", must_refuse);
}

static void names_line_and_column(void **state)
{
    (void)state;
    static const char text[] = "{\n  \"auths\": {\n    \"a.io\": [,]\n  }\n}\n";
    cleanup_auth_file struct auth_file file = {0};
    cleanup_error struct error err = {0};
    assert_int_equal(auth_file_parse(text, strlen(text), "/x/config.json", false, &file, &err), -1);
    assert_int_equal(err.kind, ERROR_CONFIG);
    assert_non_null(strstr(err.message, "/x/config.json: line 3, column 14: not JSON"));
}

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

static void expect_user(struct credentials *c, const char *registry, const char *want)
{
    cleanup_credential struct credential found = {0};
    bool is = credentials_find(c, registry, "x/y", &found);
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
    credentials_reload(c);
    expect_user(c, "a.io", "new");
    /* Half-written, or gone for a moment: what was known still is. */
    free(write_file("home/.docker/config.json", "{\"auths\""));
    credentials_reload(c);
    expect_user(c, "a.io", "new");
    /* One that was not there before. */
    write_login("containers/auth.json", "a.io", "podman");
    credentials_reload(c);
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

static void helpers_are_told_of_once(void **state)
{
    (void)state;
    struct said said = {0};
    free(write_file("home/.docker/config.json",
                    "{\"credsStore\":\"desktop\",\"auths\":{\"a.io\":{\"auth\":\"" ALICE "\"}}}"));
    struct credentials *c = make(NULL, &said);
    expect_user(c, "a.io", "alice");
    assert_null(said.warnings);
    expect_user(c, "b.io", "-");
    expect_user(c, "c.io", "-");
    assert_non_null(strstr(said.warnings, "desktop"));
    assert_ptr_equal(strchr(said.warnings, '\n'), strrchr(said.warnings, '\n'));
    credentials_free(c);
    free(said.details);
    free(said.warnings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_in_a_file),
        cmocka_unit_test(reads_dockercfg),
        cmocka_unit_test(refuses_the_corpus),
        cmocka_unit_test(names_line_and_column),
        cmocka_unit_test_setup_teardown(looks_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_kanikos_variables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_what_keeps_it_from_reading, NULL, tear_down),
        cmocka_unit_test_setup_teardown(reads_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_where_it_looked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(helpers_are_told_of_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
