/* Redirects, mirrors, and servers that want to be left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "scripted-blob.h"

#define TO_TWO "Location: http://127.0.0.1:@2/stored?sig=secret\r\n"

/* ---- redirects ---- */

static void test_redirect_leaves_secrets_behind(void **state)
{
    (void)state;
    const struct rule registry[] = {{"GET ", "Authorization: Basic", 307, TO_TWO},
                                    {"GET ", NULL, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n"},
                                    {NULL}};
    const struct rule storage[] = {{"GET /stored?sig=secret", "Range: bytes=4-15", 206,
                                    "Content-Range: bytes 4-15/16\r\n", "456789abcdef"},
                                   {"GET /stored?sig=secret", NULL, 200, NULL, BYTES},
                                   {NULL}};
    struct scripted s = {0};
    struct got got = {0};
    scripted_start(&s, registry, storage);
    scripted_login(&s, "alice");
    scripted_open(&s, NO_OPTIONS);
    assert_int_equal(fetch(&s, &got, 0, SIZE), 0);
    assert_string_equal(got.bytes, BYTES);
    assert_int_equal(fetch(&s, &got, 4, SIZE), 0);
    assert_string_equal(got.bytes, "....456789abcdef");
    assert_int_equal(tiny_requests(&s.two), 2);
    assert_false(scripted_saw(&s.two, "Authorization"));
    assert_false(scripted_saw(&s.two, "Cookie"));
    assert_null(strstr(s.details, "sig="));
    scripted_stop(&s);
}

static const struct {
    const char *what, *location;
    enum error_kind kind;
    const char *words;
    unsigned requests; /* that server one sees */
} redirects[] = {
    {"relative", "/elsewhere", ERROR_NONE, NULL, 2},
    {"relative to the path", "../elsewhere", ERROR_NONE, NULL, 2},
    {"without a scheme", "//127.0.0.1:@1/elsewhere", ERROR_NONE, NULL, 2},
    {"for ever", "/v2/again", ERROR_PROTOCOL, "more than 10 redirects", 11},
    {"to the metadata server", "http://169.254.169.254/latest", ERROR_REFUSED, "may not go", 1},
    {"to it in disguise", "http://[::ffff:a9fe:a9fe]/latest", ERROR_REFUSED, "may not go", 1},
    {"with a password", "http://u:p@localhost:@2/", ERROR_PROTOCOL, "user name or password", 1},
    {"to a file", "file:///etc/passwd", ERROR_PROTOCOL, "neither http nor https", 1},
    {"to nothing", "", ERROR_PROTOCOL, "empty", 1},
};

static void test_redirects(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof redirects / sizeof *redirects; i++) {
        cleanup_free char *location = xasprintf("Location: %s\r\n", redirects[i].location);
        const struct rule rules[] = {{"GET /elsewhere", NULL, 200, NULL, BYTES},
                                     {"GET /v2/a/b/elsewhere", NULL, 200, NULL, BYTES},
                                     {"GET ", NULL, 302, location},
                                     {NULL}};
        struct scripted s = {0};
        struct got got = {0};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        int r = fetch(&s, &got, 0, SIZE);
        if ((r == 0) != (redirects[i].kind == ERROR_NONE) || failed.kind != redirects[i].kind ||
            (r < 0 && !strstr(failed.message, redirects[i].words)))
            fail_msg("%s: %d, kind %d: %s", redirects[i].what, r, failed.kind,
                     failed.message ? failed.message : "");
        assert_int_equal(tiny_requests(&s.one), redirects[i].requests);
        assert_int_equal(tiny_requests(&s.two), 0);
        scripted_stop(&s);
    }
}

/* A link that has expired: the registry gives a new one, once. */
static void test_stale_link(void **state)
{
    (void)state;
    for (unsigned lives = 0; lives < 2; lives++) {
        const struct rule registry[] = {{"GET ", NULL, 307, TO_TWO}, {NULL}};
        const struct rule storage[] = {
            {"GET ", NULL, lives ? 403 : 400, NULL,
             "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
             .times = lives},
            {"GET ", NULL, 200, NULL, BYTES},
            {NULL}};
        struct scripted s = {0};
        struct got got = {0};
        scripted_start(&s, registry, storage);
        scripted_open(&s, NO_OPTIONS);
        int r = fetch(&s, &got, 0, SIZE);
        assert_int_equal(r, lives ? 0 : -1);
        if (r < 0) {
            assert_non_null(strstr(failed.message, "AccessDenied: Request has expired"));
            assert_null(strstr(failed.message, "secret"));
        }
        assert_int_equal(tiny_requests(&s.one), 2);
        assert_int_equal(tiny_requests(&s.two), 2);
        scripted_stop(&s);
    }
}

