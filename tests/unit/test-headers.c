#include "warmer/headers.h"

#include "cachedir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
    const char *value;
    bool satisfied;
    int64_t start, end, total;
} ranges[] = {
    {"bytes 0-99/100", true, 0, 100, 100},
    {"bytes 0-0/1", true, 0, 1, 1},
    {"bytes 50-99/*", true, 50, 100, -1},
    {"Bytes 1-2/3", true, 1, 3, 3},
    {"bytes  1-2/3", true, 1, 3, 3},
    {"bytes */100", false, 0, 0, 100},
    {"bytes 999999999999999990-999999999999999998/999999999999999999", true, 999999999999999990,
     999999999999999999, 999999999999999999},
};

static const char *const no_ranges[] = {
    "",
    "bytes",
    "bytes ",
    "bytes 0-99",
    "bytes 0-99/",
    "bytes 99-0/100",
    "bytes 0-100/100",
    "bytes -1-5/10",
    "bytes 0--5/10",
    "bytes=0-99/100",
    "items 0-99/100",
    "bytes 0-99/100 ",
    "bytes 0-99/100,200-299/300",
    "bytes */*",
    "bytes *",
    "bytes 0x0-9/10",
    "bytes 0-9/1000000000000000000000",
    "bytes 1000000000000000000-1000000000000000001/2000000000000000000",
    "bytes +0-9/10",
    "0-99/100",
    "bytes a-b/c",
    "bytes 0 - 99/100",
};

static void reads_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct content_range r = {0};
        cleanup_error struct error err = {0};
        if (content_range_parse(ranges[i].value, &r, &err) < 0)
            fail_msg("%s: %s", ranges[i].value, err.message);
        if (r.satisfied != ranges[i].satisfied || r.start != ranges[i].start ||
            r.end != ranges[i].end || r.total != ranges[i].total)
            fail_msg("%s: %lld-%lld/%lld", ranges[i].value, (long long)r.start, (long long)r.end,
                     (long long)r.total);
    }
}

static void refuses_what_is_no_range(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof no_ranges / sizeof *no_ranges; i++) {
        struct content_range r = {.total = 42};
        cleanup_error struct error err = {0};
        if (content_range_parse(no_ranges[i], &r, &err) == 0)
            fail_msg("taken: \"%s\"", no_ranges[i]);
        assert_int_equal(err.kind, ERROR_PROTOCOL);
        assert_int_equal(r.total, 42);
    }
}

#define NOV_6_1994 784111777

static const struct {
    const char *value;
    time_t want;
} dates[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", NOV_6_1994},
    {"Sunday, 06-Nov-94 08:49:37 GMT", NOV_6_1994},
    {"Sun Nov  6 08:49:37 1994", NOV_6_1994},
    {"Sun Nov 06 08:49:37 1994", NOV_6_1994},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"Tue, 29 Feb 2028 23:59:59 GMT", 1835481599},
    {"Wednesday, 25-Nov-26 00:00:00 GMT", 1795564800},
};

static const char *const no_dates[] = {
    "",
    "now",
    "5un, 06 Nov 1994 08:49:37 GMT",
    ", 06 Nov 1994 08:49:37 GMT",
    "Sun",
    "Sun, ",
    "Sun, 06 Nov 1994",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 CET",
    "Sun, 06 nov 1994 08:49:37 GMT",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1969 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov  6 08:49:37 1994 GMT",
    "1994-11-06T08:49:37Z",
    "Sun, 06 Nov 1994 08:49:37 GMT ",
};

static void reads_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        time_t got = -1;
        if (!http_date_parse(dates[i].value, &got) || got != dates[i].want)
            fail_msg("%s: %lld", dates[i].value, (long long)got);
    }
    for (size_t i = 0; i < sizeof no_dates / sizeof *no_dates; i++) {
        time_t got;
        if (http_date_parse(no_dates[i], &got))
            fail_msg("taken: \"%s\"", no_dates[i]);
    }
}

static const struct {
    const char *value, *date;
    int64_t want_s;
} afters[] = {
    {NULL, NULL, -1},
    {"120", NULL, 120},
    {"0", NULL, 0},
    {"99999999", NULL, RETRY_AFTER_MAX_S},
    {"99999999999999999999999", NULL, RETRY_AFTER_MAX_S},
    {"", NULL, -1},
    {"-1", NULL, -1},
    {"1.5", NULL, -1},
    {"12 s", NULL, -1},
    {"soon", NULL, -1},
    {"Sun, 06 Nov 1994 08:50:37 GMT", NULL, 60}, /* by our clock, which says 08:49:37 */
    {"Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:50:00 GMT", 37}, /* by theirs */
    {"Sun, 06 Nov 1994 08:50:37 GMT", "yesterday", 60},
    {"Sun, 06 Nov 1994 08:00:00 GMT", NULL, 0},
    {"Sun, 06 Nov 2044 08:00:00 GMT", NULL, RETRY_AFTER_MAX_S},
};

static void reads_retry_after(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof afters / sizeof *afters; i++) {
        int64_t got = retry_after_parse(afters[i].value, afters[i].date, NOV_6_1994);
        if (got != (afters[i].want_s < 0 ? -1 : afters[i].want_s * NS_PER_S))
            fail_msg("%s: %lld", afters[i].value, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_ranges),
        cmocka_unit_test(refuses_what_is_no_range),
        cmocka_unit_test(reads_dates),
        cmocka_unit_test(reads_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
