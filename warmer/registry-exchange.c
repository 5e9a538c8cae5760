/*
 * One request to one place.
 *
 *     exchange_run: authorization as far as we know -> ask the registry -> 400 401 403?
 *         ^                                                                  |
 *         '-- another step of the dance is left: a challenge heard for the   |
 *             first time, a token renewed, a wider scope, credentials read   |
 *             again, nobody's credentials <----------------------------------'
 *
 *     ask the registry: https, or what we learn to be spoken there -> follow redirects by hand
 */
#include "registry-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "failure.h"
#include "headers.h"

#include <string.h>

#define FIRST_LOOK_NS NS_PER_S /* for TLS where there may be none */
#define REFRESHES_MAX 2        /* the second when another worker's new token has died meanwhile */

static int64_t date_now(void)
{
    return time(NULL);
}

/* ---- hops ---- */

/* The headers of any hop's response have come. */
static int on_headers(void *userdata, const struct http_response *r, enum http_body *ret_body,
                      struct error *err)
{
    struct exchange *x = userdata;
    struct hosts *hosts = x->client->registries->hosts;
    if (x->place && !x->elsewhere) {
        if (x->probing && !(x->doubted && r->status == 400)) {
            host_scheme_found(hosts, x->host, x->https ? HOST_HTTPS : HOST_HTTP);
            x->probing = false;
        }
        host_answered(hosts, x->host, r->address_class);
    }
    if (r->status / 100 != 2 || !x->judge || x->judge(x->userdata, r, ret_body, err) == 0)
        return 0;
    cleanup_free char *shown = http_url_show(x->asked);
    return error_prefix(err, "%s", shown);
}

static int on_body(void *userdata, const void *data, size_t len, struct error *err)
{
    struct exchange *x = userdata;
    return x->sink(x->userdata, data, len, err);
}

static enum address_class limit_of(const struct exchange *x, const char *url)
{
    if (!x->place)
        return x->limit;
    if (!x->elsewhere)
        return http_own_limit(url);
    return http_sent_limit(host_class(x->client->registries->hosts, x->host));
}

/* Send x->asked. */
static int send_one(struct exchange *x, const char *authorization, struct error *err)
{
    struct registries *r = x->client->registries;
    struct http_request q = {
        .method = x->method,
        .url = x->asked,
        .headers = x->headers,
        .authorization = authorization,
        .range_start = x->range_start,
        .range_end = x->range_end,
        .max_body = x->max_body,
        .on_headers = on_headers,
        .sink = x->sink ? on_body : NULL,
        .userdata = x,
        .trust = x->place ? x->host->trust : NULL,
        .client_certificate = x->place && !x->elsewhere,
        .connect_timeout_ns = x->first_look ? FIRST_LOOK_NS : 0,
        .limit = limit_of(x, x->asked),
    };
    http_response_release(&x->response);
    int result = http_perform(x->client->http, &q, &x->response, err);
    if (!x->elsewhere && x->counter && (x->response.status || !x->first_look))
        atomic_fetch_add(x->counter, 1);
    cleanup_free char *shown = http_url_show(x->asked);
    if (result == 0)
        registries_debug(r, "%s %s: %d", http_method_name(x->method), shown, x->response.status);
    for (size_t i = 0; x->place && !x->elsewhere && i < x->response.warning_count; i++) {
        cleanup_free char *warning = text_foreign_str(x->response.warnings[i]);
        registries_warn_once(r, x->host, "%s warns: %s", x->host->registry, warning);
    }
    return result;
}

static bool is_redirect(const struct http_response *r)
{
    return (r->status == 301 || r->status == 302 || r->status == 303 || r->status == 307 ||
            r->status == 308) &&
           r->location;
}

