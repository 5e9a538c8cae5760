/* Entries of format docker-archive that we make: what stands on the disk after each operation. */
#include "archive-cache.h"

#include "cachedir/alloc.h"
#include "cachedir/docker-archive.h"
#include "cachedir/fs.h"
#include "cachedir/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- what is written ---- */

static void test_publishes_an_archive_that_builders_read(void **state)
{
    struct fixture *f = *state;
    const char *name = f->a.digest.text;
    cleanup_free char *manifest = xasprintf("blobs/sha256/%s", digest_hex(&f->a.digest));
    mode_t old = umask(077);
    assert_int_equal(warm(f, &f->a, false), 3);
    (void)umask(old);
    assert_whole(f, &f->a);
    assert_int_equal(stat_of(f, name).st_mode, S_IFREG | 0644);
    /* No pool, no layout, no .json. */
    assert_int_equal(count_names(f, "."), 3);

    cleanup_close int fd = openat(f->root, name, O_RDONLY | O_CLOEXEC);
    cleanup_tar_members struct tar_members members = {0};
    struct error err = {0};
    assert_ok(tar_scan(fd, &members, &err));
    assert_int_equal(members.count, 5);
    assert_string_equal(members.list[0].name, "manifest.json");
    assert_int_equal(members.list[0].offset, TAR_BLOCK);
    assert_string_equal(members.list[4].name, manifest);
    for (size_t i = 0; i < 3; i++) {
        cleanup_free char *want =
            xasprintf("blobs/sha256/%s", digest_hex(&f->a.descriptors[i].digest));
        assert_string_equal(members.list[i + 1].name, want);
    }

    char json[8192] = "";
    assert_true((size_t)members.list[0].size < sizeof json);
    assert_int_equal(fs_pread_all(fd, json, (size_t)members.list[0].size, TAR_BLOCK), 0);
    cleanup_docker_archive struct docker_archive said = {0};
    assert_ok(docker_archive_parse(json, strlen(json), &said, &err));
    assert_string_equal(said.tags[0], "test/image:1");
    assert_int_equal(said.layer_count, 2);
    assert_int_equal(said.source_count, 2);
    assert_string_equal(said.sources[1].digest.text, f->a.descriptors[2].digest.text);
    assert_int_equal(said.sources[1].size, f->a.descriptors[2].size);
    assert_non_null(strstr(json, "\"application/vnd.docker.image.rootfs.diff.tar.gzip\""));
    assert_null(strstr(json, "vnd.oci."));
}

static void test_the_same_image_makes_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    char *first, *second;
    size_t first_len, second_len;
    warm(f, &f->a, false);
    assert_int_equal(fs_read(f->root, f->a.digest.text, 1 << 20, &first, &first_len), 0);
    assert_int_equal(fs_remove(f->root, f->a.digest.text), 0);
    reopen(f);
    warm(f, &f->a, false);
    assert_int_equal(fs_read(f->root, f->a.digest.text, 1 << 20, &second, &second_len), 0);
    assert_int_equal(first_len, second_len);
    assert_memory_equal(first, second, first_len);
    free(first);
    free(second);
}

static void test_what_is_whole_is_not_replaced(void **state)
{
    struct fixture *f = *state;
    const char *name = f->a.digest.text;
    warm(f, &f->a, false);
    const ino_t inode = stat_of(f, name).st_ino;
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    for (int distrust = 0; distrust < 2; distrust++) {
        assert_int_equal(utimensat(f->root, name, old, 0), 0);
        assert_int_equal(warm(f, &f->a, distrust), 0);
        assert_int_equal(stat_of(f, name).st_ino, inode);
        assert_true(stat_of(f, name).st_mtime > 1000);
        assert_whole(f, &f->a);
    }
    /* Nor is what kaniko's warmer wrote. */
    size_t len;
    cleanup_free char *tar = test_tar_of_image(&f->b, &len);
    put(f, f->b.digest.text, tar, len);
    const ino_t theirs = stat_of(f, f->b.digest.text).st_ino;
    assert_int_equal(warm(f, &f->b, false), 0);
    assert_int_equal(stat_of(f, f->b.digest.text).st_ino, theirs);
}

