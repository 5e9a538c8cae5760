#include "source.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "failure.h"
#include "headers.h"
#include "http.h"
#include "queue.h"

#include <errno.h>
#include <openssl/rand.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define REDIRECTS_MAX 10

bool source_is_url(const char *where)
{
    return strncasecmp(where, "http://", 7) == 0 || strncasecmp(where, "https://", 8) == 0;
}

char *source_name(const char *where, bool urls)
{
    if (strcmp(where, "-") == 0)
        return xstrdup("stdin");
    return urls && source_is_url(where) ? http_url_show(where) : text_foreign_str(where);
}

/* ---- files ---- */

static int too_large(const struct source_options *o, const char *shown, struct error *err)
{
    return error_set(err, ERROR_USAGE, "%s %s: more than %zu MiB: not a %s", o->what, shown,
                     o->max >> 20, o->what);
}

static int read_all(const struct source_options *o, FILE *in, const char *shown, char **ret,
                    size_t *ret_len, struct error *err)
{
    size_t len = 0, size = 1 << 14;
    cleanup_free char *bytes = xmalloc(size);
    for (;;) {
        size_t got = fread(bytes + len, 1, size - len, in);
        len += got;
        if (ferror(in) && errno == EISDIR)
            return error_set(err, ERROR_NOT_FOUND, "%s %s: is a directory", o->what, shown);
        if (ferror(in))
            return error_errno(err, errno, "%s %s: cannot read", o->what, shown);
        if (len > o->max)
            return too_large(o, shown, err);
        if (len == size) {
            size *= 2;
            bytes = xreallocarray(bytes, size, 1);
        }
        if (got == 0)
            break;
    }
    bytes[len] = '\0';
    *ret = take_ptr(bytes);
    *ret_len = len;
    return 0;
}

static int read_file(const struct source_options *o, const char *path, const char *shown,
                     char **ret, size_t *ret_len, struct error *err)
{
    cleanup_fclose FILE *in = fopen(path, "re");
    if (!in && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERROR_NOT_FOUND, "%s %s: there is no such file", o->what, shown);
    if (!in)
        return error_errno(err, errno, "%s %s: cannot open", o->what, shown);
    return read_all(o, in, shown, ret, ret_len, err);
}

/* ---- URLs ---- */

struct fetch {
    const struct source_options *options;
    struct http_client *client;
    const char *first;         /* as the user wrote it */
    enum address_class class_; /* of the connection to it: nothing leads deeper */
    int64_t retry_after_ns;
};

static bool is_redirect(const struct http_response *r)
{
    return (r->status == 301 || r->status == 302 || r->status == 303 || r->status == 307 ||
            r->status == 308) &&
           r->location;
}

static int same_origin(const char *a, const char *b, bool *ret, struct error *err)
{
    cleanup_free char *one = http_url_origin(a, err);
    cleanup_free char *two = one ? http_url_origin(b, err) : NULL;
    if (!two)
        return -1;
    *ret = strcmp(one, two) == 0;
    return 0;
}

/* One request; *ret_next is where it leads (owned), or NULL. */
static int hop(struct fetch *f, const char *url, struct http_response *r, char **ret_next,
               struct error *err)
{
    bool own;
    *ret_next = NULL;
    if (same_origin(url, f->first, &own, err) < 0)
        return -1;
    const struct http_request request = {
        .method = HTTP_GET,
        .url = url,
        .max_body = (int64_t)f->options->max,
        .limit = own ? http_own_limit(url) : http_sent_limit(f->class_),
    };
    http_response_release(r);
    if (http_perform(f->client, &request, r, err) < 0)
        return -1;
    if (own)
        f->class_ = r->address_class;
    if (!is_redirect(r))
        return 0;
    *ret_next = http_url_join(url, r->location, err);
    if (*ret_next)
        return 0;
    cleanup_free char *shown = http_url_show(url);
    return error_prefix(err, "redirected by %s", shown);
}

/* One try, through its redirects. */
static int try_once(struct fetch *f, char **ret, size_t *ret_len, struct error *err)
{
    cleanup_http_response struct http_response r = {0};
    cleanup_free char *url = xstrdup(f->first);
    f->retry_after_ns = -1;
    for (unsigned hops = 0;; hops++) {
        char *next;
        if (hops > REDIRECTS_MAX)
            return error_set(err, ERROR_PROTOCOL, "more than %d redirects", REDIRECTS_MAX);
        if (hop(f, url, &r, &next, err) < 0)
            return -1;
        if (!next)
            break;
        free(url);
        url = next;
    }
    f->retry_after_ns = retry_after_parse(r.retry_after, r.date, time(NULL));
    if (r.status != 200)
        return failure_set(HTTP_GET, url, &r, err);
    *ret_len = r.body ? (size_t)r.received : 0;
    *ret = r.body ? take_ptr(r.body) : xstrdup("");
    return 0;
}

/* Not worth a thread and a condition: a signal ends the program here, before anything is begun. */
static void wait_ns(int64_t ns)
{
    const struct timespec wait = {ns / NS_PER_S, ns % NS_PER_S};
    (void)ppoll(NULL, 0, &wait, NULL);
}

static int fetch(struct fetch *f, char **ret, size_t *ret_len, struct error *err)
{
    const struct source_options *o = f->options;
    struct retry_state state = {0};
    for (;;) {
        uint16_t jitter = 0;
        struct error why = {0};
        const int64_t began = monotonic_now();
        if (try_once(f, ret, ret_len, &why) == 0)
            return 0;
        (void)RAND_bytes((unsigned char *)&jitter, sizeof jitter); /* at worst: no jitter */
        const struct retry_verdict verdict = retry_decide(
            &state, &o->limits, why.kind, f->retry_after_ns, 0, monotonic_now() - began, jitter);
        if (!verdict.again) {
            (void)error_prefix(&why, "%s", o->what);
            error_move(err, &why);
            return -1;
        }
        if (o->waiting && verdict.wait_ns >= NS_PER_S) {
            cleanup_free char *wait = duration_format(verdict.wait_ns);
            cleanup_free char *message =
                xasprintf("%s: waiting %s: %s", o->what, wait, why.message);
            o->waiting(o->userdata, message);
        }
        error_clear(&why);
        wait_ns(verdict.wait_ns);
    }
}

static int read_url(const struct source_options *o, const char *url, char **ret, size_t *ret_len,
                    struct error *err)
{
    struct http *http;
    if (http_new(&(struct http_options){.stall_timeout_ns = o->stall_timeout_ns}, &http, err) < 0)
        return -1;
    struct fetch f = {.options = o, .client = http_client_new(http), .first = url};
    int r = fetch(&f, ret, ret_len, err);
    http_client_free(f.client);
    http_free(http);
    return r;
}

int source_read(const struct source_options *options, const char *where, char **ret,
                size_t *ret_len, struct error *err)
{
    if (strcmp(where, "-") == 0)
        return read_all(options, stdin, "on stdin", ret, ret_len, err);
    if (options->urls && source_is_url(where))
        return read_url(options, where, ret, ret_len, err);
    cleanup_free char *shown = text_foreign_str(where);
    return read_file(options, where, shown, ret, ret_len, err);
}
