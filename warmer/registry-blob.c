/*
 * A blob's bytes [start, end), from whichever place has them.
 *
 *     206, the range that was asked for    as it is
 *     200 to a Range, a 206 that is none,  ranges are not to be had here: from the start, and what
 *     416                                  comes before `start` is dropped, a few times
 *     less than asked                      the next place goes on behind it, else the next try
 *     another length than the descriptor's the blob is not the one that is wanted
 *     Content-Encoding: gzip               its own bytes where the length is its own, else unpacked
 *
 * After wrong bytes the whole is to come from one place (struct registry_terms): then the place
 * that has sent something is not followed by another.
 */
#include "registry-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "encoding.h"
#include "headers.h"

#include <string.h>

struct fetching {
    const struct descriptor *blob;
    int64_t pos, end; /* what is still wanted */
    registry_sink sink;
    void *userdata;
    struct asking *asking;
    struct registry_terms *terms;
    bool as_it_comes; /* an encoding is said, and is not true */

    /* of one exchange */
    struct exchange *x;
    struct unpacker *unpacker; /* what comes is packed; NULL: it is not */
    bool misread;              /* it is not, though it was said */
    bool asked_range;
    bool bad_range;   /* the answer to it was none */
    int64_t at;       /* offset in the blob of the next byte to come */
    int64_t body_end; /* where the body will end, as its headers say; -1: unknown */
    bool enough;      /* the caller's sink said so */
};

/* A 206: does it hold what was asked for? */
static int judge_range(struct fetching *f, const struct http_response *r, struct error *err)
{
    struct content_range range = {0};
    cleanup_error struct error why = {0};
    f->bad_range = true; /* until it is known better */
    if (!r->content_range)
        return error_set(err, ERROR_PROTOCOL, "206 without a Content-Range");
    if (content_range_parse(r->content_range, &range, &why) < 0) {
        error_move(err, &why);
        return -1;
    }
    if (range.total != f->blob->size && encoding_parse(r->content_encoding) != ENCODING_NONE)
        return error_set(err, ERROR_PROTOCOL, "a range of an encoded blob");
    if (range.total >= 0 && range.total != f->blob->size) {
        f->bad_range = false;
        return error_set(err, ERROR_DIGEST,
                         "the blob has %lld bytes here, its descriptor says %lld",
                         (long long)range.total, (long long)f->blob->size);
    }
    if (!range.satisfied || range.start != f->pos)
        return error_set(err, ERROR_PROTOCOL, "asked for bytes from %lld on, got some from %lld on",
                         (long long)f->pos, (long long)range.start);
    f->bad_range = false;
    f->at = range.start;
    f->body_end = range.end;
    return 0;
}

/* A 200: what comes before `pos` is dropped, but not for ever. */
static int judge_whole(struct fetching *f, struct error *err)
{
    struct hosts *hosts = f->asking->client->registries->hosts;
    struct host *host = f->x->host;
    if (!host)
        return 0;
    if (f->asked_range)
        host_ignores_ranges(hosts, host);
    if (f->terms->only_ranges)
        return error_set(err, ERROR_PROTOCOL, "there are no ranges");
    if (f->pos > 0 && host_skips(hosts, host, &f->blob->digest) >= HOST_SKIPS_MAX)
        return error_set(err, ERROR_TRANSIENT,
                         "there are no ranges, and %d transfers from the start were cut",
                         HOST_SKIPS_MAX);
    return 0;
}

/* Gzip is said, and the length does not show whether it is done: unpacked, and, when that came to
 * the wrong bytes, as it comes. */
static bool is_packed(const struct fetching *f, const struct http_response *r)
{
    if (encoding_parse(r->content_encoding) != ENCODING_GZIP)
        return false;
    if (r->content_length >= 0)
        return r->content_length != f->blob->size;
    return !f->as_it_comes && !f->terms->one_place;
}

