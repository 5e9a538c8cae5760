/* Unpacking layers: good ones, ones beyond the limits, and damaged ones. */
#include "layers.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/layer.h"
#include "cachedir/text.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* Each makes a tar, and the file that holds it packed. */
#define MAKE(name) static void make_##name(struct bytes *tar, struct bytes *file)
#define WHOLE tar->data, tar->len

MAKE(plain)
{
    tar_add_three(tar);
    tar_add_end(tar);
    bytes_add(file, WHOLE);
}

MAKE(gzip)
{
    tar_add_three(tar);
    tar_add_end(tar);
    gzip_add(file, WHOLE);
}

MAKE(gzip_members) /* cut within a header; an empty one between them and one behind them */
{
    tar_add_three(tar);
    tar_add_end(tar);
    gzip_add(file, tar->data, 700);
    gzip_add(file, "", 0);
    gzip_add(file, tar->data + 700, tar->len - 700);
    gzip_add(file, "", 0);
}

MAKE(many_gzip_members)
{
    tar_add_three(tar);
    tar_add_end(tar);
    for (size_t i = 0; i < tar->len; i++)
        gzip_add(file, tar->data + i, 1);
}

MAKE(zstd)
{
    tar_add_three(tar);
    tar_add_end(tar);
    zstd_add(file, WHOLE, 20);
}

MAKE(zstd_frames) /* with skippable ones in front, between and behind */
{
    tar_add_three(tar);
    tar_add_end(tar);
    bytes_add(file, "\x5f\x2a\x4d\x18\3\0\0\0abc", 11);
    zstd_add(file, tar->data, 700, 20);
    bytes_add(file, "\x50\x2a\x4d\x18\0\0\0\0", 8);
    zstd_add(file, tar->data + 700, tar->len - 700, 10);
    bytes_add(file, "\x51\x2a\x4d\x18\1\0\0\0z", 9);
}

MAKE(large_plain)
{
    tar_add_large(tar);
    bytes_add(file, WHOLE);
}

MAKE(large_gzip)
{
    tar_add_large(tar);
    gzip_add(file, WHOLE);
}

MAKE(large_zstd)
{
    tar_add_large(tar);
    zstd_add(file, WHOLE, 27);
}

MAKE(nothing)
{
    bytes_add(tar, "", 0);
    bytes_add(file, "", 0);
}

MAKE(nothing_gzip)
{
    bytes_add(tar, "", 0);
    gzip_add(file, "", 0);
}

MAKE(no_members)
{
    tar_add_end(tar);
    gzip_add(file, WHOLE);
}

MAKE(no_end_mark)
{
    tar_add_three(tar);
    gzip_add(file, WHOLE);
}

MAKE(half_an_end_mark)
{
    tar_add_three(tar);
    bytes_add_zeros(tar, 512);
    gzip_add(file, WHOLE);
}

MAKE(text_behind_the_end_mark)
{
    tar_add_three(tar);
    tar_add_end(tar);
    bytes_add(tar, "whatever", 8);
    gzip_add(file, WHOLE);
}

MAKE(long_names)
{
    char name[2000], record[2100];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    tar_add_member(tar, "././@LongLink", 'L', name, sizeof name);
    tar_add_file(tar, "cut", "content");
    int len = snprintf(record, sizeof record, "2010 path=\xc3\xa4%s\n", name);
    assert_int_equal(len, 2012);
    memcpy(record, "2012", 4);
    tar_add_member(tar, "pax", 'x', record, (size_t)len);
    tar_add_file(tar, "cut", "content");
    tar_add_end(tar);
    gzip_add(file, WHOLE);
}

MAKE(cut_gzip)
{
    tar_add_large(tar);
    gzip_add(file, WHOLE);
    file->len /= 2;
}

MAKE(gzip_without_trailer)
{
    make_gzip(tar, file);
    file->len -= 8;
}

MAKE(gzip_with_a_short_trailer)
{
    make_gzip(tar, file);
    file->len--;
}

