/* From one format to the other and back: what stands on the disk, and what is told. */
#include "archive-cache.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define OCI CACHEDIR_FORMAT_OCI
#define ARCHIVE CACHEDIR_FORMAT_DOCKER_ARCHIVE

struct telling {
    size_t count;
    volatile bool stop;
    size_t stop_after; /* conversions; 0: never */
    char *kept;        /* the last reason */
    char *reference;
};

static void note(void *userdata, const struct cachedir_conversion *c)
{
    struct telling *t = userdata;
    if (++t->count == t->stop_after)
        t->stop = true;
    free(t->reference);
    t->reference = c->reference ? xstrdup(c->reference) : NULL;
    if (!c->kept)
        return;
    free(t->kept);
    t->kept = xstrdup(c->kept);
}

static void forget(struct telling *t)
{
    free(t->kept);
    free(t->reference);
    *t = (struct telling){0};
}

static int try_convert(struct fixture *f, enum cachedir_format to, struct telling *t,
                       struct cachedir_convert_result *ret, struct error *err)
{
    int r = cachedir_convert(f->cd, to, &t->stop, note, t, ret, err);
    reopen(f);
    return r;
}

/* All of it, nothing kept. */
static void convert(struct fixture *f, enum cachedir_format to, size_t entries)
{
    struct cachedir_convert_result result;
    struct telling t = {0};
    struct error err = {0};
    assert_ok(try_convert(f, to, &t, &result, &err));
    if (t.kept)
        fail_msg("kept: %s", t.kept);
    assert_int_equal(result.converted, entries);
    assert_int_equal(result.kept, 0);
    assert_int_equal(cachedir_format(f->cd), to);
    forget(&t);
}

static void set_name(struct fixture *f, const struct test_image *image, char *reference)
{
    struct error err = {0};
    struct cachedir_name name = {.reference = reference,
                                 .platform = (char[]){"linux/amd64"},
                                 .manifest = image->digest,
                                 .source = image->digest,
                                 .checked = 1000};
    assert_ok(cachedir_name_set(f->cd, &name, &err));
    assert_ok(cachedir_flush(f->cd, &err));
}

static void assert_name(struct fixture *f, const struct test_image *image, const char *reference)
{
    cleanup_cachedir_name struct cachedir_name name = {0};
    struct error err = {0};
    assert_int_equal(cachedir_name_find(f->cd, reference, "linux/amd64", &name, &err), 1);
    assert_string_equal(name.manifest.text, image->digest.text);
    assert_int_equal(name.checked, 1000);
}

static void set_time(const struct fixture *f, const struct test_image *image, time_t when)
{
    const struct timespec times[2] = {{when, 0}, {when, 123456789}};
    assert_int_equal(utimensat(f->root, image->digest.text, times, 0), 0);
}

static void test_there_and_back(void **state)
{
    struct fixture *f = *state;
    warm(f, &f->a, false);
    warm(f, &f->b, false);
    set_name(f, &f->a, (char[]){"docker.io/library/a:1"});
    set_name(f, &f->b, (char[]){"docker.io/library/b:1"});
    set_time(f, &f->a, 2000);
    set_time(f, &f->b, 3000);
    for (int round = 0; round < 4; round++) {
        const enum cachedir_format to = round % 2 ? ARCHIVE : OCI;
        convert(f, to, 2);
        assert_whole(f, &f->a);
        assert_whole(f, &f->b);
        assert_name(f, &f->a, "docker.io/library/a:1");
        assert_name(f, &f->b, "docker.io/library/b:1");
        assert_int_equal(stat_of(f, f->a.digest.text).st_mtime, 2000);
        assert_int_equal(stat_of(f, f->a.digest.text).st_mtim.tv_nsec, 123456789);
        assert_int_equal(stat_of(f, f->b.digest.text).st_mtime, 3000);
        assert_int_equal(warm(f, &f->a, true), 0);
        set_time(f, &f->a, 2000);
        /* Nothing of the other format stays at the root. */
        assert_int_equal(exists(f, "blobs"), to == OCI);
        assert_int_equal(exists(f, "oci-layout"), to == OCI);
        assert_int_equal(exists(f, "index.json"), to == OCI);
        assert_int_equal(exists(f, ".basewarm/index.json"), to == ARCHIVE);
        if (to == OCI) { /* what they share is stored once */
            cleanup_free char *layer =
                xasprintf("blobs/sha256/%s", digest_hex(&f->a.descriptors[1].digest));
            assert_int_equal(stat_of(f, layer).st_nlink, 3);
        }
        convert(f, to, 0); /* once more: nothing to do */
    }
}

