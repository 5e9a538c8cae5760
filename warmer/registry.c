#include "registry.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "encoding.h"
#include "registry-internal.h"

#include <string.h>
#include <time.h>

static const char *const accept_manifests[] = {
    "Accept: " MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_LIST
    ", " MEDIA_DOCKER_MANIFEST,
    NULL,
};

/* ---- what is shared ---- */

int64_t registries_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

void registries_debug(struct registries *r, const char *format, ...)
{
    if (!r->options.debug)
        return;
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    r->options.debug(r->options.userdata, message);
}

void registries_warn_once(struct registries *r, struct host *host, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    if (r->options.warn && host_says_first(r->hosts, host, message))
        r->options.warn(r->options.userdata, message);
}

static int read_places(struct place_map *map, const struct registry_options *options,
                       struct error *err)
{
    map->skip_default_fallback = options->skip_default_fallback;
    for (char **item = options->registry_maps; item && *item; item++)
        if (place_map_add(map, *item, err) < 0)
            return error_prefix(err, "--registry-map");
    for (char **item = options->mirrors; item && *item; item++)
        if (place_map_add_mirror(map, *item, err) < 0)
            return error_prefix(err, "--registry-mirror");
    return 0;
}

int registries_new(const struct registry_options *options, struct registries **ret,
                   struct error *err)
{
    struct registries *r = xcalloc(1, sizeof *r);
    r->options = *options;
    const struct http_options http = {.stall_timeout_ns = options->stall_timeout_ns,
                                      .http2 = options->http2};
    const struct credentials_options credentials = {.authfiles = options->authfiles,
                                                    .helpers = options->credential_helpers,
                                                    .warn = options->warn,
                                                    .debug = options->debug,
                                                    .userdata = options->userdata};
    if (read_places(&r->map, options, err) < 0 || http_new(&http, &r->http, err) < 0 ||
        hosts_new(options, r->http, &r->hosts, err) < 0 ||
        credentials_new(&credentials, &r->credentials, err) < 0) {
        registries_free(r);
        return -1;
    }
    r->tokens = token_cache_new(r->http);
    *ret = r;
    return 0;
}

void registries_stop(struct registries *r)
{
    http_stop(r->http);
    credentials_stop(r->credentials);
    hosts_stop(r->hosts);
    token_cache_stop(r->tokens);
}

void registries_free(struct registries *r)
{
    if (!r)
        return;
    token_cache_free(r->tokens);
    credentials_free(r->credentials);
    hosts_free(r->hosts);
    http_free(r->http);
    place_map_release(&r->map);
    free(r);
}

struct registry_client *registry_client_new(struct registries *r)
{
    struct registry_client *c = xcalloc(1, sizeof *c);
    c->registries = r;
    c->http = http_client_new(r->http);
    return c;
}

void registry_client_free(struct registry_client *c)
{
    if (!c)
        return;
    http_client_free(c->http);
    free(c);
}

void registries_counters(struct registries *r, struct registry_counters *ret)
{
    *ret = (struct registry_counters){
        .heads = atomic_load(&r->heads),
        .manifests = atomic_load(&r->manifests),
        .blobs = atomic_load(&r->blobs),
        .tokens = atomic_load(&r->token_requests),
    };
}

/* ---- places ---- */

int64_t registries_ready_at(struct registries *r, const struct reference *ref)
{
    struct place *places;
    size_t count;
    int64_t earliest = INT64_MAX;
    places_for(&r->map, ref, &places, &count);
    for (size_t i = 0; i < count; i++) {
        int64_t at = host_ready_at(r->hosts, hosts_get(r->hosts, &places[i]));
        earliest = at < earliest ? at : earliest;
    }
    places_free(places, count);
    return earliest > registries_clock() ? earliest : 0;
}

unsigned registries_places(struct registries *r, const struct reference *ref)
{
    struct place *places;
    size_t count;
    places_for(&r->map, ref, &places, &count);
    places_free(places, count);
    return (unsigned)count;
}

bool registries_has_ranges(struct registries *r, const struct reference *ref)
{
    struct place *places;
    size_t count;
    bool all = true;
    places_for(&r->map, ref, &places, &count);
    for (size_t i = 0; i < count; i++)
        all = all && host_has_ranges(r->hosts, hosts_get(r->hosts, &places[i]));
    places_free(places, count);
    return all;
}

/* What one place said, beside what others said before. */
struct verdict {
    struct error err;
    struct registry_try how;
};

static void add_verdict(struct verdict *all, struct verdict *one)
{
    if (all->err.kind == ERROR_NONE) {
        *all = *one;
        one->err = (struct error){0};
        return;
    }
    enum error_kind kind = error_worse(all->err.kind, one->err.kind);
    bool sooner = one->how.retry_after_ns < all->how.retry_after_ns;
    if (kind == one->err.kind && (all->err.kind != kind || sooner))
        all->how = one->how;
    cleanup_free char *before = take_ptr(all->err.message);
    error_set(&all->err, kind, "%s; %s", before, one->err.message);
    error_clear(&one->err);
}

