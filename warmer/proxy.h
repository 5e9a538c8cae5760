/*
 * Which proxy a request goes through, as Go's net/http reads the environment: HTTP_PROXY for http
 * URLs (ignored under CGI, where REQUEST_METHOD is set and a client could have set it),
 * HTTPS_PROXY for https URLs, NO_PROXY for the exceptions; upper case first, then lower case;
 * empty is unset. localhost and loopback addresses never go through a proxy.
 *
 * NO_PROXY, separated by commas: "example.com" (the name and all below it), ".example.com" and
 * "*.example.com" (only those below it), an address, each with ":port" if one likes; a network
 * "10.0.0.0/8"; "*" for everything.
 *
 * Pure but for proxies_from_environment(). Immutable once made.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stdint.h>

struct proxies;

struct proxy {
    char *url;  /* for libcurl: scheme, userinfo, port. A secret when there is userinfo */
    char *show; /* for messages: without userinfo; safe text */
};

/* The four values; NULL is unset. ERROR_CONFIG, without the secret, when a proxy's value is not a
 * URL or host[:port], or its scheme is not http, https, socks5 or socks5h. */
int proxies_new(const char *http_proxy, const char *https_proxy, const char *no_proxy, bool cgi,
                struct proxies **ret, struct error *err);
int proxies_from_environment(struct proxies **ret, struct error *err);
void proxies_free(struct proxies *p); /* takes NULL; wipes secrets */

/* For a URL of this scheme ("http", "https"), host (brackets allowed) and port; NULL: none. The
 * answer lives as long as p. */
const struct proxy *proxies_find(const struct proxies *p, bool https, const char *host,
                                 uint16_t port);
