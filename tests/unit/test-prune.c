/* Pruning: each rule by itself. What they do together is test-histories.c's. */
#include "image.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>

#include <cmocka.h>

#define HOUR INT64_C(3600)
#define NS INT64_C(1000000000)
#define TTL (336 * HOUR)
#define GRACE (24 * HOUR)
#define IMAGES 6

static struct fixture {
    char *path;
    int root;
    struct cachedir *cd;
    struct test_image images[IMAGES];
    char *told; /* what the last prune removed: "reason path\n"... */
} f;

static const char *const architectures[IMAGES] = {"amd64", "amd64",   "arm",
                                                  "s390x", "riscv64", "ppc64le"};

static int setup(void **state)
{
    struct error err = {0};
    (void)state;
    f.path = test_directory_make();
    f.root = open(f.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(cachedir_open(f.path, &(struct cachedir_options){.create = true}, &f.cd, &err),
                     0);
    for (size_t i = 0; i < IMAGES; i++) {
        /* Each has a layer of its own, and one that it shares with its neighbour. */
        cleanup_free char *own = xasprintf("%0*zu own layer", 100 * (int)(i + 1), i);
        cleanup_free char *shared = xasprintf("%0300zu shared layer", i / 2);
        const char *const layers[] = {own, shared};
        test_image_make(&f.images[i], architectures[i], layers, 2, false);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cachedir_close(f.cd);
    close(f.root);
    test_directory_remove(f.path);
    for (size_t i = 0; i < IMAGES; i++)
        test_image_free(&f.images[i]);
    free(take_ptr(f.told));
    return 0;
}

static void warm(size_t image)
{
    struct error err = {0};
    if (test_image_warm(f.cd, &f.images[image], false, &err) < 0)
        fail_msg("warm: %s", err.message);
}

static void name(const char *reference, size_t image)
{
    struct error err = {0};
    struct cachedir_name n = {.platform = strdupa("linux/amd64"),
                              .reference = strdupa(reference),
                              .manifest = f.images[image].digest,
                              .source = f.images[image].digest,
                              .checked = 1};
    assert_int_equal(cachedir_name_set(f.cd, &n, &err), 0);
    assert_int_equal(cachedir_flush(f.cd, &err), 0);
}

/* Let something be as old as this. */
static void age(const char *path, int64_t seconds)
{
    const time_t t = time(NULL) - seconds;
    const struct timespec times[2] = {{t, 0}, {t, 0}};
    assert_int_equal(utimensat(f.root, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void age_image(size_t image, int64_t seconds)
{
    age(f.images[image].digest.text, seconds);
    for (size_t i = 0; i < f.images[image].count; i++) {
        cleanup_free char *path =
            xasprintf("blobs/sha256/%s", digest_hex(&f.images[image].descriptors[i].digest));
        if (faccessat(f.root, path, F_OK, 0) == 0)
            age(path, seconds);
    }
    cleanup_free char *manifest = xasprintf("blobs/sha256/%s", digest_hex(&f.images[image].digest));
    if (faccessat(f.root, manifest, F_OK, 0) == 0)
        age(manifest, seconds);
}

/* Let an entry have been published so long ago. */
static void publish_before(size_t image, int64_t seconds)
{
    cleanup_free char *index = xasprintf("%s/index.json", f.images[image].digest.text);
    age(index, seconds);
}

static bool exists(const char *path)
{
    return faccessat(f.root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool has(size_t image)
{
    return exists(f.images[image].digest.text);
}

static void remember(void *userdata, const struct cachedir_removal *r)
{
    (void)userdata;
    char *longer = xasprintf("%s%s %s\n", f.told ? f.told : "",
                             cachedir_prune_reason_name(r->reason), r->path);
    free(f.told);
    f.told = longer;
}

static struct cachedir_prune_result prune(struct cachedir_prune_options options)
{
    struct cachedir_prune_result result, dry;
    struct error err = {0};
    options.ttl_ns = TTL * NS;
    options.grace_ns = GRACE * NS;

    /* A dry run says what the real one does, and does nothing. */
    free(take_ptr(f.told));
    options.dry_run = true;
    assert_int_equal(cachedir_prune(f.cd, &options, remember, NULL, &dry, &err), 0);
    cleanup_free char *said = take_ptr(f.told);
    options.dry_run = false;
    if (cachedir_prune(f.cd, &options, remember, NULL, &result, &err) < 0)
        fail_msg("prune: %s", err.message);
    assert_string_equal(said ? said : "", f.told ? f.told : "");
    assert_int_equal(dry.size_after, result.size_after);
    assert_int_equal(dry.limits_met, result.limits_met);
    return result;
}

static void assert_healthy(void)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    assert_int_equal(cachedir_verify(f.cd, &(struct cachedir_verify_options){.threads = 1}, NULL,
                                     NULL, &result, &err),
                     0);
    assert_int_equal(result.problems, 0);
}

/* What is on the disk, each inode once, as `du` would see it, without locks and markers. */
static int64_t real_size(void)
{
    cleanup_free char *command =
        xasprintf("cd '%s' && find . -type f -printf '%%i %%s %%p\\n' | grep -v -e '/index.json$' "
                  "-e '/oci-layout$' -e lock -e '/format$' | sort -u -k1,1 | "
                  "awk '{ n += $2 } END { printf \"%%d\", n }'",
                  f.path);
    FILE *pipe = popen(command, "re");
    long long size = -1;
    assert_int_equal(fscanf(pipe, "%lld", &size), 1);
    assert_int_equal(pclose(pipe), 0);
    return size;
}

/* ---- */

static void test_only_what_expired_past_the_grace_goes(void **state)
{
    (void)state;
    warm(0);
    warm(1);
    warm(2);
    age_image(0, TTL + GRACE + HOUR);
    age_image(1, TTL + GRACE - HOUR);
    struct cachedir_prune_result r = prune((struct cachedir_prune_options){0});
    assert_int_equal(r.removed[CACHEDIR_PRUNE_EXPIRED], 1);
    assert_false(has(0));
    assert_true(has(1));
    assert_true(has(2));
    /* Its own blobs went with it: config, own layer, manifest. The shared one is in use. */
    assert_int_equal(r.removed[CACHEDIR_PRUNE_UNUSED], 3);
    assert_healthy();
    assert_int_equal(prune((struct cachedir_prune_options){0}).size_before, r.size_after);
}

static void test_keep_names_what_stays(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        warm(i);
        age_image(i, 2 * TTL);
    }
    name("docker.io/library/debian:12", 0);
    name("registry.example/team/app:1", 1);
    char *globs[] = {strdupa("debian:*"), strdupa("registry.example/*:1"), NULL};
    prune((struct cachedir_prune_options){.keep = globs, .limits.max_size = 1});
    assert_true(has(0));
    assert_true(has(1));
    assert_false(has(2));
    assert_healthy();
}

static void test_superseded_goes_only_when_asked(void **state)
{
    (void)state;
    warm(0); /* made under the name test/image:1, like all of them */
    warm(1);
    name("test/image:1", 1);
    prune((struct cachedir_prune_options){0});
    assert_true(has(0));
    /* A build may have asked for it just before the tag moved, however long it stands. */
    age_image(0, 5 * GRACE);
    publish_before(0, 6 * GRACE);
    publish_before(1, GRACE - HOUR);
    prune((struct cachedir_prune_options){.superseded = true});
    assert_true(has(0));
    /* What the tag leads to was there before: nobody knows when it moved back. */
    publish_before(1, 6 * GRACE);
    prune((struct cachedir_prune_options){.superseded = true});
    assert_true(has(0));
    /* Another platform's is no successor. */
    warm(2);
    age_image(2, GRACE + HOUR);
    publish_before(2, GRACE + HOUR);
    prune((struct cachedir_prune_options){.superseded = true});
    assert_true(has(0) && has(2));
    publish_before(1, GRACE + HOUR);
    struct cachedir_prune_result r = prune((struct cachedir_prune_options){.superseded = true});
    assert_int_equal(r.removed[CACHEDIR_PRUNE_SUPERSEDED], 1);
    assert_false(has(0));
    assert_true(has(1));
    assert_healthy();
}

static void test_limits_take_the_oldest_first_and_stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < IMAGES; i++) {
        warm(i);
        age(f.images[i].digest.text, (int64_t)(IMAGES - i) * HOUR);
    }
    int64_t size = prune((struct cachedir_prune_options){0}).size_after;
    struct cachedir_prune_result r =
        prune((struct cachedir_prune_options){.limits.max_size = size - 1});
    assert_int_equal(r.removed[CACHEDIR_PRUNE_EVICTED], 1);
    assert_false(has(0));
    assert_true(has(1));
    assert_true(r.limits_met && r.size_after <= size - 1);
    assert_healthy();
    r = prune((struct cachedir_prune_options){.limits.max_size = 1});
    assert_int_equal(r.removed[CACHEDIR_PRUNE_EVICTED], IMAGES - 1);
    assert_true(r.limits_met);
    assert_int_equal(r.size_after, 0);
    assert_int_equal(real_size(), 0);
    /* More free space than the volume has cannot be had, and that is said. */
    warm(0);
    r = prune((struct cachedir_prune_options){.limits.min_free = INT64_MAX});
    assert_false(r.limits_met);
    assert_false(has(0));
}

static void test_limits_take_what_nobody_uses_before_an_entry(void **state)
{
    (void)state;
    warm(0);
    warm(2);
    assert_int_equal(fs_remove(f.root, f.images[2].digest.text), 0);
    assert_int_equal(fs_create(f.root, ".basewarm/partial/x", 0644, "0123456789", 10), 0);
    int64_t size = prune((struct cachedir_prune_options){0}).size_after;
    struct cachedir_prune_result r =
        prune((struct cachedir_prune_options){.limits.max_size = size - 1});
    assert_int_equal(r.removed[CACHEDIR_PRUNE_UNUSED], 1);
    assert_int_equal(r.removed[CACHEDIR_PRUNE_EVICTED], 0);
    assert_true(exists(".basewarm/partial/x"));
    assert_true(has(0));
}

static void test_leftovers_go_by_age_and_strangers_never(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool directory;
        bool goes_young, goes_old;
    } rows[] = {
        {".basewarm/trash/entry-1", true, true, true},
        {".basewarm/stage/entry-1", true, false, true},
        {".basewarm/partial/aa", false, false, true},
        {"123456789", true, false, true},
        {"warmingImage.123", false, false, true},
        {"warmingManifest.123", false, false, true},
        {"notes.txt", false, false, false},
        {"lost+found", true, false, false},
        {"blobs/sha256/README", false, false, false},
        {".warmer-locks/sha256:00.lock", false, false, false},
    };
    for (int old = 0; old < 2; old++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if (exists(rows[i].path))
                continue;
            if (rows[i].directory) {
                cleanup_free char *inside = xasprintf("%s/index.json", rows[i].path);
                assert_int_equal(mkdirat(f.root, rows[i].path, 0755), 0);
                assert_int_equal(fs_create(f.root, inside, 0644, "x", 1), 0);
                if (old)
                    age(inside, 2 * TTL);
            } else {
                assert_int_equal(fs_create(f.root, rows[i].path, 0644, "x", 1), 0);
            }
        }
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if (!old)
                continue;
            if (rows[i].directory) {
                cleanup_free char *inside = xasprintf("%s/index.json", rows[i].path);
                age(inside, 2 * TTL);
            }
            age(rows[i].path, 2 * TTL);
        }
        prune((struct cachedir_prune_options){0});
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (exists(rows[i].path) == (old ? rows[i].goes_old : rows[i].goes_young))
                fail_msg("%s, %s: %s", rows[i].path, old ? "old" : "young",
                         exists(rows[i].path) ? "stayed" : "went");
    }
}

