#include "cachedir/text.h"

#include "cachedir/alloc.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_foreign(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", ""},
        {"plain text, \"quotes\" \\x41", "plain text, \"quotes\" \\x41"},
        {"a\nb\r\nc\rd\n\re", "a b c d  e"},
        {"a\tb\x1b[31mc\x07\x7f", "a\\x09b\\x1b[31mc\\x07\\x7f"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xb3", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac "
                                                             "\xf0\x9f\x90\xb3"},
        {"\xc2\x9b"
         "31m\xc2\x80\xc2\x9f\xc2\xa0",
         "\\xc2\\x9b31m\\xc2\\x80\\xc2\\x9f\xc2\xa0"}, /* C1; U+00A0 stays */
        {"\x9b"
         "31m",
         "\\x9b31m"},                                      /* C1 in Latin-1: invalid here */
        {"\xe2\x80\xa8\xe2\x80\xa9", "  "},                /* U+2028, U+2029 */
        {"\xe2\x80\xaetxt.exe", "\\xe2\\x80\\xaetxt.exe"}, /* U+202E */
        {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad",
         "\\xe2\\x80\\xaa\\xe2\\x80\\xab\\xe2\\x80\\xac\\xe2\\x80\\xad"},
        {"\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9",
         "\\xe2\\x81\\xa6\\xe2\\x81\\xa7\\xe2\\x81\\xa8\\xe2\\x81\\xa9"},
        {"\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa",
         "\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa"},           /* the neighbours stay */
        {"\xc0\xaf", "\\xc0\\xaf"},                                     /* overlong '/' */
        {"\xe0\x80\xaf\xe0\x9f\xbf", "\\xe0\\x80\\xaf\\xe0\\x9f\\xbf"}, /* overlong */
        {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},                   /* overlong */
        {"\xed\xa0\x80\xed\xbf\xbf", "\\xed\\xa0\\x80\\xed\\xbf\\xbf"}, /* surrogates */
        {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"},       /* their neighbours */
        {"\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf\\xf4\\x90\\x80\\x80"},
        {"\xf5\xff\xfe", "\\xf5\\xff\\xfe"},
        {"\xe2\x82", "\\xe2\\x82"}, /* ends too early */
        {"\xe2\x82(", "\\xe2\\x82("},
        {"\x80\xbf", "\\x80\\xbf"},
        {"\xc3\xc3\xbc", "\\xc3\xc3\xbc"}, /* the good one after a bad one */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *out = text_foreign_str(rows[i].in);
        if (strcmp(out, rows[i].out) != 0)
            fail_msg("row %zu: \"%s\", not \"%s\"", i, out, rows[i].out);
    }
    cleanup_free char *zeros = text_foreign("a\0b", 3), *nothing = text_foreign_str(NULL);
    assert_string_equal(zeros, "a\\x00b");
    assert_string_equal(nothing, "");
}

/* `count` times `unit`, and then `tail`: what becomes of it? */
static char *long_text(const char *unit, size_t count, const char *tail)
{
    size_t len = strlen(unit);
    cleanup_free char *text = xcalloc(len * count + strlen(tail) + 1, 1);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * len, unit, len);
    memcpy(text + len * count, tail, strlen(tail));
    return text_foreign_str(text);
}

static void test_foreign_ceiling(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t count;
        const char *tail;
        size_t len;
        bool cut;
    } rows[] = {
        {"x", 299, "", 299, false},
        {"x", 300, "", 300, false},
        {"x", 301, "", 300, true},
        {"x", 4 << 20, "", 300, true},
        {"\xc3\xbc", 150, "", 300, false},
        {"\xc3\xbc", 151, "", 299, true}, /* no character is halved: 148 of them and "..." */
        {"\xe2\x82\xac", 100, "", 300, false},
        {"\xe2\x82\xac", 101, "", 300, true},
        {"\x01", 75, "", 300, false},
        {"\x01", 76, "", 299, true},       /* nor an escape: 74 of them */
        {"x", 298, "\xc2\x9b", 300, true}, /* an escape of 8 that does not fit */
        {"x", 292, "\xc2\x9b", 300, false},
        {"x", 293, "\xc2\x9b", 296, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *out = long_text(rows[i].unit, rows[i].count, rows[i].tail);
        size_t len = strlen(out);
        bool cut = len >= 3 && strcmp(out + len - 3, "...") == 0;
        if (len != rows[i].len || cut != rows[i].cut)
            fail_msg("row %zu: %zu bytes, %s", i, len, cut ? "cut" : "whole");
    }
}

