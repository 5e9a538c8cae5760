#include "cachedir/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const enum error_kind all[] = {
    ERROR_NONE,   ERROR_USAGE,     ERROR_DIGEST,      ERROR_PROTOCOL, ERROR_NOT_FOUND,
    ERROR_IO,     ERROR_NO_SPACE,  ERROR_TRANSIENT,   ERROR_LOCKED,   ERROR_REFUSED,
    ERROR_CONFIG, ERROR_DIRECTORY, ERROR_INTERRUPTED,
};
#define ALL (sizeof all / sizeof *all)

static void test_set(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, ERROR_USAGE, "no %s", "image"), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_string_equal(err.message, "no image");
    /* The old message may be an argument of the new one. */
    assert_int_equal(error_set(&err, ERROR_IO, "again: %s", err.message), -1);
    assert_int_equal(err.kind, ERROR_IO);
    assert_string_equal(err.message, "again: no image");
    error_clear(&err);
    assert_int_equal(err.kind, ERROR_NONE);
    assert_null(err.message);
    error_clear(&err);
    error_clear(NULL);
    assert_int_equal(error_set(NULL, ERROR_IO, "%d", 1), -1);
}

static void test_prefix(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_prefix(&err, "outer"), -1);
    assert_int_equal(err.kind, ERROR_NONE);
    assert_null(err.message);
    assert_int_equal(error_prefix(NULL, "outer"), -1);
    error_set(&err, ERROR_DIGEST, "inner");
    assert_int_equal(error_prefix(&err, "layer %d", 3), -1);
    assert_int_equal(error_prefix(&err, "%s", "100%s"), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    assert_string_equal(err.message, "100%s: layer 3: inner");
    error_clear(&err);
}

static void test_errno(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        enum error_kind kind;
        const char *message;
    } rows[] = {
        {ENOSPC, ERROR_NO_SPACE, "write x: No space left on device"},
        {EDQUOT, ERROR_NO_SPACE, "write x: Disk quota exceeded"},
        {EFBIG, ERROR_NO_SPACE, "write x: File too large"},
        {EACCES, ERROR_REFUSED, "write x: Permission denied"},
        {EPERM, ERROR_REFUSED, "write x: Operation not permitted"},
        {EROFS, ERROR_REFUSED, "write x: Read-only file system"},
        {EIO, ERROR_IO, "write x: Input/output error"},
        {ENOENT, ERROR_IO, "write x: No such file or directory"},
        {99999, ERROR_IO, "write x: error 99999"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = {0};
        assert_int_equal(error_errno(&err, rows[i].errnum, "write %s", "x"), -1);
        assert_int_equal(err.kind, rows[i].kind);
        assert_string_equal(err.message, rows[i].message);
        error_clear(&err);
    }
    assert_int_equal(error_errno(NULL, EIO, "x"), -1);
}

static void test_move(void **state)
{
    (void)state;
    struct error a = {0}, b = {0};
    error_set(&a, ERROR_IO, "a");
    error_set(&b, ERROR_LOCKED, "b");
    error_move(&a, &b);
    assert_int_equal(a.kind, ERROR_LOCKED);
    assert_string_equal(a.message, "b");
    assert_int_equal(b.kind, ERROR_NONE);
    assert_null(b.message);
    error_move(&a, &a);
    assert_string_equal(a.message, "b");
    error_move(NULL, &a);
    assert_int_equal(a.kind, ERROR_NONE);
    assert_null(a.message);
}

static void test_exit_codes(void **state)
{
    (void)state;
    static const struct {
        enum error_kind kind;
        int code;
        const char *name;
    } rows[] = {
        {ERROR_NONE, 0, "none"},
        {ERROR_USAGE, 64, "usage"},
        {ERROR_DIGEST, 65, "digest"},
        {ERROR_PROTOCOL, 65, "protocol"},
        {ERROR_NOT_FOUND, 66, "not-found"},
        {ERROR_DIRECTORY, 73, "directory"},
        {ERROR_IO, 74, "io"},
        {ERROR_NO_SPACE, 74, "no-space"},
        {ERROR_TRANSIENT, 75, "transient"},
        {ERROR_LOCKED, 75, "locked"},
        {ERROR_REFUSED, 77, "refused"},
        {ERROR_CONFIG, 78, "config"},
        {ERROR_INTERRUPTED, 75, "interrupted"},
    };
    assert_int_equal(sizeof rows / sizeof *rows, ALL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(error_exit_code(rows[i].kind), rows[i].code);
        assert_string_equal(error_kind_name(rows[i].kind), rows[i].name);
    }
}

/* "75 while one is worth another try, else the first of 74 73 78 77 65 66, else 64, else 0" */
static void test_worse(void **state)
{
    (void)state;
    static const int order[] = {75, 74, 73, 78, 77, 65, 66, 64, 0};
    for (size_t i = 0; i < ALL; i++) {
        for (size_t k = 0; k < ALL; k++) {
            enum error_kind kind = error_worse(all[i], all[k]);
            assert_true(kind == all[i] || kind == all[k]);
            int a = error_exit_code(all[i]), b = error_exit_code(all[k]), want = -1;
            for (size_t n = 0; want < 0; n++) {
                if (order[n] == a || order[n] == b)
                    want = order[n];
            }
            assert_int_equal(error_exit_code(kind), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_errno),      cmocka_unit_test(test_move),
        cmocka_unit_test(test_exit_codes), cmocka_unit_test(test_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