static void test_a_partial_file_that_is_written_stays(void **state)
{
    (void)state;
    struct error err = {0};
    struct cachedir_stage *stage;
    struct cachedir_blob *blob;
    const struct test_image *image = &f.images[0];
    assert_int_equal(cachedir_stage_new(f.cd, &image->digest, NULL, image->manifest,
                                        image->manifest_len, NULL, false, &stage, &err),
                     0);
    assert_int_equal(cachedir_blob_open(stage, &image->descriptors[1], false, &blob, &err), 0);
    assert_int_equal(cachedir_blob_write(blob, 0, image->blobs[1], 10, &err), 0);
    cleanup_free char *path =
        xasprintf(".basewarm/partial/%s", digest_hex(&image->descriptors[1].digest));
    age(path, 2 * TTL);
    struct cachedir_prune_result result;
    struct cachedir_prune_options options = {
        .ttl_ns = TTL * NS, .grace_ns = GRACE * NS, .limits.max_size = 1};
    assert_int_equal(cachedir_prune(f.cd, &options, NULL, NULL, &result, &err), 0);
    assert_true(exists(path));
    assert_false(result.limits_met);
    cachedir_blob_close(blob);
    cachedir_stage_free(stage);
    prune((struct cachedir_prune_options){0});
}

static void test_two_prunes_keep_apart(void **state)
{
    (void)state;
    struct error err = {0};
    struct cachedir_prune_result result;
    struct cachedir_prune_options options = {.ttl_ns = TTL * NS, .grace_ns = GRACE * NS};
    int fd = openat(f.root, ".basewarm/prune.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(cachedir_prune(f.cd, &options, NULL, NULL, &result, &err), -1);
    assert_int_equal(err.kind, ERROR_LOCKED);
    error_clear(&err);
    close(fd);
}

static void test_remove_takes_one_and_its_blobs(void **state)
{
    (void)state;
    struct error err = {0};
    int64_t freed = 0;
    warm(0);
    warm(1);
    assert_int_equal(cachedir_remove(f.cd, &f.images[0].digest, &freed, &err), 0);
    assert_true(freed > 0);
    assert_false(has(0));
    assert_true(has(1));
    assert_healthy();
    assert_int_equal(cachedir_remove(f.cd, &f.images[0].digest, &freed, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_what_expired_past_the_grace_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_keep_names_what_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_superseded_goes_only_when_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits_take_the_oldest_first_and_stop, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_limits_take_what_nobody_uses_before_an_entry, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_leftovers_go_by_age_and_strangers_never, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_partial_file_that_is_written_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_prunes_keep_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_takes_one_and_its_blobs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
