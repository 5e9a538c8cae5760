/* The transport over plain HTTP: what it takes, refuses and sends. (Stops and stalls, TLS and URLs
 * have programs of their own.) */
#include "tinyserver.h"
#include "warmer/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LIMIT ADDRESS_LOOPBACK

struct setup {
    struct tiny_server server;
    struct http *http;
    struct http_client *client;
    char *url;
};

static void setup(struct setup *s, tiny_handler handler, void *userdata)
{
    *s = (struct setup){0};
    tiny_start(&s->server, handler, userdata);
    assert_int_equal(http_new(&(struct http_options){0}, &s->http, NULL), 0);
    s->client = http_client_new(s->http);
    s->url = xasprintf("http://127.0.0.1:%u/path?secret=1", s->server.port);
}

static void teardown(struct setup *s)
{
    http_client_free(s->client);
    http_free(s->http);
    tiny_stop(&s->server);
    free(s->url);
}

/*
 * One reply, and what is made of it.
 */

#define A10 "aaaaaaaaaa"
#define A100 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10

static const struct exchange {
    const char *name, *reply;
    bool keep; /* the connection stays open behind the reply */
    enum http_method method;
    int64_t max_body;
    enum error_kind kind;
    const char *says; /* in the message */
    int status;
    const char *body; /* NULL: none */
    bool too_long;
} exchanges[] = {
    {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, .status = 200,
     .body = "hello"},
    {"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, .status = 200},
    {"chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", true,
     .status = 200, .body = "hello"},
    {"trailers do not count as headers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nLocation: /x\r\n\r\n",
     true, .status = 200, .body = "hi"},
    {"HTTP/1.0, to the end", "HTTP/1.0 200 OK\r\n\r\nhello", .status = 200, .body = "hello"},
    {"HTTP/1.1, to the end", "HTTP/1.1 200 OK\r\n\r\nhello", .status = 200, .body = "hello"},
    {"interim",
     "HTTP/1.1 103 Early\r\nLocation: /x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
     true, .status = 200, .body = "ok"},
    {"head", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", true, .method = HTTP_HEAD,
     .status = 200},
    {"head beyond max_body", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", true,
     .method = HTTP_HEAD, .max_body = 10, .status = 200},
    {"any status", "HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngone", true, .status = 404,
     .body = "gone"},
    {"a cut error page is one", "HTTP/1.1 503 No\r\nContent-Length: 40\r\n\r\nbusy", .status = 503,
     .body = "busy"},
    {"not decoded", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
     true, .status = 200, .body = "hello"},
    {"just fits", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, .max_body = 5,
     .status = 200, .body = "hello"},

    {"cut", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", .kind = ERROR_TRANSIENT,
     .says = "cut before the end", .status = 200, .body = "hello"},
    {"cut between chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
     .kind = ERROR_TRANSIENT, .status = 200, .body = "hello"},
    {"cut in the headers", "HTTP/1.1 200 OK\r\nContent-Le", .kind = ERROR_TRANSIENT},
    {"nothing", "", .kind = ERROR_TRANSIENT, .says = "without an answer"},
    {"announces too much", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", .max_body = 5,
     .kind = ERROR_PROTOCOL, .says = "6 bytes announced", .status = 200, .too_long = true},
    {"sends too much", "HTTP/1.0 200 OK\r\n\r\nhello!", .max_body = 5, .kind = ERROR_PROTOCOL,
     .says = "more than 5 bytes", .status = 200, .too_long = true},
    {"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", .kind = ERROR_PROTOCOL, .says = "not HTTP"},
    {"bad length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", .kind = ERROR_PROTOCOL},
    {"no colon", "HTTP/1.1 200 OK\r\nNo-Colon\r\nContent-Length: 0\r\n\r\n",
     .kind = ERROR_PROTOCOL},
    {"a long header", "HTTP/1.1 200 OK\r\nA: " A100 "\r\nContent-Length: 0\r\n\r\n", true,
     .status = 200},
};

static bool reply_exchange(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request;
    const struct exchange *e = userdata;
    tiny_send(c, "%s", e->reply);
    return e->keep;
}

static void check_exchange(const struct exchange *e, int result, const struct http_response *r,
                           const struct error *err)
{
    if (result != (e->kind ? -1 : 0) || err->kind != e->kind)
        fail_msg("%s: %d, %s", e->name, result, err->message);
    if (e->says && !strstr(err->message, e->says))
        fail_msg("%s: %s", e->name, err->message);
    if (err->message && (strstr(err->message, "secret") || !strstr(err->message, "127.0.0.1:")))
        fail_msg("%s: %s", e->name, err->message);
    if (r->status != e->status)
        fail_msg("%s: status %d", e->name, r->status);
    if (!!r->body != !!e->body || (r->body && strcmp(r->body, e->body) != 0))
        fail_msg("%s: body \"%s\"", e->name, r->body);
    if (r->received != (e->body ? (int64_t)strlen(e->body) : 0))
        fail_msg("%s: received %lld", e->name, (long long)r->received);
    if (r->too_long != e->too_long || r->location)
        fail_msg("%s: too_long %d, location %s", e->name, r->too_long, r->location);
}

static void test_exchanges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof exchanges / sizeof *exchanges; i++) {
        struct exchange e = exchanges[i];
        struct setup s;
        setup(&s, reply_exchange, &e);
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        struct http_request q = {
            .method = e.method, .url = s.url, .max_body = e.max_body, .limit = LIMIT};
        int result = http_perform(s.client, &q, &r, &err);
        check_exchange(&e, result, &r, &err);
        teardown(&s);
    }
}

