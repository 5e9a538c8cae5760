/* Where the transport may go: address classes, proxies. */
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

static bool reply_ok(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_send(c, "HTTP/1.1 206 Partial\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok");
    return true;
}

/*
 * Where it may go.
 */

static void test_limits(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_ok, NULL);
    cleanup_free char *by_name = xasprintf("http://localhost:%u/", s.server.port);
    const struct {
        const char *url;
        enum address_class limit;
        bool allowed;
        unsigned connections, requests; /* that the server has seen by then */
    } rows[] = {
        {s.url, ADDRESS_PUBLIC, false, 0, 0},   {s.url, ADDRESS_PRIVATE, false, 0, 0},
        {by_name, ADDRESS_PUBLIC, false, 0, 0}, {s.url, ADDRESS_LOOPBACK, true, 1, 1},
        {s.url, ADDRESS_PRIVATE, false, 1, 1}, /* the connection is there to be used again */
        {s.url, ADDRESS_NEVER, true, 2, 2},    /* ... and was given up for that */
        {s.url, ADDRESS_LOOPBACK, true, 2, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        struct http_request q = {.url = rows[i].url, .limit = rows[i].limit};
        int result = http_perform(s.client, &q, &r, &err);
        if (result != (rows[i].allowed ? 0 : -1) || (result < 0 && err.kind != ERROR_REFUSED))
            fail_msg("row %zu: %d, %s", i, result, err.message);
        if (result < 0)
            assert_non_null(strstr(err.message, "loopback"));
        if (tiny_connections(&s.server) != rows[i].connections ||
            tiny_requests(&s.server) != rows[i].requests)
            fail_msg("row %zu: %u connections, %u requests", i, tiny_connections(&s.server),
                     tiny_requests(&s.server));
    }
    teardown(&s);
}

/*
 * Proxies. The server plays one.
 */

static bool reply_proxy(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)userdata;
    if (strncmp(request, "CONNECT forbidden", 17) == 0)
        tiny_send(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    else if (strncmp(request, "CONNECT", 7) == 0)
        tiny_send(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    else if (strstr(request, "//closed"))
        tiny_send(c, "HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n");
    else
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    return true;
}

static void test_proxies(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum address_class limit;
        enum error_kind kind;
        const char *request; /* that the proxy saw; NULL: none */
    } rows[] = {
        {"http://registry.test/v2/", ADDRESS_PUBLIC, ERROR_NONE,
         "GET http://registry.test/v2/ HTTP/1.1\r\n"},
        {"http://10.0.0.1/v2/", ADDRESS_PRIVATE, ERROR_NONE, "GET http://10.0.0.1/v2/ HTTP"},
        {"http://10.0.0.1/v2/", ADDRESS_PUBLIC, ERROR_REFUSED, NULL},
        {"http://0xa000001/v2/", ADDRESS_PUBLIC, ERROR_REFUSED, NULL},
        {"http://169.254.169.254/", ADDRESS_LOOPBACK, ERROR_REFUSED, NULL},
        {"http://metadata.google.internal/", ADDRESS_LOOPBACK, ERROR_REFUSED, NULL},
        {"http://sub.localhost/", ADDRESS_PRIVATE, ERROR_REFUSED, NULL},
        {"http://closed.test/", ADDRESS_PUBLIC, ERROR_REFUSED, "GET http://closed.test/"},
        {"https://forbidden.test/", ADDRESS_PUBLIC, ERROR_REFUSED, "CONNECT forbidden.test:443"},
        {"https://broken.test/", ADDRESS_PUBLIC, ERROR_TRANSIENT, "CONNECT broken.test:443"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tiny_server server = {0};
        tiny_start(&server, reply_proxy, NULL);
        cleanup_free char *proxy = xasprintf("http://user:s3cret@127.0.0.1:%u", server.port);
        setenv("HTTP_PROXY", proxy, 1);
        setenv("HTTPS_PROXY", proxy, 1);
        struct http *h = NULL;
        assert_int_equal(http_new(&(struct http_options){0}, &h, NULL), 0);
        struct http_client *c = http_client_new(h);
        cleanup_http_response struct http_response r = {0};
        cleanup_error struct error err = {0};
        struct http_request q = {
            .url = rows[i].url, .limit = rows[i].limit, .authorization = "Basic dDpw"};
        int result = http_perform(c, &q, &r, &err);
        if (result != (rows[i].kind ? -1 : 0) || err.kind != rows[i].kind)
            fail_msg("%s: %d, %s", rows[i].url, result, err.message);
        assert_true(r.proxied);
        cleanup_free char *log = tiny_log(&server);
        if (!rows[i].request) {
            assert_string_equal(log, "");
        } else {
            if (strncmp(log, rows[i].request, strlen(rows[i].request)) != 0)
                fail_msg("%s: %s", rows[i].url, log);
            assert_non_null(strstr(log, "Proxy-Authorization: Basic dXNlcjpzM2NyZXQ="));
            /* what is for the registry goes into the tunnel */
            if (strncmp(log, "CONNECT", 7) == 0)
                assert_null(strstr(log, "\nAuthorization:"));
        }
        if (err.message)
            assert_null(strstr(err.message, "s3cret"));
        http_client_free(c);
        http_free(h);
        tiny_stop(&server);
    }
    unsetenv("HTTP_PROXY");
    unsetenv("HTTPS_PROXY");
}

/* Nobody listens there. */
static void test_refused_connections(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, reply_ok, NULL);
    tiny_stop(&s.server);
    cleanup_http_response struct http_response r = {0};
    cleanup_error struct error err = {0};
    struct http_request q = {.url = s.url, .limit = LIMIT};
    assert_int_equal(http_perform(s.client, &q, &r, &err), -1);
    assert_int_equal(err.kind, ERROR_TRANSIENT);
    assert_non_null(strstr(err.message, "Connection refused"));
    tiny_start(&s.server, reply_ok, NULL);
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
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_refused_connections),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