/* Where we were sent wants a token: the registry's credentials are none of its business. */
static char *strangers_token(struct exchange *x, struct registry_try *how, struct error *err)
{
    struct registries *r = x->client->registries;
    cleanup_challenges struct challenges list = {0};
    for (size_t i = 0; i < x->response.challenge_count; i++)
        (void)challenges_add(&list, x->response.challenges[i], NULL);
    const struct challenge *c = challenges_pick(&list);
    if (!c || c->scheme != CHALLENGE_BEARER)
        return NULL;
    cleanup_free char *realm = http_url_join(x->asked, c->realm, err);
    cleanup_secret char *token = NULL;
    if (!realm)
        return NULL;
    struct token_request q = {.realm = realm,
                              .service = c->service,
                              .scope = c->scope ? c->scope : x->dance.scope,
                              .trust = x->place ? x->host->trust : NULL,
                              .limit = limit_of(x, realm),
                              .sent = &r->token_requests};
    if (token_get(r->tokens, x->client->http, &q, NULL, &token, NULL, how, err) < 0)
        return NULL;
    return xasprintf("Bearer %s", token);
}

static int set_asked(struct exchange *x, char *url, struct error *err)
{
    secret_free(x->asked);
    x->asked = url;
    if (!x->origin)
        return 0;
    cleanup_free char *origin = http_url_origin(url, err);
    if (!origin)
        return -1;
    x->elsewhere = strcmp(origin, x->origin) != 0;
    return 0;
}

/* What a storage says of a link that has expired, or that another has used up. */
static bool is_stale(int status)
{
    return status / 100 == 4 && status != 408 && status != 416 && status != 429;
}

/* From the registry's own URL wherever it sends us. */
static int follow(struct exchange *x, const char *first, const char *authorization,
                  struct registry_try *how, struct error *err)
{
    cleanup_secret char *strangers = NULL;
    bool renewed = false;
    unsigned hops = 0;
    if (set_asked(x, xstrdup(first), err) < 0)
        return -1;
    for (;;) {
        const char *value = x->elsewhere ? strangers : authorization;
        if (send_one(x, value, err) < 0)
            return -1;
        const struct http_response *r = &x->response;
        if (is_redirect(r)) {
            if (++hops > REDIRECTS_MAX)
                return error_set(err, ERROR_PROTOCOL, "more than %d redirects", REDIRECTS_MAX);
            char *next = http_url_join(x->asked, r->location, err);
            if (!next) {
                cleanup_free char *shown = http_url_show(x->asked);
                return error_prefix(err, "redirected by %s", shown);
            }
            secret_free(strangers);
            strangers = NULL;
            if (set_asked(x, next, err) < 0)
                return -1;
        } else if (x->elsewhere && r->status == 401 && !strangers &&
                   (strangers = strangers_token(x, how, err))) {
            continue;
        } else if (x->elsewhere && is_stale(r->status) && !renewed) {
            error_clear(err);
            renewed = true;
            hops = 0;
            if (set_asked(x, xstrdup(first), err) < 0)
                return -1;
        } else {
            error_clear(err); /* a stranger's token server's */
            return 0;
        }
    }
}

/* ---- scheme ---- */

static char *registry_url(const struct exchange *x)
{
    return xasprintf("%s://%s/v2/%s%s", x->https ? "https" : "http", x->place->authority,
                     x->place->repository, x->path);
}

static int set_scheme(struct exchange *x, bool https, struct error *err)
{
    x->https = https;
    cleanup_free char *url = registry_url(x);
    free(x->origin);
    x->origin = http_url_origin(url, err);
    return x->origin ? 0 : -1;
}

static int ask_by(struct exchange *x, bool https, const char *authorization,
                  struct registry_try *how, struct error *err)
{
    if (set_scheme(x, https, err) < 0)
        return -1;
    cleanup_free char *url = registry_url(x);
    return follow(x, url, authorization, how, err);
}

/*
 * The first request to a registry that may speak plain HTTP: https, and, when that leads nowhere,
 * http. (A server that hangs instead of answering a TLS handshake costs a second.) When https was
 * only too slow, and http is answered with 400, which is what TLS servers say to it, https it is.
 * A certificate that is not trusted is TLS all the same; only who was told that the registry is
 * insecure goes on to http.
 */