/*
 * Headers.
 */

static bool reply_headers(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_send(c, "HTTP/1.1 401 Unauthorized\r\n"
                 "content-type:  text/html; charset=utf-8 \r\n"
                 "Content-Length: 2\r\n"
                 "WWW-Authenticate: Basic realm=\"a\"\r\n"
                 "www-authenticate: Bearer realm=\"https://b/\"\r\n"
                 "Location: /x?y\r\nLocation: /second\r\n"
                 "Docker-Content-Digest: sha256:00\r\n"
                 "Content-Range: bytes 0-1/2\r\nContent-Encoding: identity\r\n"
                 "Retry-After: 120\r\nDate: Wed, 25 Nov 2026 00:00:00 GMT\r\n"
                 "RateLimit-Limit: 100;w=21600\r\nratelimit-remaining: 7\r\n"
                 "Docker-RateLimit-Source: 192.0.2.1\r\n"
                 "Warning: 299 - \"one\"\r\nWarning: 299 - \"two\"\r\n"
                 "X-Other: x\r\nSet-Cookie: a=b\r\n\r\nno");
    return true;
}

static void test_headers(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_headers, NULL);
    struct http_request q = {.url = s.url, .limit = LIMIT};
    for (unsigned i = 0; i < 2; i++) {
        cleanup_http_response struct http_response r = {0};
        assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
        assert_int_equal(r.status, 401);
        assert_int_equal(r.content_length, 2);
        assert_string_equal(r.content_type, "text/html; charset=utf-8");
        assert_int_equal(r.challenge_count, 2);
        assert_string_equal(r.challenges[0], "Basic realm=\"a\"");
        assert_string_equal(r.challenges[1], "Bearer realm=\"https://b/\"");
        assert_string_equal(r.location, "/x?y");
        assert_string_equal(r.docker_content_digest, "sha256:00");
        assert_string_equal(r.content_range, "bytes 0-1/2");
        assert_string_equal(r.content_encoding, "identity");
        assert_string_equal(r.retry_after, "120");
        assert_string_equal(r.date, "Wed, 25 Nov 2026 00:00:00 GMT");
        assert_string_equal(r.ratelimit_limit, "100;w=21600");
        assert_string_equal(r.ratelimit_remaining, "7");
        assert_string_equal(r.docker_ratelimit_source, "192.0.2.1");
        assert_int_equal(r.warning_count, 2);
        assert_string_equal(r.warnings[1], "299 - \"two\"");
        assert_string_equal(r.body, "no");
        assert_string_equal(r.address, "127.0.0.1");
        assert_int_equal(r.address_class, ADDRESS_LOOPBACK);
        assert_int_equal(r.reused, i == 1);
        assert_false(r.proxied);
    }
    assert_int_equal(tiny_connections(&s.server), 1);
    teardown(&s);
}

struct flood {
    unsigned lines, width;
    bool interim; /* in responses 103 of ten lines each, before a good one */
};

static bool reply_flood(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request;
    const struct flood *f = userdata;
    cleanup_free char *value = xmalloc(f->width + 1);
    memset(value, 'v', f->width);
    value[f->width] = '\0';
    tiny_send(c, f->interim ? "HTTP/1.1 103 Early\r\n" : "HTTP/1.1 200 OK\r\n");
    for (unsigned i = 0; i < f->lines; i++) {
        tiny_send(c, "X-%u: %s\r\n", i, value);
        if (f->interim && i % 10 == 9)
            tiny_send(c, "\r\nHTTP/1.1 103 Early\r\n");
    }
    tiny_send(c, "%sContent-Length: 0\r\n\r\n", f->interim ? "\r\nHTTP/1.1 200 OK\r\n" : "");
    return false;
}

