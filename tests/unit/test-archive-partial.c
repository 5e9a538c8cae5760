/* Archives in the making: resumed, shared between processes, dropped. */
#include "archive-cache.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct cachedir_stage *stage_new(struct cachedir *cd, const struct test_image *image)
{
    struct cachedir_stage *stage;
    struct error err = {0};
    assert_ok(cachedir_stage_new(cd, &image->digest, NULL, image->manifest, image->manifest_len,
                                 "test/image:2", false, &stage, &err));
    return stage;
}

static struct cachedir_blob *blob_open(struct cachedir_stage *stage, const struct descriptor *blob)
{
    struct cachedir_blob *file;
    struct error err = {0};
    assert_ok(cachedir_blob_open(stage, blob, false, &file, &err));
    return file;
}

static void write_all(struct cachedir_stage *stage, const struct test_image *image, size_t blob)
{
    struct error err = {0};
    struct cachedir_blob *file = blob_open(stage, &image->descriptors[blob]);
    assert_ok(cachedir_blob_write(file, 0, image->blobs[blob], image->sizes[blob], &err));
    assert_ok(cachedir_blob_commit(file, &err));
    cachedir_blob_close(file);
}

static void test_a_partial_archive_is_resumed(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    int64_t start, end;

    struct cachedir_stage *stage = stage_new(f->cd, &f->a);
    write_all(stage, &f->a, 1);
    struct cachedir_blob *file = blob_open(stage, &f->a.descriptors[2]);
    assert_ok(cachedir_blob_write(file, 0, f->a.blobs[2], 4, &err));
    assert_ok(cachedir_blob_write(file, 6, f->a.blobs[2] + 6, 2, &err));
    cachedir_blob_close(file);
    cachedir_stage_free(stage); /* as when a run is stopped */
    assert_int_equal(count_names(f, ".basewarm/partial"), 2);
    assert_int_equal(count_names(f, ".basewarm/locks"), 1);

    reopen(f);
    stage = stage_new(f->cd, &f->a);
    assert_int_equal(cachedir_stage_take(stage, &f->a.descriptors[0], &err), 0);
    assert_int_equal(cachedir_stage_take(stage, &f->a.descriptors[1], &err), 1);
    assert_int_equal(cachedir_stage_take(stage, &f->a.descriptors[2], &err), 0);
    file = blob_open(stage, &f->a.descriptors[2]);
    assert_true(cachedir_blob_gap(file, 0, &start, &end));
    assert_int_equal(start, 4);
    assert_int_equal(end, 6);
    assert_ok(cachedir_blob_write(file, 4, f->a.blobs[2] + 4, 2, &err));
    assert_true(cachedir_blob_gap(file, 0, &start, &end));
    assert_int_equal(start, 8);
    assert_int_equal(end, (int64_t)f->a.sizes[2]);
    assert_ok(cachedir_blob_write(file, 8, f->a.blobs[2] + 8, f->a.sizes[2] - 8, &err));
    assert_false(cachedir_blob_gap(file, 0, &start, &end));
    assert_ok(cachedir_blob_commit(file, &err));
    cachedir_blob_close(file);
    write_all(stage, &f->a, 0);
    assert_ok(cachedir_stage_publish(stage, &err));
    cachedir_stage_free(stage);
    assert_whole(f, &f->a);
}

