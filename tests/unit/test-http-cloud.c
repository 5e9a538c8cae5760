/* What the clouds want from the transport: PUT, a limit of time, no proxy, signatures. */
#include "tinyserver.h"
#include "warmer/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

struct setup {
    struct tiny_server server;
    struct http *http;
    struct http_client *client;
    char *url;
};

static void begin(struct setup *s, tiny_handler handler)
{
    *s = (struct setup){0};
    tiny_start(&s->server, handler, NULL);
    assert_int_equal(http_new(&(struct http_options){0}, &s->http, NULL), 0);
    s->client = http_client_new(s->http);
    s->url = xasprintf("http://127.0.0.1:%u/path", s->server.port);
}

static void end(struct setup *s)
{
    http_client_free(s->client);
    http_free(s->http);
    tiny_stop(&s->server);
    free(s->url);
}

static bool reply(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    return true;
}

static void puts_nothing(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, reply);
    static const char *const headers[] = {"X-Ttl: 60", "Content-Type:", NULL};
    cleanup_http_response struct http_response r = {0};
    struct http_request q = {
        .method = HTTP_PUT, .url = s.url, .headers = headers, .limit = ADDRESS_LOOPBACK};
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    cleanup_free char *log = tiny_log(&s.server);
    assert_int_equal(strncmp(log, "PUT /path HTTP/1.1\r\n", 20), 0);
    assert_non_null(strstr(log, "X-Ttl: 60\r\n"));
    assert_non_null(strstr(log, "Content-Length: 0\r\n"));
    assert_null(strstr(log, "Content-Type"));
    /* The method is that request's alone. */
    http_response_release(&r);
    q = (struct http_request){.url = s.url, .limit = ADDRESS_LOOPBACK};
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    cleanup_free char *both = tiny_log(&s.server);
    assert_non_null(strstr(both, "GET /path HTTP/1.1\r\n"));
    end(&s);
}

static bool hang(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_hang(c);
    return false;
}

/* Never slow enough to stall. */
static bool pour(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    static const char bytes[4096];
    tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    do {
        tiny_write(c, bytes, sizeof bytes);
        struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN},
                                {.fd = c->server->stop_event, .events = POLLIN}};
        if (poll(fds, 2, 20) > 0)
            return false; /* it hung up, or the test is over */
    } while (true);
}

static void ends_in_time(void **state)
{
    (void)state;
    static const tiny_handler handlers[] = {hang, pour};
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        struct setup s;
        struct timespec begun, ended;
        cleanup_error struct error err = {0};
        cleanup_http_response struct http_response r = {0};
        begin(&s, handlers[i]);
        struct http_request q = {
            .url = s.url, .limit = ADDRESS_LOOPBACK, .timeout_ns = 300 * MS, .max_body = 1 << 30};
        clock_gettime(CLOCK_MONOTONIC, &begun);
        assert_int_equal(http_perform(s.client, &q, &r, &err), -1);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        assert_int_equal(err.kind, ERROR_TRANSIENT);
        if (!strstr(err.message, "no answer within 300ms"))
            fail_msg("%zu: %s", i, err.message);
        assert_true(ended.tv_sec - begun.tv_sec < 15); /* not the half minute of a stall */
        end(&s);
    }
}

static void goes_round_proxies(void **state)
{
    (void)state;
    struct tiny_server proxy = {0};
    struct http *h;
    cleanup_http_response struct http_response r = {0};
    tiny_start(&proxy, reply, NULL);
    cleanup_free char *url = xasprintf("http://127.0.0.1:%u", proxy.port);
    assert_int_equal(setenv("http_proxy", url, 1), 0);
    assert_int_equal(http_new(&(struct http_options){0}, &h, NULL), 0);
    assert_int_equal(unsetenv("http_proxy"), 0);
    struct http_client *c = http_client_new(h);
    struct http_request q = {.url = "http://10.0.0.1/", .limit = ADDRESS_PRIVATE};
    assert_int_equal(http_perform(c, &q, &r, NULL), 0);
    assert_int_equal(tiny_requests(&proxy), 1);
    /* Without it, the address itself is judged: so no packet leaves the machine here. */
    cleanup_error struct error err = {0};
    http_response_release(&r);
    q.direct = true;
    q.limit = ADDRESS_PUBLIC;
    assert_int_equal(http_perform(c, &q, &r, &err), -1);
    assert_int_equal(err.kind, ERROR_REFUSED);
    assert_non_null(strstr(err.message, "leads to 10.0.0.1"));
    assert_int_equal(tiny_requests(&proxy), 1);
    http_client_free(c);
    http_free(h);
    tiny_stop(&proxy);
}

/* That the signature is right, a server checks end to end. */
static void signs(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, reply);
    static const struct http_signature with = {
        .region = "eu-west-1", .service = "ecr", .key = "AKID", .secret = "hush"};
    static const char *const headers[] = {"X-Amz-Target: T", "X-Amz-Date: 20200102T030405Z", NULL};
    cleanup_http_response struct http_response r = {0};
    struct http_request q = {.method = HTTP_POST,
                             .url = s.url,
                             .headers = headers,
                             .form = "{}",
                             .form_len = 2,
                             .signature = &with,
                             .limit = ADDRESS_LOOPBACK};
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    cleanup_free char *log = tiny_log(&s.server);
    assert_non_null(strstr(log, "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20200102/"
                                "eu-west-1/ecr/aws4_request"));
    assert_non_null(strstr(log, "X-Amz-Date: 20200102T030405Z\r\n"));
    assert_non_null(strstr(log, "x-amz-target"));
    assert_null(strstr(log, "hush"));
    /* It is that request's alone. */
    http_response_release(&r);
    q.signature = NULL;
    assert_int_equal(http_perform(s.client, &q, &r, NULL), 0);
    cleanup_free char *both = tiny_log(&s.server);
    assert_null(strstr(both + strlen(log), "Authorization"));
    end(&s);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_nothing),
        cmocka_unit_test(ends_in_time),
        cmocka_unit_test(goes_round_proxies),
        cmocka_unit_test(signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
