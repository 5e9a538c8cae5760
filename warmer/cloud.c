#include "cloud-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "failure.h"
#include "headers.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const struct cloud *const clouds[] = {&cloud_google, &cloud_ecr, &cloud_acr, &cloud_gitlab};
#define CLOUD_COUNT (sizeof clouds / sizeof *clouds)

const struct cloud *cloud_named(const char *name)
{
    for (size_t i = 0; i < CLOUD_COUNT; i++)
        if (strcmp(clouds[i]->name, name) == 0)
            return clouds[i];
    return NULL;
}

const struct cloud *cloud_of(const char *registry)
{
    for (size_t i = 0; i < CLOUD_COUNT; i++)
        if (clouds[i]->owns(registry))
            return clouds[i];
    return NULL;
}

/* ---- names and files ---- */

const char *cloud_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

char *cloud_host(const char *registry)
{
    size_t len = *registry == '[' ? strcspn(registry, "]") + 1 : strcspn(registry, ":");
    char *host = xstrndup(registry, len);
    for (char *p = host; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return host;
}

bool cloud_host_is_below(const char *registry, const char *suffix)
{
    cleanup_free char *host = cloud_host(registry);
    size_t len = strlen(host), tail = strlen(suffix);
    return len >= tail && strcmp(host + len - tail, suffix) == 0 &&
           (len == tail || host[len - tail - 1] == '.');
}

char *cloud_url(const char *base, const char *path)
{
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    return xasprintf("%.*s%s", (int)len, base, path);
}

bool cloud_url_keeps_secrets(const char *url)
{
    cleanup_error struct error err = {0};
    cleanup_free char *origin = http_url_origin(url, &err);
    enum address_class class;
    if (!origin || strncmp(origin, "https:", 6) == 0)
        return origin != NULL;
    const char *host = strstr(origin, "://") + 3;
    cleanup_free char *name = xstrndup(host, (size_t)(strrchr(host, ':') - host));
    return address_class_of_host(name, &class) && class == ADDRESS_LOOPBACK;
}

int cloud_read_file(const struct cloud_query *q, const char *variable, const char *path,
                    struct secret_file *ret, struct error *err)
{
    if (secret_file_read(path, ret, err) < 0)
        return error_prefix(err, "%s", variable);
    if (!ret->bytes)
        return error_set(err, ERROR_CONFIG, "%s: %s is not there", variable, path);
    cleanup_free char *exposed = secret_file_exposed(ret, path);
    if (exposed && q->warn)
        q->warn(q->userdata, exposed);
    return 0;
}

char *cloud_read_secret(const char *variable, const char *path, struct error *err)
{
    /* These are tokens that something else writes for us: their mode is not the user's. */
    static const struct cloud_query nobody;
    cleanup_secret_file struct secret_file file = {0};
    if (cloud_read_file(&nobody, variable, path, &file, err) < 0)
        return NULL;
    const char *start = file.bytes + strspn(file.bytes, " \t\r\n");
    size_t len = strcspn(start, "\r\n");
    while (len > 0 && (start[len - 1] == ' ' || start[len - 1] == '\t'))
        len--;
    if (len > 0)
        return xstrndup(start, len);
    (void)error_set(err, ERROR_CONFIG, "%s: %s is empty", variable, path);
    return NULL;
}

/* ---- calls ---- */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t cloud_deadline(void)
{
    return now_ns() + CLOUD_METADATA_NS;
}

int64_t cloud_left(int64_t deadline)
{
    const int64_t ms = NS_PER_S / 1000;
    int64_t left = deadline - now_ns();
    return left > 0 ? (left + ms - 1) / ms * ms : 1;
}

/* What some clouds say in ways of their own: {"__type", "message"} of AWS, {"error": {"status",
 * "message"}} of Google's APIs. Further lines may hold what was sent. Owned. */
static char *own_words(const struct http_response *r)
{
    json_t *root = r->body ? json_loadb(r->body, (size_t)r->received, 0, NULL) : NULL;
    const json_t *inner = json_object_get(root, "error");
    if (!json_is_object(inner))
        inner = root;
    const char *type = json_string_value(json_object_get(inner, "__type"));
    const char *message = json_string_value(json_object_get(inner, "message"));
    if (!type)
        type = json_string_value(json_object_get(inner, "status"));
    if (!message)
        message = json_string_value(json_object_get(inner, "Message"));
    char *words = NULL;
    if (type || (message && inner != root)) {
        size_t len = message ? strcspn(message, "\r\n") : 0;
        cleanup_free char *both =
            xasprintf("%s%s%.*s", type ? type : "", type && message ? ": " : "", (int)len,
                      message ? message : "");
        words = text_foreign_str(both);
    }
    json_decref(root);
    return words;
}

/* All 4xx but those of load are a refusal here: nothing is there to be not found. */
static enum error_kind kind_of(int status)
{
    enum error_kind kind = failure_kind(status);
    return kind == ERROR_TRANSIENT || status / 100 != 4 ? kind : ERROR_REFUSED;
}

int cloud_call(const struct cloud_query *q, const struct cloud_call *call, struct http_response *r,
               struct error *err)
{
    const struct http_request request = {
        .method = call->method,
        .url = call->url,
        .headers = call->headers,
        .authorization = call->authorization,
        .form = call->body,
        .form_len = call->body ? strlen(call->body) : 0,
        .signature = call->signature,
        .max_body = CLOUD_ANSWER_MAX,
        .timeout_ns = call->timeout_ns,
        .direct = call->direct,
        .trust = call->to_registry ? q->trust : NULL,
        .limit = call->to_registry ? http_own_limit(call->url) : ADDRESS_NEVER,
    };
    http_response_release(r);
    if (http_perform(q->client, &request, r, err) < 0)
        return error_prefix(err, "%s", call->what);
    if (r->status / 100 == 2)
        return 0;
    struct error said = {0};
    failure_set(call->method, call->url, r, &said);
    said.kind = kind_of(r->status);
    cleanup_free char *words = own_words(r);
    if (words) {
        cleanup_free char *shown = http_url_show(call->url);
        (void)error_set(&said, said.kind, "%s: %d: %s", shown, r->status, words);
    }
    (void)error_prefix(&said, "%s", call->what);
    error_move(err, &said);
    return 1;
}

bool cloud_is_elsewhere(const struct http_response *r, const struct error *err)
{
    return r->status == 0 && err->kind != ERROR_INTERRUPTED;
}

int64_t cloud_skew(const struct http_response *r)
{
    time_t there;
    if (!r->date || !http_date_parse(r->date, &there))
        return 0;
    int64_t skew = (int64_t)there - (int64_t)time(NULL);
    return skew >= CLOUD_SKEW_MIN_S || skew <= -CLOUD_SKEW_MIN_S ? skew : 0;
}

json_t *cloud_json(const struct http_response *r, const char *what, struct error *err)
{
    json_t *root = r->body ? json_loadb(r->body, (size_t)r->received, 0, NULL) : NULL;
    if (json_is_object(root))
        return root;
    json_decref(root);
    (void)error_set(err, ERROR_PROTOCOL, "%s: its answer is no JSON object", what);
    return NULL;
}

const char *cloud_text(const json_t *object, const char *member, const char *what,
                       struct error *err)
{
    const char *text = json_string_value(json_object_get(object, member));
    if (text && *text) {
        const char *p = text;
        while (*p > ' ' && *p != 0x7f)
            p++;
        if (!*p)
            return text;
    }
    (void)error_set(err, ERROR_PROTOCOL, "%s: its answer has no usable %s", what, member);
    return NULL;
}

int64_t cloud_seconds(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);
    double seconds = json_is_number(value)   ? json_number_value(value)
                     : json_is_string(value) ? strtod(json_string_value(value), NULL)
                                             : 0;
    return seconds >= 1 && seconds < 1e15 ? (int64_t)seconds : 0;
}
