/*
 * What a status means, and what the server says about it. Pure.
 */
#pragma once

#include "cachedir/error.h"
#include "http.h"

#include <stddef.h>

/* 401 403 refused; 404 410 not found; 408 425 429 and what comes from 500 on, but for 501 and 505,
 * transient; the rest, unexpected successes and redirects too, protocol. */
enum error_kind failure_kind(int status);

/*
 * The server's own words in the body of a failure, safe to print: the code and message of
 * {"errors":[{"code": .., "message": ..}]} (distribution-spec), {"error": ..,
 * "error_description": ..} (RFC 6749), {"message" | "details": ..}, <Code> and <Message> (object
 * stores), or the one line that plain text is. NULL when there is nothing for people in it.
 */
char *failure_words(const char *body, size_t len, const char *content_type);

/* "GET https://host/path: 404 Not Found: manifest unknown", of the kind that the status means. */
int failure_set(enum http_method method, const char *url, const struct http_response *r,
                struct error *err);
