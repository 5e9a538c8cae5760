#include "cachedir/cli/table.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/terminal.h"
#include "cachedir/text.h"
#include "capture.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_shorten(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t columns;
        const char *expected;
    } rows[] = {
        {"docker.io", 9, "docker.io"},
        {"docker.io", 8, "doc...io"},
        {"docker.io/library/debian", 10, "dock..bian"},
        {"abc", 2, ".."},
        {"abc", 1, "."},
        {"abc", 0, ""},
        {"", 0, ""},
        {"\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97", 8,
         "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97"},
        {"\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97", 7, "\xe6\xbc\xa2..\xe5\xad\x97"},
        {"\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97", 5,
         "\xe6\xbc\xa2.." /* a half fits not */},
        {"gr\xc3\xbc\xc3\x9f\xc3\xbc\xc3\x9f", 5, "gr..\xc3\x9f"},
        {"a\xff\xff\xff\xff", 4, "a..\xff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *got = terminal_shorten(rows[i].text, rows[i].columns);
        if (text_columns(got) > rows[i].columns || strcmp(got, rows[i].expected) != 0)
            fail_msg("row %zu: \"%s\", not \"%s\"", i, got, rows[i].expected);
    }
}

static struct table *example(void)
{
    static const char *const headings[] = {"IMAGE", "N", "END", "REASON"};
    static const enum table_column kinds[] = {TABLE_SHRINK, TABLE_RIGHT, TABLE_LEFT, TABLE_REST};
    struct table *t = table_new(4, headings, kinds);
    table_cell(t, "docker.io/library/debian:bookworm");
    table_cellf(t, "%d", 1234);
    table_cell(t, NULL);
    table_cell(t, "");
    table_cell(t, "\xe6\xbc\xa2\xe5\xad\x97");
    table_cell(t, "5");
    table_cell(t, "wide");
    table_cell(t, "a reason that is longer than the terminal is wide, and stays whole");
    return t;
}

static void test_file(void **state)
{
    (void)state;
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    struct table *t = example();
    table_print(t, out);
    table_free(t);
    fclose(out);
    assert_string_equal(
        text, "IMAGE                                 N  END   REASON\n"
              "docker.io/library/debian:bookworm  1234  -\n"
              "\xe6\xbc\xa2\xe5\xad\x97                                  5  wide  a reason "
              "that is longer than the terminal is wide, and stays whole\n");
    free(text);
    table_free(NULL);
}

static void test_terminal(void **state)
{
    (void)state;
    struct terminal *terminal = terminal_new(30, 24);
    FILE *out = fdopen(dup(terminal_fd(terminal)), "w");
    struct table *t = example();
    table_print(t, out);
    table_free(t);
    fclose(out);
    cleanup_free char *text = terminal_end(terminal);
    assert_string_equal(text,
                        "IMAGE                  N  END   REASON\n"
                        "docker.i..bookworm  1234  -\n"
                        "\xe6\xbc\xa2\xe5\xad\x97                   5  wide  a reason that is "
                        "longer than the terminal is wide, and stays whole\n");
}

static void test_too_narrow(void **state)
{
    (void)state;
    struct terminal *terminal = terminal_new(5, 24);
    FILE *out = fdopen(dup(terminal_fd(terminal)), "w");
    struct table *t = example();
    table_print(t, out);
    table_free(t);
    fclose(out);
    cleanup_free char *text = terminal_end(terminal);
    /* No narrower than what one knows: then a cell a line. */
    assert_string_equal(text,
                        "docker.io/library/debian:bookworm\n  N: 1234\n"
                        "\xe6\xbc\xa2\xe5\xad\x97\n  N: 5\n  END: wide\n  REASON: a reason that "
                        "is longer than the terminal is wide, and stays whole\n");
}

int main(void)
{
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shorten),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_too_narrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
