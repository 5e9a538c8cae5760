/*
 * Waiting that must end: http_stop() from another thread, whatever the transport waits for, and
 * servers that stall. Nothing here measures time: what does not end runs into the test's timeout.
 */
#include "cachedir/text.h"
#include "tinyserver.h"
#include "warmer/http.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/*
 * A DNS server that never answers: this getaddrinfo stands before the C library's, for libcurl's
 * resolver threads, too.
 */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned asked, answered;
    bool released;
} dns = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    if (node && strcmp(node, "silent.test") == 0) {
        pthread_mutex_lock(&dns.lock);
        dns.asked++;
        pthread_cond_broadcast(&dns.changed);
        while (!dns.released)
            pthread_cond_wait(&dns.changed, &dns.lock);
        dns.answered++;
        pthread_cond_broadcast(&dns.changed);
        pthread_mutex_unlock(&dns.lock);
        return EAI_AGAIN;
    }
    if (node && strcmp(node, "missing.test") == 0)
        return EAI_NONAME;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, ret);
}

static void dns_wait_asked(void)
{
    pthread_mutex_lock(&dns.lock);
    while (dns.asked == 0)
        pthread_cond_wait(&dns.changed, &dns.lock);
    pthread_mutex_unlock(&dns.lock);
}

/* Let libcurl's threads go, and wait for them. */
static void dns_release(void)
{
    pthread_mutex_lock(&dns.lock);
    dns.released = true;
    pthread_cond_broadcast(&dns.changed);
    while (dns.answered < dns.asked)
        pthread_cond_wait(&dns.changed, &dns.lock);
    dns.asked = dns.answered = 0;
    dns.released = false;
    pthread_mutex_unlock(&dns.lock);
}

/*
 * Servers that do not get on.
 */
enum behaviour { SILENT, HALF_HEADERS, HALF_BODY, ENDLESS, TRICKLE_HEADERS, TRICKLE_BODY };

/* Ten bytes a tick, until the peer is gone or the server is stopped. */
static void trickle(struct tiny_connection *c, const char *bytes)
{
    struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN},
                            {.fd = c->server->stop_event, .events = POLLIN}};
    while (poll(fds, 2, 100) == 0)
        tiny_send(c, "%s", bytes);
}

static bool misbehave(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request;
    static const char block[4096];
    switch (*(enum behaviour *)userdata) {
    case SILENT:
        tiny_hang(c);
        break;
    case HALF_HEADERS:
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-");
        tiny_hang(c);
        break;
    case HALF_BODY:
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello");
        tiny_hang(c);
        break;
    case ENDLESS:
        tiny_send(c, "HTTP/1.1 200 OK\r\n\r\n");
        for (;;) {
            struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN | POLLOUT},
                                    {.fd = c->server->stop_event, .events = POLLIN}};
            if (poll(fds, 2, -1) < 0 || fds[1].revents || (fds[0].revents & ~POLLOUT))
                break;
            tiny_write(c, block, sizeof block);
        }
        break;
    case TRICKLE_HEADERS:
        tiny_send(c, "HTTP/1.1 200 OK\r\n");
        trickle(c, "X: 34567\r\n");
        break;
    case TRICKLE_BODY:
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        trickle(c, "0123456789");
        break;
    }
    return false;
}

static int swallow(void *userdata, const void *data, size_t len, struct error *err)
{
    (void)userdata, (void)data, (void)len, (void)err;
    return 0;
}

/* The thread whose call must end. */
struct caller {
    struct http *http;
    const char *url;
    bool sink;
    pthread_t thread;
    int result;
    struct error err;
};

static void *call(void *userdata)
{
    struct caller *c = userdata;
    struct http_client *client = http_client_new(c->http);
    cleanup_http_response struct http_response r = {0};
    struct http_request q = {
        .url = c->url, .sink = c->sink ? swallow : NULL, .limit = ADDRESS_LOOPBACK};
    c->result = http_perform(client, &q, &r, &c->err);
    http_client_free(client);
    return NULL;
}

static void caller_start(struct caller *c)
{
    if (pthread_create(&c->thread, NULL, call, c) != 0)
        abort();
}

static void caller_join_stopped(struct caller *c)
{
    pthread_join(c->thread, NULL);
    if (c->result != -1 || c->err.kind != ERROR_INTERRUPTED)
        fail_msg("%d, %s", c->result, c->err.message);
    error_clear(&c->err);
}

static struct http *http_for(int64_t stall_ns, int64_t connect_ns)
{
    struct http *h = NULL;
    const struct http_options options = {.stall_timeout_ns = stall_ns,
                                         .connect_timeout_ns = connect_ns};
    assert_int_equal(http_new(&options, &h, NULL), 0);
    return h;
}

#define AN_HOUR (3600 * NS_PER_S)

static void test_stop_servers(void **state)
{
    (void)state;
    static const enum behaviour rows[] = {SILENT, HALF_HEADERS, HALF_BODY, ENDLESS};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum behaviour behaviour = rows[i];
        struct tiny_server server = {0};
        tiny_start(&server, misbehave, &behaviour);
        cleanup_free char *url = xasprintf("http://127.0.0.1:%u/", server.port);
        /* several: each has to be woken */
        struct http *h = http_for(AN_HOUR, AN_HOUR);
        struct caller callers[3] = {0};
        for (size_t k = 0; k < 3; k++) {
            callers[k] = (struct caller){.http = h, .url = url, .sink = true};
            caller_start(&callers[k]);
        }
        tiny_wait_requests(&server, 3);
        http_stop(h);
        for (size_t k = 0; k < 3; k++)
            caller_join_stopped(&callers[k]);

        /* And nothing begins any more. */
        struct caller late = {.http = h, .url = url};
        caller_start(&late);
        caller_join_stopped(&late);
        assert_int_equal(tiny_requests(&server), 3);
        http_free(h);
        tiny_stop(&server);
    }
}

