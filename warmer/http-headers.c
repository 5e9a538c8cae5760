#include "cachedir/alloc.h"
#include "http-internal.h"

#include <openssl/crypto.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* The headers that somebody above reads. Of one that comes twice the first counts, except where
 * all do. */
static const struct {
    const char *name;
    size_t offset;       /* of a char *, or, with `list`, of a char ** */
    size_t count_offset; /* of the list's size_t */
    bool list;
} wanted[] = {
    {"Content-Type", offsetof(struct http_response, content_type)},
    {"Content-Encoding", offsetof(struct http_response, content_encoding)},
    {"Content-Range", offsetof(struct http_response, content_range)},
    {"Location", offsetof(struct http_response, location)},
    {"Docker-Content-Digest", offsetof(struct http_response, docker_content_digest)},
    {"Date", offsetof(struct http_response, date)},
    {"Retry-After", offsetof(struct http_response, retry_after)},
    {"RateLimit-Limit", offsetof(struct http_response, ratelimit_limit)},
    {"RateLimit-Remaining", offsetof(struct http_response, ratelimit_remaining)},
    {"Docker-RateLimit-Source", offsetof(struct http_response, docker_ratelimit_source)},
    {"WWW-Authenticate", offsetof(struct http_response, challenges),
     offsetof(struct http_response, challenge_count), true},
    {"Warning", offsetof(struct http_response, warnings),
     offsetof(struct http_response, warning_count), true},
};
#define WANTED_COUNT (sizeof wanted / sizeof *wanted)

static void *member(struct http_response *r, size_t offset)
{
    return (char *)r + offset;
}

void response_clear_headers(struct http_response *r)
{
    for (size_t i = 0; i < WANTED_COUNT; i++) {
        if (!wanted[i].list) {
            char **text = member(r, wanted[i].offset);
            free(*text);
            *text = NULL;
            continue;
        }
        char ***list = member(r, wanted[i].offset);
        size_t *count = member(r, wanted[i].count_offset);
        for (size_t k = 0; k < *count; k++)
            free((*list)[k]);
        free(*list);
        *list = NULL;
        *count = 0;
    }
    r->content_length = -1;
}

static int64_t parse_length(const char *value)
{
    size_t len = strlen(value);
    if (len == 0 || len > 18 || strspn(value, "0123456789") != len)
        return -1;
    return strtoll(value, NULL, 10);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void header_line(struct http_response *r, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return;
    size_t name = (size_t)(colon - line);
    const char *start = colon + 1, *end = line + len;
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    cleanup_free char *value = xstrndup(start, (size_t)(end - start));

    if (name == strlen("Content-Length") && strncasecmp(line, "Content-Length", name) == 0) {
        r->content_length = parse_length(value);
        return;
    }
    for (size_t i = 0; i < WANTED_COUNT; i++) {
        if (strlen(wanted[i].name) != name || strncasecmp(line, wanted[i].name, name) != 0)
            continue;
        if (wanted[i].list) {
            char ***list = member(r, wanted[i].offset);
            size_t *count = member(r, wanted[i].count_offset);
            *array_add(*list, *count) = take_ptr(value);
            return;
        }
        char **text = member(r, wanted[i].offset);
        if (!*text)
            *text = take_ptr(value);
        return;
    }
}

int headers_line(struct headers *h, struct http_response *r, const char *line, size_t len,
                 int status, struct error *err)
{
    h->bytes += len;
    h->lines++;
    if (h->bytes > HTTP_HEADER_BYTES_MAX || h->lines > HTTP_HEADER_LINES_MAX)
        return error_set(err, ERROR_PROTOCOL, "more than %d lines or %d KiB of headers",
                         HTTP_HEADER_LINES_MAX, HTTP_HEADER_BYTES_MAX >> 10);
    if (h->complete)
        return 0; /* a trailer: nobody asked for one */
    if (len && line[0] != '\r' && line[0] != '\n') {
        header_line(r, line, len);
        return 0;
    }
    r->status = status;
    if (status >= 200)
        h->complete = true;
    else
        response_clear_headers(r); /* an interim response: the real one follows */
    return 0;
}

void http_response_release(struct http_response *r)
{
    response_clear_headers(r);
    if (r->body)
        OPENSSL_cleanse(r->body, (size_t)r->received);
    free(r->body);
    *r = (struct http_response){0};
}
