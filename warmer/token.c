/*
 * Shared between threads: the cache's entries, behind its mutex. No other lock is taken while it is
 * held, and it is not held while a token is fetched.
 */
#include "token.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "failure.h"
#include "headers.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define REDIRECTS_MAX 10

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* ---- the answer ---- */

/* RFC 6750's b64token, and a little more: nothing that could end the header. */
static bool is_token(const char *text)
{
    if (!*text)
        return false;
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p >= 0x7f)
            return false;
    return true;
}

static int64_t lifetime(const json_t *root)
{
    const json_t *value = json_object_get(root, "expires_in");
    double seconds = json_is_number(value) ? json_number_value(value) : 0;
    if (!(seconds >= TOKEN_LIFETIME_MIN_S))
        return TOKEN_LIFETIME_MIN_S;
    return seconds >= TOKEN_LIFETIME_MAX_S ? TOKEN_LIFETIME_MAX_S : (int64_t)seconds;
}

int token_response_parse(const char *bytes, size_t len, struct token_response *ret,
                         struct error *err)
{
    json_t *root = json_loadb(bytes, len, 0, NULL);
    const char *token = json_string_value(json_object_get(root, "token"));
    if (!token || !*token)
        token = json_string_value(json_object_get(root, "access_token"));
    int result = -1;
    if (!json_is_object(root)) {
        error_set(err, ERROR_PROTOCOL, "the token server's answer is no JSON object");
    } else if (!token || !*token) {
        error_set(err, ERROR_PROTOCOL, "the token server's answer holds no token");
    } else if (!is_token(token)) {
        error_set(err, ERROR_PROTOCOL, "the token server's token cannot stand in a header");
    } else {
        *ret = (struct token_response){.token = xstrdup(token), .lifetime_s = lifetime(root)};
        result = 0;
    }
    json_decref(root);
    return result;
}

char *token_basic(const char *username, const char *password)
{
    cleanup_secret char *both = xasprintf("%s:%s", username, password);
    size_t len = strlen(both), room = (len + 2) / 3 * 4 + 1;
    cleanup_secret char *encoded = xcalloc(1, room);
    (void)EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)both, (int)len);
    return xasprintf("Basic %s", encoded);
}

/* ---- asking for one ---- */

struct asking {
    const struct token_request *q;
    struct http_client *client;
    struct registry_try *how;
};

/* A GET may be sent on, but a credential goes no further than the realm's own origin. */
static int perform(struct asking *a, struct http_request *request, struct http_response *r,
                   char **ret_url, struct error *err)
{
    cleanup_free char *origin = http_url_origin(request->url, err);
    cleanup_secret char *url = xstrdup(request->url);
    const char *authorization = request->authorization;
    for (unsigned hops = 0; origin; hops++) {
        http_response_release(r);
        request->url = url;
        atomic_fetch_add(a->q->sent, 1);
        if (http_perform(a->client, request, r, err) < 0)
            return -1;
        bool moved =
            request->method == HTTP_GET && r->status / 100 == 3 && r->status != 304 && r->location;
        if (!moved) {
            *ret_url = take_ptr(url);
            return 0;
        }
        if (hops == REDIRECTS_MAX)
            return error_set(err, ERROR_PROTOCOL, "more than %d redirects", REDIRECTS_MAX);
        char *next = http_url_join(url, r->location, err);
        if (!next)
            return -1;
        secret_free(url);
        url = next;
        cleanup_free char *there = http_url_origin(url, err);
        if (!there)
            return -1;
        bool same = strcmp(there, origin) == 0;
        request->authorization = same ? authorization : NULL;
        request->client_certificate = same && a->q->client_certificate;
        if (!same && request->limit == ADDRESS_NEVER)
            request->limit = ADDRESS_LOOPBACK;
    }
    return -1;
}