MAKE(gzip_header_only)
{
    make_gzip(tar, file);
    file->len = 5;
}

MAKE(cut_second_member)
{
    make_gzip_members(tar, file);
    file->len -= 3;
}

MAKE(wrong_checksum)
{
    make_gzip(tar, file);
    file->data[file->len - 8] ^= 1;
}

MAKE(wrong_deflate)
{
    make_gzip(tar, file);
    file->data[10] = (char)0xff; /* a block of type 3 */
}

MAKE(text_behind_gzip)
{
    make_gzip(tar, file);
    bytes_add(file, "whatever", 8);
}

MAKE(zeros_behind_gzip)
{
    make_gzip(tar, file);
    bytes_add_zeros(file, 512);
}

MAKE(cut_zstd)
{
    tar_add_large(tar);
    zstd_add(file, WHOLE, 20);
    file->len -= file->len / 3;
}

MAKE(zstd_without_checksum)
{
    make_zstd(tar, file);
    file->len -= 1;
}

MAKE(zstd_wrong_checksum)
{
    make_zstd(tar, file);
    file->data[file->len - 1] ^= 1;
}

MAKE(zstd_cut_skippable)
{
    make_zstd(tar, file);
    bytes_add(file, "\x51\x2a\x4d\x18\x05\0\0\0z", 9);
}

MAKE(text_behind_zstd)
{
    make_zstd(tar, file);
    bytes_add(file, "whatever", 8);
}

MAKE(huge_window)
{
    tar_add_large(tar);
    zstd_add(file, WHOLE, 28);
}

MAKE(huge_window_later)
{
    tar_add_three(tar);
    tar_add_end(tar);
    zstd_add(file, tar->data, 700, 20);
    zstd_add(file, tar->data + 700, tar->len - 700, 28);
}

MAKE(text)
{
    for (int i = 0; i < 100; i++)
        bytes_add(tar, "this is not a tar\n", 18);
    gzip_add(file, WHOLE);
}

MAKE(short_text)
{
    bytes_add(tar, "x", 1);
    bytes_add(file, WHOLE);
}

MAKE(garbage_header)
{
    tar_add_three(tar);
    bytes_add_noise(tar, 1024);
    gzip_add(file, WHOLE);
}

MAKE(wrong_header_checksum)
{
    tar_add_three(tar);
    tar->data[1024 + 512 + 3] ^= 1; /* the second file's name */
    tar_add_end(tar);
    gzip_add(file, WHOLE);
}

MAKE(cut_in_a_header)
{
    tar_add_three(tar);
    tar->len -= 700;
    gzip_add(file, WHOLE);
}

MAKE(cut_in_content)
{
    tar_add_three(tar);
    tar_add_header(tar, "large", '0', 1 << 20);
    bytes_add_noise(tar, 5000);
    gzip_add(file, WHOLE);
}

MAKE(pax_without_a_file)
{
    tar_add_three(tar);
    tar_add_member(tar, "pax", 'x', "12 path=ab\n", 11);
    gzip_add(file, WHOLE);
}

MAKE(control_characters)
{
    tar_add_file(tar, "evil\033[2J\nname", "x");
    bytes_add_noise(tar, 1024);
    gzip_add(file, WHOLE);
}

MAKE(zeros)
{
    cleanup_bytes struct bytes content = {0};
    bytes_add_zeros(&content, 1 << 20);
    tar_add_member(tar, "zeros", '0', content.data, content.len);
    tar_add_end(tar);
    gzip_add(file, WHOLE);
}

/* libarchive keeps 21 stretches of each of these blocks in memory. */
MAKE(endless_sparse_map)
{
    char block[512] = "";
    for (size_t i = 0; i < 504; i += 24)
        memcpy(block + i,
               "00000000000\0"
               "00000000001\0",
               24);
    block[504] = 1; /* and there are more */
    tar_add_header(tar, "sparse", 'S', 1 << 20);
    for (size_t i = 0; i < 2000; i++)
        bytes_add(tar, block, sizeof block);
    gzip_add(file, WHOLE);
}

