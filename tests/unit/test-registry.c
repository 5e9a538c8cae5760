/* Manifests, authorization, places and redirects, against servers that follow a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "scripted.h"

#include "cachedir/text.h"

#define MANIFEST "/v2/a/b/manifests/1"
#define BODY "{\"schemaVersion\":2}"
#define OTHER_DIGEST "sha256:deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"
#define BEARER "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:@1/token\",service=\"s\"\r\n"
#define TOKEN1 "{\"token\":\"token1\",\"expires_in\":300}"
#define TOKEN2 "{\"token\":\"token2\",\"expires_in\":300}"

#define NO_OPTIONS ((struct registry_options){0})
#define RETRY_ANONYMOUSLY ((struct registry_options){.anonymous_retry = true})

static struct error failed;
static struct registry_try how;

static int head(struct scripted *s, struct digest *ret)
{
    error_clear(&failed);
    return registry_head(s->client, &s->ref, ret, &how, &failed);
}

/* The manifest's bytes as text, or NULL and `failed`. Owned. */
static char *get(struct scripted *s, const struct digest *digest, int64_t size)
{
    struct registry_manifest m = {0};
    error_clear(&failed);
    if (registry_manifest(s->client, &s->ref, digest, size, &m, &how, &failed) < 0)
        return NULL;
    char *text = xstrndup(m.bytes, m.len);
    registry_manifest_release(&m);
    return text;
}

static void expect_body(struct scripted *s)
{
    cleanup_free char *text = get(s, NULL, -1);
    if (!text)
        fail_msg("%s", failed.message);
    assert_string_equal(text, BODY);
}

static void expect_failure(struct scripted *s, enum error_kind kind, const char *words)
{
    cleanup_free char *text = get(s, NULL, -1);
    if (text)
        fail_msg("no failure: %s was due", words);
    if (failed.kind != kind || !strstr(failed.message, words))
        fail_msg("kind %d: %s, where %s was due", failed.kind, failed.message, words);
}

/* ---- HEAD and GET ---- */

static const struct {
    const char *what;
    struct rule rule;
    enum error_kind want;
    const char *digest, *words;
    unsigned heads, gets;
} heads[] = {
    {"a digest",
     {"HEAD ", NULL, 200, "Docker-Content-Digest: " OTHER_DIGEST "\r\n"},
     ERROR_NONE,
     OTHER_DIGEST,
     NULL,
     1,
     0},
    {"no digest", {"HEAD ", NULL, 200}, ERROR_NONE, "", NULL, 1, 0},
    {"another algorithm",
     {"HEAD ", NULL, 200, "Docker-Content-Digest: blake3:00\r\n"},
     ERROR_NONE,
     "",
     NULL,
     1,
     0},
    {"nonsense",
     {"HEAD ", NULL, 200, "Docker-Content-Digest: sha256:00\r\n"},
     ERROR_NONE,
     "",
     NULL,
     1,
     0},
    {"no HEAD here", {"HEAD ", NULL, 405}, ERROR_NONE, "", NULL, 1, 0},
    {"nor here", {"HEAD ", NULL, 501}, ERROR_NONE, "", NULL, 1, 0},
    {"not found", {"HEAD ", NULL, 404}, ERROR_NOT_FOUND, NULL, "404 Not Found", 1, 0},
    {"refused, and a GET says why",
     {"HEAD ", NULL, 403},
     ERROR_REFUSED,
     NULL,
     "DENIED: go away",
     1,
     1},
    {"out of order", {"HEAD ", NULL, 502}, ERROR_TRANSIENT, NULL, "502 Bad Gateway", 1, 0},
    {"a redirect without a target",
     {"HEAD ", NULL, 302},
     ERROR_PROTOCOL,
     NULL,
     "a redirect that leads nowhere",
     1,
     0},
};

static void test_head(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const struct rule rules[] = {
            heads[i].rule,
            {"GET ", NULL, 403, NULL,
             "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"go away\"}]}"},
            {NULL}};
        struct scripted s = {0};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        struct digest got = {0};
        int r = head(&s, &got);
        if ((r == 0) != (heads[i].want == ERROR_NONE) || failed.kind != heads[i].want)
            fail_msg("%s: %d %s", heads[i].what, r, failed.message ? failed.message : "");
        if (r == 0 && strcmp(got.text, heads[i].digest) != 0)
            fail_msg("%s: %s", heads[i].what, got.text);
        if (r < 0 && !strstr(failed.message, heads[i].words))
            fail_msg("%s: %s", heads[i].what, failed.message);
        assert_int_equal(scripted_count(&s.one, "HEAD " MANIFEST), heads[i].heads);
        assert_int_equal(scripted_count(&s.one, "GET " MANIFEST), heads[i].gets);
        struct registry_counters counters;
        registries_counters(s.registries, &counters);
        assert_int_equal(counters.heads, heads[i].heads);
        assert_int_equal(counters.manifests, heads[i].gets);
        scripted_stop(&s);
    }
}

