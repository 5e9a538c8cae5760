/*
 * What the transport's files share among themselves.
 *
 *     http.c           what is shared, the clients, the stop
 *     http-transfer.c  one request: libcurl's options and callbacks, the loop that drives it
 *     http-headers.c   the response's headers, and their ceilings
 *     http-error.c     what went wrong, sorted and in words
 *     http-url.c       URLs
 *
 * Shared between threads: struct http. `stopped` is atomic; `clients` is guarded by `lock`; the
 * share's tables by share_locks, one each, taken by libcurl; the rest never changes. No two of
 * these locks are held at once.
 */
#pragma once

#include "http.h"
#include "proxy.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

struct http {
    int64_t stall_timeout_ns;
    int64_t connect_timeout_ns;
    bool http2;
    struct roots *roots;
    struct proxies *proxies;
    CURLSH *share;
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
    atomic_bool stopped;
    pthread_mutex_t lock;
    struct http_client *clients; /* a list, for http_stop() to wake them */
};

struct http_client {
    struct http *http;
    struct http_client *previous, *next;
    CURL *easy;
    CURLM *multi;
    char *gathering; /* of the sink's bytes; NULL: none yet */
};

/* A URL taken to pieces. */
struct url_parts {
    char *text; /* as libcurl normalises it, without a fragment */
    bool https;
    char *host; /* lower case, IPv6 in brackets */
    uint16_t port;
};
int url_parse(const char *url, struct url_parts *ret, struct error *err);
void url_parts_release(struct url_parts *u);

/* The headers of one response, as they come in. */
struct headers {
    size_t bytes, lines; /* of all that came, for the ceilings */
    bool complete;       /* the final response's; what follows are trailers */
};
/* One line, with its line break. Sets h->complete at the blank line that ends a final response of
 * this status. ERROR_PROTOCOL: a ceiling. */
int headers_line(struct headers *h, struct http_response *r, const char *line, size_t len,
                 int status, struct error *err);
void response_clear_headers(struct http_response *r);

/* One call of http_perform(). */
struct transfer {
    struct http_client *client;
    const struct http_request *request;
    struct http_response *response;
    struct url_parts url;
    const struct proxy *proxy; /* NULL: none */
    char curl_says[CURL_ERROR_SIZE];

    /* How it ended, when it was not libcurl that ended it. */
    bool enough;
    struct error failure;
    bool callers_own; /* ... and `failure` is on_headers' or the sink's */

    struct headers headers;
    enum http_body body;
    size_t capacity; /* of response->body */
    int64_t dropped; /* bytes of an unwanted body */
    size_t gathered; /* bytes of client->gathering that the sink has not got yet */

    /* Addresses of the host: how many were too deep, one of them, and how many were not. */
    unsigned refused, allowed;
    char refused_address[64];
    enum address_class refused_class;

    /* Stall: the speed was last fast enough at mark_ns, when `moved` was mark_moved. */
    bool connected;
    int64_t moved; /* bytes of headers and body */
    int64_t mark_ns, mark_moved;
};

/* Sort libcurl's code into a kind, with words; called when `failure` is empty. Always -1. */
int transfer_failed(struct transfer *t, CURLcode code, struct error *err);
int64_t transfer_connect_timeout(const struct transfer *t); /* ns */