#define ALL INT64_MAX

static const struct row {
    const char *name;
    void (*make)(struct bytes *tar, struct bytes *file);
    int64_t members;            /* read; -1: whatever */
    const char *problem;        /* NULL: none */
    const char *not_checked;    /* NULL: it was */
    bool diff_id;               /* all was unpacked */
    struct layer_limits limits; /* 0: verify's */
} rows[] = {
    {"plain", make_plain, 3, NULL, NULL, true},
    {"gzip", make_gzip, 3, NULL, NULL, true},
    {"gzip members", make_gzip_members, 3, NULL, NULL, true},
    {"many gzip members", make_many_gzip_members, 3, NULL, NULL, true},
    {"zstd", make_zstd, 3, NULL, NULL, true},
    {"zstd frames", make_zstd_frames, 3, NULL, NULL, true},
    {"large plain", make_large_plain, 4, NULL, NULL, true},
    {"large gzip", make_large_gzip, 4, NULL, NULL, true},
    {"large zstd, 128 MiB", make_large_zstd, 4, NULL, NULL, true},
    {"nothing", make_nothing, 0, NULL, NULL, true},
    {"nothing, gzip", make_nothing_gzip, 0, NULL, NULL, true},
    {"no members", make_no_members, 0, NULL, NULL, true},
    {"no end mark", make_no_end_mark, 3, NULL, NULL, true},
    {"half an end mark", make_half_an_end_mark, 3, NULL, NULL, true},
    {"text behind the end mark", make_text_behind_the_end_mark, 3, NULL, NULL, true},
    {"long names", make_long_names, 2, NULL, NULL, true},

    {"cut gzip", make_cut_gzip, -1, "it ends within gzip member 1", NULL, false},
    {"gzip without trailer", make_gzip_without_trailer, -1, "it ends within gzip member 1", NULL,
     false},
    {"gzip, short trailer", make_gzip_with_a_short_trailer, -1, "it ends within gzip member 1",
     NULL, false},
    {"gzip header only", make_gzip_header_only, 0, "it ends within gzip member 1", NULL, false},
    {"cut second member", make_cut_second_member, -1, "it ends within gzip member 4", NULL, false},
    {"wrong checksum", make_wrong_checksum, -1, "gzip member 1 is damaged: incorrect data check",
     NULL, false},
    {"wrong deflate", make_wrong_deflate, 0, "gzip member 1 is damaged: invalid block type", NULL,
     false},
    {"text behind gzip", make_text_behind_gzip, -1,
     "gzip member 2 is damaged: incorrect header check", NULL, false},
    {"zeros behind gzip", make_zeros_behind_gzip, -1, "gzip member 2 is damaged", NULL, false},
    {"cut zstd", make_cut_zstd, -1, "it ends within zstd frame 1", NULL, false},
    {"zstd without checksum", make_zstd_without_checksum, -1, "it ends within zstd frame 1", NULL,
     false},
    {"zstd, wrong checksum", make_zstd_wrong_checksum, -1, "zstd frame 1 is damaged: Restored data",
     NULL, false},
    {"zstd, cut skippable", make_zstd_cut_skippable, -1, "it ends within zstd frame 2", NULL,
     false},
    {"text behind zstd", make_text_behind_zstd, -1, "zstd frame 2 is damaged: Unknown frame", NULL,
     false},
    {"256 MiB window", make_huge_window, 0, NULL, "zstd frame 1 wants more than 131072 KiB", false},
    {"256 MiB window later", make_huge_window_later, -1, NULL,
     "zstd frame 2 wants more than 131072 KiB", false},

    {"text", make_text, 0, "it is no tar: Unrecognized archive format", NULL, true},
    {"short text", make_short_text, 0, "it is no tar", NULL, true},
    {"garbage header", make_garbage_header, 3,
     "damaged at or behind member 3, \"etc/issue\": Damaged tar archive", NULL, true},
    {"wrong header checksum", make_wrong_header_checksum, 2,
     "damaged at or behind member 2, \"etc/motd\": Damaged tar archive", NULL, true},
    {"cut in a header", make_cut_in_a_header, 2,
     "damaged at or behind member 2, \"etc/motd\": Truncated tar archive", NULL, true},
    {"cut in content", make_cut_in_content, 4,
     "damaged at or behind member 4, \"large\": Truncated", NULL, true},
    {"pax without a file", make_pax_without_a_file, 3, "damaged at or behind member 3", NULL, true},
    {"control characters", make_control_characters, 1, "member 1, \"evil\\x1b[2J name\"", NULL,
     true},

    {"ratio", make_zeros, -1, "to more than 100 times its size", NULL, false, {.ratio = 100}},
    {"unpacked", make_zeros, -1, "to more than 1000.0 KiB", NULL, false, {.unpacked = 1000 << 10}},
    {"just unpacked", make_plain, 3, NULL, NULL, true, {.unpacked = 5 * 512 + 1024}},
    {"a byte too much",
     make_plain,
     -1,
     "to more than 3.5 KiB",
     NULL,
     false,
     {.unpacked = 5 * 512 + 1023}},
    {"just the ratio", make_plain, 3, NULL, NULL, true, {.ratio = 1}},
    {"members", make_gzip, 3, "more than 2 members", NULL, false, {.members = 2}},
    {"just the members", make_gzip, 3, NULL, NULL, true, {.members = 3}},
    {"name",
     make_long_names,
     1,
     "member 1 has a name of 1999 bytes, more than 1998: \"nn",
     NULL,
     false,
     {.name = 1998}},
    {"name in UTF-8",
     make_long_names,
     2,
     "member 2 has a name of 2001 bytes, more than 2000: \"\xc3\xa4nn",
     NULL,
     false,
     {.name = 2000}},
    {"just the name", make_long_names, 2, NULL, NULL, true, {.name = 2001}},
    {"header",
     make_endless_sparse_map,
     0,
     "member 1 has a header of more than 65536 bytes",
     NULL,
     false,
     {.header = 64 << 10}},
    {"window",
     make_zstd_frames,
     -1,
     NULL,
     "zstd frame 2 wants more than 512 KiB",
     false,
     {.window = 19}},
};

