#include "cachedir/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* FIPS 180-4's examples. */
#define EMPTY_256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                                                    \
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                             \
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static struct digest digest(const char *text)
{
    struct digest d;
    struct error err = {0};
    if (digest_parse(text, &d, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return d;
}

static void test_good(void **state)
{
    (void)state;
    struct digest a = digest("sha256:" ABC_256), b = digest("sha512:" ABC_512), none = {0};
    char buf[DIGEST_SHORT_SIZE];

    assert_string_equal(a.text, "sha256:" ABC_256);
    assert_string_equal(digest_hex(&a), ABC_256);
    assert_string_equal(digest_hex(&b), ABC_512);
    assert_string_equal(digest_hex(&none), "");
    assert_string_equal(digest_short(&a, buf), "sha256:ba7816bf8f01");
    assert_string_equal(digest_short(&b, buf), "sha512:ddaf35a19361");
    assert_string_equal(digest_short(&none, buf), "");

    assert_true(digest_is_set(&a));
    assert_false(digest_is_set(&none));
    assert_true(digest_is_sha256(&a));
    assert_false(digest_is_sha256(&b));
    assert_false(digest_is_sha256(&none));
    assert_true(digest_equal(&a, &a));
    assert_false(digest_equal(&a, &b));
    assert_false(digest_equal(&a, &none));
    struct digest c = digest("sha256:" EMPTY_256);
    assert_false(digest_equal(&a, &c));
    assert_true(digest_same_algorithm(&a, &c));
    assert_false(digest_same_algorithm(&a, &b));
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* a part of it */
    } rows[] = {
        {NULL, "missing"},
        {"", "missing"},
        {"sha256", "must begin"},
        {"sha256:", "64 hex digits"},
        {"sha256:abc", "64 hex digits"},
        {"sha256:" ABC_256 "0", "64 hex digits"},
        {"sha256:" ABC_512, "64 hex digits"},
        {"sha512:" ABC_256, "128 hex digits"},
        {"sha512:" ABC_512 "00", "128 hex digits"},
        {"SHA256:" ABC_256, "must begin"},
        {"sha256-" ABC_256, "must begin"},
        {"sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "must begin"},
        {"md5:d41d8cd98f00b204e9800998ecf8427e", "must begin"},
        {" sha256:" ABC_256, "must begin"},
        {ABC_256, "must begin"},
        {"sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", "lower case"},
        {"sha256:" ABC_256 " ", "only hex"},
        {"sha256:" ABC_256 "\n", "only hex"},
        {"sha256:" ABC_256 "/../x", "only hex"},
        {"sha256:../../../../../../../../../../../../../../../../../../../etc/pas", "only hex"},
        {"sha256::a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a", "only hex"},
        {"sha256:g", "only hex"},
        {"sha256:\x1b[2J", "\\x1b[2J"},
        {"sha256:\xff\xfe", "\\xff\\xfe"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        struct digest d;
        memset(&d, 'x', sizeof d);
        if (digest_parse(rows[i].text, &d, &err) == 0)
            fail_msg("accepted: \"%s\"", rows[i].text ? rows[i].text : "(null)");
        assert_int_equal(err.kind, ERROR_PROTOCOL);
        if (!strstr(err.message, rows[i].message))
            fail_msg("row %zu: \"%s\" lacks \"%s\"", i, err.message, rows[i].message);
        assert_int_equal(d.text[0], 'x'); /* untouched */
        error_clear(&err);
        assert_int_equal(digest_parse(rows[i].text, &d, NULL), -1);
    }
}

static void test_hasher(void **state)
{
    (void)state;
    struct digest want = digest("sha512:" ABC_512), got;
    cleanup_hasher struct hasher *h = hasher_new(&want);
    hasher_update(h, "a", 1);
    hasher_update(h, "", 0);
    hasher_update(h, "bc", 2);
    hasher_final(h, &got);
    assert_string_equal(got.text, want.text);
    hasher_reset(h);
    hasher_update(h, "abc", 3);
    hasher_final(h, &got);
    assert_true(digest_equal(&got, &want));
    hasher_reset(h);
    hasher_update(h, "abd", 3);
    hasher_final(h, &got);
    assert_false(digest_equal(&got, &want));
    hasher_free(NULL);
}

static void test_check(void **state)
{
    (void)state;
    struct error err = {0};
    struct digest abc = digest("sha256:" ABC_256), got;
    assert_int_equal(digest_check(&abc, "abc", 3, &err), 0);
    assert_int_equal(err.kind, ERROR_NONE);
    assert_int_equal(digest_check(&abc, "", 0, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    assert_non_null(strstr(err.message, ABC_256));
    assert_non_null(strstr(err.message, EMPTY_256));
    error_clear(&err);
    struct digest long_one = digest("sha512:" ABC_512);
    assert_int_equal(digest_check(&long_one, "abc", 3, NULL), 0);
    assert_int_equal(digest_check(&long_one, "abd", 3, NULL), -1);

    digest_of("", 0, &got);
    assert_string_equal(got.text, "sha256:" EMPTY_256);
    digest_of("abc", 3, &got);
    assert_string_equal(got.text, "sha256:" ABC_256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hasher),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
