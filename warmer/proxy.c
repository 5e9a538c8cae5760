#include "proxy.h"

#include "address.h"
#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

/* One entry of NO_PROXY. */
struct exception {
    enum { EXCEPTION_NETWORK, EXCEPTION_DOMAIN } kind;
    int family; /* network: AF_INET or AF_INET6 */
    uint8_t network[16];
    unsigned bits;
    char *domain; /* domain: without a leading dot */
    bool below_only;
    char *port; /* NULL: any */
};

struct proxies {
    struct proxy http, https; /* url NULL: none */
    bool never;               /* NO_PROXY has a "*" */
    struct exception *exceptions;
    size_t count;
};

static void free_secret(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static void curl_url_cleanup_p(CURLU **url)
{
    curl_url_cleanup(*url);
}
#define cleanup_curlu __attribute__((cleanup(curl_url_cleanup_p)))

static const struct {
    const char *scheme, *port;
    const char *used; /* in Go both socks5 let the proxy resolve names: libcurl's socks5h */
} schemes[] = {
    {"http", "80", "http"},
    {"https", "443", "https"},
    {"socks5", "1080", "socks5h"},
    {"socks5h", "1080", "socks5h"},
};

/* Everything about a proxy's URL that libcurl would guess differently from Go is made explicit. */
static bool make_explicit(CURLU *url, char **ret_url, char **ret_show)
{
    char *scheme = NULL, *port = NULL, *text = NULL;
    bool done = false;
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return false;
    (void)curl_url_get(url, CURLUPART_PORT, &port, 0); /* none: the scheme's */
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && !done; i++) {
        if (strcasecmp(scheme, schemes[i].scheme) != 0)
            continue;
        done = curl_url_set(url, CURLUPART_SCHEME, schemes[i].used, CURLU_NON_SUPPORT_SCHEME) ==
                   CURLUE_OK &&
               curl_url_set(url, CURLUPART_PORT, port ? port : schemes[i].port, 0) == CURLUE_OK &&
               curl_url_set(url, CURLUPART_PATH, "/", 0) == CURLUE_OK &&
               curl_url_set(url, CURLUPART_QUERY, NULL, 0) == CURLUE_OK &&
               curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
               curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK;
    }
    curl_free(scheme);
    curl_free(port);
    if (!done)
        return false;
    *ret_url = xstrdup(text);
    OPENSSL_cleanse(text, strlen(text));
    curl_free(text);

    text = NULL;
    if (curl_url_set(url, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
        curl_url_set(url, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK) {
        size_t len = strlen(text);
        *ret_show = text_foreign(text, len && text[len - 1] == '/' ? len - 1 : len);
    } else {
        *ret_show = xstrdup("the proxy");
    }
    curl_free(text);
    return true;
}

static int proxy_parse(const char *variable, const char *value, struct proxy *ret,
                       struct error *err)
{
    if (!value || !*value)
        return 0;
    cleanup_curlu CURLU *url = curl_url();
    if (!url)
        abort();
    char *full = strstr(value, "://") ? xstrdup(value) : xasprintf("http://%s", value);
    CURLUcode code = curl_url_set(url, CURLUPART_URL, full, CURLU_NON_SUPPORT_SCHEME);
    free_secret(full);
    if (code != CURLUE_OK || !make_explicit(url, &ret->url, &ret->show))
        return error_set(err, ERROR_CONFIG,
                         "%s is no proxy's address: it must be host:port or a URL with http, "
                         "https, socks5 or socks5h",
                         variable);
    return 0;
}

/* "10.0.0.0/8" or an address alone. */
static bool network_parse(const char *text, struct exception *ret)
{
    cleanup_free char *address = xstrdup(text);
    char *slash = strchr(address, '/');
    if (slash)
        *slash++ = '\0';
    unsigned width = 32;
    ret->family = AF_INET;
    if (inet_pton(AF_INET, address, ret->network) != 1) {
        if (inet_pton(AF_INET6, address, ret->network) != 1)
            return false;
        width = 128;
        ret->family = AF_INET6;
    }
    ret->bits = width;
    if (slash) {
        size_t len = strlen(slash);
        if (len == 0 || len > 3 || strspn(slash, "0123456789") != len)
            return false;
        ret->bits = (unsigned)strtoul(slash, NULL, 10);
        if (ret->bits > width)
            return false;
    }
    ret->kind = EXCEPTION_NETWORK;
    return true;
}

/* As net.SplitHostPort does: cut ":port" off, where there is exactly one colon or brackets. */
static void split_port(char *text, char **ret_host, char **ret_port)
{
    *ret_host = text;
    *ret_port = NULL;
    char *colon = strrchr(text, ':');
    if (text[0] == '[') {
        char *close = strchr(text, ']');
        if (!close || (close[1] != '\0' && close + 1 != colon))
            return;
        *ret_host = text + 1;
        *close = '\0';
        if (!close[1])
            return;
    } else if (!colon || colon != strchr(text, ':')) {
        return;
    }
    *colon = '\0';
    *ret_port = colon[1] ? colon + 1 : NULL;
}

/* What cannot be understood is passed over, as Go does: it excepts nothing. */
static void exceptions_parse(struct proxies *p, const char *no_proxy)
{
    cleanup_free char *list = xstrdup(no_proxy);
    char *rest = NULL;
    for (char *entry = strtok_r(list, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest)) {
        entry += strspn(entry, " \t\r\n");
        for (size_t len = strlen(entry); len && strchr(" \t\r\n", entry[len - 1]); len--)
            entry[len - 1] = '\0';
        if (strcmp(entry, "*") == 0) {
            p->never = true;
            return;
        }
        struct exception e = {0};
        if (!strchr(entry, '/') || !network_parse(entry, &e)) {
            char *host, *port;
            split_port(entry, &host, &port);
            if (!network_parse(host, &e)) {
                if (strncmp(host, "*.", 2) == 0)
                    host++;
                e.kind = EXCEPTION_DOMAIN;
                e.below_only = host[0] == '.';
                host += e.below_only;
                if (!*host)
                    continue;
                e.domain = xstrdup(host);
            }
            e.port = port ? xstrdup(port) : NULL;
        }
        *array_add(p->exceptions, p->count) = e;
    }
}

int proxies_new(const char *http_proxy, const char *https_proxy, const char *no_proxy, bool cgi,
                struct proxies **ret, struct error *err)
{
    struct proxies *p = xcalloc(1, sizeof *p);
    if ((!cgi && proxy_parse("HTTP_PROXY", http_proxy, &p->http, err) < 0) ||
        proxy_parse("HTTPS_PROXY", https_proxy, &p->https, err) < 0) {
        proxies_free(p);
        return -1;
    }
    if (no_proxy)
        exceptions_parse(p, no_proxy);
    *ret = p;
    return 0;
}

static const char *environment(const char *upper, const char *lower)
{
    const char *value = getenv(upper);
    return value && *value ? value : getenv(lower);
}

int proxies_from_environment(struct proxies **ret, struct error *err)
{
    const char *method = getenv("REQUEST_METHOD");
    return proxies_new(environment("HTTP_PROXY", "http_proxy"),
                       environment("HTTPS_PROXY", "https_proxy"),
                       environment("NO_PROXY", "no_proxy"), method && *method, ret, err);
}

void proxies_free(struct proxies *p)
{
    if (!p)
        return;
    free_secret(p->http.url);
    free_secret(p->https.url);
    free(p->http.show);
    free(p->https.show);
    for (size_t i = 0; i < p->count; i++) {
        free(p->exceptions[i].domain);
        free(p->exceptions[i].port);
    }
    free(p->exceptions);
    free(p);
}

static bool domain_matches(const struct exception *e, const char *host)
{
    size_t len = strlen(host), n = strlen(e->domain);
    if (len < n || strcasecmp(host + len - n, e->domain) != 0)
        return false;
    return len == n ? !e->below_only : host[len - n - 1] == '.';
}

const struct proxy *proxies_find(const struct proxies *p, bool https, const char *host,
                                 uint16_t port)
{
    const struct proxy *proxy = https ? &p->https : &p->http;
    if (!proxy->url || p->never || strcasecmp(host, "localhost") == 0)
        return NULL;
    enum address_class class;
    if (address_class_of_literal(host, &class) && class == ADDRESS_LOOPBACK)
        return NULL;

    size_t len = strlen(host);
    bool brackets = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    cleanup_free char *plain = xstrndup(host + brackets, len - 2 * (size_t)brackets);
    struct exception address = {0};
    bool is_address = !strchr(plain, '/') && network_parse(plain, &address);
    if (is_address && address.family == AF_INET6 &&
        IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)address.network)) {
        memmove(address.network, address.network + 12, 4);
        address.family = AF_INET;
    }
    char text[8];
    (void)snprintf(text, sizeof text, "%u", (unsigned)port);

    for (size_t i = 0; i < p->count; i++) {
        const struct exception *e = &p->exceptions[i];
        bool matches = e->kind == EXCEPTION_NETWORK
                           ? is_address && address.family == e->family &&
                                 address_has_prefix(address.network, e->network, e->bits)
                           : !is_address && domain_matches(e, plain);
        if (matches && (!e->port || strcmp(e->port, text) == 0))
            return NULL;
    }
    return proxy;
}