static void test_goes_on_after_it_was_stopped(void **state)
{
    struct fixture *f = *state;
    struct cachedir_convert_result result;
    struct error err = {0};
    warm(f, &f->a, false);
    warm(f, &f->b, false);
    set_name(f, &f->a, (char[]){"docker.io/library/a:1"});
    set_name(f, &f->b, (char[]){"docker.io/library/b:1"});
    for (int round = 0; round < 2; round++) {
        const enum cachedir_format to = round % 2 ? ARCHIVE : OCI;
        struct telling t = {.stop_after = 1};
        assert_int_equal(try_convert(f, to, &t, &result, &err), -1);
        assert_int_equal(err.kind, ERROR_INTERRUPTED);
        error_clear(&err);
        assert_int_equal(result.converted, 1);
        assert_int_equal(cachedir_format(f->cd), to); /* nobody adds to the old one any more */
        forget(&t);
        assert_ok(try_convert(f, to, &t, &result, &err));
        assert_int_equal(result.converted, 1);
        assert_int_equal(result.already, 1);
        assert_int_equal(cachedir_format(f->cd), to);
        assert_whole(f, &f->a);
        assert_whole(f, &f->b);
        assert_name(f, &f->a, "docker.io/library/a:1");
        assert_name(f, &f->b, "docker.io/library/b:1");
        forget(&t);
    }
    /* Killed after the format was recorded: what is left of the old one goes. */
    assert_int_equal(mkdirat(f->root, "blobs", 0755), 0);
    assert_int_equal(mkdirat(f->root, "blobs/sha256", 0755), 0);
    put(f, "index.json", "{\"schemaVersion\":2,\"manifests\":[]}", 34);
    convert(f, ARCHIVE, 0);
    assert_false(exists(f, "blobs") || exists(f, "index.json"));
}

static void test_who_warms_meanwhile_publishes_nothing_in_the_old_format(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    warm(f, &f->a, false);
    struct cachedir *other = open_cache_without(f, 0);
    convert(f, cachedir_format(other) == OCI ? ARCHIVE : OCI, 1);
    assert_int_equal(test_image_warm(other, &f->b, false, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.message, "was converted to"));
    error_clear(&err);
    cachedir_close(other);
    assert_false(exists(f, f->b.digest.text));
    assert_true(exists(f, f->a.digest.text));
}

static void test_what_kaniko_wrote_is_converted(void **state)
{
    struct fixture *f = *state;
    size_t len;
    cleanup_free char *tar = test_tar_of_image(&f->a, &len);
    cleanup_free char *beside = xasprintf("%s.json", f->a.digest.text);
    put(f, f->a.digest.text, tar, len);
    put(f, beside, f->a.manifest, f->a.manifest_len);
    set_time(f, &f->a, 2000);
    convert(f, OCI, 1);
    assert_whole(f, &f->a);
    assert_false(exists(f, beside));
    assert_int_equal(stat_of(f, f->a.digest.text).st_mtime, 2000);
}

/* ---- what stays ---- */

static void lose_manifest(struct fixture *f) /* as archived kaniko's do whose .json is lost */
{
    size_t len;
    cleanup_free char *tar = test_tar_of_image(&f->a, &len);
    put(f, f->a.digest.text, tar, len);
}
static void cut(struct fixture *f)
{
    cleanup_close int fd = openat(f->root, f->a.digest.text, O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 3000), 0);
}
static void rot_layer(struct fixture *f)
{
    rot(f, &f->a, 3);
}
static void rot_config(struct fixture *f)
{
    rot(f, &f->a, 1);
}