static int file_of(const struct bytes *b)
{
    int fd = memfd_create("layer", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, b->data, b->len), 0);
    return fd;
}

static int check(const struct bytes *file, const struct layer_limits *limits, bool *stop,
                 struct layer *ret, struct error *err)
{
    struct digest digest;
    digest_of(file->data, file->len, &digest);
    cleanup_close int fd = file_of(file);
    return layer_check(fd, WHOLE_FILE, &digest, (int64_t)file->len, limits, stop, ret, err);
}

static struct layer_limits limits_of(const struct row *row)
{
    struct layer_limits l = layer_limits;
    l.ratio = row->limits.ratio ? row->limits.ratio : l.ratio;
    l.unpacked = row->limits.unpacked ? row->limits.unpacked : l.unpacked;
    l.members = row->limits.members ? row->limits.members : l.members;
    l.name = row->limits.name ? row->limits.name : l.name;
    l.header = row->limits.header ? row->limits.header : l.header;
    l.window = row->limits.window ? row->limits.window : l.window;
    return l;
}

static bool says(const char *text, const char *want)
{
    return want ? text && strstr(text, want) : !text;
}

static void test_layers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        cleanup_bytes struct bytes tar = {0}, file = {0};
        cleanup_layer struct layer layer = {0};
        cleanup_error struct error err = {0};
        const struct layer_limits limits = limits_of(row);
        row->make(&tar, &file);
        if (check(&file, &limits, NULL, &layer, &err) < 0)
            fail_msg("%s: %s", row->name, err.message);
        if (!says(layer.problem, row->problem))
            fail_msg("%s: problem %s, not %s", row->name, layer.problem, row->problem);
        if (!says(layer.not_checked, row->not_checked))
            fail_msg("%s: not checked: %s, not %s", row->name, layer.not_checked, row->not_checked);
        if (row->members >= 0 && layer.members != row->members)
            fail_msg("%s: %lld members", row->name, (long long)layer.members);
        struct digest want = {0};
        if (row->diff_id)
            digest_of(tar.data, tar.len, &want);
        if (!digest_equal(&layer.diff_id, &want))
            fail_msg("%s: diff ID %s, not %s", row->name, layer.diff_id.text, want.text);
        if (row->diff_id && layer.unpacked != (int64_t)tar.len)
            fail_msg("%s: %lld bytes", row->name, (long long)layer.unpacked);
    }
}