static void test_columns(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t columns;
    } rows[] = {
        {"", 0},
        {"abc", 3},
        {"gr\xc3\xbc\xc3\x9f", 4},
        {"e\xcc\x81", 1},                /* combining acute */
        {"\xe6\xbc\xa2\xe5\xad\x97", 4}, /* two wide characters */
        {"\xf0\x9f\x90\xb3", 2},
        {"\xff\xfe", 2},
        {"\x1b", 1},
        {"\xe2\x82", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (text_columns(rows[i].text) != rows[i].columns)
            fail_msg("row %zu: %zu", i, text_columns(rows[i].text));
    }
}

#define S NS_PER_S

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns; /* -1: refused */
    } rows[] = {
        {"0", 0},
        {"+0", 0},
        {"0s", 0},
        {"5s", 5 * S},
        {"+5s", 5 * S},
        {"336h", 336 * 3600 * S},
        {"1h30m", 5400 * S},
        {"30m1h", 5400 * S},
        {"1s1s", 2 * S},
        {"1.5s", 1500000000},
        {".5s", 500000000},
        {"1.s", S},
        {"300ms", 300000000},
        {"10us", 10000},
        {"10\xc2\xb5s", 10000},
        {"10\xce\xbcs", 10000},
        {"7ns", 7},
        {"0.5ns", 0},
        {"1.000000001s", S + 1},
        {"0.100000000000000000000h", 360 * S},
        {"0.9223372036854775807h", 3320413933267},
        {"39h9m14.425s", (39 * 3600 + 9 * 60 + 14) * S + 425000000},
        {"0000000000000000000000000007s", 7 * S},
        {"9223372036854775807ns", INT64_MAX},
        {"9223372036s", 9223372036 * S},
        {"2562047h47m16s854ms775us807ns", INT64_MAX},
        {"", -1},
        {"+", -1},
        {"-", -1},
        {"-1s", -1},
        {"-0", -1},
        {"3", -1},
        {"1.5", -1},
        {"00", -1},
        {"s", -1},
        {".", -1},
        {".s", -1},
        {"+.s", -1},
        {"1d", -1},
        {"1w", -1},
        {"1S", -1},
        {"1h 30m", -1},
        {" 1h", -1},
        {"1h ", -1},
        {"1h-30m", -1},
        {"1h30", -1},
        {"1e3s", -1},
        {"0x1s", -1},
        {"1..5s", -1},
        {"1,5s", -1},
        {"\xc2\xb5s", -1},
        {"1\xb5s", -1},
        {"infinity", -1},
        {"9223372036854775808ns", -1},
        {"9223372037s", -1},
        {"2562048h", -1},
        {"2562047h47m16s854ms775us808ns", -1},
        {"99999999999999999999h", -1},
        {"9223372036854775807h", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = -7;
        struct error err = {0};
        int r = duration_parse(rows[i].text, &ns, &err);
        if (r != (rows[i].ns < 0 ? -1 : 0) || ns != (rows[i].ns < 0 ? -7 : rows[i].ns))
            fail_msg("\"%s\": %d, %" PRId64, rows[i].text, r, ns);
        if (r < 0) {
            assert_int_equal(err.kind, ERROR_USAGE);
            assert_non_null(strstr(err.message, "bad duration"));
        }
        error_clear(&err);
    }
}

static void test_duration_format(void **state)
{
    (void)state;
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {1500, "1us500ns"},
        {350000000, "350ms"},
        {S, "1s"},
        {12 * S, "12s"},
        {12 * S + 350000000, "12s350ms"},
        {12 * S + 350, "12s"},
        {90 * S, "1m30s"},
        {3600 * S + 59 * S, "1h"},
        {5400 * S, "1h30m"},
        {336 * 3600 * S, "336h"},
        {INT64_MAX, "2562047h47m"},
        {-90 * S, "-1m30s"},
        {INT64_MIN, "-2562047h47m"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *text = duration_format(rows[i].ns);
        if (strcmp(text, rows[i].text) != 0)
            fail_msg("\"%s\", not \"%s\"", text, rows[i].text);
    }
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        {"0", 0},
        {"500", 500},
        {"500B", 500},
        {"1K", 1000},
        {"1k", 1000},
        {"1kB", 1000},
        {"10G", 10000000000},
        {"100MB", 100000000},
        {"100MiB", 104857600},
        {"1.5Gi", 1610612736},
        {"1.5GiB", 1610612736},
        {"2T", 2000000000000},
        {"2Ti", 2199023255552},
        {"3Ki", 3072},
        {"0.29K", 290},
        {"0.0000001T", 100000},
        {"0.9999999Ti", 1099511517824},
        {"8388607Ti", 9223370937343148032},
        {"9223372036854775807", INT64_MAX},
        {"007", 7},
        {"", -1},
        {"-1", -1},
        {"-0", -1},
        {"+1", -1},
        {"K", -1},
        {"B", -1},
        {".5G", -1},
        {"1.G", -1},
        {"1.5", -1},
        {"1.5B", -1},
        {"1.0", -1},
        {"1.12345678G", -1},
        {"1 G", -1},
        {" 1G", -1},
        {"1G ", -1},
        {"1g", -1},
        {"1m", -1},
        {"1ki", -1},
        {"1KI", -1},
        {"1GBB", -1},
        {"1GB/s", -1},
        {"1P", -1},
        {"1e9", -1},
        {"0x10", -1},
        {"1,5G", -1},
        {"10%", -1},
        {"1..5G", -1},
        {"9223372036854775808", -1},
        {"99999999999999999999999", -1},
        {"8388608Ti", -1},
        {"9223372036854775807K", -1},
        {"9223372036854775807.5K", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t bytes = -7;
        struct error err = {0};
        int r = size_parse(rows[i].text, &bytes, &err);
        if (r != (rows[i].bytes < 0 ? -1 : 0) || bytes != (rows[i].bytes < 0 ? -7 : rows[i].bytes))
            fail_msg("\"%s\": %d, %" PRId64, rows[i].text, r, bytes);
        if (r < 0) {
            assert_int_equal(err.kind, ERROR_USAGE);
            assert_non_null(strstr(err.message, "bad size"));
        }
        error_clear(&err);
    }
}

