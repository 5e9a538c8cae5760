/* Blobs, redirects and mirrors, against servers that follow a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "scripted.h"

#include "cachedir/text.h"

#define DIGEST "sha256:deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"
#define BLOB "/v2/a/b/blobs/" DIGEST
#define BYTES "0123456789abcdef" /* what everybody serves */
#define SIZE 16

#define NO_OPTIONS ((struct registry_options){0})
#define TO_TWO "Location: http://127.0.0.1:@2/stored?sig=secret\r\n"

static struct error failed;
static struct registry_try how;

struct got {
    char bytes[SIZE + 1]; /* '.' where nothing came */
    int64_t enough_at;    /* say "enough" there; 0: never */
    bool fail;
    int64_t next; /* where the next piece must begin */
};

static int sink(void *userdata, int64_t offset, const void *data, size_t len, struct error *err)
{
    struct got *got = userdata;
    if (got->fail)
        return error_set(err, ERROR_NO_SPACE, "the disk is full");
    assert_int_equal(offset, got->next);
    assert_true(offset >= 0 && offset + (int64_t)len <= SIZE);
    memcpy(got->bytes + offset, data, len);
    got->next += (int64_t)len;
    return got->enough_at && got->next >= got->enough_at;
}

static int fetch_from(struct scripted *s, const struct descriptor *blob, struct got *got,
                      int64_t start, int64_t end)
{
    memset(got->bytes, '.', SIZE);
    got->bytes[SIZE] = '\0';
    got->next = start;
    error_clear(&failed);
    return registry_blob(s->client, &s->ref, blob, start, end, sink, got, &how, &failed);
}

static struct descriptor descriptor(void)
{
    static char type[] = "application/octet-stream";
    struct descriptor blob = {.media_type = type, .size = SIZE};
    assert_int_equal(digest_parse(DIGEST, &blob.digest, NULL), 0);
    return blob;
}

static int fetch(struct scripted *s, struct got *got, int64_t start, int64_t end)
{
    struct descriptor blob = descriptor();
    return fetch_from(s, &blob, got, start, end);
}

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
     "................",
     ERROR_PROTOCOL,
     "encodes it as gzip",
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
    assert_int_equal(failed.kind, ERROR_PROTOCOL);
    assert_non_null(strstr(failed.message, "no ranges"));
    cleanup_free char *log = tiny_log(&s.one);
    unsigned ranges = 0;
    for (const char *p = strstr(log, "\r\nRange:"); p; p = strstr(p + 1, "\r\nRange:"))
        ranges++;
    assert_int_equal(ranges, 1); /* not asked for again */
    scripted_stop(&s);
}

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
    {"to nothing", "", ERROR_PROTOCOL, "leads nowhere", 1},
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

static int teardown(void **state)
{
    (void)state;
    error_clear(&failed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_connections_are_kept),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_ranges_are_remembered),
        cmocka_unit_test(test_redirect_leaves_secrets_behind),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_stale_link),
        cmocka_unit_test(test_redirect_to_a_registry),
        cmocka_unit_test(test_failover),
        cmocka_unit_test(test_failover_in_the_middle),
        cmocka_unit_test(test_all_places_fail),
        cmocka_unit_test(test_slow_host),
        cmocka_unit_test(test_foreign_layers),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