static void test_a_layer_that_another_archive_holds_is_copied(void **state)
{
    struct fixture *f = *state;
    warm(f, &f->a, false);
    assert_int_equal(warm(f, &f->b, false), 2);
    assert_whole(f, &f->b);
    /* Also from one of kaniko's, whose members have other names; never a rotten one. */
    size_t len;
    cleanup_free char *tar = test_tar_of_image(&f->a, &len);
    put(f, f->a.digest.text, tar, len);
    assert_int_equal(fs_remove(f->root, f->b.digest.text), 0);
    reopen(f);
    const struct descriptor *shared = &f->b.descriptors[1];
    assert_true(cachedir_has_blob(f->cd, shared));
    assert_false(cachedir_has_blob(f->cd, &f->b.descriptors[2]));
    assert_int_equal(warm(f, &f->b, false), 2);
    rot(f, &f->a, 2);
    assert_int_equal(fs_remove(f->root, f->b.digest.text), 0);
    assert_int_equal(warm(f, &f->b, false), 3);
    assert_int_equal(count_problems(f), 1); /* a's */
}

static void test_every_fallback_makes_the_same_archive(void **state)
{
    struct fixture *f = *state;
    static const unsigned without[] = {0,
                                       CACHEDIR_HARD_LINKS,
                                       CACHEDIR_REFLINKS,
                                       CACHEDIR_LOCKS,
                                       CACHEDIR_RENAME_DIRECTORIES,
                                       CACHEDIR_OPENAT2,
                                       ~0U};
    char *first = NULL;
    size_t first_len = 0;
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        cachedir_close(f->cd);
        f->cd = open_cache_without(f, without[i]);
        assert_int_equal(warm(f, &f->a, false), 3);
        assert_int_equal(warm(f, &f->b, false), 2);
        assert_whole(f, &f->b);
        cleanup_free char *bytes = NULL;
        size_t len;
        assert_int_equal(fs_read(f->root, f->b.digest.text, 1 << 20, &bytes, &len), 0);
        if (!first) {
            first = take_ptr(bytes);
            first_len = len;
        } else {
            assert_int_equal(len, first_len);
            assert_memory_equal(bytes, first, len);
        }
        assert_int_equal(fs_remove(f->root, f->a.digest.text), 0);
        assert_int_equal(fs_remove(f->root, f->b.digest.text), 0);
    }
    free(first);
}

static void test_copies_of_what_stands_here_are_not_kept(void **state)
{
    struct fixture *f = *state;
    struct cachedir_stage *stage;
    struct error err = {0};
    warm(f, &f->a, false);
    assert_ok(cachedir_stage_new(f->cd, &f->b.digest, NULL, f->b.manifest, f->b.manifest_len, NULL,
                                 false, &stage, &err));
    assert_int_equal(cachedir_stage_take(stage, &f->b.descriptors[1], &err), 1);
    cachedir_stage_free(stage); /* as when there is no room for the rest */
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
}

#define LARGE (100 << 10)

static void test_large_layers_stand_where_blocks_can_be_shared(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *one = xmalloc(LARGE + 1), *two = xmalloc(LARGE + 1);
    const char *const layers[] = {one, "\x1f\x8b small", two, one};
    memset(one, 'x', LARGE);
    memset(two, 'y', LARGE);
    one[0] = two[0] = '\x1f';
    one[1] = two[1] = '\x8b';
    one[LARGE] = two[LARGE] = '\0';
    struct test_image image;
    /* With each of these the first large layer begins elsewhere, and has another gap before it. */
    for (size_t i = 0; i < 9; i++) {
        cleanup_free char *architecture = xcalloc(i * TAR_BLOCK + 2, 1);
        memset(architecture, 'a', i * TAR_BLOCK + 1);
        test_image_make(&image, architecture, layers, 4, false);
        assert_int_equal(warm(f, &image, false), i == 0 ? 4 : 1); /* a layer repeats */
        assert_whole(f, &image);
        cleanup_cachedir_entry struct cachedir_entry entry = look(f, &image);
        assert_int_equal(entry.blob_count, 5);
        assert_int_equal(entry.blobs[2].offset % FS_CLONE_BLOCK, 0);
        assert_int_equal(entry.blobs[4].offset % FS_CLONE_BLOCK, 0);
        test_image_free(&image);
    }
}

static void test_an_image_without_layers(void **state)
{
    struct fixture *f = *state;
    struct test_image image;
    test_image_make(&image, "amd64", NULL, 0, false);
    assert_int_equal(warm(f, &image, false), 1);
    assert_whole(f, &image);
    test_image_free(&image);
}