static void test_wrong_bytes_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    int64_t start, end;
    struct cachedir_stage *stage = stage_new(f->cd, &f->a);
    write_all(stage, &f->a, 1);
    struct cachedir_blob *file = blob_open(stage, &f->a.descriptors[2]);
    assert_int_equal(cachedir_blob_write(file, 1, f->a.blobs[2], f->a.sizes[2], &err), -1);
    error_clear(&err);
    cleanup_free char *wrong = xcalloc(f->a.sizes[2], 1);
    assert_ok(cachedir_blob_write(file, 0, wrong, f->a.sizes[2], &err));
    assert_int_equal(cachedir_blob_commit(file, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
    assert_true(cachedir_blob_gap(file, 0, &start, &end));
    assert_int_equal(end - start, f->a.sizes[2]);
    cachedir_blob_close(file);
    assert_int_equal(cachedir_stage_take(stage, &f->a.descriptors[1], &err), 1);
    assert_int_equal(cachedir_stage_publish(stage, &err), -1);
    error_clear(&err);
    cachedir_stage_free(stage);
    assert_false(exists(f, f->a.digest.text));

    /* A partial file that rotted, or a list that claims too much, is found by hashing. */
    cleanup_free char *partial = xasprintf(".basewarm/partial/%s", digest_hex(&f->a.digest));
    cleanup_close int fd = openat(f->root, partial, O_WRONLY | O_CLOEXEC);
    const off_t size = lseek(fd, 0, SEEK_END);
    for (off_t i = 0; i < size; i++)
        assert_int_equal(pwrite(fd, "#", 1, i), 1);
    reopen(f);
    assert_int_equal(warm(f, &f->a, false), 3);
    assert_whole(f, &f->a);
}

/* Two processes: each image has one writer, and a blob is fetched by one of them. */
static void test_processes_share_what_is_in_the_making(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir *other = open_cache(f, CACHEDIR_FORMAT_ANY);
    struct cachedir_stage *a = stage_new(f->cd, &f->a), *b = stage_new(other, &f->b);
    assert_int_equal(cachedir_stage_take(b, &f->b.descriptors[1], &err), 0);

    struct cachedir_blob *file = blob_open(a, &f->a.descriptors[1]), *same = NULL;
    int64_t before = cachedir_progress(other, &f->b.descriptors[1].digest);
    assert_int_equal(cachedir_blob_open(b, &f->b.descriptors[1], false, &same, &err), -1);
    assert_int_equal(err.kind, ERROR_LOCKED);
    error_clear(&err);
    assert_true(before > 0); /* somebody writes it */
    assert_ok(cachedir_blob_write(file, 0, f->a.blobs[1], f->a.sizes[1], &err));
    assert_ok(cachedir_blob_commit(file, &err));
    cachedir_blob_close(file);

    same = blob_open(b, &f->b.descriptors[1]);
    assert_int_equal(cachedir_stage_take(b, &f->b.descriptors[1], &err), 1);
    cachedir_blob_close(same);

    /* The lock of the whole is held: whoever goes on all the same has a file of his own. */
    struct cachedir_stage *again = stage_new(other, &f->a);
    assert_int_equal(cachedir_stage_take(again, &f->a.descriptors[1], &err), 1);
    write_all(a, &f->a, 0);
    write_all(a, &f->a, 2);
    write_all(again, &f->a, 0);
    write_all(again, &f->a, 2);
    assert_ok(cachedir_stage_publish(a, &err));
    const ino_t inode = stat_of(f, f->a.digest.text).st_ino;
    assert_ok(cachedir_stage_publish(again, &err));
    assert_int_equal(stat_of(f, f->a.digest.text).st_ino, inode);
    cachedir_stage_free(again);
    cachedir_stage_free(a);
    cachedir_stage_free(b);
    cachedir_close(other);
    assert_int_equal(count_names(f, ".basewarm/partial"), 2); /* b's */
    assert_int_equal(count_problems(f), 0);
}

static void test_prune_knows_partial_archives(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_stage *stage = stage_new(f->cd, &f->a);
    write_all(stage, &f->a, 1);
    cleanup_free char *partial = xasprintf(".basewarm/partial/%s", digest_hex(&f->a.digest));
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct cachedir_prune_options options = {.ttl_ns = 1, .grace_ns = 1};
    struct cachedir_prune_result result;
    for (int used = 1; used >= 0; used--) {
        assert_int_equal(utimensat(f->root, partial, old, 0), 0);
        assert_ok(cachedir_prune(f->cd, &options, NULL, NULL, &result, &err));
        assert_int_equal(exists(f, partial), used);
        if (used)
            cachedir_stage_free(stage);
    }
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, archives_setup, archives_teardown)
        TEST(test_a_partial_archive_is_resumed),
        TEST(test_wrong_bytes_are_dropped),
        TEST(test_processes_share_what_is_in_the_making),
        TEST(test_prune_knows_partial_archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
