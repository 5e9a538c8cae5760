/*
 * The transport: one HTTP request and its response. Below registry.h, and the only part of the
 * program that knows libcurl. It knows no registries: redirects, challenges, mirrors and retries
 * are its caller's.
 *
 *     struct http      shared by all workers: roots, DNS and TLS sessions, proxies, the stop flag
 *     struct http_client    one a worker, never two threads at once: its connections
 *
 *     http_new(&options, &h, &err);
 *     c = http_client_new(h);
 *     struct http_request q = {.url = url, .limit = http_own_limit(url)};
 *     cleanup_http_response struct http_response r = {0};
 *     if (http_perform(c, &q, &r, &err) < 0)
 *         ...                       no whole response; r tells what is known all the same
 *     else if (r.status == 200)
 *         ...                       any status is a success here
 *
 * Always: HTTP/1.1 unless http2 was chosen, Accept-Encoding: identity and no decoding, no cookies,
 * no netrc, no redirects, http and https only, TLS 1.2 or newer. Proxies are those of the
 * environment (proxy.h). No message holds a query, a fragment, userinfo or a header's value that
 * was passed as `authorization`. The program must ignore SIGPIPE: libcurl does not do it for
 * threads.
 */
#pragma once

#include "address.h"
#include "cachedir/error.h"
#include "trust.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ceilings. */
#define HTTP_URL_MAX (16 << 10)
#define HTTP_HEADER_BYTES_MAX (64 << 10) /* of one response, interim ones and trailers included */
#define HTTP_HEADER_LINES_MAX 100
#define HTTP_BODY_MAX (4 << 20)     /* buffered, unless the request says otherwise */
#define HTTP_KEEP_MAX (16 << 10)    /* of an unwanted body that are kept: HTTP_BODY_KEEP */
#define HTTP_DRAIN_MAX (256 << 10)  /* of it that are read so that the connection can go on */
#define HTTP_STALL_BYTES_PER_S 1024 /* slower than this for stall_timeout is a stall */

struct http;
struct http_client;

struct http_options {
    int64_t stall_timeout_ns;   /* 0: 30 s */
    int64_t connect_timeout_ns; /* DNS, TCP, proxy and TLS together; 0: 30 s */
    bool http2;                 /* offer HTTP/2 over TLS */
};

/* Reads the roots and the proxies' environment: not while another thread changes that. Failures
 * are ERROR_CONFIG. */
int http_new(const struct http_options *options, struct http **ret, struct error *err);
/* Ends every call within a second, whatever it waits for (only a sink that blocks is waited for),
 * and fails all later ones, with ERROR_INTERRUPTED. Any thread, any number of times. */
void http_stop(struct http *h);
bool http_stopped(const struct http *h);
void http_free(struct http *h); /* after all clients and trusts; takes NULL */

/* For trust_new(). Lives as long as h. */
struct roots *http_roots(const struct http *h);

struct http_client *http_client_new(struct http *h);
void http_client_free(struct http_client *c); /* closes its connections; takes NULL */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT };
const char *http_method_name(enum http_method method); /* "GET" */

struct http_response;

/* What becomes of the body. */
enum http_body {
    HTTP_BODY_TAKE, /* to the sink, or into the buffer when there is none */
    /* Into the buffer, never to the sink: the first HTTP_KEEP_MAX bytes, for a message. The rest,
     * up to HTTP_DRAIN_MAX, is read and dropped; a failure meanwhile is none. */
    HTTP_BODY_KEEP,
    HTTP_BODY_SKIP, /* stop here: success without a body, at the price of the connection */
};

/*
 * Judge the response when its status and headers are complete, before the first byte of the body.
 * Fill *ret_body (TAKE at the call for 2xx, KEEP for the rest) and return 0; or return -1 with *err
 * filled, which http_perform then fails with, unchanged.
 */
typedef int (*http_on_headers)(void *userdata, const struct http_response *response,
                               enum http_body *ret_body, struct error *err);

/*
 * Bytes of the body, in order and as many at once as have come. 0; or 1 for "enough, stop here",
 * which is success; or -1 with *err filled, which http_perform then fails with, unchanged. May
 * block: the time is not counted as a stall of the server's.
 */
typedef int (*http_sink)(void *userdata, const void *data, size_t len, struct error *err);

/* AWS Signature Version 4, made by libcurl over method, path, headers and body; not over a query:
 * there must be none. Its time is ours unless a header "X-Amz-Date" is among the request's. */
struct http_signature {
    const char *region, *service;
    const char *key, *secret; /* a secret. (libcurl's copy is not wiped.) */
};