static void test_floods(void **state)
{
    (void)state;
    static const struct {
        struct flood flood;
        bool fits;
    } rows[] = {
        {{90, 10, false}, true},    {{200, 10, false}, false},  {{60, 1000, false}, true},
        {{60, 1200, false}, false}, {{1, 90000, false}, false}, {{50, 10, true}, true},
        {{5000, 10, true}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct flood flood = rows[i].flood;
        struct setup s;
        setup(&s, reply_flood, &flood);
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        struct http_request q = {.url = s.url, .limit = LIMIT};
        int result = http_perform(s.client, &q, &r, &err);
        if (result != (rows[i].fits ? 0 : -1) || (result < 0 && err.kind != ERROR_PROTOCOL))
            fail_msg("row %zu: %d, %s", i, result, err.message);
        teardown(&s);
    }
}

/*
 * What goes over the wire.
 */

static bool reply_ok(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_send(c, "HTTP/1.1 206 Partial\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok");
    return true;
}

static void test_wire(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_ok, NULL);
    static const char *const headers[] = {"Accept: application/json", NULL};
    struct http_request q = {.url = s.url,
                             .headers = headers,
                             .authorization = "Bearer t0ken",
                             .range_start = 100,
                             .range_end = 200,
                             .limit = LIMIT};
    cleanup_http_response struct http_response r = {0};
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    http_response_release(&r);
    cleanup_free char *first = tiny_log(&s.server);
    static const char *const there[] = {
        "GET /path?secret=1 HTTP/1.1\r\n",     "\r\nAccept: application/json\r\n",
        "\r\nAuthorization: Bearer t0ken\r\n", "\r\nRange: bytes=100-199\r\n",
        "\r\nAccept-Encoding: identity\r\n",   "\r\nUser-Agent: basewarm/" BASEWARM_VERSION "\r\n"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!strstr(first, there[i]))
            fail_msg("%s is not in\n%s", there[i], first);

    /* Nothing of it is in the next request of the same client, and no cookie. */
    struct http_request post = {
        .method = HTTP_POST, .url = s.url, .form = "a=b&c=d", .form_len = 7, .limit = LIMIT};
    assert_int_equal(http_perform(s.client, &post, &r, NULL), 0);
    http_response_release(&r);
    cleanup_free char *both = tiny_log(&s.server);
    const char *second = both + strlen(first);
    static const char *const gone[] = {"Authorization", "Range:", "json", "Cookie"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        assert_null(strcasestr(second, gone[i]));
    assert_non_null(strstr(second, "POST /path"));
    assert_non_null(strstr(second, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
    assert_non_null(strstr(second, "\r\n\r\na=b&c=d"));

    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    cleanup_free char *all = tiny_log(&s.server);
    assert_non_null(strstr(all + strlen(both), "GET /path"));
    assert_null(strstr(all + strlen(both), "a=b"));
    teardown(&s);
}

static void test_refused_before_sending(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_ok, NULL);
    cleanup_free char *userinfo = xasprintf("http://u:p4ss@127.0.0.1:%u/", s.server.port);
    static const char *const split[] = {"A: b\r\nC: d", NULL};
    const struct http_request rows[] = {
        {.url = s.url, .headers = split},
        {.url = s.url, .authorization = "Bearer x\r\nHost: y"},
        {.url = userinfo},
        {.url = "ftp://127.0.0.1/"},
        {.url = "/path"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_request q = rows[i];
        q.limit = LIMIT;
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        if (http_perform(s.client, &q, &r, &err) == 0 || err.kind != ERROR_PROTOCOL)
            fail_msg("row %zu: %s", i, err.message);
        assert_null(strstr(err.message, "p4ss"));
    }
    assert_int_equal(tiny_requests(&s.server), 0);
    teardown(&s);
}

/*
 * Sinks and on_headers.
 */

#define BIG (3 << 20)

static char pattern(size_t offset)
{
    return (char)(offset % 251);
}

static bool reply_big(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    cleanup_free char *body = xmalloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        body[i] = pattern(i);
    tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG);
    tiny_write(c, body, BIG);
    return true;
}

struct taker {
    size_t offset, enough, fails; /* at which offset */
    unsigned judged;
    int status;
    enum http_body body;
    bool refuse;
};

static int take(void *userdata, const void *data, size_t len, struct error *err)
{
    struct taker *t = userdata;
    const char *bytes = data;
    assert_int_equal(t->judged, 1);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], pattern(t->offset + i));
    t->offset += len;
    if (t->fails && t->offset >= t->fails)
        return error_set(err, ERROR_NO_SPACE, "the disk is full");
    return t->enough && t->offset >= t->enough;
}

