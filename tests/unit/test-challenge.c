#include "warmer/challenge.h"

#include "cachedir/alloc.h"
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BASIC CHALLENGE_BASIC
#define BEARER CHALLENGE_BEARER
#define OTHER CHALLENGE_OTHER

static const struct {
    const char *line;
    struct {
        enum challenge_scheme scheme;
        const char *realm, *service, *scope, *error;
    } want[3];
    size_t count;
    int pick; /* -1: none */
} good[] = {
    {"Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
     "scope=\"repository:library/debian:pull\"",
     {{BEARER, "https://auth.docker.io/token", "registry.docker.io",
       "repository:library/debian:pull", NULL}},
     1,
     0},
    {"Basic realm=\"Registry Realm\"", {{BASIC, "Registry Realm"}}, 1, 0},
    {"BASIC REALM=\"x\"", {{BASIC, "x"}}, 1, 0},
    {"bearer Realm=\"https://x/\"", {{BEARER, "https://x/"}}, 1, 0},
    {"Basic", {{BASIC}}, 1, 0},
    {"Basic ,", {{BASIC}}, 1, 0},
    {", ,Basic realm=\"x\" ,", {{BASIC, "x"}}, 1, 0},
    {"Basic realm=\"\"", {{BASIC, ""}}, 1, 0},
    /* A comma within quotes separates nothing. */
    {"Bearer realm=\"https://x/t\",scope=\"repository:a:pull,push\"",
     {{BEARER, "https://x/t", NULL, "repository:a:pull,push"}},
     1,
     0},
    {"Bearer realm=\"https://x/t\",scope=\"repository:a:pull "
     "repository:b:pull\",error=\"insufficient_scope\"",
     {{BEARER, "https://x/t", NULL, "repository:a:pull repository:b:pull", "insufficient_scope"}},
     1,
     0},
    {"Bearer realm=\"a\\\"b\\\\c\"", {{BEARER, "a\"b\\c"}}, 1, 0},
    {"Bearer realm = \"https://x\" , service\t=\ty", {{BEARER, "https://x", "y"}}, 1, 0},
    /* As some registries send it: bare, or with blanks for commas. */
    {"Bearer realm=https://x/t?a=b,service=y", {{BEARER, "https://x/t?a=b", "y"}}, 1, 0},
    {"Bearer realm=\"https://x/t\" service=\"y\"", {{BEARER, "https://x/t", "y"}}, 1, 0},
    {"Bearer unknown=1,realm=\"r\",other=\"a, b\"", {{BEARER, "r"}}, 1, 0},
    {"Bearer realm=\"https://\xc3\xa9/\"", {{BEARER, "https://\xc3\xa9/"}}, 1, 0},
    /* Several. */
    {"Basic realm=\"a\", Bearer realm=\"b\",service=\"c\"",
     {{BASIC, "a"}, {BEARER, "b", "c"}},
     2,
     1},
    {"Bearer realm=\"b\", Basic realm=\"a\"", {{BEARER, "b"}, {BASIC, "a"}}, 2, 0},
    {"Negotiate, Basic realm=\"a\"", {{OTHER}, {BASIC, "a"}}, 2, 1},
    {"Negotiate abc+/==, NTLM, Basic realm=\"a\"", {{OTHER}, {OTHER}, {BASIC, "a"}}, 3, 2},
    {"Digest realm=\"d\", nonce=\"n\", qop=\"auth,auth-int\"", {{OTHER, "d"}}, 1, -1},
    {"Basic realm=\"a\" Bearer realm=\"b\"", {{BASIC, "a"}, {BEARER, "b"}}, 2, 1},
    /* A Bearer that does not say where the tokens are is no use. */
    {"Bearer", {{BEARER}}, 1, -1},
    {"Bearer service=\"x\", Basic realm=\"a\"", {{BEARER, NULL, "x"}, {BASIC, "a"}}, 2, 1},
    {"Bearer realm=\"\", Basic", {{BEARER, ""}, {BASIC}}, 2, 1},
};

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cleanup_challenges struct challenges list = {0};
        cleanup_error struct error err = {0};
        if (challenges_add(&list, good[i].line, &err) < 0)
            fail_msg("%s: %s", good[i].line, err.message);
        bool equal = list.count == good[i].count;
        for (size_t k = 0; equal && k < list.count; k++)
            equal = list.items[k].scheme == good[i].want[k].scheme &&
                    same(list.items[k].realm, good[i].want[k].realm) &&
                    same(list.items[k].service, good[i].want[k].service) &&
                    same(list.items[k].scope, good[i].want[k].scope) &&
                    same(list.items[k].error, good[i].want[k].error);
        if (!equal)
            fail_msg("read differently: %s", good[i].line);
        const struct challenge *pick = challenges_pick(&list);
        if (pick != (good[i].pick < 0 ? NULL : &list.items[good[i].pick]))
            fail_msg("picked differently: %s", good[i].line);
    }
}

static void adds_up_lines(void **state)
{
    (void)state;
    cleanup_challenges struct challenges list = {0};
    cleanup_error struct error err = {0};
    assert_int_equal(challenges_add(&list, "Basic realm=\"a\"", &err), 0);
    assert_int_equal(challenges_add(&list, "Negotiate, Basic realm=\"unterminated", &err), -1);
    assert_int_equal(list.count, 1);
    assert_int_equal(challenges_add(&list, "Bearer realm=\"b\"", &err), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(challenges_pick(&list)->realm, "b");
    cleanup_challenge struct challenge copy = {0};
    challenge_copy(&copy, &list.items[1]);
    assert_string_equal(copy.realm, "b");
    assert_null(copy.scope);
}

static void must_refuse(const char *file, const char *bytes, size_t len)
{
    cleanup_challenges struct challenges list = {0};
    cleanup_error struct error err = {0};
    (void)len;
    if (challenges_add(&list, bytes, &err) == 0)
        fail_msg("taken: %s", file);
    if (err.kind != ERROR_PROTOCOL || list.count != 0)
        fail_msg("%s: kind %d, %zu challenges", file, err.kind, list.count);
}

static void refuses_the_corpus(void **state)
{
    (void)state;
    corpus_each("challenge/refused", must_refuse);
}

static void has_ceilings(void **state)
{
    (void)state;
    cleanup_error struct error err = {0};
    cleanup_challenges struct challenges list = {0};
    cleanup_free char *line = xcalloc(CHALLENGE_BYTES_MAX + 2, 1);
    memset(line, 'a', CHALLENGE_BYTES_MAX + 1);
    assert_int_equal(challenges_add(&list, line, &err), -1);
    line[CHALLENGE_BYTES_MAX] = '\0';
    assert_int_equal(challenges_add(&list, line, &err), 0);
    for (size_t i = 1; i < CHALLENGES_MAX; i++)
        assert_int_equal(challenges_add(&list, "Basic", &err), 0);
    assert_int_equal(challenges_add(&list, "Basic", &err), -1);
    assert_int_equal(list.count, CHALLENGES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(adds_up_lines),
        cmocka_unit_test(refuses_the_corpus),
        cmocka_unit_test(has_ceilings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