struct http_request { /* everything is borrowed for the call */
    enum http_method method;
    const char *url;            /* http or https, no userinfo: else ERROR_PROTOCOL */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
    /* The value of Authorization. A secret: our copy is wiped. (libcurl's send buffer is not.) */
    const char *authorization;
    const char *form; /* POST: application/x-www-form-urlencoded, unless a header says otherwise */
    size_t form_len;
    const struct http_signature *signature; /* instead of `authorization`; NULL: none */
    /* Bytes [start, end) alone: "Range: bytes=start-(end-1)". end 0: no Range header. */
    int64_t range_start, range_end;
    int64_t max_body; /* bytes; more is ERROR_PROTOCOL and response.too_long. 0: HTTP_BODY_MAX for
                         a buffered body, no ceiling for a sink, which has its own "enough" */
    http_on_headers on_headers; /* may be NULL */
    http_sink sink;             /* NULL: the body is buffered */
    void *userdata;             /* for both */
    /* The registry's own rules; NULL: the roots alone. Skip-verify and added roots hold for the
     * registry's redirect targets too; its client certificate is for its own origin alone, so it
     * is shown only where client_certificate says so. (An https:// proxy is the user's own: one
     * that asks for a client certificate is shown the same.) */
    const struct trust *trust;
    bool client_certificate;
    int64_t connect_timeout_ns; /* shorter than the options', for a first look; 0: theirs */
    int64_t timeout_ns;         /* from the call to the last byte; 0: as long as bytes come */
    bool direct;                /* never through a proxy: what only this machine can reach */
    /*
     * The deepest address class that may be connected to; deeper is ERROR_REFUSED, before a
     * packet is sent, and for connections that are used again too. The zero value is the
     * strictest. For the registry that the user named: http_own_limit(). For where it sends us:
     * http_sent_limit(class of its own connection).
     */
    enum address_class limit;
};

/* What is known, filled as it arrives; valid after a failure, too. All text is foreign (of one
 * line each, without its surrounding blanks) and NULL where there was none. */
struct http_response {
    int status;             /* 0: no response */
    int64_t content_length; /* -1: none */
    char *content_type, *content_encoding, *content_range;
    char *location; /* as sent: see http_url_join() */
    char *docker_content_digest;
    char *date, *retry_after;                    /* raw */
    char *ratelimit_limit, *ratelimit_remaining; /* Docker Hub's */
    char *docker_ratelimit_source;
    char **challenges; /* each WWW-Authenticate line's value */
    size_t challenge_count;
    char **warnings; /* each Warning line's value */
    size_t warning_count;

    int64_t received; /* bytes of the body that arrived and were wanted */
    char *body;       /* buffered: `received` bytes and a NUL behind them; NULL when none came */
    bool too_long;    /* failed because there was more than max_body */
    bool timed_out;   /* failed because no connection came about in time */
    bool no_tls;      /* failed because what answers there does not speak TLS */

    /* The connection; known from on_headers on. Through a proxy, the class is what the URL's host
     * says by itself (a name that says nothing is public), and `address` is the proxy's. */
    enum address_class address_class;
    char address[64]; /* numeric; "" when unknown */
    bool reused, proxied;
};

/*
 * One request, one response, no redirect followed. Blocks. 0 when a whole response arrived (any
 * status), was "enough" or was skipped. Failures, with "GET https://host/path: " before them:
 *
 *   ERROR_TRANSIENT    DNS, connect, proxy out of order, cut, short body, stall, timeouts, HTTP/2
 *   ERROR_CONFIG       TLS: certificate not trusted or for another name, no common protocol, plain
 *                      HTTP on the other end, client certificate wanted; with the flag that helps
 *   ERROR_REFUSED      `limit`; a proxy that says 403 or 407
 *   ERROR_PROTOCOL     not HTTP, a ceiling, an unusable URL or header
 *   ERROR_INTERRUPTED  http_stop()
 *
 * What on_headers or the sink failed with comes back as it was. *ret must be zeroed or released
 * before.
 */
int http_perform(struct http_client *c, const struct http_request *request,
                 struct http_response *ret, struct error *err);
void http_response_release(struct http_response *r); /* wipes the body: it may hold a token */
#define cleanup_http_response __attribute__((cleanup(http_response_release)))

/*
 * The limit for a registry that the user named: loopback, so that no name leads to a metadata
 * server by way of DNS; and no limit (ADDRESS_NEVER) for a literal address, which is plainly meant.
 */
enum address_class http_own_limit(const char *url);
/* The limit for redirects, realms and urls of a registry whose own connection was of `own`:
 * the same class, but nothing ever leads to ADDRESS_NEVER. (To its own origin, its own limit.) */
enum address_class http_sent_limit(enum address_class own);

/*
 * Resolve a Location, a realm or a `urls` entry against the URL that it came from, RFC 3986
 * section 5; the fragment is dropped. base NULL: `location` must be absolute. ERROR_PROTOCOL: not
 * http or https, userinfo, control characters, too long. ERROR_REFUSED: from https to http.
 * Returns an owned URL, NULL on failure.
 */
char *http_url_join(const char *base, const char *location, struct error *err);

/* A URL with `query` (already escaped, "a=b&c=d") added behind what query it has. Owned. */
char *http_url_add_query(const char *url, const char *query, struct error *err);
/* Percent-encode for a query or a form: everything but RFC 3986's unreserved. Owned; wipe it when
 * it is a secret. */
char *http_escape(const char *text);

/* "name=value", escaped, behind what `form` has; it takes the form, and wipes what it leaves
 * behind. value NULL: nothing is added. Owned; wipe it when it is a secret. */
char *http_form_add(char *form, const char *name, const char *value);

/* "https://host:443", lower case, port always there: equal text is the same origin. Owned; NULL
 * with ERROR_PROTOCOL for what http_perform would refuse. */
char *http_url_origin(const char *url, struct error *err);
/* For messages: scheme, host, port and path, without userinfo, query and fragment; safe text.
 * Owned, never NULL. */
char *http_url_show(const char *url);
