#include "warmer/encoding.h"

#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#define LARGE (300 << 10)

static void reads_names(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum encoding encoding;
    } cases[] = {
        {NULL, ENCODING_NONE},          {"", ENCODING_NONE},       {"identity", ENCODING_NONE},
        {"Identity", ENCODING_NONE},    {"gzip", ENCODING_GZIP},   {"GZip", ENCODING_GZIP},
        {"x-gzip", ENCODING_GZIP},      {"br", ENCODING_OTHER},    {"zstd", ENCODING_OTHER},
        {"gzip, gzip", ENCODING_OTHER}, {"gzip ", ENCODING_OTHER}, {"deflate", ENCODING_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (encoding_parse(cases[i].value) != cases[i].encoding)
            fail_msg("\"%s\"", cases[i].value ? cases[i].value : "(none)");
}

/* Owned. */
static unsigned char *pack(const void *data, size_t len, size_t *ret_len)
{
    z_stream z = {0};
    unsigned char *packed = xmalloc(len + 4096);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = (uInt)len + 4096;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    *ret_len = z.total_out;
    (void)deflateEnd(&z);
    return packed;
}

struct got {
    char *bytes; /* LARGE */
    size_t len;
    size_t enough_at, fail_at; /* 0: never */
};

static int take(void *userdata, const void *data, size_t len, struct error *err)
{
    struct got *got = userdata;
    assert_true(len > 0 && len <= 64 << 10);
    assert_true(got->len + len <= LARGE);
    memcpy(got->bytes + got->len, data, len);
    got->len += len;
    if (got->fail_at && got->len >= got->fail_at)
        return error_set(err, ERROR_NO_SPACE, "the disk is full");
    return got->enough_at && got->len >= got->enough_at;
}

static void unpacks_in_pieces(void **state)
{
    (void)state;
    cleanup_free char *plain = xmalloc(LARGE), *out = xmalloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        plain[i] = (char)(i * i >> 8);
    size_t len;
    cleanup_free unsigned char *packed = pack(plain, LARGE, &len);
    static const size_t pieces[] = {1, 7, 1000, SIZE_MAX};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct got got = {.bytes = out};
        struct unpacker *u = unpacker_new();
        for (size_t at = 0; at < len;) {
            size_t piece = pieces[i] < len - at ? pieces[i] : len - at;
            assert_int_equal(unpacker_feed(u, packed + at, piece, take, &got, NULL), 0);
            at += piece;
        }
        /* What stands behind the end is dropped. */
        assert_int_equal(unpacker_feed(u, "more", 4, take, &got, NULL), 0);
        unpacker_free(u);
        assert_int_equal(got.len, LARGE);
        assert_memory_equal(out, plain, LARGE);
    }
}

static void stops_as_the_sink_says(void **state)
{
    (void)state;
    cleanup_free char *plain = xcalloc(LARGE, 1), *out = xmalloc(LARGE);
    size_t len;
    cleanup_free unsigned char *packed = pack(plain, LARGE, &len);
    struct got enough = {.bytes = out, .enough_at = 100 << 10};
    struct unpacker *u = unpacker_new();
    assert_int_equal(unpacker_feed(u, packed, len, take, &enough, NULL), 1);
    assert_true(enough.len >= 100 << 10 && enough.len < LARGE);
    unpacker_free(u);

    cleanup_error struct error err = {0};
    struct got full = {.bytes = out, .fail_at = 1};
    u = unpacker_new();
    assert_int_equal(unpacker_feed(u, packed, len, take, &full, &err), -1);
    assert_int_equal(err.kind, ERROR_NO_SPACE);
    unpacker_free(u);
}

static void unpacks_whole_ones(void **state)
{
    (void)state;
    static const char text[] = "{\"schemaVersion\": 2}";
    size_t len, out_len;
    char *out;
    cleanup_free unsigned char *packed = pack(text, strlen(text), &len);
    assert_int_equal(encoding_unpack(packed, len, strlen(text), &out, &out_len, NULL), 0);
    assert_int_equal(out_len, strlen(text));
    assert_string_equal(out, text);
    free(out);

    cleanup_free unsigned char *nothing = pack("", 0, &len);
    assert_int_equal(encoding_unpack(nothing, len, 0, &out, &out_len, NULL), 0);
    assert_int_equal(out_len, 0);
    free(out);
}

static void refuses(void **state)
{
    (void)state;
    static const char text[] = "0123456789";
    size_t len, out_len;
    char *out;
    cleanup_free unsigned char *packed = pack(text, strlen(text), &len);
    cleanup_free unsigned char *broken = pack(text, strlen(text), &len);
    broken[len - 6] ^= 1; /* the checksum */
    const struct {
        const char *what;
        const void *bytes;
        size_t len, max;
        const char *words;
    } cases[] = {
        {"more than it may", packed, len, strlen(text) - 1, "more than 9 bytes"},
        {"cut in the checksum", packed, len - 1, 100, "ends in the middle"},
        {"cut in the header", packed, 5, 100, "ends in the middle"},
        {"nothing", "", 0, 100, "ends in the middle"},
        {"no gzip", "{\"a\": 1}", 8, 100, "malformed gzip"},
        {"a wrong checksum", broken, len, 100, "malformed gzip"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_error struct error err = {0};
        if (encoding_unpack(cases[i].bytes, cases[i].len, cases[i].max, &out, &out_len, &err) == 0)
            fail_msg("%s: taken", cases[i].what);
        if (err.kind != ERROR_PROTOCOL || !strstr(err.message, cases[i].words))
            fail_msg("%s: %s", cases[i].what, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_names),
        cmocka_unit_test(unpacks_in_pieces),
        cmocka_unit_test(stops_as_the_sink_says),
        cmocka_unit_test(unpacks_whole_ones),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