static int probe(struct exchange *x, struct registry_try *how, struct error *err)
{
    struct registries *r = x->client->registries;
    struct error failed = {0}, plain = {0};
    x->first_look = true;
    int result = ask_by(x, true, NULL, how, &failed);
    x->first_look = false;
    const bool no_tls = failed.kind == ERROR_TRANSIENT || x->response.no_tls;
    const bool untrusted = failed.kind == ERROR_CONFIG && !no_tls && x->host->plain_wanted;
    if (x->probing && (no_tls || untrusted)) {
        x->doubted = x->response.timed_out || untrusted;
        registries_debug(r, "%s: trying plain HTTP: %s", x->host->registry, failed.message);
        result = ask_by(x, false, NULL, how, &plain);
        const bool is_tls =
            x->probing && x->doubted && (result == 0 || plain.kind == ERROR_TRANSIENT);
        if (is_tls && untrusted) {
            error_clear(&plain);
            result = -1; /* for the reason that is in `failed` */
        } else {
            error_clear(&failed);
            error_move(&failed, &plain);
        }
        if (is_tls && !untrusted) {
            error_clear(&failed);
            result = ask_by(x, true, NULL, how, &failed);
        }
    }
    if (x->probing)
        host_scheme_found(r->hosts, x->host,
                          failed.kind == ERROR_CONFIG ? HOST_HTTPS : HOST_UNKNOWN);
    x->probing = x->doubted = false;
    if (result < 0)
        error_move(err, &failed);
    return result;
}

static int ask_registry(struct exchange *x, const char *authorization, struct registry_try *how,
                        struct error *err)
{
    if (!x->place)
        return follow(x, x->url, NULL, how, err);
    return x->probing ? probe(x, how, err) : ask_by(x, x->https, authorization, how, err);
}

/* ---- the dance ---- */

static const char *host_part(const char *origin)
{
    const char *at = strstr(origin, "://");
    return at ? at + 3 : origin;
}

/* P9: over HTTPS to whatever endpoint the registry names; over plain HTTP only when the registry's
 * own connection is plain, too, and to the same host. */
static int may_send(const struct exchange *x, const char *realm, struct error *err)
{
    cleanup_free char *origin = http_url_origin(realm, err);
    if (!origin)
        return -1;
    if (strncmp(origin, "https:", 6) == 0)
        return 0;
    const char *there = host_part(origin), *here = host_part(x->origin);
    const char *there_port = strrchr(there, ':'), *here_port = strrchr(here, ':');
    if (!x->https && there_port - there == here_port - here &&
        strncmp(there, here, (size_t)(there_port - there)) == 0)
        return 0;
    cleanup_free char *shown = http_url_show(realm);
    return error_set(err, ERROR_REFUSED,
                     "token: %s is not encrypted and not the registry's own host: the credentials "
                     "for %s are not sent there",
                     shown, x->host->registry);
}

static int get_token(struct exchange *x, const struct challenge *c, struct registry_try *how,
                     struct error *err)
{
    struct registries *r = x->client->registries;
    struct dance *d = &x->dance;
    cleanup_free char *base = registry_url(x);
    cleanup_free char *realm = http_url_join(base, c->realm, err);
    cleanup_free char *there = realm ? http_url_origin(realm, err) : NULL;
    if (!there)
        return error_prefix(err, "token: the endpoint that %s names", x->host->registry);
    const bool secret = credential_is_set(&d->credential);
    if (secret && may_send(x, realm, err) < 0)
        return -1;
    const bool own = strcmp(there, x->origin) == 0;
    enum address_class class = host_class(r->hosts, x->host);
    struct token_request q = {
        .realm = realm,
        .service = c->service,
        .scope = d->scope,
        .credential = secret ? &d->credential : NULL,
        .trust = x->host->trust,
        .client_certificate = own,
        .limit = own ? http_own_limit(realm) : http_sent_limit(class),
        .sent = &r->token_requests,
    };
    secret_free(d->token);
    d->token = NULL;
    int result = token_get(r->tokens, x->client->http, &q, d->refused, &d->token, &d->token_is_new,
                           how, err);
    if (result < 0 && err->kind == ERROR_REFUSED && !secret)
        (void)error_prefix(err, "not found, or no access");
    return result;
}