static int judge_blob(void *userdata, const struct http_response *r, enum http_body *ret_body,
                      struct error *err)
{
    struct fetching *f = userdata;
    (void)ret_body;
    if (encoding_parse(r->content_encoding) == ENCODING_OTHER) {
        cleanup_free char *shown = text_foreign_str(r->content_encoding);
        return error_set(err, ERROR_PROTOCOL,
                         "the server encodes it as %s, though only identity was accepted: the "
                         "bytes would not be the blob's",
                         shown);
    }
    if (r->status == 206 && f->asked_range)
        return judge_range(f, r, err);
    if (r->status != 200)
        return error_set(err, ERROR_PROTOCOL, "a blob with status %d", r->status);
    f->at = 0;
    f->body_end = r->content_length;
    if (is_packed(f, r)) {
        f->unpacker = unpacker_new();
        f->body_end = -1;
    } else if (r->content_length >= 0 && r->content_length != f->blob->size) {
        return error_set(err, ERROR_DIGEST, "%lld bytes announced, where its descriptor says %lld",
                         (long long)r->content_length, (long long)f->blob->size);
    }
    return judge_whole(f, err);
}

/* The blob's bytes from f->at on. */
static int take_bytes(void *userdata, const void *data, size_t len, struct error *err)
{
    struct fetching *f = userdata;
    const char *bytes = data;
    if (f->at < f->pos) {
        int64_t skip = f->pos - f->at < (int64_t)len ? f->pos - f->at : (int64_t)len;
        bytes += skip;
        len -= (size_t)skip;
        f->at += skip;
    }
    int64_t left = f->end - f->pos;
    bool more = (int64_t)len > left; /* than was asked for: stop there */
    if (more)
        len = (size_t)left;
    if (len > 0) {
        int said = f->sink(f->userdata, f->pos, bytes, len, err);
        if (said < 0) {
            f->asking->stop = true;
            return -1;
        }
        f->at += (int64_t)len;
        f->pos = f->at;
        f->enough = said > 0;
    }
    if (more)
        return 1;
    /* A body that ends here anyway may end by itself: that saves the connection. */
    if (f->body_end >= 0)
        return (f->enough || f->pos == f->end) && f->body_end > f->at;
    return f->enough && f->at < f->blob->size;
}

static int on_bytes(void *userdata, const void *data, size_t len, struct error *err)
{
    struct fetching *f = userdata;
    if (!f->unpacker)
        return take_bytes(f, data, len, err);
    int said = unpacker_feed(f->unpacker, data, len, take_bytes, f, err);
    f->misread = said < 0 && !f->asking->stop; /* else it was the sink */
    return said;
}

static struct exchange blob_exchange(struct fetching *f, bool ranged)
{
    f->asked_range = ranged && (f->pos > 0 || f->end < f->blob->size);
    f->bad_range = f->enough = f->misread = false;
    f->at = 0;
    f->body_end = -1;
    return (struct exchange){
        .client = f->asking->client,
        .method = HTTP_GET,
        .range_start = f->asked_range ? f->pos : 0,
        .range_end = f->asked_range ? f->end : 0,
        .judge = judge_blob,
        .sink = on_bytes,
        .userdata = f,
        .counter = &f->asking->client->registries->blobs,
    };
}

/* How an exchange ended: 0 all is there; -1. */
static int conclude(struct fetching *f, struct exchange *x, int result, struct error *err)
{
    if (f->pos >= f->end || f->enough) {
        error_clear(err);
        return 0;
    }
    if (result < 0)
        return -1;
    if (x->response.status == 416) {
        f->bad_range = f->asked_range;
        return exchange_refused(x, err);
    }
    if (x->response.status / 100 != 2)
        return exchange_refused(x, err);
    cleanup_free char *shown = http_url_show(x->asked);
    return error_set(err, ERROR_TRANSIENT, "%s: the body ended at byte %lld of %lld", shown,
                     (long long)f->at, (long long)f->end);
}

static int run(struct fetching *f, struct exchange *x, struct error *err)
{
    struct error failed = {0};
    f->x = x;
    int result = exchange_run(x, f->asking->how, &failed);
    result = conclude(f, x, result, &failed);
    if (result < 0)
        error_move(err, &failed);
    else
        error_clear(&failed);
    f->x = NULL;
    unpacker_free(f->unpacker);
    f->unpacker = NULL;
    return result;
}

static int ask_place(struct fetching *f, const struct place *place, bool ranged,
                     bool *ret_bad_range, struct error *err)
{
    cleanup_free char *path = xasprintf("/blobs/%s", f->blob->digest.text);
    cleanup_exchange struct exchange x = blob_exchange(f, ranged);
    x.place = place;
    x.path = path;
    int result = run(f, &x, err);
    *ret_bad_range = result < 0 && f->bad_range;
    return result;
}

