/*
 * What the clouds share among themselves.
 */
#pragma once

#include "cloud.h"
#include "http.h"

#include <jansson.h>

#define CLOUD_ANSWER_MAX (256 << 10) /* bytes */
#define CLOUD_SKEW_MIN_S 30 /* clocks that differ by less are not the reason for a refusal */

/* Of the environment; NULL when it is unset or empty. */
const char *cloud_environment(const char *name);
/* Is the host of the registry `suffix`, or below it, by whole labels? Case does not count. */
bool cloud_host_is_below(const char *registry, const char *suffix);
char *cloud_host(const char *registry); /* without a port, lower case; owned */
/* `base` without slashes at its end, and `path`, which begins with one. Owned. */
char *cloud_url(const char *base, const char *path);
/* https, or http of this machine. */
bool cloud_url_keeps_secrets(const char *url);
/* The first line of a file, without blanks around it: a secret. ERROR_CONFIG with `variable`, which
 * named the file, before it. */
char *cloud_read_secret(const char *variable, const char *path, struct error *err);
/* The whole of it; what everybody may read is warned of. */
int cloud_read_file(const struct cloud_query *q, const char *variable, const char *path,
                    struct secret_file *ret, struct error *err);

struct cloud_call { /* everything is borrowed */
    enum http_method method;
    const char *url;
    const char *const *headers; /* a secret among them is the caller's to wipe */
    const char *authorization;
    const char *body; /* of POST; a secret */
    const struct http_signature *signature;
    int64_t timeout_ns; /* 0: the transport's */
    bool direct;        /* never through a proxy */
    bool to_registry;   /* with its trust and its limit */
    const char *what;   /* for messages: "Google's token endpoint" */
};
/*
 * 0: status 2xx. 1: another one, with *err saying so in the server's words (their first line), and
 * of the kind that it means. -1: no whole answer.
 */
int cloud_call(const struct cloud_query *q, const struct cloud_call *call, struct http_response *r,
               struct error *err);
/* Did nobody answer, so that this is not the cloud? For -1. */
bool cloud_is_elsewhere(const struct http_response *r, const struct error *err);
/* How far the server's clock is ahead of ours, in seconds; 0 when it is less than worth it. */
int64_t cloud_skew(const struct http_response *r);

/* The body's JSON object; NULL with ERROR_PROTOCOL, quoting nothing. */
json_t *cloud_json(const struct http_response *r, const char *what, struct error *err);
static inline void cloud_json_release(json_t **json)
{
    json_decref(*json);
}
#define cleanup_cloud_json __attribute__((cleanup(cloud_json_release)))
/* A member that must be text, not empty, and fit into a header; NULL with ERROR_PROTOCOL. */
const char *cloud_text(const json_t *object, const char *member, const char *what,
                       struct error *err);
/* A number, or a text that is one; 0 when it is neither. */
int64_t cloud_seconds(const json_t *object, const char *member);

/* When a metadata server's time is over, and what is left of it, in whole milliseconds and never
 * nothing: for cloud_call.timeout_ns. */
int64_t cloud_deadline(void);
int64_t cloud_left(int64_t deadline);
