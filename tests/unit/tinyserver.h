/*
 * A small HTTP server inside a unit test: a thread that accepts on a free port of 127.0.0.1, and
 * one thread a connection. It hands each request to the test's handler, which answers with raw
 * bytes, so that it can misbehave as it likes.
 *
 *     static bool handle(struct tiny_connection *c, const char *request, void *userdata)
 *     {
 *         tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
 *         return true;            go on with the connection; false closes it
 *     }
 *     struct tiny_server s;
 *     tiny_start(&s, handle, NULL);
 *     ... http://127.0.0.1:<s.port>/
 *     tiny_stop(&s);              ends all connections, also hanging ones, and joins all threads
 *
 * The handler runs in the connection's thread; `requests` and `log` hold every request as it came
 * (head and body), readable at any time through the functions below.
 */
#pragma once

#include "cachedir/alloc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct tiny_connection;
typedef bool (*tiny_handler)(struct tiny_connection *c, const char *request, void *userdata);

struct tiny_server {
    uint16_t port;
    tiny_handler handler;
    void *userdata;
    SSL_CTX *tls; /* NULL: plain; set before tiny_start, stays the caller's */
    /* A TLS handshake with a plain server is answered with 400, as most do; or not at all. */
    bool mute_to_tls;

    int listener, stop_event;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    pthread_t *threads;
    size_t thread_count;
    unsigned connections, requests;
    char *log;
};

struct tiny_connection {
    struct tiny_server *server;
    int fd;
    SSL *ssl;
};

/* false when the server is being stopped. */
__attribute__((unused)) static bool tiny_readable(struct tiny_connection *c)
{
    if (c->ssl && SSL_pending(c->ssl) > 0)
        return true;
    struct pollfd fds[2] = {{.fd = c->fd, .events = POLLIN},
                            {.fd = c->server->stop_event, .events = POLLIN}};
    return poll(fds, 2, -1) > 0 && !fds[1].revents;
}

/* Bytes as they are; a peer that is gone is no error. */
__attribute__((unused)) static void tiny_write(struct tiny_connection *c, const void *data,
                                               size_t len)
{
    const char *bytes = data;
    while (len > 0) {
        ssize_t n =
            c->ssl ? SSL_write(c->ssl, bytes, (int)len) : send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

__attribute__((unused, format(printf, 2, 3))) static void tiny_send(struct tiny_connection *c,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *text = xvasprintf(format, args);
    va_end(args);
    tiny_write(c, text, strlen(text));
}

/* Say nothing until the peer closes or the server is stopped. */
__attribute__((unused)) static void tiny_hang(struct tiny_connection *c)
{
    char byte;
    while (tiny_readable(c) && recv(c->fd, &byte, 1, 0) > 0)
        continue;
}

static ssize_t tiny_read(struct tiny_connection *c, char *to, size_t len)
{
    if (!tiny_readable(c))
        return 0;
    return c->ssl ? SSL_read(c->ssl, to, (int)len) : recv(c->fd, to, len, 0);
}

/* One request: its head, and as much body as Content-Length says. NULL: the connection ended. */
static char *tiny_read_request(struct tiny_connection *c)
{
    size_t len = 0, capacity = 64 << 10, want = 0;
    char *text = xmalloc(capacity);
    text[0] = '\0';
    while (want == 0 || len < want) {
        ssize_t n = tiny_read(c, text + len, want ? want - len : 1);
        if (n <= 0 || len + (size_t)n + 1 >= capacity) {
            free(text);
            return NULL;
        }
        len += (size_t)n;
        text[len] = '\0';
        if (!c->ssl && text[0] == 0x16 && !c->server->mute_to_tls) {
            tiny_send(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            free(text);
            return NULL;
        }
        if (want == 0 && len >= 4 && strcmp(text + len - 4, "\r\n\r\n") == 0) {
            const char *length = strcasestr(text, "\r\nContent-Length:");
            size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
            want = body < capacity - len - 1 ? len + body : len;
        }
    }
    return text;
}

static void *tiny_connection_main(void *userdata)
{
    struct tiny_connection c = *(struct tiny_connection *)userdata;
    struct tiny_server *s = c.server;
    free(userdata);
    bool go_on = true;
    if (s->tls) {
        c.ssl = SSL_new(s->tls);
        SSL_set_fd(c.ssl, c.fd);
        go_on = SSL_accept(c.ssl) == 1;
        if (!go_on) {
            /* Closing with bytes unread would reset the connection, and the alert with it. */
            shutdown(c.fd, SHUT_WR);
            tiny_hang(&c);
        }
    }
    while (go_on) {
        cleanup_free char *request = tiny_read_request(&c);
        if (!request)
            break;
        pthread_mutex_lock(&s->lock);
        s->requests++;
        char *log = xasprintf("%s%s", s->log ? s->log : "", request);
        free(s->log);
        s->log = log;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        go_on = s->handler(&c, request, s->userdata);
    }
    if (c.ssl) {
        SSL_shutdown(c.ssl);
        SSL_free(c.ssl);
    }
    /* Reset only what was not read; what was sent still arrives. */
    shutdown(c.fd, SHUT_WR);
    close(c.fd);
    return NULL;
}

static void *tiny_main(void *userdata)
{
    struct tiny_server *s = userdata;
    for (;;) {
        struct pollfd fds[2] = {{.fd = s->listener, .events = POLLIN},
                                {.fd = s->stop_event, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 || fds[1].revents)
            return NULL;
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct tiny_connection *c = xcalloc(1, sizeof *c);
        c->server = s;
        c->fd = fd;
        pthread_mutex_lock(&s->lock);
        s->connections++;
        pthread_t *thread = array_add(s->threads, s->thread_count);
        if (pthread_create(thread, NULL, tiny_connection_main, c) != 0)
            abort();
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

/* `s` must be zeroed but for `tls` and `mute_to_tls`. */
__attribute__((unused)) static void tiny_start(struct tiny_server *s, tiny_handler handler,
                                               void *userdata)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    (void)signal(SIGPIPE, SIG_IGN); /* OpenSSL's sockets raise it */
    s->handler = handler;
    s->userdata = userdata;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->stop_event = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (s->listener < 0 || s->stop_event < 0 ||
        bind(s->listener, (const struct sockaddr *)&address, len) < 0 ||
        listen(s->listener, 64) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &len) < 0)
        abort();
    s->port = ntohs(address.sin_port);
    if (pthread_create(&s->thread, NULL, tiny_main, s) != 0)
        abort();
}

__attribute__((unused)) static void tiny_stop(struct tiny_server *s)
{
    uint64_t one = 1;
    if (write(s->stop_event, &one, sizeof one) != sizeof one)
        abort();
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    close(s->listener);
    close(s->stop_event);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->threads);
    free(s->log);
    *s = (struct tiny_server){0};
}

__attribute__((unused)) static unsigned tiny_requests(struct tiny_server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned count = s->requests;
    pthread_mutex_unlock(&s->lock);
    return count;
}

__attribute__((unused)) static unsigned tiny_connections(struct tiny_server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned count = s->connections;
    pthread_mutex_unlock(&s->lock);
    return count;
}

/* Everything that was asked so far. Owned. */
__attribute__((unused)) static char *tiny_log(struct tiny_server *s)
{
    pthread_mutex_lock(&s->lock);
    char *log = xstrdup(s->log ? s->log : "");
    pthread_mutex_unlock(&s->lock);
    return log;
}

/* Wait until so many requests have come in. */
__attribute__((unused)) static void tiny_wait_requests(struct tiny_server *s, unsigned count)
{
    pthread_mutex_lock(&s->lock);
    while (s->requests < count)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}
