#include "warmer/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Does NO_PROXY except this host? Most rows are those of Go's own tests. */
static const struct {
    const char *no_proxy, *host;
    uint16_t port;
    bool proxied;
} exceptions[] = {
    {NULL, "example.com", 443, true},
    {"", "example.com", 443, true},
    {NULL, "localhost", 443, false},
    {NULL, "LOCALHOST", 443, false},
    {NULL, "127.0.0.1", 443, false},
    {NULL, "127.0.0.2", 443, false},
    {NULL, "[::1]", 443, false},
    {NULL, "[::2]", 443, true},
    {NULL, "10.0.0.1", 443, true},
    {"foo.com", "foo.com", 443, false},
    {"foo.com", "FOO.com", 443, false},
    {"foo.com", "www.foo.com", 443, false},
    {"foo.com", "barfoo.com", 443, true},
    {"foo.com", "foo.com.evil.org", 443, true},
    {".foo.com", "foo.com", 443, true},
    {".foo.com", "www.foo.com", 443, false},
    {"*.foo.com", "foo.com", 443, true},
    {"*.foo.com", "www.foo.com", 443, false},
    {" foo.com , bar.org ", "bar.org", 443, false},
    {"foo.com:443", "foo.com", 443, false},
    {"foo.com:443", "foo.com", 8443, true},
    {"foo.com:", "foo.com", 8443, false},
    {"foo.com,,", "bar.com", 443, true},
    {",.,:80,", "bar.com", 80, true},
    {"*", "example.com", 443, false},
    {"foo.com,*", "10.0.0.1", 443, false},
    {"**", "example.com", 443, true},
    {"192.168.1.1", "192.168.1.1", 443, false},
    {"192.168.1.1", "192.168.1.2", 443, true},
    {"192.168.1.1:80", "192.168.1.1", 80, false},
    {"192.168.1.1:80", "192.168.1.1", 443, true},
    {"10.0.0.0/8", "10.200.3.4", 443, false},
    {"10.0.0.0/8", "11.0.0.1", 443, true},
    {"10.128.0.0/9", "10.127.0.1", 443, true},
    {"10.128.0.0/9", "10.128.0.1", 443, false},
    {"10.1.2.3/0", "8.8.8.8", 443, false},
    {"10.0.0.0/33", "10.0.0.1", 443, true},
    {"10.0.0.0/", "10.0.0.1", 443, true},
    {"10.0.0.0/8x", "10.0.0.1", 443, true},
    {"10.0.0.0/8", "host10.0.0.1", 443, true},
    {"2001:db8::52:0:1", "[2001:db8::52:0:1]", 443, false},
    {"2001:db8::52:0:1", "[2001:db8::52:0:2]", 443, true},
    {"[2001:db8::52:0:1]", "[2001:db8::52:0:1]", 443, false},
    {"[2001:db8::52:0:1]:443", "[2001:db8::52:0:1]", 443, false},
    {"[2001:db8::52:0:1]:443", "[2001:db8::52:0:1]", 80, true},
    {"2001:db8::/32", "[2001:db8:1::1]", 443, false},
    {"2001:db8::/32", "[2001:db9::1]", 443, true},
    {"::/0", "10.0.0.1", 443, true},
    {"10.0.0.0/8", "[::ffff:10.0.0.1]", 443, false},
    {"1", "10.0.0.1", 443, true}, /* a name, and no name ends an address */
    {"[broken", "broken", 443, true},
};

static void test_exceptions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++) {
        struct proxies *p = NULL;
        assert_int_equal(
            proxies_new(NULL, "http://proxy:3128", exceptions[i].no_proxy, false, &p, NULL), 0);
        const struct proxy *found = proxies_find(p, true, exceptions[i].host, exceptions[i].port);
        if (!!found != exceptions[i].proxied)
            fail_msg("NO_PROXY=%s %s:%u: %s", exceptions[i].no_proxy, exceptions[i].host,
                     exceptions[i].port, found ? "proxied" : "not proxied");
        proxies_free(p);
    }
}