/* One way. 0 with a token; 1: the endpoint said no, with *err filled; -1. */
static int fetch(struct asking *a, struct http_request *request, struct token_response *ret,
                 struct error *err)
{
    cleanup_http_response struct http_response r = {0};
    cleanup_secret char *url = NULL;
    request->trust = a->q->trust;
    request->limit = a->q->limit;
    request->client_certificate = a->q->client_certificate;
    request->max_body = TOKEN_RESPONSE_MAX;
    int result = perform(a, request, &r, &url, err);
    a->how->status = r.status;
    a->how->retry_after_ns = -1;
    if (result < 0)
        return error_prefix(err, "token");
    if (r.status / 100 == 2) {
        if (token_response_parse(r.body ? r.body : "", (size_t)r.received, ret, err) == 0)
            return 0;
        cleanup_free char *shown = http_url_show(url);
        return error_prefix(err, "token: %s", shown);
    }
    a->how->retry_after_ns = retry_after_parse(r.retry_after, r.date, time(NULL));
    failure_set(request->method, url, &r, err);
    (void)error_prefix(err, "token");
    return 1;
}

static int fetch_by_get(struct asking *a, struct token_response *ret, struct error *err)
{
    const struct token_request *q = a->q;
    const struct credential *c = q->credential;
    char *query = xstrdup("");
    query = http_form_add(query, "service", q->service);
    query = http_form_add(query, "scope", q->scope);
    cleanup_free char *all = query;
    cleanup_free char *url = *all ? http_url_add_query(q->realm, all, err) : xstrdup(q->realm);
    if (!url)
        return error_prefix(err, "token");
    cleanup_secret char *basic = NULL;
    if (c && c->identity_token)
        basic = token_basic(c->username ? c->username : "<token>", c->identity_token);
    else if (c)
        basic = token_basic(c->username, c->password);
    struct http_request request = {.method = HTTP_GET, .url = url, .authorization = basic};
    return fetch(a, &request, ret, err);
}

static int fetch_by_post(struct asking *a, struct token_response *ret, struct error *err)
{
    const struct token_request *q = a->q;
    const struct credential *c = q->credential;
    char *form = xstrdup("");
    if (c->identity_token) {
        form = http_form_add(form, "grant_type", "refresh_token");
        form = http_form_add(form, "refresh_token", c->identity_token);
    } else {
        form = http_form_add(form, "grant_type", "password");
        form = http_form_add(form, "username", c->username);
        form = http_form_add(form, "password", c->password);
    }
    form = http_form_add(form, "service", q->service);
    form = http_form_add(form, "scope", q->scope);
    form = http_form_add(form, "client_id", "basewarm");
    cleanup_secret char *all = form;
    struct http_request request = {
        .method = HTTP_POST, .url = q->realm, .form = all, .form_len = strlen(all)};
    return fetch(a, &request, ret, err);
}

static int fetch_token(struct asking *a, struct token_response *ret, struct error *err)
{
    const bool refresh = a->q->credential && a->q->credential->identity_token;
    struct error first = {0}, second = {0};
    int result = refresh ? fetch_by_post(a, ret, &first) : fetch_by_get(a, ret, &first);
    int status = a->how->status;
    bool other = result > 0 && a->q->credential &&
                 (status == 400 || status == 401 || status == 404 || status == 405);
    if (!other) {
        error_move(err, &first);
        return result == 0 ? 0 : -1;
    }
    result = refresh ? fetch_by_get(a, ret, &second) : fetch_by_post(a, ret, &second);
    if (result == 0) {
        error_clear(&first);
        return 0;
    }
    /* A server that knows one way only says in that way what is wrong. */
    bool first_knows = first.kind == ERROR_REFUSED && second.kind != ERROR_TRANSIENT &&
                       second.kind != ERROR_INTERRUPTED;
    if (first_knows)
        a->how->status = status;
    error_move(err, first_knows ? &first : &second);
    error_clear(&first);
    error_clear(&second);
    return -1;
}

/* ---- the cache ---- */

struct entry {
    char *key;
    char *token; /* NULL: none yet */
    int64_t renew_at;
    bool fetching;
    uint64_t fetches;    /* how many ended */
    struct error failed; /* how the last one did; empty when it succeeded */
    struct registry_try how;
};

struct token_cache {
    struct http *http;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a fetch ended, or all is stopped */
    struct entry **entries;
    size_t count;
};

