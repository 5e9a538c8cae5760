#include "failure.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

enum error_kind failure_kind(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERROR_REFUSED;
    case 404:
    case 410:
        return ERROR_NOT_FOUND;
    case 408:
    case 425:
    case 429:
    case 499:
        return ERROR_TRANSIENT;
    case 501:
    case 505:
        return ERROR_PROTOCOL;
    default:
        return status >= 500 ? ERROR_TRANSIENT : ERROR_PROTOCOL;
    }
}

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } known[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {410, "Gone"},
        {416, "Range Not Satisfiable"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].phrase;
    return NULL;
}

/* "a: b", of what there is. */
static char *join(const char *a, const char *b)
{
    if (a && !*a)
        a = NULL;
    if (!b || !*b)
        return a ? text_foreign_str(a) : NULL;
    cleanup_free char *both = a ? xasprintf("%s: %s", a, b) : xstrdup(b);
    return text_foreign_str(both);
}

static const char *text_of(const json_t *object, const char *member)
{
    return json_string_value(json_object_get(object, member));
}

static char *words_of_json(const char *body, size_t len)
{
    json_t *root = json_loadb(body, len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
    char *words = NULL;
    if (json_is_object(first))
        words = join(text_of(first, "code"), text_of(first, "message"));
    else if (json_is_string(first))
        words = join(NULL, json_string_value(first));
    if (!words)
        words = join(text_of(root, "error"), text_of(root, "error_description"));
    if (!words)
        words = join(NULL, text_of(root, "message"));
    if (!words)
        words = join(NULL, text_of(root, "details"));
    json_decref(root);
    return words;
}

/* The text of the first <tag>, owned. */
static char *element(const char *body, size_t len, const char *tag)
{
    cleanup_free char *open = xasprintf("<%s>", tag);
    const char *from = memmem(body, len, open, strlen(open));
    if (!from)
        return NULL;
    from += strlen(open);
    const char *to = memchr(from, '<', len - (size_t)(from - body));
    return to ? xstrndup(from, (size_t)(to - from)) : NULL;
}

char *failure_words(const char *body, size_t len, const char *content_type)
{
    size_t blanks = 0;
    while (blanks < len && body[blanks] && strchr(" \t\r\n", body[blanks]))
        blanks++;
    body += blanks;
    len -= blanks;
    if (len == 0)
        return NULL;
    if (*body == '{')
        return words_of_json(body, len);
    if (*body == '<') {
        cleanup_free char *code = element(body, len, "Code");
        cleanup_free char *message = element(body, len, "Message");
        cleanup_free char *title = code || message ? NULL : element(body, len, "title");
        return join(code, message ? message : title);
    }
    if (!content_type || strncasecmp(content_type, "text/plain", 10) != 0)
        return NULL;
    const char *end = memchr(body, '\n', len);
    size_t size = end ? (size_t)(end - body) : len;
    while (size > 0 && body[size - 1] == '\r')
        size--;
    return text_foreign(body, size);
}

/* nginx's 495 and 496, which it sends as 400. */
static bool wants_certificate(int status, const char *words)
{
    return status == 400 && words && strstr(words, "SSL certificate");
}

int failure_set(enum http_method method, const char *url, const struct http_response *r,
                struct error *err)
{
    cleanup_free char *shown = http_url_show(url);
    cleanup_free char *words =
        r->body ? failure_words(r->body, (size_t)r->received, r->content_type) : NULL;
    const char *phrase = reason_phrase(r->status);
    bool certificate = wants_certificate(r->status, words);
    return error_set(err, certificate ? ERROR_REFUSED : failure_kind(r->status),
                     "%s %s: %d%s%s%s%s%s", http_method_name(method), shown, r->status,
                     phrase ? " " : "", phrase ? phrase : "", words ? ": " : "", words ? words : "",
                     certificate ? ": --registry-client-cert HOST=CRT,KEY gives one" : "");
}