static const struct {
    const char *value, *url, *show; /* url NULL: refused */
} values[] = {
    {"proxy:3128", "http://proxy:3128/", "http://proxy:3128"},
    {"proxy", "http://proxy:80/", "http://proxy:80"},
    {"10.0.0.1:3128", "http://10.0.0.1:3128/", "http://10.0.0.1:3128"},
    {"[::1]:3128", "http://[::1]:3128/", "http://[::1]:3128"},
    {"http://proxy", "http://proxy:80/", "http://proxy:80"},
    {"HTTP://proxy", "http://proxy:80/", "http://proxy:80"},
    {"https://proxy", "https://proxy:443/", "https://proxy:443"},
    {"socks5://proxy", "socks5h://proxy:1080/", "socks5h://proxy:1080"},
    {"socks5h://proxy:9", "socks5h://proxy:9/", "socks5h://proxy:9"},
    {"http://u:p%40ss@proxy:3128/path?q#f", "http://u:p%40ss@proxy:3128/", "http://proxy:3128"},
    {"u:secret@proxy:3128", "http://u:secret@proxy:3128/", "http://proxy:3128"},
    {"ftp://u:secret@proxy", NULL, NULL},
    {"socks4://u:secret@proxy", NULL, NULL},
    {"://", NULL, NULL},
    {"http://", NULL, NULL},
    {"http://u:secret@pro xy", NULL, NULL},
    {"u:secret@proxy:port", NULL, NULL},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct proxies *p = NULL;
        struct error err = {0};
        int result = proxies_new(values[i].value, NULL, NULL, false, &p, &err);
        if (!values[i].url) {
            if (result == 0)
                fail_msg("%s: taken", values[i].value);
            assert_int_equal(err.kind, ERROR_CONFIG);
            assert_non_null(strstr(err.message, "HTTP_PROXY"));
            assert_null(strstr(err.message, "secret"));
            error_clear(&err);
            continue;
        }
        if (result < 0)
            fail_msg("%s: %s", values[i].value, err.message);
        const struct proxy *proxy = proxies_find(p, false, "example.com", 80);
        assert_non_null(proxy);
        assert_string_equal(proxy->url, values[i].url);
        assert_string_equal(proxy->show, values[i].show);
        assert_null(proxies_find(p, true, "example.com", 443)); /* by scheme */
        proxies_free(p);
    }
}

static void clear_environment(void)
{
    static const char *const names[] = {"HTTP_PROXY",  "http_proxy", "HTTPS_PROXY",
                                        "https_proxy", "NO_PROXY",   "no_proxy",
                                        "ALL_PROXY",   "all_proxy",  "REQUEST_METHOD"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

static const struct {
    const char *set[4][2];
    const char *http, *https; /* for example.com */
} environments[] = {
    {{{0}}, NULL, NULL},
    {{{"HTTP_PROXY", "a:1"}, {"HTTPS_PROXY", "b:2"}}, "http://a:1", "http://b:2"},
    {{{"http_proxy", "a:1"}, {"https_proxy", "b:2"}}, "http://a:1", "http://b:2"},
    {{{"HTTP_PROXY", "a:1"}, {"http_proxy", "c:3"}}, "http://a:1", NULL},
    {{{"HTTP_PROXY", ""}, {"http_proxy", "c:3"}}, "http://c:3", NULL},
    {{{"HTTP_PROXY", "a:1"}, {"HTTPS_PROXY", "b:2"}, {"REQUEST_METHOD", "GET"}},
     NULL,
     "http://b:2"},
    {{{"ALL_PROXY", "a:1"}, {"all_proxy", "a:1"}}, NULL, NULL},
    {{{"HTTP_PROXY", "a:1"}, {"no_proxy", "example.com"}}, NULL, NULL},
    {{{"HTTP_PROXY", "a:1"}, {"NO_PROXY", "other"}, {"no_proxy", "example.com"}},
     "http://a:1",
     NULL},
};

static void test_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof environments / sizeof *environments; i++) {
        clear_environment();
        for (size_t k = 0; k < 4 && environments[i].set[k][0]; k++)
            setenv(environments[i].set[k][0], environments[i].set[k][1], 1);
        struct proxies *p = NULL;
        assert_int_equal(proxies_from_environment(&p, NULL), 0);
        const struct proxy *http = proxies_find(p, false, "example.com", 80);
        const struct proxy *https = proxies_find(p, true, "example.com", 443);
        const char *expected[2] = {environments[i].http, environments[i].https};
        const char *found[2] = {http ? http->show : NULL, https ? https->show : NULL};
        for (size_t k = 0; k < 2; k++)
            if (!!expected[k] != !!found[k] || (found[k] && strcmp(found[k], expected[k]) != 0))
                fail_msg("row %zu: %s", i, found[k] ? found[k] : "none");
        proxies_free(p);
    }
    clear_environment();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