static void tell_failover(struct registries *r, const struct place *place,
                          const struct error *failed)
{
    struct host *host = hosts_get(r->hosts, place);
    bool ours = failed->kind == ERROR_CONFIG || failed->kind == ERROR_REFUSED;
    if (ours && host_says_first(r->hosts, host, "cannot be used") && r->options.warn) {
        cleanup_free char *text =
            xasprintf("%s cannot be used: %s", place->registry, failed->message);
        r->options.warn(r->options.userdata, text);
    } else {
        registries_debug(r, "%s: going on to the next place: %s", place->registry, failed->message);
    }
}

int registry_ask(struct asking *a,
                 int (*ask)(struct asking *a, const struct place *place, struct error *err),
                 struct error *err)
{
    struct registries *r = a->client->registries;
    struct place *places;
    size_t count, usable = 0;
    struct verdict all = {.how.retry_after_ns = -1};
    places_for(&r->map, a->ref, &places, &count);
    int64_t now = registries_clock();
    bool *is_usable = xcalloc(count, sizeof *is_usable);
    for (size_t i = a->first; i < count; i++) {
        is_usable[i] = host_usable(r->hosts, hosts_get(r->hosts, &places[i]), a->by_tag, now);
        usable += is_usable[i];
    }
    int result = -1;
    for (size_t i = a->first; i < count && result < 0 && !a->stop; i++) {
        struct verdict one = {.how.retry_after_ns = -1};
        if (usable > 0 && !is_usable[i])
            continue;
        *a->how = one.how;
        a->place = (unsigned)i;
        result = ask(a, &places[i], &one.err);
        if (result == 0)
            break;
        if (one.err.kind == ERROR_INTERRUPTED)
            a->stop = true;
        one.how = *a->how;
        if (i + 1 < count && !a->stop)
            tell_failover(r, &places[i], &one.err);
        if (a->stop) { /* the others' troubles matter no more */
            error_clear(&all.err);
            all = one;
        } else {
            add_verdict(&all, &one);
        }
    }
    free(is_usable);
    places_free(places, count);
    if (result == 0) {
        error_clear(&all.err);
        return 0;
    }
    *a->how = all.how;
    error_move(err, &all.err);
    return -1;
}

/* ---- manifests ---- */

static int judge_manifest(void *userdata, const struct http_response *r, enum http_body *ret_body,
                          struct error *err)
{
    (void)userdata, (void)ret_body;
    if (r->status != 200)
        return error_set(err, ERROR_PROTOCOL, "a manifest with status %d", r->status);
    if (encoding_parse(r->content_encoding) == ENCODING_OTHER) {
        cleanup_free char *shown = text_foreign_str(r->content_encoding);
        return error_set(err, ERROR_PROTOCOL,
                         "the server encodes it as %s, though only identity was accepted", shown);
    }
    return 0;
}

static struct exchange manifest_exchange(struct registry_client *c, const struct place *place,
                                         enum http_method method, const char *path)
{
    struct registries *r = c->registries;
    return (struct exchange){
        .client = c,
        .place = place,
        .method = method,
        .path = path,
        .headers = accept_manifests,
        .max_body = MANIFEST_SIZE_MAX,
        .judge = method == HTTP_GET ? judge_manifest : NULL,
        .counter = method == HTTP_GET ? &r->manifests : &r->heads,
    };
}

static char *manifest_path(const struct reference *ref, const struct digest *digest)
{
    if (digest)
        return xasprintf("/manifests/%s", digest->text);
    if (reference_is_pinned(ref))
        return xasprintf("/manifests/%s", ref->digest.text);
    /* What is not pinned has a tag. clang takes &ref->digest for NULL, and then ref as well. */
    return xasprintf("/manifests/%s", ref->tag ? ref->tag : ""); /* NOLINT */
}

/* HEAD was refused, and says no more: a GET says why, or works. */
static int show_reason(struct asking *a, const struct place *place, const char *path,
                       struct error *err)
{
    cleanup_exchange struct exchange x = manifest_exchange(a->client, place, HTTP_GET, path);
    if (exchange_run(&x, a->how, err) < 0)
        return error_prefix(err, "manifest");
    if (x.response.status / 100 == 2)
        return 0;
    exchange_refused(&x, err);
    return error_prefix(err, "manifest");
}

static int ask_head(struct asking *a, const struct place *place, struct error *err)
{
    struct digest *ret = a->userdata;
    cleanup_free char *path = manifest_path(a->ref, NULL);
    cleanup_exchange struct exchange x = manifest_exchange(a->client, place, HTTP_HEAD, path);
    *ret = (struct digest){0};
    if (exchange_run(&x, a->how, err) < 0)
        return error_prefix(err, "manifest");
    int status = x.response.status;
    if ((status == 403 || status == 400) && !x.elsewhere)
        return show_reason(a, place, path, err);
    if (status == 405 || status == 501)
        return 0;
    if (status != 200) {
        exchange_refused(&x, err);
        return error_prefix(err, "manifest");
    }
    const char *named = x.response.docker_content_digest;
    if (named && digest_parse(named, ret, NULL) < 0)
        *ret = (struct digest){0};
    return 0;
}