static bool find_credential(struct exchange *x, const struct credential *refused,
                            struct credential *ret)
{
    const struct credential_query q = {.registry = x->place->registry,
                                       .repository = x->place->repository,
                                       .refused = refused,
                                       .client = x->client->http,
                                       .origin = x->origin,
                                       .trust = x->host->trust};
    error_clear(&x->dance.trouble);
    return credentials_find(x->client->registries->credentials, &q, ret, &x->dance.trouble);
}

static void look_up(struct exchange *x)
{
    struct dance *d = &x->dance;
    struct registries *r = x->client->registries;
    if (d->looked)
        return;
    d->looked = true;
    d->anonymous = host_is_anonymous(r->hosts, x->host, x->place->repository);
    if (!d->anonymous)
        (void)find_credential(x, NULL, &d->credential);
}

/* The Authorization that the last challenge wants, as far as we have it: NULL is none. */
static int authorize(struct exchange *x, char **ret, struct registry_try *how, struct error *err)
{
    cleanup_challenge struct challenge c = {0};
    struct dance *d = &x->dance;
    *ret = NULL;
    d->had_authorization = false;
    if (x->probing || !host_challenge(x->client->registries->hosts, x->host, &c))
        return 0;
    look_up(x);
    if (c.scheme == CHALLENGE_BEARER) {
        if (d->credential.registry_token) {
            *ret = xasprintf("Bearer %s", d->credential.registry_token);
        } else {
            if (get_token(x, &c, how, err) < 0)
                return -1;
            *ret = xasprintf("Bearer %s", d->token);
        }
    } else if (d->credential.username) {
        const char *password = d->credential.password;
        *ret = token_basic(d->credential.username, password ? password : "");
    }
    d->had_authorization = *ret != NULL;
    return 0;
}

static void learn_challenge(struct exchange *x)
{
    cleanup_challenges struct challenges list = {0};
    struct registries *r = x->client->registries;
    for (size_t i = 0; i < x->response.challenge_count; i++) {
        cleanup_error struct error err = {0};
        if (challenges_add(&list, x->response.challenges[i], &err) < 0)
            registries_debug(r, "%s: %s", x->host->registry, err.message);
    }
    const struct challenge *c = challenges_pick(&list);
    if (!c)
        return;
    host_challenged(r->hosts, x->host, c);
    free(x->dance.challenged_scope);
    x->dance.challenged_scope = c->scope ? xstrdup(c->scope) : NULL;
}

static bool reread(struct exchange *x)
{
    struct dance *d = &x->dance;
    struct credential now;
    if (d->reread || d->anonymous)
        return false;
    d->reread = true;
    (void)find_credential(x, &d->credential, &now);
    bool changed = !credential_equal(&now, &d->credential);
    if (changed) {
        credential_release(&d->credential);
        d->credential = now;
        d->refreshes = 0;
    } else {
        credential_release(&now);
    }
    return changed;
}

/* The registry, or its token server (status 0; `why` are its words), said no: is there anything
 * else to try? */
static bool next_step(struct exchange *x, int status, const char *why)
{
    struct dance *d = &x->dance;
    struct registries *r = x->client->registries;
    cleanup_challenge struct challenge c = {0};
    bool known = host_challenge(r->hosts, x->host, &c);
    if (status == 401 && known && !d->had_authorization && !d->challenged) {
        d->challenged = true;
        look_up(x);
        if (c.scheme == CHALLENGE_BEARER || d->credential.username)
            return true;
    }
    if (status && d->token && !d->token_is_new && d->refreshes < REFRESHES_MAX) {
        d->refreshes++;
        secret_free(d->refused);
        d->refused = xstrdup(d->token);
        return true;
    }
    if (status == 400)
        return false;
    if (status && d->token && d->challenged_scope && !d->widened &&
        strcmp(d->challenged_scope, d->scope) != 0) {
        d->widened = true;
        free(d->scope);
        d->scope = xstrdup(d->challenged_scope);
        return true;
    }
    look_up(x);
    if (reread(x))
        return true;
    bool was_sent = d->had_authorization || status == 0;
    if (!was_sent || !credential_is_set(&d->credential) || !r->options.anonymous_retry)
        return false;
    registries_warn_once(r, x->host, "%s: the credentials from %s were refused: trying without%s%s",
                         x->host->registry, d->credential.source, why ? ": " : "", why ? why : "");
    credential_release(&d->credential);
    d->anonymous = d->dropped = true;
    d->challenged = false;
    return true;
}