static int ask_blob(struct asking *a, const struct place *place, struct error *err)
{
    struct fetching *f = a->userdata;
    struct registries *r = a->client->registries;
    struct host *host = hosts_get(r->hosts, place);
    struct error failed = {0};
    const int64_t began = f->pos;
    bool bad_range = false;
    int result = -1;
    if (host_has_ranges(r->hosts, host)) {
        result = ask_place(f, place, true, &bad_range, &failed);
        if (bad_range) {
            host_ignores_ranges(r->hosts, host);
            registries_debug(r, "%s: no ranges, so from the start: %s", place->registry,
                             failed.message);
            error_clear(&failed);
        }
    }
    /* Without ranges: from the start, and drop what is there already. */
    if (result < 0 && failed.kind == ERROR_NONE && f->terms->only_ranges)
        (void)error_set(&failed, ERROR_PROTOCOL, "%s: there are no ranges", place->registry);
    else if (result < 0 && failed.kind == ERROR_NONE)
        result = ask_place(f, place, false, &bad_range, &failed);
    if (result < 0 && f->misread && f->pos == began && !f->asking->stop) {
        error_clear(&failed);
        f->as_it_comes = true;
        result = ask_place(f, place, false, &bad_range, &failed);
    }
    if (result == 0)
        host_skip_worked(r->hosts, host, &f->blob->digest);
    else
        error_move(err, &failed);
    if (f->terms->one_place && f->pos > began) {
        f->terms->place = a->place; /* no other may go on */
        a->stop = result < 0;
    }
    return result;
}

/* A foreign layer: no registry has it, but the descriptor says who does. No credentials. */
static int ask_urls(struct fetching *f, struct error *all)
{
    struct asking *a = f->asking;
    struct registries *r = a->client->registries;
    struct place *places;
    size_t count;
    places_for(&r->map, a->ref, &places, &count);
    enum address_class class = host_class(r->hosts, hosts_get(r->hosts, &places[count - 1]));
    places_free(places, count);

    for (size_t i = 0; i < f->blob->url_count && !a->stop; i++) {
        struct error failed = {0};
        cleanup_free char *url = http_url_join(NULL, f->blob->urls[i], &failed);
        if (url && strncmp(url, "https:", 6) != 0)
            (void)error_set(&failed, ERROR_REFUSED, "only https is followed");
        if (failed.kind == ERROR_NONE) {
            cleanup_exchange struct exchange x = blob_exchange(f, f->pos > 0);
            x.url = url;
            x.limit = http_sent_limit(class);
            if (run(f, &x, &failed) == 0)
                return 0;
        }
        if (a->stop || failed.kind == ERROR_INTERRUPTED) {
            error_move(all, &failed);
            return -1;
        }
        cleanup_free char *before = take_ptr(all->message);
        error_set(all, error_worse(all->kind, failed.kind), "%s; its url %zu: %s", before, i + 1,
                  failed.message);
        error_clear(&failed);
    }
    return -1;
}

int registry_blob(struct registry_client *c, const struct reference *ref,
                  const struct descriptor *blob, int64_t start, int64_t end,
                  struct registry_terms *terms, registry_sink sink, void *userdata,
                  struct registry_try *ret_try, struct error *err)
{
    struct registry_terms none = {0};
    if (!terms)
        terms = &none;
    struct asking a = {.client = c, .ref = ref, .how = ret_try};
    a.first = terms->one_place ? terms->place : 0;
    struct fetching f = {.blob = blob,
                         .pos = start,
                         .end = end < blob->size ? end : blob->size,
                         .sink = sink,
                         .userdata = userdata,
                         .terms = terms,
                         .asking = &a};
    struct error failed = {0};
    a.userdata = &f;
    *ret_try = (struct registry_try){.retry_after_ns = -1};
    if (f.pos >= f.end)
        return 0;
    if (registry_ask(&a, ask_blob, &failed) == 0)
        return 0;
    bool others = blob->url_count > 0 && !terms->only_ranges &&
                  c->registries->options.foreign_layers && !a.stop;
    if (others && ask_urls(&f, &failed) == 0) {
        error_clear(&failed);
        return 0;
    }
    error_move(err, &failed);
    return -1;
}
