#include "cachedir/platform.h"

#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct platform platform(const char *text)
{
    struct platform p = {0};
    struct error err = {0};
    if (platform_parse(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return p;
}

static void test_good(void **state)
{
    (void)state;
    static const struct {
        const char *text, *os, *architecture, *variant, *version;
    } rows[] = {
        {"linux/amd64", "linux", "amd64", "", ""},
        {"linux/arm/v7", "linux", "arm", "v7", ""},
        {"linux/arm64/v8", "linux", "arm64", "v8", ""}, /* as typed: not normalised */
        {"linux/x86_64", "linux", "x86_64", "", ""},
        {"Linux/AMD64", "Linux", "AMD64", "", ""},
        {" linux/s390x\n", "linux", "s390x", "", ""},
        {"linux/amd64/", "linux", "amd64", "", ""}, /* an empty variable */
        {"linux/amd64:", "linux", "amd64", "", ""},
        {"windows/amd64:10.0.17763.1", "windows", "amd64", "", "10.0.17763.1"},
        {"windows/arm64/v8:10.0", "windows", "arm64", "v8", "10.0"},
        {"unknown/unknown", "unknown", "unknown", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct platform p = platform(rows[i].text), copy, again;
        assert_string_equal(p.os, rows[i].os);
        assert_string_equal(p.architecture, rows[i].architecture);
        assert_string_equal(p.variant ? p.variant : "", rows[i].variant);
        assert_string_equal(p.os_version ? p.os_version : "", rows[i].version);
        cleanup_free char *text = platform_format(&p);
        again = platform(text);
        platform_copy(&copy, &p);
        assert_true(platform_equal(&p, &again));
        assert_true(platform_equal(&p, &copy));
        platform_release(&p);
        platform_release(&copy);
        platform_release(&again);
        platform_release(&again);
    }
    platform_release(NULL);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        " ",
        "linux",
        "amd64",
        "/",
        "linux/",
        "/amd64",
        "linux//v7",
        "linux/arm/v7/x",
        "linux/arm/v7/",
        "linux/amd64:1:2",
        "linux:1/amd64",
        "linux/amd64,linux/arm64",
        "linux /amd64",
        "linux/amd 64",
        "linux/amd64\n\nx",
        "linux/\x1b[2J",
        "linux/\xc3\xa4",
        "{\"os\":\"linux\"}",
        "linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "a",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct platform p = {0};
        struct error err = {0};
        if (platform_parse(rows[i], &p, &err) == 0)
            fail_msg("accepted: \"%s\"", rows[i]);
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_non_null(strstr(err.message, "bad platform"));
        assert_null(strchr(err.message, '\x1b'));
        assert_null(p.os);
        error_clear(&err);
    }
}

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *have, *want;
        bool matches;
    } rows[] = {
        {"linux/amd64", "linux/amd64", true},
        {"linux/amd64", "linux/arm64", false},
        {"linux/amd64", "windows/amd64", false},
        {"linux/amd64", "Linux/amd64", false},
        {"linux/arm64/v8", "linux/arm64", true}, /* the variant counts only when it is wanted */
        {"linux/arm64", "linux/arm64/v8", false},
        {"linux/arm64/v8", "linux/arm64/v8", true},
        {"linux/arm/v6", "linux/arm/v7", false},
        {"linux/arm/v6", "linux/arm", true},
        {"linux/amd64/v3", "linux/amd64", true},
        {"windows/amd64:10.0.1", "windows/amd64", true},
        {"windows/amd64:10.0.1", "windows/amd64:10.0.1", true},
        {"windows/amd64:10.0.1", "windows/amd64:10.0", false},
        {"windows/amd64", "windows/amd64:10.0", false},
        {"unknown/unknown", "linux/amd64", false},
        {"unknown/unknown", "unknown/unknown", false},
        {"linux/unknown", "linux/unknown", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct platform have = platform(rows[i].have), want = platform(rows[i].want);
        if (platform_matches(&have, &want) != rows[i].matches)
            fail_msg("%s for %s", rows[i].have, rows[i].want);
        platform_release(&have);
        platform_release(&want);
    }
    struct platform nothing = {0}, want = platform("linux/amd64");
    assert_false(platform_matches(&nothing, &want)); /* {} in an index: no assumption is made */
    assert_false(platform_equal(&nothing, &want));
    platform_release(&want);
}

static void test_host(void **state)
{
    (void)state;
    struct platform p;
    platform_host(&p);
    assert_string_equal(p.os, "linux");
    assert_true(p.architecture[0] != '\0');
    assert_null(p.os_version);
    if (strcmp(p.architecture, "arm") == 0)
        assert_int_equal(p.variant[0], 'v');
    else
        assert_null(p.variant); /* arm64/v8 and amd64/v1 are written without */
    platform_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