/* What the answer tells about the registry. */
static void note_answer(struct exchange *x, struct registry_try *how)
{
    struct hosts *hosts = x->client->registries->hosts;
    const struct http_response *r = &x->response;
    how->status = r->status;
    how->retry_after_ns = retry_after_parse(r->retry_after, r->date, date_now());
    if (!x->place)
        return;
    if (r->status == 429 || r->status == 503)
        host_slow(hosts, x->host, how->retry_after_ns, registries_clock());
    else if (r->status < 500)
        host_well(hosts, x->host);
    else if (!x->elsewhere)
        host_ailing(hosts, x->host, registries_clock());
    if (r->ratelimit_remaining) {
        cleanup_free char *left = text_foreign_str(r->ratelimit_remaining);
        registries_debug(x->client->registries, "%s: pulls left: %s", x->host->registry, left);
    }
}

static void note_failure(struct exchange *x, struct registry_try *how, const struct error *err)
{
    how->status = x->response.status;
    bool unusable = err->kind == ERROR_TRANSIENT || err->kind == ERROR_CONFIG;
    if (x->place && !x->elsewhere && x->response.status == 0 && unusable)
        host_dead(x->client->registries->hosts, x->host, registries_clock());
}

/* Once through authorization and request: 0 there is an answer, 1 once more, -1. */
static int attempt(struct exchange *x, struct registry_try *how, struct error *err)
{
    struct error failed = {0};
    cleanup_secret char *authorization = NULL;
    if (x->place && authorize(x, &authorization, how, &failed) < 0) {
        if (failed.kind == ERROR_REFUSED) {
            if (next_step(x, 0, failed.message)) {
                error_clear(&failed);
                return 1;
            }
            x->dance.had_authorization = true;
            exchange_append_source(x, &failed);
        }
        error_move(err, &failed);
        return -1;
    }
    if (ask_registry(x, authorization, how, &failed) < 0) {
        note_failure(x, how, &failed);
        error_move(err, &failed);
        return -1;
    }
    note_answer(x, how);
    int status = x->response.status;
    if (!x->place || x->elsewhere || (status != 401 && status != 403 && status != 400))
        return 0;
    learn_challenge(x);
    return next_step(x, status, NULL) ? 1 : 0;
}

static int prepare(struct exchange *x, struct error *err)
{
    struct registries *r = x->client->registries;
    enum host_scheme scheme;
    x->host = hosts_get(r->hosts, x->place);
    x->dance.scope = host_scope(r->hosts, x->host, x->place->repository);
    if (!x->dance.scope)
        x->dance.scope = xasprintf("repository:%s:pull", x->place->repository);
    if (host_scheme(r->hosts, x->host, &scheme, err) < 0)
        return -1;
    x->probing = scheme == HOST_UNKNOWN; /* probe() comes next, and says what it found */
    return x->probing ? 0 : set_scheme(x, scheme == HOST_HTTPS, err);
}

int exchange_run(struct exchange *x, struct registry_try *how, struct error *err)
{
    how->status = 0;
    how->retry_after_ns = -1;
    if (x->place && prepare(x, err) < 0)
        return -1;
    int result;
    while ((result = attempt(x, how, err)) > 0)
        continue;
    if (result < 0 || x->response.status == 401 || x->response.status == 403)
        return result;
    struct hosts *hosts = x->client->registries->hosts;
    if (x->dance.dropped)
        host_set_anonymous(hosts, x->host, x->place->repository);
    if (x->dance.widened)
        host_set_scope(hosts, x->host, x->place->repository, x->dance.scope);
    return 0;
}

void exchange_release(struct exchange *x)
{
    http_response_release(&x->response);
    secret_free(x->asked);
    free(x->origin);
    credential_release(&x->dance.credential);
    error_clear(&x->dance.trouble);
    free(x->dance.scope);
    free(x->dance.challenged_scope);
    secret_free(x->dance.token);
    secret_free(x->dance.refused);
}