static void test_what_cannot_be_converted_stays_and_is_named(void **state)
{
    struct fixture *f = *state;
    static const struct {
        void (*inflict)(struct fixture *f);
        const char *why;
    } cases[] = {
        {lose_manifest, "the registry's manifest is not here"},
        {cut, "it is broken: "},
        {rot_layer, " is damaged"},
        {rot_config, "it is broken: the config is damaged"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cachedir_convert_result result;
        struct telling t = {0};
        struct error err = {0};
        warm(f, &f->a, true);
        warm(f, &f->b, true);
        cases[i].inflict(f);
        const ino_t inode = stat_of(f, f->a.digest.text).st_ino;
        assert_ok(try_convert(f, OCI, &t, &result, &err));
        assert_int_equal(result.converted, 1);
        assert_int_equal(result.kept, 1);
        if (!t.kept || !strstr(t.kept, cases[i].why))
            fail_msg("\"%s\" does not say \"%s\"", t.kept ? t.kept : "", cases[i].why);
        assert_int_equal(stat_of(f, f->a.digest.text).st_ino, inode);
        assert_int_equal(cachedir_format(f->cd), OCI);
        assert_int_equal(count_names(f, ".basewarm/stage"), 0);
        forget(&t);
        /* Warming mends it in the new format. */
        assert_true(warm(f, &f->a, true) > 0);
        assert_whole(f, &f->a);
        convert(f, ARCHIVE, 2);
    }
}

static void test_what_archives_cannot_hold_stays(void **state)
{
    struct fixture *f = *state;
    static const char *const mixed[] = {"plain", "\x1f\x8b gzip"};
    struct cachedir_convert_result result;
    struct telling t = {0};
    struct error err = {0};
    struct test_image image;
    test_image_make(&image, "s390x", mixed, 2, false);
    convert(f, OCI, 0);
    warm(f, &image, false);
    warm(f, &f->a, false);
    assert_ok(try_convert(f, ARCHIVE, &t, &result, &err));
    assert_int_equal(result.converted, 1);
    assert_int_equal(result.kept, 1);
    assert_non_null(strstr(t.kept, "only format oci can hold it"));
    forget(&t);
    /* The builder misses it, and it can be converted back. */
    assert_int_equal(count_names(f, image.digest.text), 3);
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
    assert_false(exists(f, "blobs"));
    cleanup_cachedir_entry struct cachedir_entry entry = look(f, &image);
    assert_int_equal(entry.state, CACHEDIR_BROKEN);
    convert(f, OCI, 1);
    assert_whole(f, &image);
    test_image_free(&image);
}

static void test_a_lock_is_respected(void **state)
{
    struct fixture *f = *state;
    struct cachedir_convert_result result;
    struct cachedir_lock *lock;
    struct cachedir *other = open_cache(f, CACHEDIR_FORMAT_ANY);
    struct telling t = {0};
    struct error err = {0};
    warm(f, &f->a, false);
    assert_ok(cachedir_lock_entry(other, &f->a.digest, &lock, &err));
    assert_ok(try_convert(f, OCI, &t, &result, &err));
    assert_int_equal(result.kept, 1);
    assert_non_null(strstr(t.kept, "another process works on"));
    cachedir_unlock(lock);
    cachedir_close(other);
    forget(&t);
    convert(f, OCI, 1);
    assert_whole(f, &f->a);
}

/* What another tool put into the layout at the root is not ours to remove. */
static void test_other_tools_keep_what_is_theirs(void **state)
{
    struct fixture *f = *state;
    convert(f, OCI, 0);
    warm(f, &f->a, false);
    set_name(f, &f->a, (char[]){"docker.io/library/a:1"});
    cleanup_free char *blob = xasprintf("blobs/sha256/%s", digest_hex(&f->b.digest));
    cleanup_free char *index =
        xasprintf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
                  "\"size\":%zu}]}",
                  MEDIA_DOCKER_MANIFEST, f->b.digest.text, f->b.manifest_len);
    put(f, "index.json", index, strlen(index));
    put(f, blob, f->b.manifest, f->b.manifest_len);
    reopen(f);
    convert(f, ARCHIVE, 1);
    assert_whole(f, &f->a);
    assert_true(exists(f, blob) && exists(f, "index.json") && exists(f, "oci-layout"));
    /* That manifest, and the layer of it that is here. */
    assert_int_equal(count_names(f, "blobs/sha256"), 2);
    convert(f, OCI, 1);
    assert_true(exists(f, blob));
    assert_whole(f, &f->a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, archives_setup, archives_teardown)
        TEST(test_there_and_back),
        TEST(test_goes_on_after_it_was_stopped),
        TEST(test_who_warms_meanwhile_publishes_nothing_in_the_old_format),
        TEST(test_what_kaniko_wrote_is_converted),
        TEST(test_what_cannot_be_converted_stays_and_is_named),
        TEST(test_what_archives_cannot_hold_stays),
        TEST(test_a_lock_is_respected),
        TEST(test_other_tools_keep_what_is_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