int registry_head(struct registry_client *c, const struct reference *ref, struct digest *ret,
                  struct registry_try *ret_try, struct error *err)
{
    struct digest found = {0};
    struct asking a = {.client = c,
                       .ref = ref,
                       .by_tag = !reference_is_pinned(ref),
                       .how = ret_try,
                       .userdata = &found};
    if (registry_ask(&a, ask_head, err) < 0)
        return -1;
    *ret = found;
    return 0;
}

struct manifest_wanted {
    const struct digest *digest; /* NULL: what the tag means */
    int64_t size;                /* -1: unknown */
    struct registry_manifest *ret;
};

/* The body, out of its encoding if it has one (no JSON begins like gzip). Owned. */
static int take_body(struct http_response *r, char **ret, size_t *ret_len, struct error *err)
{
    static const char magic[] = {'\x1f', '\x8b'};
    size_t len = (size_t)r->received;
    bool packed = len >= sizeof magic && memcmp(r->body, magic, sizeof magic) == 0;
    if (packed && encoding_parse(r->content_encoding) == ENCODING_GZIP)
        return encoding_unpack(r->body, len, MANIFEST_SIZE_MAX, ret, ret_len, err);
    *ret = r->body ? take_ptr(r->body) : xstrdup("");
    *ret_len = len;
    return 0;
}

/* The bytes are there: are they what was asked for? */
static int check_manifest(const struct manifest_wanted *wanted, struct exchange *x,
                          struct error *err)
{
    struct http_response *r = &x->response;
    cleanup_free char *shown = http_url_show(x->asked);
    cleanup_free char *bytes = NULL;
    struct registry_manifest got = {0};
    if (take_body(r, &bytes, &got.len, err) < 0)
        return error_prefix(err, "manifest: %s", shown);
    if (wanted->digest) {
        if (digest_check(wanted->digest, bytes, got.len, err) < 0)
            return error_prefix(err, "manifest: %s", shown);
        got.digest = *wanted->digest;
    } else if (bytes[strspn(bytes, " \t\r\n")] != '{') {
        /* A portal's page, say: the next place may know better. */
        return error_set(err, ERROR_PROTOCOL, "manifest: %s: the answer is no JSON object", shown);
    } else {
        digest_of(bytes, got.len, &got.digest);
    }
    if (wanted->size >= 0 && (int64_t)got.len != wanted->size)
        return error_set(err, ERROR_DIGEST, "manifest: %s: %zu bytes, where %lld were announced",
                         shown, got.len, (long long)wanted->size);
    got.bytes = take_ptr(bytes);
    got.content_type = take_ptr(r->content_type);
    *wanted->ret = got;
    return 0;
}

static int ask_manifest(struct asking *a, const struct place *place, struct error *err)
{
    const struct manifest_wanted *wanted = a->userdata;
    cleanup_free char *path = manifest_path(a->ref, wanted->digest);
    cleanup_exchange struct exchange x = manifest_exchange(a->client, place, HTTP_GET, path);
    if (wanted->size >= 0 && wanted->size < MANIFEST_SIZE_MAX)
        x.max_body = wanted->size + (wanted->size == 0); /* 0 would be the transport's default */
    if (exchange_run(&x, a->how, err) < 0) {
        if (x.response.too_long && wanted->size >= 0 && err) {
            err->kind = ERROR_DIGEST;
            return error_prefix(err,
                                "manifest: longer than the %lld bytes that its descriptor "
                                "says",
                                (long long)wanted->size);
        }
        return error_prefix(err, "manifest");
    }
    if (x.response.status != 200) {
        exchange_refused(&x, err);
        return error_prefix(err, "manifest");
    }
    return check_manifest(wanted, &x, err);
}

int registry_manifest(struct registry_client *c, const struct reference *ref,
                      const struct digest *digest, int64_t size, struct registry_manifest *ret,
                      struct registry_try *ret_try, struct error *err)
{
    struct manifest_wanted wanted = {.digest = digest, .size = size, .ret = ret};
    if (!digest && reference_is_pinned(ref))
        wanted.digest = &ref->digest;
    struct asking a = {
        .client = c, .ref = ref, .by_tag = !wanted.digest, .how = ret_try, .userdata = &wanted};
    struct error failed = {0};
    int result = registry_ask(&a, ask_manifest, &failed);
    if (result < 0 && failed.kind == ERROR_DIGEST && wanted.digest && !a.stop) {
        registries_debug(c->registries, "once more: %s", failed.message);
        error_clear(&failed);
        result = registry_ask(&a, ask_manifest, &failed);
    }
    if (result < 0)
        error_move(err, &failed);
    return result;
}

void registry_manifest_release(struct registry_manifest *m)
{
    free(m->bytes);
    free(m->content_type);
    *m = (struct registry_manifest){0};
}
