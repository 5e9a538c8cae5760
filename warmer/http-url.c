#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "http-internal.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <string.h>

const char *http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT"};
    return names[method];
}

static CURLU *handle_new(void)
{
    CURLU *url = curl_url();
    if (!url)
        abort(); /* out of memory */
    return url;
}

static void handle_free_p(CURLU **url)
{
    curl_url_cleanup(*url);
}
#define cleanup_curlu __attribute__((cleanup(handle_free_p)))

/* An owned copy of a part; NULL when there is none. */
static char *part(CURLU *url, CURLUPart what, unsigned flags)
{
    char *text = NULL;
    if (curl_url_get(url, what, &text, flags) != CURLUE_OK)
        return NULL;
    char *copy = xstrdup(text);
    OPENSSL_cleanse(text, strlen(text)); /* queries may hold signatures, userinfo passwords */
    curl_free(text);
    return copy;
}

static int unusable(const char *why, struct error *err)
{
    return error_set(err, ERROR_PROTOCOL, "not a usable URL: %s", why);
}

/* Set an absolute URL, or one relative to what the handle holds, and look whether we may use it. */
static int handle_set(CURLU *url, const char *text, struct error *err)
{
    size_t len = strlen(text);
    if (len == 0 || len > HTTP_URL_MAX)
        return unusable(len ? "too long" : "empty", err);
    unsigned flags = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20 || byte == 0x7f)
            return unusable("a control character in it", err);
        /* Only then: what is escaped already, a signature say, must stay as it is. */
        if (byte == ' ' || byte >= 0x80)
            flags = CURLU_URLENCODE;
    }
    CURLUcode code = curl_url_set(url, CURLUPART_URL, text, flags);
    if (code != CURLUE_OK)
        return unusable(curl_url_strerror(code), err);

    cleanup_free char *scheme = part(url, CURLUPART_SCHEME, 0);
    if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return unusable("neither http nor https", err);
    cleanup_free char *host = part(url, CURLUPART_HOST, 0);
    if (!host || !*host)
        return unusable("no host", err);
    char *user = part(url, CURLUPART_USER, 0), *password = part(url, CURLUPART_PASSWORD, 0);
    bool has_userinfo = user || password;
    if (password)
        OPENSSL_cleanse(password, strlen(password));
    free(user);
    free(password);
    if (has_userinfo)
        return unusable("it holds a user name or password", err);
    if (curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
        return unusable("its fragment", err);
    return 0;
}

/* libcurl takes "host:" and "host:00443" as Go does, and lets nothing above 65535 through. */
static uint16_t handle_port(CURLU *url)
{
    cleanup_free char *text = part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    return text ? (uint16_t)strtoul(text, NULL, 10) : 0;
}

int url_parse(const char *url, struct url_parts *ret, struct error *err)
{
    cleanup_curlu CURLU *handle = handle_new();
    if (handle_set(handle, url, err) < 0)
        return -1;
    cleanup_free char *scheme = part(handle, CURLUPART_SCHEME, 0);
    struct url_parts u = {
        .text = part(handle, CURLUPART_URL, 0),
        .https = scheme && strcmp(scheme, "https") == 0,
        .host = part(handle, CURLUPART_HOST, 0),
        .port = handle_port(handle),
    };
    if (!u.text || !u.host || u.port == 0) {
        url_parts_release(&u);
        return unusable("no host or port", err);
    }
    for (char *p = u.host; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    *ret = u;
    return 0;
}

void url_parts_release(struct url_parts *u)
{
    if (u->text)
        OPENSSL_cleanse(u->text, strlen(u->text)); /* a presigned URL is a credential */
    free(u->text);
    free(u->host);
    *u = (struct url_parts){0};
}

char *http_url_join(const char *base, const char *location, struct error *err)
{
    cleanup_curlu CURLU *handle = handle_new();
    bool from_https = false;
    if (base) {
        if (handle_set(handle, base, err) < 0)
            return NULL;
        cleanup_free char *scheme = part(handle, CURLUPART_SCHEME, 0);
        from_https = scheme && strcmp(scheme, "https") == 0;
    }
    if (handle_set(handle, location, err) < 0)
        return NULL;
    cleanup_free char *scheme = part(handle, CURLUPART_SCHEME, 0);
    if (from_https && strcmp(scheme ? scheme : "", "https") != 0) {
        error_set(err, ERROR_REFUSED, "sent from https to http, where anybody could listen");
        return NULL;
    }
    char *joined = part(handle, CURLUPART_URL, 0);
    if (!joined || strlen(joined) > HTTP_URL_MAX) {
        free(joined);
        unusable("too long", err);
        return NULL;
    }
    return joined;
}

/* By hand: libcurl's own appending turns %2F into %2f. */
char *http_url_add_query(const char *url, const char *query, struct error *err)
{
    cleanup_free char *base = http_url_join(NULL, url, err);
    if (!base)
        return NULL;
    cleanup_free char *longer = xasprintf("%s%c%s", base, strchr(base, '?') ? '&' : '?', query);
    return http_url_join(NULL, longer, err);
}

char *http_escape(const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    if (!escaped)
        abort(); /* out of memory */
    char *copy = xstrdup(escaped);
    OPENSSL_cleanse(escaped, strlen(escaped));
    curl_free(escaped);
    return copy;
}

char *http_form_add(char *form, const char *name, const char *value)
{
    if (!value)
        return form;
    char *escaped = http_escape(value);
    char *longer = xasprintf("%s%s%s=%s", form, *form ? "&" : "", name, escaped);
    OPENSSL_cleanse(escaped, strlen(escaped));
    OPENSSL_cleanse(form, strlen(form));
    free(escaped);
    free(form);
    return longer;
}

char *http_url_origin(const char *url, struct error *err)
{
    struct url_parts u;
    if (url_parse(url, &u, err) < 0)
        return NULL;
    char *origin = xasprintf("%s://%s:%u", u.https ? "https" : "http", u.host, (unsigned)u.port);
    url_parts_release(&u);
    return origin;
}

char *http_url_show(const char *url)
{
    cleanup_curlu CURLU *handle = handle_new();
    if (strlen(url) <= HTTP_URL_MAX && curl_url_set(handle, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_set(handle, CURLUPART_QUERY, NULL, 0) == CURLUE_OK &&
        curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_set(handle, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
        curl_url_set(handle, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
        curl_url_set(handle, CURLUPART_OPTIONS, NULL, 0) == CURLUE_OK) {
        cleanup_free char *rest = part(handle, CURLUPART_URL, 0);
        if (rest)
            return text_foreign_str(rest);
    }
    return xstrdup("(unreadable URL)");
}

enum address_class http_own_limit(const char *url)
{
    struct url_parts u;
    enum address_class class;
    if (url_parse(url, &u, NULL) < 0)
        return ADDRESS_LOOPBACK; /* http_perform() will say what is wrong with it */
    bool literal = address_class_of_literal(u.host, &class);
    url_parts_release(&u);
    return literal ? ADDRESS_NEVER : ADDRESS_LOOPBACK;
}

enum address_class http_sent_limit(enum address_class own)
{
    return own < ADDRESS_LOOPBACK ? own : ADDRESS_LOOPBACK;
}