static void test_refuses_what_readers_misread(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *layers[2];
        bool good;
    } cases[] = {
        {{"plain", "also plain"}, true},
        {{"\x1f\x8b gzip", "\x28\xb5\x2f\xfd zstd"}, true},
        {{"\x1f\x8b gzip", "plain"}, true},
        {{"plain", "\x1f\x8b gzip"}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_image image;
        struct error err = {0};
        test_image_make(&image, "s390x", cases[i].layers, 2, false);
        int written = test_image_warm(f->cd, &image, false, &err);
        if (cases[i].good) {
            assert_true(written > 0);
            assert_whole(f, &image);
        } else {
            assert_int_equal(written, -1);
            assert_int_equal(err.kind, ERROR_PROTOCOL);
            assert_non_null(strstr(err.message, "only format oci can hold it"));
            assert_false(exists(f, image.digest.text));
        }
        error_clear(&err);
        test_image_free(&image);
    }
}

static int begin(struct fixture *f, const char *manifest, struct error *err)
{
    struct cachedir_stage *stage = NULL;
    struct digest digest;
    digest_of(manifest, strlen(manifest), &digest);
    int r = cachedir_stage_new(f->cd, &digest, NULL, manifest, strlen(manifest), NULL, false,
                               &stage, err);
    cachedir_stage_free(stage);
    return r;
}

#define CONFIG                                                                                     \
    "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"config\":{\"mediaType\":"     \
    "\"application/vnd.oci.image.config.v1+json\",\"size\":2,\"digest\":\"" SHA256 "\"},"          \
    "\"layers\":["
#define LAYER(type, digest)                                                                        \
    "{\"mediaType\":\"application/vnd.oci.image.layer.v1." type                                    \
    "\",\"size\":7,\"digest\":\"" digest "\"}"
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHA256 "sha256:" HEX
#define SHA512 "sha512:" HEX HEX

static void test_refuses_before_anything_is_fetched(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *manifest, *why; /* NULL: it is begun */
    } cases[] = {
        {CONFIG LAYER("tar", SHA256) "," LAYER("tar", SHA256) "]}", NULL},
        {CONFIG LAYER("tar+gzip", SHA256) "," LAYER("tar", SHA256) "]}", NULL},
        {CONFIG LAYER("tar", SHA256) "," LAYER("tar+zstd", SHA256) "]}", "only format oci"},
        {CONFIG LAYER("tar+gzip", SHA512) "]}", "know only sha256"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        int r = begin(f, cases[i].manifest, &err);
        assert_int_equal(r, cases[i].why ? -1 : 0);
        if (cases[i].why)
            assert_non_null(strstr(err.message, cases[i].why));
        error_clear(&err);
    }
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
}

/* ---- mending ---- */

static void lose(struct fixture *f)
{
    assert_int_equal(fs_remove(f->root, f->a.digest.text), 0);
}
static void cut(struct fixture *f)
{
    cleanup_close int fd = openat(f->root, f->a.digest.text, O_WRONLY | O_CLOEXEC);
    cleanup_cachedir_entry struct cachedir_entry entry = look(f, &f->a);
    assert_int_equal(ftruncate(fd, entry.blobs[3].offset + 1), 0);
}
static void scribble(struct fixture *f)
{
    put(f, f->a.digest.text, "no tar", 6);
}
static void make_directory(struct fixture *f)
{
    cleanup_free char *inside = xasprintf("%s/index.json", f->a.digest.text);
    lose(f);
    assert_int_equal(mkdirat(f->root, f->a.digest.text, 0755), 0);
    put(f, inside, "{}", 2);
}
static void make_symlink(struct fixture *f)
{
    lose(f);
    assert_int_equal(symlinkat("/etc/hostname", f->root, f->a.digest.text), 0);
}
static void make_kanikos(struct fixture *f) /* with the wrong manifest beside it */
{
    size_t len;
    cleanup_free char *tar = test_tar_of_image(&f->a, &len);
    cleanup_free char *beside = xasprintf("%s.json", f->a.digest.text);
    put(f, f->a.digest.text, tar, len);
    put(f, beside, "{}", 2);
}
static void orphan(struct fixture *f)
{
    cleanup_free char *beside = xasprintf("%s.json", f->a.digest.text);
    lose(f);
    put(f, beside, f->a.manifest, f->a.manifest_len);
}
static void rot_layer(struct fixture *f)
{
    rot(f, &f->a, 3);
}

