/* Blobs, against servers that follow a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "scripted-blob.h"

/* ---- one answer ---- */

static const struct {
    const char *what;
    struct rule rules[4];
    int64_t start, end;
    const char *want; /* what came */
    enum error_kind kind;
    const char *words;
    unsigned requests;
} answers[] = {
    {"all of it", {{"GET " BLOB, "!Range", 200, NULL, BYTES}}, 0, SIZE, BYTES, ERROR_NONE, NULL, 1},
    {"the end, of a range",
     {{"GET ", "Range: bytes=4-15\r\n", 206, "Content-Range: bytes 4-15/16\r\n", "456789abcdef"}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     1},
    {"the beginning, of a range",
     {{"GET ", "Range: bytes=0-3\r\n", 206, "Content-Range: bytes 0-3/16\r\n", "0123"}},
     0,
     4,
     "0123............",
     ERROR_NONE,
     NULL,
     1},
    {"a total that is not said",
     {{"GET ", "Range", 206, "Content-Range: bytes 4-15/*\r\n", "456789abcdef"}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     1},
    {"Range ignored, from the middle",
     {{"GET ", NULL, 200, NULL, BYTES}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     1},
    {"Range ignored, to the middle",
     {{"GET ", NULL, 200, NULL, BYTES}},
     0,
     4,
     "0123............",
     ERROR_NONE,
     NULL,
     1},
    {"Range ignored, the middle",
     {{"GET ", NULL, 200, NULL, BYTES}},
     4,
     8,
     "....4567........",
     ERROR_NONE,
     NULL,
     1},
    {"chunked",
     {{"GET ", NULL, 200, NULL, BYTES, .chunked = true}},
     0,
     SIZE,
     BYTES,
     ERROR_NONE,
     NULL,
     1},
    {"206 without a Content-Range: from the start",
     {{"GET ", "Range", 206, NULL, "456789abcdef"}, {"GET ", NULL, 200, NULL, BYTES}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     2},
    {"another range than asked for",
     {{"GET ", "Range", 206, "Content-Range: bytes 5-15/16\r\n", "56789abcdef"},
      {"GET ", NULL, 200, NULL, BYTES}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     2},
    {"416",
     {{"GET ", "Range", 416, "Content-Range: bytes */16\r\n"}, {"GET ", NULL, 200, NULL, BYTES}},
     4,
     SIZE,
     "....456789abcdef",
     ERROR_NONE,
     NULL,
     2},
    {"416, and nothing without Range either",
     {{"GET ", NULL, 416}},
     4,
     SIZE,
     "................",
     ERROR_PROTOCOL,
     "416 Range Not Satisfiable",
     2},
    {"a shorter range than asked for",
     {{"GET ", "Range", 206, "Content-Range: bytes 4-7/16\r\n", "4567"}},
     4,
     SIZE,
     "....4567........",
     ERROR_TRANSIENT,
     "ended at byte 8 of 16",
     1},
    {"another blob's total",
     {{"GET ", "Range", 206, "Content-Range: bytes 4-15/17\r\n", "456789abcdef"}},
     4,
     SIZE,
     "................",
     ERROR_DIGEST,
     "has 17 bytes here, its descriptor says 16",
     1},
    {"another length",
     {{"GET ", NULL, 200, NULL, BYTES "x"}},
     0,
     SIZE,
     "................",
     ERROR_DIGEST,
     "17 bytes announced, where its descriptor says 16",
     1},
    {"longer than it may be",
     {{"GET ", NULL, 200, NULL, BYTES "xyz", .chunked = true}},
     0,
     SIZE,
     BYTES,
     ERROR_NONE,
     NULL,
     1},
    {"shorter than it must be",
     {{"GET ", NULL, 200, NULL, "0123456789", .chunked = true}},
     0,
     SIZE,
     "0123456789......",
     ERROR_TRANSIENT,
     "ended at byte 10 of 16",
     1},
    {"cut",
     {{"GET ", NULL, 200, NULL, BYTES, .cut = 10}},
     0,
     SIZE,
     "0123456789......",
     ERROR_TRANSIENT,
     "cut",
     1},
    {"encoded",
     {{"GET ", "Accept-Encoding: identity\r\n", 200, "Content-Encoding: gzip\r\n", BYTES}},
     0,
     SIZE,
     BYTES, /* the length is the blob's: nobody has applied it */
     ERROR_NONE,
     NULL,
     1},
    {"encoded in a way that we do not know",
     {{"GET ", NULL, 200, "Content-Encoding: br\r\n", BYTES}},
     0,
     SIZE,
     "................",
     ERROR_PROTOCOL,
     "encodes it as br",
     1},
    {"encoded as itself",
     {{"GET ", NULL, 200, "Content-Encoding: identity\r\n", BYTES}},
     0,
     SIZE,
     BYTES,
     ERROR_NONE,
     NULL,
     1},
    {"a 206 that nobody asked for",
     {{"GET ", NULL, 206, "Content-Range: bytes 0-15/16\r\n", BYTES}},
     0,
     SIZE,
     "................",
     ERROR_PROTOCOL,
     "a blob with status 206",
     1},
    {"204", {{"GET ", NULL, 204}}, 0, SIZE, "................", ERROR_PROTOCOL, "status 204", 1},
    {"not found",
     {{"GET ", NULL, 404, NULL, "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"x\"}]}"}},
     0,
     SIZE,
     "................",
     ERROR_NOT_FOUND,
     "404 Not Found: BLOB_UNKNOWN: x",
     1},
    {"too many requests",
     {{"GET ", NULL, 429, "Retry-After: 7\r\n"}},
     0,
     SIZE,
     "................",
     ERROR_TRANSIENT,
     "429",
     1},
    {"a part of nothing",
     {{"GET ", NULL, 200, NULL, BYTES}},
     5,
     5,
     "................",
     ERROR_NONE,
     NULL,
     0},
};

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct scripted s = {0};
        struct got got = {0};
        scripted_start(&s, answers[i].rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        int r = fetch(&s, &got, answers[i].start, answers[i].end);
        if ((r == 0) != (answers[i].kind == ERROR_NONE) || failed.kind != answers[i].kind)
            fail_msg("%s: %d, kind %d: %s", answers[i].what, r, failed.kind,
                     failed.message ? failed.message : "");
        if (strcmp(got.bytes, answers[i].want) != 0)
            fail_msg("%s: got %s", answers[i].what, got.bytes);
        if (r < 0 && !strstr(failed.message, answers[i].words))
            fail_msg("%s: %s", answers[i].what, failed.message);
        if (tiny_requests(&s.one) != answers[i].requests)
            fail_msg("%s: %u requests", answers[i].what, tiny_requests(&s.one));
        assert_int_equal(scripted_count(&s.one, "HEAD"), 0);
        if (how.status == 429)
            assert_int_equal(how.retry_after_ns, 7 * NS_PER_S);
        scripted_stop(&s);
    }
}

static void test_connections_are_kept(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", "Range", 206, "Content-Range: bytes 4-7/16\r\n", "4567"},
                                 {"GET ", NULL, 200, NULL, BYTES},
                                 {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);
    /* A sink that says "enough" at the very end costs no connection. */
    struct got got = {.enough_at = SIZE}, part = {.enough_at = 8};
    assert_int_equal(fetch(&s, &got, 0, SIZE), 0);
    assert_int_equal(fetch(&s, &part, 4, 8), 0);
    assert_int_equal(fetch(&s, &got, 0, SIZE), 0);
    assert_int_equal(tiny_connections(&s.one), 2); /* the first tried TLS */
    scripted_stop(&s);
}

static void test_sink(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", NULL, 200, NULL, BYTES}, {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, rules);
    cleanup_free char *map = xasprintf("127.0.0.1:%u=127.0.0.1:%u", s.one.port, s.two.port);
    scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
    struct got full = {.fail = true};
    assert_int_equal(fetch(&s, &full, 0, SIZE), -1);
    assert_int_equal(failed.kind, ERROR_NO_SPACE);
    assert_string_equal(failed.message, "the disk is full");
    assert_int_equal(tiny_requests(&s.one), 0); /* no other place can help */
    struct got some = {.enough_at = 3};
    assert_int_equal(fetch(&s, &some, 0, SIZE), 0);
    scripted_stop(&s);
}

static void test_ranges_are_remembered(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", NULL, 200, NULL, BYTES, .cut = 10}, {NULL}};
    struct scripted s = {0};
    struct got got = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);
    assert_true(registries_has_ranges(s.registries, &s.ref));
    assert_int_equal(fetch(&s, &got, 0, SIZE), -1);
    assert_true(registries_has_ranges(s.registries, &s.ref));
    /* From the start three times in vain, and no more. */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fetch(&s, &got, 10, SIZE), -1);
        assert_int_equal(failed.kind, ERROR_TRANSIENT);
        assert_false(registries_has_ranges(s.registries, &s.ref));
    }
    assert_int_equal(fetch(&s, &got, 10, SIZE), -1);
    assert_int_equal(failed.kind, ERROR_TRANSIENT);
    assert_non_null(strstr(failed.message, "no ranges"));
    cleanup_free char *log = tiny_log(&s.one);
    unsigned ranges = 0;
    for (const char *p = strstr(log, "\r\nRange:"); p; p = strstr(p + 1, "\r\nRange:"))
        ranges++;
    assert_int_equal(ranges, 1); /* not asked for again */
    scripted_stop(&s);
}

/* ---- foreign layers ---- */

static void test_foreign_layers(void **state)
{
    (void)state;
    const struct rule registry[] = {{"GET ", NULL, 404}, {NULL}};
    const struct rule elsewhere[] = {{"GET /layer", "!Authorization", 200, NULL, BYTES}, {NULL}};
    static const struct {
        const char *url;
        bool allowed, follow;
        const char *words;
    } cases[] = {
        {"https://127.0.0.1:@2/layer", true, true, NULL},
        {"https://127.0.0.1:@2/layer", false, false, "404"},
        {"http://127.0.0.1:@1/layer", true, false, "only https is followed"},
        {"https://169.254.169.254/layer", true, false, "may not go"},
    };
    char directory[] = "/tmp/test-registry-roots-XXXXXX";
    assert_non_null(mkdtemp(directory));
    cleanup_free char *roots = xasprintf("%s/roots.pem", directory);
    SSL_CTX *tls = scripted_tls(roots);
    assert_int_equal(setenv("SSL_CERT_FILE", roots, 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scripted s = {.two.tls = tls};
        struct got got = {0};
        scripted_start(&s, registry, elsewhere);
        scripted_login(&s, "alice");
        scripted_open(&s, (struct registry_options){.foreign_layers = cases[i].allowed});
        char *url = scripted_text(&s, cases[i].url);
        struct descriptor blob = descriptor();
        blob.urls = &url;
        blob.url_count = 1;
        int r = fetch_from(&s, &blob, &got, 0, SIZE);
        if ((r == 0) != cases[i].follow || (r < 0 && !strstr(failed.message, cases[i].words)))
            fail_msg("case %zu: %d %s", i, r, failed.message ? failed.message : "");
        assert_int_equal(tiny_requests(&s.two), cases[i].follow);
        assert_int_equal(scripted_count(&s.one, "GET " BLOB), 1); /* the registry first */
        free(url);
        scripted_stop(&s);
    }
    unsetenv("SSL_CERT_FILE");
    SSL_CTX_free(tls);
    assert_int_equal(unlink(roots) | rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_connections_are_kept),
        cmocka_unit_test(test_sink),           cmocka_unit_test(test_ranges_are_remembered),
        cmocka_unit_test(test_foreign_layers),
    };
    return cmocka_run_group_tests(tests, NULL, scripted_blob_teardown);
}