/* registry.k8s.io: where it sends us is a registry of its own. */
static void test_redirect_to_a_registry(void **state)
{
    (void)state;
    const struct rule registry[] = {{"GET ", "Authorization: Basic", 307, TO_TWO},
                                    {"GET ", NULL, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n"},
                                    {NULL}};
    const struct rule storage[] = {
        {"GET /token?service=two&scope=repository%3Aa%2Fb%3Apull ", NULL, 200, NULL,
         "{\"token\":\"token2\"}"},
        {"GET /stored", "Bearer token2", 200, NULL, BYTES},
        {"GET /stored", NULL, 401, "WWW-Authenticate: Bearer realm=\"/token\",service=\"two\"\r\n"},
        {NULL}};
    struct scripted s = {0};
    struct got got = {0};
    scripted_start(&s, registry, storage);
    scripted_login(&s, "alice");
    scripted_open(&s, NO_OPTIONS);
    assert_int_equal(fetch(&s, &got, 0, SIZE), 0);
    assert_int_equal(tiny_requests(&s.two), 3);
    assert_false(scripted_saw(&s.two, "Basic"));
    assert_false(scripted_saw(&s.one, "token2"));
    scripted_stop(&s);
}

/* ---- mirrors ---- */

static char *map_to_two(const struct scripted *s)
{
    return xasprintf("127.0.0.1:%u=127.0.0.1:%u/mirror", s->one.port, s->two.port);
}

static void test_failover(void **state)
{
    (void)state;
    static const struct {
        struct rule mirror;
        unsigned asked; /* how often in two fetches */
    } cases[] = {
        {{"GET ", NULL, 404}, 2},
        {{"GET ", NULL, 403}, 2},
        {{"GET ", NULL, 500}, 1}, /* dead: left alone for a while */
        {{"GET ", NULL, 503}, 1}, /* asked to be left alone */
        {{"GET ", NULL, 429, "Retry-After: 100\r\n"}, 1},
        {{"GET ", NULL, 200, NULL, BYTES "x"}, 2},
        {{"GET ", NULL, 200, "Content-Encoding: gzip\r\n", BYTES}, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct rule original[] = {{"GET " BLOB, NULL, 200, NULL, BYTES}, {NULL}};
        const struct rule mirror[] = {cases[i].mirror, {NULL}};
        struct scripted s = {0};
        struct got got = {0};
        scripted_start(&s, original, mirror);
        cleanup_free char *map = map_to_two(&s);
        scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
        for (unsigned k = 0; k < 2; k++)
            if (fetch(&s, &got, 0, SIZE) < 0)
                fail_msg("case %zu: %s", i, failed.message);
        assert_string_equal(got.bytes, BYTES);
        if (scripted_count(&s.two, "GET /v2/mirror/a/b/blobs/") != cases[i].asked)
            fail_msg("case %zu: asked %u times", i, scripted_count(&s.two, "GET "));
        assert_int_equal(registries_ready_at(s.registries, &s.ref), 0);
        scripted_stop(&s);
    }
}

/* What the mirror gave before it was cut is not asked for again. */
static void test_failover_in_the_middle(void **state)
{
    (void)state;
    const struct rule original[] = {
        {"GET " BLOB, "Range: bytes=10-15\r\n", 206, "Content-Range: bytes 10-15/16\r\n", "abcdef"},
        {NULL}};
    const struct rule mirror[] = {{"GET ", NULL, 200, NULL, BYTES, .cut = 10}, {NULL}};
    struct scripted s = {0};
    struct got got = {0};
    scripted_start(&s, original, mirror);
    cleanup_free char *map = map_to_two(&s);
    scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
    if (fetch(&s, &got, 0, SIZE) < 0)
        fail_msg("%s", failed.message);
    assert_string_equal(got.bytes, BYTES);
    scripted_stop(&s);
}

static void test_all_places_fail(void **state)
{
    (void)state;
    const struct rule original[] = {{"GET ", NULL, 404}, {NULL}};
    const struct rule mirror[] = {{"GET ", NULL, 502}, {NULL}};
    struct scripted s = {0};
    struct got got = {0};
    scripted_start(&s, original, mirror);
    cleanup_free char *map = map_to_two(&s);
    scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
    assert_int_equal(fetch(&s, &got, 0, SIZE), -1);
    assert_int_equal(failed.kind, ERROR_TRANSIENT); /* one of them is worth another try */
    assert_non_null(strstr(failed.message, "502"));
    assert_non_null(strstr(failed.message, "404"));
    scripted_close(&s);

    scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL},
                                                .skip_default_fallback = true});
    unsigned before = tiny_requests(&s.one);
    assert_int_equal(fetch(&s, &got, 0, SIZE), -1);
    assert_int_equal(fetch(&s, &got, 0, SIZE), -1); /* dead, but there is no other */
    assert_int_equal(tiny_requests(&s.one), before);
    assert_int_equal(scripted_count(&s.two, "GET "), 3);
    scripted_stop(&s);
}

static void test_slow_host(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        int64_t least_s, most_s; /* until the queue may ask again */
        int64_t retry_after_s;
    } cases[] = {
        {"Retry-After: 100\r\n", 99, 100, 100},
        {NULL, 0, 1, -1},
        {"Retry-After: 86400\r\n", 0, 1, 86400}, /* whoever asks fails at once: no use waiting */
        {"Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\nDate: Sun, 06 Nov 1994 08:50:00 GMT\r\n",
         36, 37, 37},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct rule rules[] = {{"GET ", NULL, 503, cases[i].headers}, {NULL}};
        struct scripted s = {0};
        struct got got = {0};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        assert_int_equal(registries_ready_at(s.registries, &s.ref), 0);
        assert_int_equal(fetch(&s, &got, 0, SIZE), -1);
        assert_int_equal(failed.kind, ERROR_TRANSIENT);
        assert_int_equal(how.status, 503);
        assert_int_equal(how.retry_after_ns,
                         cases[i].retry_after_s < 0 ? -1 : cases[i].retry_after_s * NS_PER_S);
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t at = registries_ready_at(s.registries, &s.ref);
        int64_t wait = at - (now.tv_sec * NS_PER_S + now.tv_nsec);
        /* A machine that is busy only makes it less. */
        if (at == 0 ? cases[i].least_s > 0 : wait > cases[i].most_s * NS_PER_S)
            fail_msg("case %zu: %lld ns", i, (long long)wait);
        scripted_stop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redirect_leaves_secrets_behind),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_stale_link),
        cmocka_unit_test(test_redirect_to_a_registry),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_failover_in_the_middle),
        cmocka_unit_test(test_all_places_fail),
        cmocka_unit_test(test_slow_host),
    };
    return cmocka_run_group_tests(tests, NULL, scripted_blob_teardown);
}
