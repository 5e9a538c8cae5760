#include "warmer/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *base, *location, *joined; /* joined NULL: refused */
    enum error_kind kind;
} joins[] = {
    {"https://a/v2/x/blobs/y", "https://b/c?d=e", "https://b/c?d=e"},
    {"https://a/v2/x/blobs/y", "/c", "https://a/c"},
    {"https://a/v2/x/blobs/y", "z", "https://a/v2/x/blobs/z"},
    {"https://a/v2/x/blobs/y?q=1", "?r=2", "https://a/v2/x/blobs/y?r=2"},
    {"https://a/v2/x/blobs/y", "../z", "https://a/v2/x/z"},
    {"https://a/v2/", "../../../../z", "https://a/z"},
    {"https://a:8443/v2/", "/c", "https://a:8443/c"},
    {"https://a/v2/", "//b:1/c", "https://b:1/c"},
    {"http://a/v2/", "//b/c", "http://b/c"},
    {"http://a/", "https://b/", "https://b/"},
    {"http://a/", "HTTP://b/c", "http://b/c"},
    {"http://a/", "http://b/c#fragment", "http://b/c"},
    {"http://a/", "http://b/c d", "http://b/c%20d"},
    {"http://a/", "/s?sig=a%2Fb%2bc%3D&x=1+2", "http://a/s?sig=a%2Fb%2bc%3D&x=1+2"},
    {"http://[::1]:5000/", "/c", "http://[::1]:5000/c"},
    {NULL, "https://auth.example.com/token?a=b", "https://auth.example.com/token?a=b"},

    {"https://a/", "http://b/", NULL, ERROR_REFUSED},
    {"https://a/", "http://a/", NULL, ERROR_REFUSED},
    {"https://a/", "ftp://b/", NULL, ERROR_PROTOCOL},
    {"http://a/", "file:///etc/passwd", NULL, ERROR_PROTOCOL},
    {"http://a/", "gopher://b/", NULL, ERROR_PROTOCOL},
    {"http://a/", "javascript:alert(1)", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://user@b/", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://user:password@b/", NULL, ERROR_PROTOCOL},
    {"http://a/", "//user:password@b/", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://b\\@c/", NULL, ERROR_PROTOCOL},
    {"http://a/", "", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://b/\r\nX: y", NULL, ERROR_PROTOCOL},
    {"http://a/", "/c\x7f", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://b:99999/", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://b:x/", NULL, ERROR_PROTOCOL},
    {"http://a/", "http://[::1/", NULL, ERROR_PROTOCOL},
    {NULL, "/token", NULL, ERROR_PROTOCOL},
    {NULL, "auth.example.com/token", NULL, ERROR_PROTOCOL},
    {"ftp://a/", "/c", NULL, ERROR_PROTOCOL},
};

static void test_join(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        struct error err = {0};
        char *joined = http_url_join(joins[i].base, joins[i].location, &err);
        if (!joins[i].joined) {
            if (joined || err.kind != joins[i].kind)
                fail_msg("%s + %s: %s, %s", joins[i].base, joins[i].location, joined,
                         error_kind_name(err.kind));
            assert_null(strstr(err.message, "user:"));
        } else if (!joined || strcmp(joined, joins[i].joined) != 0) {
            fail_msg("%s + %s: %s", joins[i].base, joins[i].location,
                     joined ? joined : err.message);
        }
        error_clear(&err);
        free(joined);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    char *url = malloc(HTTP_URL_MAX + 2);
    memset(url, 'a', HTTP_URL_MAX + 1);
    url[HTTP_URL_MAX + 1] = '\0';
    memcpy(url, "http://a/", 9);
    struct error err = {0};
    assert_null(http_url_join(NULL, url, &err));
    assert_int_equal(err.kind, ERROR_PROTOCOL);
    error_clear(&err);
    assert_null(http_url_add_query("http://a/", url, &err));
    assert_int_equal(err.kind, ERROR_PROTOCOL);
    error_clear(&err);
    url[HTTP_URL_MAX] = '\0';
    char *joined = http_url_join(NULL, url, &err);
    assert_non_null(joined);
    free(joined);
    free(url);
}

static const struct {
    const char *url, *origin;
} origins[] = {
    {"https://a/b", "https://a:443"},
    {"http://a/b", "http://a:80"},
    {"HTTPS://A.Example:443/b?c", "https://a.example:443"},
    {"https://a:8443/", "https://a:8443"},
    {"https://[::1]:5000/", "https://[::1]:5000"},
    {"https://a:00443/", "https://a:443"},
    {"https://user@a/", NULL},
    {"a/b", NULL},
    {"https://a:0/", NULL},
};

static void test_origin(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        struct error err = {0};
        char *origin = http_url_origin(origins[i].url, &err);
        if (!!origin != !!origins[i].origin || (origin && strcmp(origin, origins[i].origin) != 0))
            fail_msg("%s: %s", origins[i].url, origin ? origin : err.message);
        error_clear(&err);
        free(origin);
    }
}

static const struct {
    const char *url, *shown;
} shown[] = {
    {"https://a/b", "https://a/b"},
    {"https://a:8443/b", "https://a:8443/b"},
    {"https://user:secret@a/b?X-Amz-Signature=secret#secret", "https://a/b"},
    {"https://a/b?secret", "https://a/b"},
    {"https://a", "https://a/"},
    {"nonsense secret", "(unreadable URL)"},
    {"", "(unreadable URL)"},
};

static void test_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char *text = http_url_show(shown[i].url);
        assert_string_equal(text, shown[i].shown);
        free(text);
    }
}

static void test_query(void **state)
{
    (void)state;
    static const struct {
        const char *url, *query, *joined;
    } rows[] = {
        {"https://a/token", "service=x", "https://a/token?service=x"},
        {"https://a/token?b=c", "service=x", "https://a/token?b=c&service=x"},
        {"https://a/token", "scope=repository%3Aa%2Fb%3Apull&service=r%26d",
         "https://a/token?scope=repository%3Aa%2Fb%3Apull&service=r%26d"},
    };
    assert_null(http_url_add_query("https://a/", "b=c\r\nd", NULL));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *joined = http_url_add_query(rows[i].url, rows[i].query, NULL);
        assert_non_null(joined);
        assert_string_equal(joined, rows[i].joined);
        free(joined);
    }
    char *escaped = http_escape("repository:a/b:pull & \xc3\xa4~-._");
    assert_string_equal(escaped, "repository%3Aa%2Fb%3Apull%20%26%20%C3%A4~-._");
    free(escaped);
    escaped = http_escape("");
    assert_string_equal(escaped, "");
    free(escaped);
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(http_own_limit("https://registry.example/v2/"), ADDRESS_LOOPBACK);
    assert_int_equal(http_own_limit("https://localhost:5000/v2/"), ADDRESS_LOOPBACK);
    assert_int_equal(http_own_limit("http://127.0.0.1:5000/v2/"), ADDRESS_NEVER);
    assert_int_equal(http_own_limit("http://169.254.1.1/v2/"), ADDRESS_NEVER);
    assert_int_equal(http_own_limit("nonsense"), ADDRESS_LOOPBACK);
    assert_int_equal(http_sent_limit(ADDRESS_PUBLIC), ADDRESS_PUBLIC);
    assert_int_equal(http_sent_limit(ADDRESS_PRIVATE), ADDRESS_PRIVATE);
    assert_int_equal(http_sent_limit(ADDRESS_LOOPBACK), ADDRESS_LOOPBACK);
    assert_int_equal(http_sent_limit(ADDRESS_NEVER), ADDRESS_LOOPBACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join), cmocka_unit_test(test_too_long), cmocka_unit_test(test_origin),
        cmocka_unit_test(test_show), cmocka_unit_test(test_query),    cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
