/*
 * Bearer tokens (distribution's token.md and oauth.md): fetched from the endpoint that a challenge
 * names, one a repository, and shared by all workers until shortly before they expire.
 *
 * One fetch at a time for each (realm, service, scope, credential): whoever comes meanwhile waits
 * for its outcome. When a token is refused, only the first who says so fetches a new one.
 */
#pragma once

#include "authfile.h"
#include "cachedir/error.h"
#include "http.h"
#include "registry.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_RESPONSE_MAX (64 << 10) /* bytes */
#define TOKEN_LIFETIME_MIN_S 60       /* what is absent or less means this (token.md) */
#define TOKEN_LIFETIME_MAX_S (24 * 3600)

/* A token endpoint's answer. Pure. */
struct token_response {
    char *token;        /* a secret: secret_free() */
    int64_t lifetime_s; /* within the bounds above */
};
/* `token`, or `access_token`, whichever is not empty. ERROR_PROTOCOL: no JSON, no token, or one
 * that cannot stand in a header. Messages quote nothing. */
int token_response_parse(const char *bytes, size_t len, struct token_response *ret,
                         struct error *err);

struct token_cache;
struct token_cache *token_cache_new(struct http *http);
void token_cache_stop(struct token_cache *cache); /* after http_stop(): wake who waits */
void token_cache_free(struct token_cache *cache); /* takes NULL; wipes */

struct token_request {                   /* everything is borrowed */
    const char *realm;                   /* an absolute URL */
    const char *service, *scope;         /* NULL: none */
    const struct credential *credential; /* NULL: anonymous. It goes to the realm, and only there */
    /* How the realm may be connected to: http.h. */
    const struct trust *trust;
    enum address_class limit;
    bool client_certificate;
    atomic_uint *sent; /* counts requests */
};

/*
 * The token for this: from the cache, if it is fresh and not the one in `refused` (may be NULL), or
 * fetched by GET, or by POST where there is a refresh token; and, when that is answered with 400,
 * 401, 404 or 405, in the other way. *ret is owned (secret_free()); *ret_fetched (may be NULL): it
 * is brand-new. On failure *ret_try says what the endpoint said; 401 and 403 are ERROR_REFUSED.
 */
int token_get(struct token_cache *cache, struct http_client *client, const struct token_request *q,
              const char *refused, char **ret, bool *ret_fetched, struct registry_try *ret_try,
              struct error *err);

/* "Basic <base64 of user:password>": a secret, owned. */
char *token_basic(const char *username, const char *password);