static void test_manifest_is_hashed(void **state)
{
    (void)state;
    const struct rule rules[] = {
        {"GET ", NULL, 200,
         "Content-Type: application/x\r\nDocker-Content-Digest: " OTHER_DIGEST "\r\n", BODY},
        {NULL}};
    struct scripted s = {0};
    struct digest good, bad;
    digest_of(BODY, strlen(BODY), &good);
    assert_int_equal(digest_parse(OTHER_DIGEST, &bad, NULL), 0);
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);

    struct registry_manifest m = {0};
    assert_int_equal(registry_manifest(s.client, &s.ref, NULL, -1, &m, &how, &failed), 0);
    assert_string_equal(m.digest.text, good.text); /* what the header says is nobody's proof */
    assert_string_equal(m.content_type, "application/x");
    assert_int_equal(m.len, strlen(BODY));
    registry_manifest_release(&m);

    free(get(&s, &good, (int64_t)strlen(BODY)));
    assert_int_equal(failed.kind, ERROR_NONE);
    static const struct {
        bool good;
        int64_t size;
    } wrong[] = {{false, -1}, {false, 18}, {true, 5}, {true, 0}, {true, 1000}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(get(&s, wrong[i].good ? &good : &bad, wrong[i].size));
        if (failed.kind != ERROR_DIGEST)
            fail_msg("case %zu: %s", i, failed.message);
    }
    assert_true(scripted_saw(&s.one, "manifest.list.v2+json, application/vnd.docker"));
    scripted_stop(&s);
}