/* Where a layer is cut does not matter: it never passes, and nothing breaks. */
static void test_no_part_of_a_layer_passes(void **state)
{
    (void)state;
    void (*const makers[])(struct bytes *, struct bytes *) = {make_gzip_members, make_zstd_frames};
    for (size_t i = 0; i < 2; i++) {
        cleanup_bytes struct bytes tar = {0}, file = {0};
        makers[i](&tar, &file);
        struct digest whole;
        digest_of(tar.data, tar.len, &whole);
        const size_t len = file.len;
        for (file.len = 1; file.len < len; file.len++) {
            cleanup_layer struct layer layer = {0};
            assert_int_equal(check(&file, &layer_limits, NULL, &layer, NULL), 0);
            /* Behind the tar, and in front of it, may stand empty members and skippable frames. */
            if (!layer.problem && !digest_equal(&layer.diff_id, &whole) && layer.unpacked > 0)
                fail_msg("%zu: %zu of %zu bytes pass", i, file.len, len);
        }
    }
}

static void test_a_file_that_is_not_its_digest(void **state)
{
    (void)state;
    void (*const makers[])(struct bytes *, struct bytes *) = {make_gzip, make_cut_gzip, make_text,
                                                              make_zeros, make_huge_window};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        cleanup_bytes struct bytes tar = {0}, file = {0};
        cleanup_error struct error err = {0};
        struct layer layer = {.members = 7};
        struct digest right, wrong;
        const struct layer_limits limits = {.ratio = 100,
                                            .unpacked = ALL,
                                            .members = ALL,
                                            .name = ALL,
                                            .header = ALL,
                                            .window = 27};
        makers[i](&tar, &file);
        digest_of(file.data, file.len, &right);
        digest_of("other", 5, &wrong);
        cleanup_close int fd = file_of(&file);
        assert_int_equal(
            layer_check(fd, WHOLE_FILE, &wrong, (int64_t)file.len, &limits, NULL, &layer, &err),
            -1);
        assert_int_equal(err.kind, ERROR_DIGEST);
        assert_non_null(strstr(err.message, right.text)); /* all of it was hashed */
        for (int more = -1; more <= 1; more += 2) {
            error_clear(&err);
            assert_int_equal(layer_check(fd, WHOLE_FILE, &right, (int64_t)file.len + more, &limits,
                                         NULL, &layer, &err),
                             -1);
            assert_int_equal(err.kind, ERROR_DIGEST);
        }
        assert_int_equal(layer.members, 7);
    }
}

static void test_stops(void **state)
{
    (void)state;
    cleanup_bytes struct bytes tar = {0}, file = {0};
    cleanup_error struct error err = {0};
    struct layer layer;
    bool stop = true;
    make_large_gzip(&tar, &file);
    assert_int_equal(check(&file, &layer_limits, &stop, &layer, &err), -1);
    assert_int_equal(err.kind, ERROR_INTERRUPTED);
    error_clear(&err);
    cleanup_close int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct digest digest;
    digest_of("", 0, &digest);
    assert_int_equal(
        layer_check(directory, WHOLE_FILE, &digest, 0, &layer_limits, NULL, &layer, &err), -1);
    assert_int_equal(err.kind, ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_no_part_of_a_layer_passes),
        cmocka_unit_test(test_a_file_that_is_not_its_digest),
        cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