struct token_cache *token_cache_new(struct http *http)
{
    struct token_cache *cache = xcalloc(1, sizeof *cache);
    cache->http = http;
    pthread_mutex_init(&cache->mutex, NULL);
    pthread_cond_init(&cache->changed, NULL);
    return cache;
}

void token_cache_stop(struct token_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->mutex);
}

void token_cache_free(struct token_cache *cache)
{
    if (!cache)
        return;
    for (size_t i = 0; i < cache->count; i++) {
        struct entry *e = cache->entries[i];
        secret_free(e->key);
        secret_free(e->token);
        error_clear(&e->failed);
        free(e);
    }
    free(cache->entries);
    pthread_cond_destroy(&cache->changed);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* A line break stands in none of these. */
static char *make_key(const struct token_request *q)
{
    static const struct credential anonymous;
    const struct credential *c = q->credential ? q->credential : &anonymous;
    return xasprintf("%s\n%s\n%s\n%s\n%s\n%s", q->realm, or_empty(q->service), or_empty(q->scope),
                     or_empty(c->username), or_empty(c->password), or_empty(c->identity_token));
}

/* With the mutex held. Entries never move and are never freed before the end. */
static struct entry *find(struct token_cache *cache, const struct token_request *q)
{
    cleanup_secret char *key = make_key(q);
    for (size_t i = 0; i < cache->count; i++)
        if (strcmp(cache->entries[i]->key, key) == 0)
            return cache->entries[i];
    struct entry *e = xcalloc(1, sizeof *e);
    e->key = take_ptr(key);
    *array_add(cache->entries, cache->count) = e;
    return e;
}

/* 1: *ret is to be used. 0: fetch one; the entry is marked. -1: as whoever we waited for failed. */
static int take_or_mark(struct token_cache *cache, const struct token_request *q,
                        const char *refused, char **ret, struct entry **ret_entry,
                        struct registry_try *how, struct error *err)
{
    struct entry *e = find(cache, q);
    *ret_entry = e;
    for (bool waited = false;; waited = true) {
        if (http_stopped(cache->http))
            return error_set(err, ERROR_INTERRUPTED, "stopped");
        if (!e->fetching) {
            if (waited && e->failed.kind != ERROR_NONE) {
                *how = e->how;
                return error_set(err, e->failed.kind, "%s", e->failed.message);
            }
            if (e->token && (waited || now_ns() < e->renew_at) &&
                (!refused || strcmp(e->token, refused) != 0)) {
                *ret = xstrdup(e->token);
                return 1;
            }
            e->fetching = true;
            return 0;
        }
        uint64_t fetches = e->fetches;
        while (e->fetching && e->fetches == fetches && !http_stopped(cache->http))
            pthread_cond_wait(&cache->changed, &cache->mutex);
    }
}

int token_get(struct token_cache *cache, struct http_client *client, const struct token_request *q,
              const char *refused, char **ret, bool *ret_fetched, struct registry_try *ret_try,
              struct error *err)
{
    struct entry *e;
    pthread_mutex_lock(&cache->mutex);
    int found = take_or_mark(cache, q, refused, ret, &e, ret_try, err);
    pthread_mutex_unlock(&cache->mutex);
    if (ret_fetched)
        *ret_fetched = false;
    if (found != 0)
        return found < 0 ? -1 : 0;

    struct asking asking = {.q = q, .client = client, .how = ret_try};
    struct token_response got = {0};
    struct error failed = {0};
    int64_t asked_at = now_ns();
    int result = fetch_token(&asking, &got, &failed);

    pthread_mutex_lock(&cache->mutex);
    e->fetching = false;
    e->fetches++;
    error_clear(&e->failed);
    e->how = *ret_try;
    secret_free(e->token);
    e->token = NULL;
    if (result == 0) {
        e->token = got.token;
        e->renew_at = asked_at + got.lifetime_s * NS_PER_S / 10 * 8;
        *ret = xstrdup(got.token);
        if (ret_fetched)
            *ret_fetched = true;
    } else {
        error_set(&e->failed, failed.kind, "%s", failed.message);
    }
    pthread_cond_broadcast(&cache->changed);
    pthread_mutex_unlock(&cache->mutex);
    if (result < 0)
        error_move(err, &failed);
    return result;
}