static int judge(void *userdata, const struct http_response *response, enum http_body *ret_body,
                 struct error *err)
{
    struct taker *t = userdata;
    t->judged++;
    t->status = response->status;
    assert_int_equal(response->content_length, BIG);
    assert_int_equal(*ret_body, HTTP_BODY_TAKE);
    assert_int_equal(response->address_class, ADDRESS_LOOPBACK);
    if (t->refuse)
        return error_set(err, ERROR_DIGEST, "not what was asked for");
    *ret_body = t->body;
    return 0;
}

static void test_sinks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct taker taker;
        int64_t max_body;
        enum error_kind kind;
        const char *message;
        size_t least, most; /* bytes that the sink gets */
        size_t buffered;
    } rows[] = {
        {"all", {0}, 0, ERROR_NONE, NULL, BIG, BIG, 0},
        {"fits", {0}, BIG, ERROR_NONE, NULL, BIG, BIG, 0},
        {"enough", {.enough = 100000}, 0, ERROR_NONE, NULL, 100000, 400000, 0},
        {"fails", {.fails = 100000}, 0, ERROR_NO_SPACE, "the disk is full", 100000, 400000, 0},
        {"refused", {.refuse = true}, 0, ERROR_DIGEST, "not what was asked for", 0, 0, 0},
        {"skipped", {.body = HTTP_BODY_SKIP}, 0, ERROR_NONE, NULL, 0, 0, 0},
        {"kept", {.body = HTTP_BODY_KEEP}, 0, ERROR_NONE, NULL, 0, 0, HTTP_KEEP_MAX},
        {"too long", {0}, BIG - 1, ERROR_PROTOCOL, NULL, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct setup s;
        setup(&s, reply_big, NULL);
        struct taker t = rows[i].taker;
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        struct http_request q = {.url = s.url,
                                 .on_headers = judge,
                                 .sink = take,
                                 .userdata = &t,
                                 .max_body = rows[i].max_body,
                                 .limit = LIMIT};
        int result = http_perform(s.client, &q, &r, &err);
        if (result != (rows[i].kind ? -1 : 0) || err.kind != rows[i].kind)
            fail_msg("%s: %s", rows[i].name, err.message);
        if (rows[i].message)
            assert_string_equal(err.message, rows[i].message);
        if (t.offset < rows[i].least || t.offset > rows[i].most)
            fail_msg("%s: the sink got %zu", rows[i].name, t.offset);
        assert_int_equal(r.received, rows[i].buffered ? rows[i].buffered : t.offset);
        assert_int_equal(!!r.body, !!rows[i].buffered);
        assert_int_equal(t.judged, 1);
        assert_int_equal(t.status, 200);

        /* Whatever happened, the client is as good as new. */
        struct taker again = {0};
        q.userdata = &again;
        q.max_body = 0;
        http_response_release(&r);
        assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
        assert_int_equal(again.offset, BIG);
        teardown(&s);
    }
}

static void test_buffered(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_big, NULL);
    cleanup_http_response struct http_response r = {0};
    struct http_request q = {.url = s.url, .limit = LIMIT};
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    assert_int_equal(r.received, BIG);
    for (size_t i = 0; i < BIG; i++)
        assert_int_equal(r.body[i], pattern(i));
    teardown(&s);
}

/* A redirect's body is read, so that its connection can be used again. */
static bool reply_redirect(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    cleanup_free char *body = xcalloc(1, 100000);
    tiny_send(c, "HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 100000\r\n\r\n");
    tiny_write(c, body, 100000);
    return true;
}

static void test_redirect(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_redirect, NULL);
    struct http_request q = {.url = s.url, .limit = LIMIT};
    for (unsigned i = 0; i < 3; i++) {
        cleanup_http_response struct http_response r = {0};
        assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
        assert_int_equal(r.status, 307);
        assert_string_equal(r.location, "/elsewhere");
        assert_int_equal(r.received, HTTP_KEEP_MAX);
    }
    assert_int_equal(tiny_requests(&s.server), 3);
    assert_int_equal(tiny_connections(&s.server), 1);
    teardown(&s);
}

static int group_setup(void **state)
{
    (void)state;
    static const char *const names[] = {"HTTP_PROXY",  "http_proxy",    "HTTPS_PROXY",
                                        "https_proxy", "NO_PROXY",      "no_proxy",
                                        "ALL_PROXY",   "SSL_CERT_FILE", "SSL_CERT_DIR"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    return setenv("SSL_CERT_DIR", "/nonexistent", 1); /* no need to read the system's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_wire),
        cmocka_unit_test(test_refused_before_sending),
        cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_redirect),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
