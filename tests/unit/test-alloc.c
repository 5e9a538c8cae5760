#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_array(void **state)
{
    (void)state;
    struct pair {
        size_t a, b;
    } *list = NULL;
    size_t count = 0;
    for (size_t i = 0; i < 1000; i++) {
        struct pair *p = array_add(list, count);
        assert_int_equal(count, i + 1);
        assert_ptr_equal(p, &list[i]);
        assert_int_equal(p->a, 0);
        assert_int_equal(p->b, 0);
        *p = (struct pair){i, ~i};
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].a, i);
        assert_int_equal(list[i].b, ~i);
    }
    /* Shorter again, and longer: zeroed each time, within bounds (AddressSanitizer looks on). */
    for (count = 3; count < 40;)
        assert_int_equal(array_add(list, count)->a, 0);
    assert_int_equal(list[2].a, 2);
    free(list);
}

static void test_nothing(void **state)
{
    (void)state;
    void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xreallocarray(NULL, 0, 8);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    c = xreallocarray(c, 0, 0);
    assert_non_null(c);
    free(a);
    free(b);
    free(c);
}

static void test_text(void **state)
{
    (void)state;
    cleanup_free char *a = xasprintf("%s-%d", "x", 7);
    cleanup_free char *b = xstrndup("abcdef", 3);
    cleanup_free char *c = xstrdup(b);
    assert_string_equal(a, "x-7");
    assert_string_equal(c, "abc");
    char *taken = take_ptr(c);
    assert_null(c);
    assert_string_equal(taken, "abc");
    free(taken);
    int fd = 5;
    assert_int_equal(take_fd(&fd), 5);
    assert_int_equal(fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
