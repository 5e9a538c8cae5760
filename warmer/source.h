/*
 * What the user names as input: a file or pipe by its path, stdin as "-", and, for Dockerfiles, an
 * http or https URL, which is fetched under the transport's rules (http.h): the roots and proxies
 * of the environment, no userinfo, redirects followed by hand and never from https to http or
 * deeper into the network, retries with a growing wait. No credentials are sent.
 */
#pragma once

#include "retry.h"

#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>

struct source_options {
    const char *what; /* "list", "Dockerfile": begins every message */
    size_t max;       /* bytes; more is ERROR_USAGE */
    bool urls;        /* take URLs, too */
    int64_t stall_timeout_ns;
    struct retry_limits limits;
    /* Told when a try is repeated. Safe to print. May be NULL. */
    void (*waiting)(void *userdata, const char *message);
    void *userdata;
};

bool source_is_url(const char *where);
/* Its name in messages: "stdin", the path, the URL without its query. Owned; safe to print. */
char *source_name(const char *where, bool urls);

/*
 * Read all of it; a NUL is put behind. Owned. ERROR_NOT_FOUND: no such file, 404; of URLs what
 * http.h and failure.h say; ERROR_IO, ERROR_REFUSED.
 */
int source_read(const struct source_options *options, const char *where, char **ret,
                size_t *ret_len, struct error *err);
