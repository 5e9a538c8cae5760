/*
 * What the registry client's files share among themselves.
 *
 *     registry.c           set-up, places, manifests
 *     registry-blob.c      ranges, and what becomes of a blob's bytes
 *     registry-exchange.c  one request to one place: its scheme, authorization and redirects
 *     registry-refusal.c   what a refusal is said to be
 *     host.c, token.c, credentials.c, http.c   what is shared; place.c, challenge.c, headers.c,
 *                          failure.c, authfile.c   pure
 *
 * Shared between threads, each behind a mutex of its own: struct hosts, struct token_cache, struct
 * credentials, struct http. Who may hold two of them: nobody. The counters are atomic, the rest of
 * struct registries never changes.
 */
#pragma once

#include "credentials.h"
#include "host.h"
#include "http.h"
#include "place.h"
#include "registry.h"
#include "token.h"

#include <stdatomic.h>

#define REDIRECTS_MAX 10

struct registries {
    struct registry_options options;
    struct http *http;
    struct credentials *credentials;
    struct place_map map;
    struct hosts *hosts;
    struct token_cache *tokens;
    atomic_uint heads, manifests, blobs, token_requests;
};

struct registry_client {
    struct registries *registries;
    struct http_client *http;
};

/*
 * One request to one place. Zero it, fill the first part, exchange_run(), look at the second part,
 * exchange_release().
 */
struct exchange {
    struct registry_client *client;
    const struct place *place; /* NULL: `url` as it is, without authorization (foreign layers) */
    const char *path;          /* behind /v2/<repository> */
    const char *url;
    enum http_method method;
    const char *const *headers;
    int64_t range_start, range_end, max_body;
    http_on_headers judge; /* of the final response, when it is a success; may be NULL */
    http_sink sink;
    void *userdata;
    atomic_uint *counter;     /* of requests to the registry itself */
    enum address_class limit; /* without a place */

    struct http_response response;
    char *asked;    /* the last URL: a secret, when presigned */
    bool elsewhere; /* it was not the registry's own */

    struct host *host;
    bool https;      /* how the registry is asked */
    bool probing;    /* we are the one to find out the scheme, and have not yet */
    bool first_look; /* ... and do not wait long for TLS */
    bool doubted;    /* ... and a refusal of plain HTTP may mean that there is TLS */
    char *origin;    /* the registry's; NULL until the scheme is known */
    struct dance {   /* of authorization */
        bool looked, anonymous, dropped; /* dropped: the credential was refused, and is not used */
        struct credential credential;
        struct error trouble;   /* why there is none, if somebody was asked for it */
        char *scope;            /* what we ask for: the challenge's when ours was not enough */
        char *challenged_scope; /* what the last challenge named */
        char *token;            /* the one that was used last, of the cache's */
        bool token_is_new;
        char *refused; /* the one that was refused last */
        unsigned refreshes;
        bool had_authorization, challenged, widened, reread;
    } dance;
};

/* 0: a response came, whatever its status; -1. *how is filled either way. */
int exchange_run(struct exchange *x, struct registry_try *how, struct error *err);
/* A response that is no success, in words: of the kind that its status means. Always -1. */
int exchange_refused(struct exchange *x, struct error *err);
/* Whose fault a refusal may be: added to it, and to its kind. */
void exchange_append_source(struct exchange *x, struct error *err);
void exchange_release(struct exchange *x);
#define cleanup_exchange __attribute__((cleanup(exchange_release)))

int64_t registries_clock(void); /* CLOCK_MONOTONIC, ns */
void registries_debug(struct registries *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Once for each host and text. */
void registries_warn_once(struct registries *r, struct host *host, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Ask one place after another: `ask` until one succeeds. Places that are not usable (host.h) are
 * left out while others remain. `ask` returns 0, or -1; what the caller's sink says,
 * and a stop, end it at once.
 */
struct asking {
    struct registry_client *client;
    const struct reference *ref;
    unsigned first; /* leave out the places before this one */
    bool by_tag;    /* the builder asks the same question, and must get the same answer */
    struct registry_try *how;
    void *userdata;
    unsigned place; /* the one that is asked */
    bool stop;      /* set by `ask`: a failure that no other place can mend */
};
int registry_ask(struct asking *a,
                 int (*ask)(struct asking *a, const struct place *place, struct error *err),
                 struct error *err);