static void test_stop_dns(void **state)
{
    (void)state;
    struct http *h = http_for(AN_HOUR, AN_HOUR);
    struct caller c = {.http = h, .url = "http://silent.test/"};
    caller_start(&c);
    dns_wait_asked();
    http_stop(h);
    caller_join_stopped(&c);
    http_free(h);
    dns_release();
}

/* A port whose queue is full drops what wants to connect. */
static int full_listener(uint16_t *ret_port, int *filler, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(fd, (const struct sockaddr *)&address, len), errno);
    assert_return_code(listen(fd, 0), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&address, &len), errno);
    for (size_t i = 0; i < count; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(filler[i], (const struct sockaddr *)&address, len) < 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void test_hanging_connect(void **state)
{
    (void)state;
    uint16_t port;
    int filler[4];
    int fd = full_listener(&port, filler, 4);
    cleanup_free char *url = xasprintf("http://127.0.0.1:%u/", port);
    struct http *h = http_for(AN_HOUR, AN_HOUR);
    struct caller c = {.http = h, .url = url};
    caller_start(&c);
    http_stop(h); /* before, while or after it begins: it ends */
    caller_join_stopped(&c);
    http_free(h);

    h = http_for(AN_HOUR, NS_PER_S);
    c = (struct caller){.http = h, .url = url};
    call(&c);
    assert_int_equal(c.err.kind, ERROR_TRANSIENT);
    assert_non_null(strstr(c.err.message, "no connection to 127.0.0.1 port"));
    error_clear(&c.err);
    http_free(h);
    for (size_t i = 0; i < 4; i++)
        close(filler[i]);
    close(fd);
}

static void test_dns_errors(void **state)
{
    (void)state;
    static const struct {
        const char *url, *says;
    } rows[] = {
        {"http://silent.test/", "DNS has no answer for silent.test within 1s"},
        {"http://missing.test/", "no such host: missing.test"},
    };
    struct http *h = http_for(AN_HOUR, NS_PER_S);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct caller c = {.http = h, .url = rows[i].url};
        call(&c);
        assert_int_equal(c.result, -1);
        if (c.err.kind != ERROR_TRANSIENT || !strstr(c.err.message, rows[i].says))
            fail_msg("%s: %s", error_kind_name(c.err.kind), c.err.message);
        error_clear(&c.err);
    }
    http_free(h);
    dns_release();
}

static void test_stalls(void **state)
{
    (void)state;
    static const enum behaviour rows[] = {SILENT, HALF_HEADERS, HALF_BODY, TRICKLE_HEADERS,
                                          TRICKLE_BODY};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum behaviour behaviour = rows[i];
        struct tiny_server server = {0};
        tiny_start(&server, misbehave, &behaviour);
        cleanup_free char *url = xasprintf("http://127.0.0.1:%u/", server.port);
        struct http *h = http_for(NS_PER_S, AN_HOUR);
        struct caller c = {.http = h, .url = url, .sink = i % 2};
        call(&c);
        assert_int_equal(c.result, -1);
        if (c.err.kind != ERROR_TRANSIENT || !strstr(c.err.message, "stalled"))
            fail_msg("%zu: %s", i, c.err.message);
        error_clear(&c.err);
        http_free(h);
        tiny_stop(&server);
    }
}

/* A sink may take longer than the server is given. */
static int slow(void *userdata, const void *data, size_t len, struct error *err)
{
    (void)data, (void)err;
    int64_t *got = userdata;
    if (*got == 0)
        assert_int_equal(poll(NULL, 0, 2500), 0);
    *got += (int64_t)len;
    return 0;
}

static bool reply_two_parts(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    (void)poll(NULL, 0, 300);
    tiny_send(c, "world");
    return true;
}

static void test_slow_sink(void **state)
{
    (void)state;
    struct tiny_server server = {0};
    tiny_start(&server, reply_two_parts, NULL);
    cleanup_free char *url = xasprintf("http://127.0.0.1:%u/", server.port);
    struct http *h = http_for(2 * NS_PER_S, AN_HOUR);
    struct http_client *client = http_client_new(h);
    cleanup_http_response struct http_response r = {0};
    cleanup_error struct error err = {0};
    int64_t got = 0;
    struct http_request q = {.url = url, .sink = slow, .userdata = &got, .limit = ADDRESS_LOOPBACK};
    if (http_perform(client, &q, &r, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(got, 10);
    http_client_free(client);
    http_free(h);
    tiny_stop(&server);
}

static int group_setup(void **state)
{
    (void)state;
    static const char *const names[] = {"HTTP_PROXY", "http_proxy", "SSL_CERT_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    return setenv("SSL_CERT_DIR", "/nonexistent", 1); /* no need to read the system's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_servers),    cmocka_unit_test(test_stop_dns),
        cmocka_unit_test(test_hanging_connect), cmocka_unit_test(test_dns_errors),
        cmocka_unit_test(test_stalls),          cmocka_unit_test(test_slow_sink),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