static void test_manifest_ceiling(void **state)
{
    (void)state;
    cleanup_free char *large = xcalloc(MANIFEST_SIZE_MAX + 2, 1);
    memset(large, ' ', MANIFEST_SIZE_MAX + 1);
    const struct rule rules[] = {{"GET ", NULL, 200, NULL, large}, {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);
    expect_failure(&s, ERROR_PROTOCOL, "4194304");
    scripted_stop(&s);
}

/* ---- scheme ---- */

static void test_scheme_is_found_once(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", NULL, 200, NULL, BODY}, {NULL}};
    for (unsigned mute = 0; mute < 2; mute++) {
        struct scripted s = {.one.mute_to_tls = mute};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        for (unsigned i = 0; i < 3; i++)
            expect_body(&s);
        /* One that tried TLS, one for all requests. */
        assert_int_equal(tiny_connections(&s.one), 2);
        assert_int_equal(tiny_requests(&s.one), 3);
        scripted_stop(&s);
    }
}

static void test_no_plain_http_uninvited(void **state)
{
    (void)state;
    struct scripted s = {0};
    scripted_start(&s, NULL, NULL);
    scripted_open(&s, NO_OPTIONS);
    reference_release(&s.ref);
    /* The same address, but no name that is taken for local. */
    cleanup_free char *text = xasprintf("2130706433:%u/a/b:1", s.one.port);
    assert_int_equal(reference_parse(text, &s.ref, NULL), 0);
    expect_failure(&s, ERROR_CONFIG, "does not speak TLS");
    assert_int_equal(tiny_requests(&s.one), 0);
    scripted_stop(&s);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct scripted s = {0};
    scripted_start(&s, NULL, NULL);
    scripted_open(&s, NO_OPTIONS);
    tiny_stop(&s.one);
    tiny_start(&s.one, scripted_answer, &s);
    reference_release(&s.ref);
    assert_int_equal(reference_parse("127.0.0.1:1/a/b:1", &s.ref, NULL), 0);
    expect_failure(&s, ERROR_TRANSIENT, "Connection refused");
    assert_int_equal(how.status, 0);
    scripted_stop(&s);
}

/* ---- authorization ---- */

static void test_basic(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", "Authorization: Basic YWxpY2U6c2VjcmV0", 200, NULL, BODY},
                                 {"GET ", NULL, 401, "WWW-Authenticate: basic realm=\"x\"\r\n",
                                  "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}"},
                                 {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_login(&s, "alice");
    scripted_open(&s, NO_OPTIONS);
    expect_body(&s);
    expect_body(&s);
    assert_int_equal(tiny_requests(&s.one), 3); /* the second knows the way */
    scripted_close(&s);

    scripted_login(&s, "bob");
    scripted_open(&s, NO_OPTIONS);
    expect_failure(&s, ERROR_REFUSED, "UNAUTHORIZED; with the credentials from /tmp/");
    assert_null(strstr(failed.message, "secret"));
    assert_null(strstr(s.details, "secret"));
    scripted_close(&s);

    cleanup_free char *file = xasprintf("%s/.docker/config.json", s.home);
    assert_int_equal(unlink(file), 0);
    scripted_open(&s, NO_OPTIONS);
    expect_failure(&s, ERROR_REFUSED, "no credentials for 127.0.0.1:");
    scripted_stop(&s);
}

static void test_bearer(void **state)
{
    (void)state;
    const struct rule rules[] = {
        {"GET /token?service=s&scope=repository%3Aa%2Fb%3Apull ", NULL, 200, NULL, TOKEN1},
        {"GET " MANIFEST, "Authorization: Bearer token1", 200, NULL, BODY},
        {"GET " MANIFEST, NULL, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n" BEARER},
        {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);
    expect_body(&s);
    expect_body(&s);
    assert_int_equal(scripted_count(&s.one, "GET " MANIFEST), 3);
    assert_int_equal(scripted_count(&s.one, "GET /token"), 1);
    struct registry_counters counters;
    registries_counters(s.registries, &counters);
    assert_int_equal(counters.tokens, 1);
    scripted_stop(&s);
}

/* A token that was good is refused with this status: one new token, one more try. */
static void test_token_is_renewed(void **state)
{
    (void)state;
    static const int statuses[] = {401, 403, 400};
    for (size_t i = 0; i < 3; i++) {
        const struct rule rules[] = {
            {"GET /token", NULL, 200, NULL, TOKEN1, .times = 1},
            {"GET /token", NULL, 200, NULL, TOKEN2},
            {"GET " MANIFEST, "Bearer token1", 200, NULL, BODY, .times = 1},
            {"GET " MANIFEST, "Bearer token2", 200, NULL, BODY, .times = 1},
            {"GET " MANIFEST, "Bearer", statuses[i], NULL, "{\"message\":\"expired\"}"},
            {"GET " MANIFEST, NULL, 401, BEARER},
            {NULL}};
        struct scripted s = {0};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        expect_body(&s);
        expect_body(&s);
        assert_int_equal(scripted_count(&s.one, "GET /token"), 2);
        assert_int_equal(scripted_count(&s.one, "GET " MANIFEST), 4);
        /* And when that one dies, too, it ends. */
        expect_failure(&s, statuses[i] == 400 ? ERROR_PROTOCOL : ERROR_REFUSED, "expired");
        assert_true(scripted_count(&s.one, "GET /token") <= 4);
        scripted_stop(&s);
    }
}

static void test_insufficient_scope(void **state)
{
    (void)state;
    const struct rule rules[] = {
        {"GET /token?service=s&scope=repository%3Aa%2Fb%3Apull ", NULL, 200, NULL, TOKEN1},
        {"GET /token?service=s&scope=odd ", NULL, 200, NULL, TOKEN2},
        {"GET " MANIFEST, "Bearer token2", 200, NULL, BODY},
        {"GET " MANIFEST, NULL, 401,
         "WWW-Authenticate: Bearer realm=\"/token\",service=\"s\",scope=\"odd\","
         "error=\"insufficient_scope\"\r\n"},
        {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, NO_OPTIONS);
    expect_body(&s);
    assert_int_equal(scripted_count(&s.one, "GET /token"), 2);
    scripted_stop(&s);
}

/* GHCR and others refuse public images to those who come with an old credential. */
static void test_anonymous_retry(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET /token", "!Authorization", 200, NULL, TOKEN1},
                                 {"GET /token", NULL, 403, NULL, "{\"details\":\"bad login\"}"},
                                 {"GET " MANIFEST, "Bearer token1", 200, NULL, BODY},
                                 {"GET " MANIFEST, NULL, 401, BEARER},
                                 {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_login(&s, "alice");
    scripted_open(&s, RETRY_ANONYMOUSLY);
    expect_body(&s);
    assert_non_null(strstr(s.warnings, "were refused: trying without"));
    unsigned before = tiny_requests(&s.one);
    expect_body(&s); /* remembered: neither the login nor a 401 again */
    assert_int_equal(tiny_requests(&s.one), before + 1);
    scripted_close(&s);

    scripted_open(&s, NO_OPTIONS);
    expect_failure(&s, ERROR_REFUSED, "bad login; with the credentials from /tmp/");
    scripted_stop(&s);
}

static void test_missing_repository_at_the_token_endpoint(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET /token", NULL, 401, NULL,
                                  "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"denied\"}]}"},
                                 {"GET " MANIFEST, NULL, 401, BEARER},
                                 {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_open(&s, RETRY_ANONYMOUSLY);
    expect_failure(&s, ERROR_REFUSED, "not found, or no access");
    assert_non_null(strstr(failed.message, "DENIED: denied"));
    assert_non_null(strstr(failed.message, "no credentials for"));
    assert_int_equal(scripted_count(&s.one, "GET /token"), 1);
    scripted_stop(&s);
}

static void test_401_without_a_challenge(void **state)
{
    (void)state;
    const struct rule rules[] = {{"GET ", NULL, 401, "WWW-Authenticate: \"\r\n"}, {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_login(&s, "alice");
    scripted_open(&s, RETRY_ANONYMOUSLY);
    expect_failure(&s, ERROR_REFUSED, "it does not say how to authenticate");
    assert_false(scripted_saw(&s.one, "Authorization"));
    scripted_stop(&s);
}

/* Rotated while we run: what the file says now is tried before anything else. */
static void test_credentials_are_read_again(void **state)
{
    (void)state;
    const struct rule rules[] = {
        {"GET ", "Basic YWxpY2U6c2VjcmV0", 200, NULL, BODY, .times = 1}, /* alice */
        {"GET ", "Basic Ym9iOnNlY3JldA==", 200, NULL, BODY},             /* bob */
        {"GET ", NULL, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n"},
        {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, NULL);
    scripted_login(&s, "alice");
    scripted_open(&s, RETRY_ANONYMOUSLY);
    expect_body(&s);
    scripted_login(&s, "bob");
    expect_body(&s);
    assert_null(s.warnings);
    scripted_stop(&s);
}

/* P9. The same address under another name is another host. */
static void test_no_secret_to_a_foreign_realm(void **state)
{
    (void)state;
    const struct rule rules[] = {
        {"GET ", "Bearer token1", 200, NULL, BODY},
        {"GET ", NULL, 401, "WWW-Authenticate: Bearer realm=\"http://localhost:@2/token\"\r\n"},
        {NULL}};
    const struct rule tokens[] = {{"GET /token", NULL, 200, NULL, TOKEN1}, {NULL}};
    struct scripted s = {0};
    scripted_start(&s, rules, tokens);
    scripted_login(&s, "alice");
    scripted_open(&s, NO_OPTIONS);
    expect_failure(&s, ERROR_REFUSED, "is not encrypted and not the registry's own host");
    assert_int_equal(tiny_requests(&s.two), 0);
    scripted_close(&s);

    scripted_open(&s, RETRY_ANONYMOUSLY); /* without a secret there is nothing to guard */
    expect_body(&s);
    assert_false(scripted_saw(&s.two, "Authorization"));
    scripted_stop(&s);
}

static void test_realms_that_lead_astray(void **state)
{
    (void)state;
    static const struct {
        const char *realm;
        enum error_kind kind;
        const char *words;
    } realms[] = {
        {"http://169.254.169.254/latest/meta-data", ERROR_REFUSED, "where this request may not go"},
        {"http://[fe80::1]/", ERROR_REFUSED, "where this request may not go"},
        {"file:///etc/passwd", ERROR_PROTOCOL, "neither http nor https"},
        {"http://user:pw@localhost:@1/token", ERROR_PROTOCOL, "user name or password"},
    };
    for (size_t i = 0; i < sizeof realms / sizeof *realms; i++) {
        cleanup_free char *challenge =
            xasprintf("WWW-Authenticate: Bearer realm=\"%s\"\r\n", realms[i].realm);
        const struct rule rules[] = {{"GET ", NULL, 401, challenge}, {NULL}};
        struct scripted s = {0};
        scripted_start(&s, rules, NULL);
        scripted_open(&s, NO_OPTIONS);
        expect_failure(&s, realms[i].kind, realms[i].words);
        scripted_stop(&s);
    }
}

static bool hang(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_hang(c);
    return false;
}

static void *stop_when_asked(void *userdata)
{
    struct scripted *s = userdata;
    tiny_wait_requests(&s->two, 1);
    registries_stop(s->registries);
    return NULL;
}

static void test_stop(void **state)
{
    (void)state;
    struct scripted s = {0};
    scripted_start(&s, NULL, NULL);
    tiny_stop(&s.two);
    tiny_start(&s.two, hang, NULL);
    reference_release(&s.ref);
    cleanup_free char *text = xasprintf("127.0.0.1:%u/a/b:1", s.two.port);
    assert_int_equal(reference_parse(text, &s.ref, NULL), 0);
    scripted_open(&s, NO_OPTIONS);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_when_asked, &s), 0);
    expect_failure(&s, ERROR_INTERRUPTED, "stopped");
    pthread_join(thread, NULL);
    expect_failure(&s, ERROR_INTERRUPTED, "stopped");
    scripted_stop(&s);
}

static void test_options(void **state)
{
    (void)state;
    const struct {
        struct registry_options options;
        enum error_kind kind;
        const char *words;
    } bad[] = {
        {{.registry_maps = (char *[]){(char[]){"quay.io"}, NULL}}, ERROR_USAGE, "--registry-map"},
        {{.mirrors = (char *[]){(char[]){"https://m"}, NULL}}, ERROR_USAGE, "without http"},
        {{.insecure_registries = (char *[]){(char[]){"a/b"}, NULL}}, ERROR_USAGE, "a/b"},
        {{.skip_tls_verify = (char *[]){(char[]){"http://a"}, NULL}}, ERROR_USAGE, "without http"},
        {{.certificates = (char *[]){(char[]){"a.io"}, NULL}}, ERROR_USAGE, "HOST=FILE"},
        {{.certificates = (char *[]){(char[]){"a.io=/dev/null"}, NULL}}, ERROR_CONFIG, "/dev/null"},
        {{.client_certificates = (char *[]){(char[]){"a.io=crt"}, NULL}},
         ERROR_USAGE,
         "HOST=CRT,KEY"},
        {{.authfiles = (char *[]){(char[]){"/nonexistent"}, NULL}}, ERROR_CONFIG, "/nonexistent"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct registries *r = NULL;
        cleanup_error struct error err = {0};
        assert_int_equal(registries_new(&bad[i].options, &r, &err), -1);
        if (err.kind != bad[i].kind || !strstr(err.message, bad[i].words))
            fail_msg("case %zu: kind %d: %s", i, err.kind, err.message);
    }
}

/* By tag the builder asks the mirror each time, so we do; but not one that nobody can reach. */
static void test_tags_in_the_builders_order(void **state)
{
    (void)state;
    const struct rule mirror[] = {{"GET ", NULL, 500}, {NULL}};
    const struct rule original[] = {{"GET ", NULL, 200, "Warning: 299 - \"moving soon\"\r\n", BODY},
                                    {NULL}};
    struct scripted s = {0};
    scripted_start(&s, original, mirror);
    cleanup_free char *map = xasprintf("127.0.0.1:%u=127.0.0.1:1;127.0.0.1:%u=127.0.0.1:%u",
                                       s.one.port, s.one.port, s.two.port);
    scripted_open(&s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
    expect_body(&s);
    expect_body(&s);
    assert_int_equal(scripted_count(&s.two, "GET "), 2);
    assert_int_equal(scripted_count(&s.one, "GET "), 2);
    const char *unreachable = strstr(s.details, "127.0.0.1:1: going on to the next place");
    assert_non_null(unreachable);
    assert_null(strstr(unreachable + 1, "127.0.0.1:1: going on"));
    const char *warning = strstr(s.warnings, "moving soon");
    assert_non_null(warning);
    assert_null(strstr(warning + 1, "moving soon")); /* once */
    scripted_stop(&s);
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
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_manifest_is_hashed),
        cmocka_unit_test(test_manifest_ceiling),
        cmocka_unit_test(test_scheme_is_found_once),
        cmocka_unit_test(test_no_plain_http_uninvited),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_token_is_renewed),
        cmocka_unit_test(test_insufficient_scope),
        cmocka_unit_test(test_anonymous_retry),
        cmocka_unit_test(test_missing_repository_at_the_token_endpoint),
        cmocka_unit_test(test_401_without_a_challenge),
        cmocka_unit_test(test_credentials_are_read_again),
        cmocka_unit_test(test_no_secret_to_a_foreign_realm),
        cmocka_unit_test(test_realms_that_lead_astray),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_tags_in_the_builders_order),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