static void test_size_format(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1048524, "1023.9 KiB"},
        {1048575, "1.0 MiB"},
        {315831091, "301.2 MiB"},
        {INT64_C(1) << 40, "1.0 TiB"},
        {INT64_MAX, "8.0 EiB"},
        {-1024, "-1.0 KiB"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *text = size_format(rows[i].bytes);
        if (strcmp(text, rows[i].text) != 0)
            fail_msg("\"%s\", not \"%s\"", text, rows[i].text);
    }
}

static void test_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t t; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-24T23:49:06Z", 1795564146},
        {"2026-11-24t23:49:06z", 1795564146},
        {"2026-11-24T23:49:06.999999999Z", 1795564146},
        {"2026-11-25T00:49:06+01:00", 1795564146},
        {"2026-11-24T13:19:06.5-10:30", 1795564146},
        {"2026-11-24T23:49:06-00:00", 1795564146},
        {"2024-02-29T00:00:00Z", 1709164800},
        {"2000-02-29T00:00:00Z", 951782400},
        {"2016-12-31T23:59:60Z", 1483228800}, /* a leap second */
        {"9999-12-31T23:59:59Z", 253402300799},
        {"", -1},
        {"2026-11-24", -1},
        {"2026-11-24T23:49:06", -1},
        {"2026-11-24 23:49:06Z", -1},
        {"2026-11-24T23:49Z", -1},
        {"2026-11-24T23:49:06.Z", -1},
        {"2026-11-24T23:49:06,5Z", -1},
        {"2026-11-24T23:49:06Zx", -1},
        {"2026-11-24T23:49:06+0100", -1},
        {"2026-11-24T23:49:06+01", -1},
        {"2026-11-24T23:49:06+24:00", -1},
        {"2026-11-24T23:49:06+01:60", -1},
        {"2026-11-24T24:00:00Z", -1},
        {"2026-11-24T23:60:00Z", -1},
        {"2026-11-24T23:49:61Z", -1},
        {"2026-11-31T00:00:00Z", -1},
        {"2026-02-29T00:00:00Z", -1},
        {"1900-02-29T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"26-01-01T00:00:00Z", -1},
        {"+026-01-01T00:00:00Z", -1},
        {" 2026-11-24T23:49:06Z", -1},
        {"Tue, 24 Nov 2026 23:49:06 GMT", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        time_t t = -7;
        bool good = time_parse(rows[i].text, &t);
        if (good != (rows[i].t >= 0) || t != (rows[i].t < 0 ? -7 : rows[i].t))
            fail_msg("\"%s\": %d, %lld", rows[i].text, good, (long long)t);
    }
    time_t before;
    assert_true(time_parse("1969-12-31T23:59:59Z", &before));
    assert_int_equal(before, -1);
    cleanup_free char *a = time_format(1795564146), *b = time_format(0),
                      *c = time_format(INT64_MAX);
    assert_string_equal(a, "2026-11-24T23:49:06Z");
    assert_string_equal(b, "1970-01-01T00:00:00Z");
    assert_string_equal(c, "@9223372036854775807");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign),         cmocka_unit_test(test_foreign_ceiling),
        cmocka_unit_test(test_columns),         cmocka_unit_test(test_duration),
        cmocka_unit_test(test_duration_format), cmocka_unit_test(test_size),
        cmocka_unit_test(test_size_format),     cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