static void test_mends_what_is_broken_and_only_that(void **state)
{
    struct fixture *f = *state;
    static const struct {
        void (*inflict)(struct fixture *f);
        int written;
        bool distrust;
    } damages[] = {
        {lose, 3, false},           {cut, 1, false},          {scribble, 3, false},
        {make_directory, 3, false}, {make_symlink, 3, false}, {make_kanikos, 0, false},
        {orphan, 3, false},         {rot_layer, 1, true},     {make_directory, 3, true},
    };
    cleanup_free char *beside = xasprintf("%s.json", f->a.digest.text);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        print_message("damage %zu\n", i);
        warm(f, &f->a, true);
        damages[i].inflict(f);
        reopen(f);
        assert_int_equal(warm(f, &f->a, damages[i].distrust), damages[i].written);
        assert_whole(f, &f->a);
        assert_false(exists(f, beside));
    }
}

static void test_repair_mends_or_takes_away(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    enum cachedir_repair how;
    warm(f, &f->a, false);
    warm(f, &f->b, false);
    assert_ok(cachedir_repair(f->cd, &f->a.digest, &how, &err));
    assert_int_equal(how, CACHEDIR_REPAIR_NOTHING);

    /* What b holds, too, is taken from there, and the clock stays. */
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    rot(f, &f->a, 2);
    assert_int_equal(utimensat(f->root, f->a.digest.text, old, 0), 0);
    assert_ok(cachedir_repair(f->cd, &f->a.digest, &how, &err));
    assert_int_equal(how, CACHEDIR_REPAIR_MENDED);
    assert_int_equal(stat_of(f, f->a.digest.text).st_mtime, 1000);
    assert_whole(f, &f->a);

    /* What is good of one that goes is found by the next warm. */
    rot(f, &f->a, 3);
    assert_ok(cachedir_repair(f->cd, &f->a.digest, &how, &err));
    assert_int_equal(how, CACHEDIR_REPAIR_REMOVED);
    assert_false(exists(f, f->a.digest.text));
    assert_int_equal(count_names(f, ".basewarm/partial"), 2);
    assert_int_equal(fs_remove(f->root, f->b.digest.text), 0);
    reopen(f);
    assert_int_equal(warm(f, &f->a, false), 1);
    assert_whole(f, &f->a);
}

/* ---- tar ---- */

static void test_sizes_beyond_octal_are_read(void **state)
{
    struct fixture *f = *state;
    static const int64_t sizes[] = {1, INT64_C(077777777777), INT64_C(077777777777) + 1,
                                    INT64_C(1) << 36};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char header[TAR_BLOCK];
        cleanup_close int fd = openat(f->root, "tar", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        cleanup_tar_members struct tar_members members = {0};
        struct error err = {0};
        const int64_t second = TAR_BLOCK + (sizes[i] + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        tar_header(header, "large", sizes[i]);
        assert_int_equal(fs_pwrite_all(fd, header, sizeof header, 0), 0);
        tar_header(header, "small", 0);
        assert_int_equal(fs_pwrite_all(fd, header, sizeof header, second), 0);
        assert_int_equal(ftruncate(fd, second + TAR_BLOCK + TAR_END), 0); /* a hole */
        assert_ok(tar_scan(fd, &members, &err));
        assert_int_equal(members.count, 2);
        assert_int_equal(members.list[0].offset, TAR_BLOCK);
        assert_int_equal(members.list[0].size, sizes[i]);
        assert_int_equal(members.list[1].offset, second + TAR_BLOCK);
        assert_int_equal(fs_remove(f->root, "tar"), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, archives_setup, archives_teardown)
        TEST(test_publishes_an_archive_that_builders_read),
        TEST(test_the_same_image_makes_the_same_bytes),
        TEST(test_what_is_whole_is_not_replaced),
        TEST(test_a_layer_that_another_archive_holds_is_copied),
        TEST(test_every_fallback_makes_the_same_archive),
        TEST(test_copies_of_what_stands_here_are_not_kept),
        TEST(test_large_layers_stand_where_blocks_can_be_shared),
        TEST(test_an_image_without_layers),
        TEST(test_refuses_what_readers_misread),
        TEST(test_refuses_before_anything_is_fetched),
        TEST(test_mends_what_is_broken_and_only_that),
        TEST(test_repair_mends_or_takes_away),
        TEST(test_sizes_beyond_octal_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
