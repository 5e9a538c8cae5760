/* One credentials file. */
#include "warmer/authfile.h"

#include "cachedir/alloc.h"
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static void warns_of_a_lonely_password(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        bool warns;
    } entries[] = {
        {"{\"password\":\"secret\"}", true},
        {"{\"username\":\"\",\"password\":\"secret\"}", true},
        {"{\"password\":\"secret\",\"identitytoken\":\"t\"}", false},
        {"{\"username\":\"alice\",\"password\":\"secret\"}", false},
        {"{\"username\":\"alice\"}", false},
        {"{\"email\":\"a@b\"}", false},
        {"{}", false},
    };
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        cleanup_auth_file struct auth_file file = {0};
        cleanup_error struct error err = {0};
        cleanup_free char *text = xasprintf("{\"auths\":{\"a.io/b\":%s}}", entries[i].entry);
        assert_int_equal(auth_file_parse(text, strlen(text), "FILE", false, &file, &err), 0);
        if ((file.warning != NULL) != entries[i].warns)
            fail_msg("%s: %s", entries[i].entry, file.warning ? file.warning : "no warning");
        if (file.warning && (strncmp(file.warning, "FILE: \"a.io/b\": ", 16) != 0 ||
                             strstr(file.warning, "secret")))
            fail_msg("%s: %s", entries[i].entry, file.warning);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_in_a_file),
        cmocka_unit_test(reads_dockercfg),
        cmocka_unit_test(warns_of_a_lonely_password),
        cmocka_unit_test(refuses_the_corpus),
        cmocka_unit_test(names_line_and_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
