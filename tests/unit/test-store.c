/* The store without a network: what stands on the disk after each operation. */
#include "image.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

static const char *const layers_a[] = {"first layer", "second layer"};
static const char *const layers_b[] = {"first layer", "third layer"};

struct fixture {
    char *path;
    int root;
    struct cachedir *cd;
    struct test_image a, b; /* they share a layer */
    unsigned warnings;
};

static void count_warning(void *userdata, const char *message)
{
    (void)message;
    (*(unsigned *)userdata)++;
}

static struct cachedir *open_cache(struct fixture *f, unsigned without)
{
    struct cachedir_options options = {
        .create = true, .without = without, .warn = count_warning, .userdata = &f->warnings};
    struct cachedir *cd = NULL;
    struct error err = {0};
    assert_ok(cachedir_open(f->path, &options, &cd, &err));
    return cd;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->path = test_directory_make();
    f->root = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->cd = open_cache(f, 0);
    test_image_make(&f->a, "amd64", layers_a, 2, false);
    test_image_make(&f->b, "arm64", layers_b, 2, true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cachedir_close(f->cd);
    close(f->root);
    test_directory_remove(f->path);
    test_image_free(&f->a);
    test_image_free(&f->b);
    free(f);
    fs_without_openat2 = false;
    return 0;
}

static void reopen(struct fixture *f, unsigned without)
{
    cachedir_close(f->cd);
    f->cd = open_cache(f, without);
}

static struct stat stat_of(const struct fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct stat stat_of(const struct fixture *f, const char *format, ...)
{
    va_list args;
    struct stat st;
    va_start(args, format);
    cleanup_free char *path = xvasprintf(format, args);
    va_end(args);
    if (fstatat(f->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return st;
}

static char *entry_blob(const struct test_image *image, size_t blob)
{
    return xasprintf("%s/blobs/sha256/%s", image->digest.text,
                     digest_hex(&image->descriptors[blob].digest));
}

static void assert_state(struct fixture *f, const struct test_image *image,
                         enum cachedir_state state, const char *why)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    struct error err = {0};
    assert_ok(cachedir_look(f->cd, &image->digest, &entry, &err));
    if (entry.state != state)
        fail_msg("state %d, not %d: %s", entry.state, state, entry.problem ? entry.problem : "");
    if (why && (!entry.problem || !strstr(entry.problem, why)))
        fail_msg("problem \"%s\" does not say \"%s\"", entry.problem, why);
}

static size_t count_names(const struct fixture *f, const char *path)
{
    cleanup_close int dir = fs_open_directory(f->root, path);
    cleanup_names char **names = NULL;
    size_t count;
    assert_int_equal(fs_names(dir, &names, &count), 0);
    return count;
}

static size_t count_problems(struct fixture *f, bool quick)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    assert_ok(cachedir_verify(f->cd, &(struct cachedir_verify_options){.quick = quick}, NULL, NULL,
                              &result, &err));
    return result.problems;
}

static int warm(struct fixture *f, const struct test_image *image, bool distrust)
{
    struct error err = {0};
    int written = test_image_warm(f->cd, image, distrust, &err);
    if (written < 0)
        fail_msg("warm: %s", err.message);
    return written;
}

static void overwrite(const struct fixture *f, const char *path, const char *bytes)
{
    int fd = openat(f->root, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, bytes, strlen(bytes)), 0);
    close(fd);
}

/* ---- */

static void test_publishes_an_entry_that_the_builder_reads(void **state)
{
    struct fixture *f = *state;
    mode_t old = umask(077);
    assert_state(f, &f->a, CACHEDIR_ABSENT, NULL);
    assert_int_equal(warm(f, &f->a, false), 3);
    (void)umask(old);
    assert_state(f, &f->a, CACHEDIR_COMPLETE, NULL);

    cleanup_free char *layer = entry_blob(&f->a, 1);
    struct stat entry = stat_of(f, "%s", f->a.digest.text), blob = stat_of(f, "%s", layer);
    struct stat pool = stat_of(f, "blobs/sha256/%s", digest_hex(&f->a.descriptors[1].digest));
    assert_int_equal(entry.st_mode, S_IFDIR | 0755);
    assert_int_equal(blob.st_mode, S_IFREG | 0644);
    assert_int_equal(blob.st_ino, pool.st_ino);
    assert_int_equal(blob.st_nlink, 2);
    assert_int_equal(stat_of(f, "%s/index.json", f->a.digest.text).st_mode, S_IFREG | 0644);
    assert_int_equal(stat_of(f, "%s/oci-layout", f->a.digest.text).st_mode, S_IFREG | 0644);
    assert_int_equal(count_names(f, f->a.digest.text), 3);
    assert_int_equal(count_names(f, ".basewarm/stage"), 0);
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
    assert_int_equal(count_names(f, ".basewarm/locks"), 1);
    assert_int_equal(count_problems(f, false), 0);
}

static void test_stores_a_shared_layer_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(warm(f, &f->a, false), 3);
    assert_int_equal(warm(f, &f->b, false), 2);
    cleanup_free char *in_a = entry_blob(&f->a, 1), *in_b = entry_blob(&f->b, 1);
    assert_int_equal(stat_of(f, "%s", in_a).st_ino, stat_of(f, "%s", in_b).st_ino);

    struct cachedir_entry *list;
    size_t count;
    struct error err = {0};
    assert_ok(cachedir_list(f->cd, &list, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(list[0].shared_size, strlen("first layer"));
    assert_int_equal(list[1].shared_size, strlen("first layer"));
    cachedir_entries_free(list, count);
}

struct damage {
    const char *name;
    void (*inflict)(const struct fixture *f, const char *blob);
    const char *why; /* NULL: names and sizes do not show it */
    int written;     /* blobs that must be written again */
    bool distrust;
};

static void lose_blob(const struct fixture *f, const char *blob)
{
    cleanup_free char *pool = xasprintf("blobs/sha256/%s", strrchr(blob, '/') + 1);
    assert_int_equal(unlinkat(f->root, blob, 0), 0);
    assert_int_equal(unlinkat(f->root, pool, 0), 0);
}
static void lose_entry_name(const struct fixture *f, const char *blob)
{
    assert_int_equal(unlinkat(f->root, blob, 0), 0);
}
static void lose_pool_name(const struct fixture *f, const char *blob)
{
    cleanup_free char *pool = xasprintf("blobs/sha256/%s", strrchr(blob, '/') + 1);
    assert_int_equal(unlinkat(f->root, pool, 0), 0);
}
static void shorten(const struct fixture *f, const char *blob)
{
    overwrite(f, blob, "short");
}
static void rot(const struct fixture *f, const char *blob)
{
    cleanup_close int fd = openat(f->root, blob, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "#", 1, 0), 1);
}
static void make_symlink(const struct fixture *f, const char *blob)
{
    assert_int_equal(unlinkat(f->root, blob, 0), 0);
    assert_int_equal(symlinkat("/etc/hostname", f->root, blob), 0);
}
static void make_directory(const struct fixture *f, const char *blob)
{
    assert_int_equal(unlinkat(f->root, blob, 0), 0);
    assert_int_equal(mkdirat(f->root, blob, 0755), 0);
}
static void lose_index(const struct fixture *f, const char *blob)
{
    cleanup_free char *entry = xstrndup(blob, 7 + 64);
    cleanup_free char *index = xasprintf("%s/index.json", entry);
    assert_int_equal(unlinkat(f->root, index, 0), 0);
}
static void empty_index(const struct fixture *f, const char *blob)
{
    cleanup_free char *entry = xstrndup(blob, 7 + 64);
    cleanup_free char *index = xasprintf("%s/index.json", entry);
    overwrite(f, index, "{\"schemaVersion\":2,\"manifests\":[]}");
}
static void become_a_file(const struct fixture *f, const char *blob)
{
    cleanup_free char *entry = xstrndup(blob, 7 + 64);
    assert_int_equal(fs_remove(f->root, entry), 0);
    assert_int_equal(fs_create(f->root, entry, 0644, "tar", 3), 0);
}
static void become_a_symlink(const struct fixture *f, const char *blob)
{
    cleanup_free char *entry = xstrndup(blob, 7 + 64);
    assert_int_equal(fs_remove(f->root, entry), 0);
    assert_int_equal(symlinkat("/etc", f->root, entry), 0);
}

static const struct damage damages[] = {
    {"a lost blob", lose_blob, "is missing", 1, false},
    {"a name lost from the entry", lose_entry_name, "is missing", 0, false},
    {"a name lost from the pool", lose_pool_name, NULL, 0, false},
    {"a short blob", shorten, "bytes instead of", 1, false},
    {"bit rot, distrusted", rot, NULL, 1, true},
    {"a symlink for a blob", make_symlink, "symbolic link", 0, false},
    {"a lost index.json", lose_index, "index.json is missing", 0, false},
    {"an empty index.json", empty_index, "names 0 manifests", 0, false},
    {"a file in the entry's place", become_a_file, "is a file", 0, false},
    {"a symlink in the entry's place", become_a_symlink, NULL, 0, false},
};

static void test_mends_what_is_broken_and_only_that(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *d = &damages[i];
        cleanup_free char *blob = entry_blob(&f->a, 2); /* which only this image has */
        warm(f, &f->a, false);
        warm(f, &f->b, false);
        assert_int_equal(count_problems(f, false), 0);
        d->inflict(f, blob);
        if (d->why)
            assert_state(f, &f->a, CACHEDIR_BROKEN, d->why);
        reopen(f, 0);
        int written = warm(f, &f->a, d->distrust);
        if (written != d->written)
            fail_msg("%s: %d blobs written, not %d", d->name, written, d->written);
        assert_state(f, &f->a, CACHEDIR_COMPLETE, NULL);
        size_t problems = count_problems(f, false);
        if (problems > 0)
            fail_msg("%s: %zu problems left", d->name, problems);
        assert_int_equal(stat_of(f, "%s", f->a.digest.text).st_mode, S_IFDIR | 0755);
        assert_int_equal(count_names(f, ".basewarm/stage"), 0);
        assert_int_equal(count_names(f, ".basewarm/trash"), 0);
    }
}

static void test_a_directory_for_a_blob_is_reported(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *blob = entry_blob(&f->a, 1);
    struct error err = {0};
    warm(f, &f->a, false);
    make_directory(f, blob);
    assert_state(f, &f->a, CACHEDIR_BROKEN, "no regular file");
    assert_int_equal(test_image_warm(f->cd, &f->a, false, &err), -1);
    assert_non_null(strstr(err.message, "cannot put blob"));
    error_clear(&err);
}

static void test_every_fallback_makes_the_same_entry(void **state)
{
    struct fixture *f = *state;
    static const unsigned abilities[] = {
        CACHEDIR_HARD_LINKS, CACHEDIR_HARD_LINKS | CACHEDIR_REFLINKS,
        CACHEDIR_LOCKS,      CACHEDIR_RENAME_DIRECTORIES,
        CACHEDIR_OPENAT2,    ~0U,
    };
    for (size_t i = 0; i < sizeof abilities / sizeof *abilities; i++) {
        assert_int_equal(fs_remove(f->root, f->a.digest.text), 0);
        assert_int_equal(fs_remove(f->root, "blobs"), 0);
        reopen(f, abilities[i]);
        assert_int_equal(warm(f, &f->a, false), 3);
        assert_state(f, &f->a, CACHEDIR_COMPLETE, NULL);
        assert_int_equal(count_problems(f, false), 0);
        assert_int_equal(warm(f, &f->a, false), 0);
        cleanup_free char *layer = entry_blob(&f->a, 1);
        assert_int_equal(stat_of(f, "%s", layer).st_nlink,
                         abilities[i] & CACHEDIR_HARD_LINKS ? 1 : 2);
        assert_int_equal(count_names(f, ".basewarm/partial"), 0);
        assert_int_equal(count_names(f, ".basewarm/stage"), 0);
    }
}

static void test_adopts_what_kaniko_left(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    warm(f, &f->a, false);
    /* As the fork's warmer leaves it: 0700, 0600, no pool. */
    assert_int_equal(fs_remove(f->root, "blobs"), 0);
    cleanup_free char *layer = entry_blob(&f->a, 1);
    assert_int_equal(fchmodat(f->root, f->a.digest.text, 0700, 0), 0);
    assert_int_equal(fchmodat(f->root, layer, 0600, 0), 0);
    reopen(f, 0);
    assert_ok(cachedir_adopt(f->cd, &f->a.digest, &err));
    struct stat blob = stat_of(f, "%s", layer);
    assert_int_equal(stat_of(f, "%s", f->a.digest.text).st_mode, S_IFDIR | 0755);
    assert_int_equal(blob.st_mode, S_IFREG | 0644);
    assert_int_equal(blob.st_ino,
                     stat_of(f, "blobs/sha256/%s", digest_hex(&f->a.descriptors[1].digest)).st_ino);
    /* Another image then takes the layer from there. */
    assert_int_equal(warm(f, &f->b, false), 2);

    overwrite(f, layer, "rotten!!!!!");
    assert_int_equal(fs_remove(f->root, "blobs"), 0);
    reopen(f, 0);
    assert_int_equal(cachedir_adopt(f->cd, &f->a.digest, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
}

static void test_a_partial_file_is_resumed(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_stage *stage;
    struct cachedir_blob *blob, *other;
    int64_t start, end;

    assert_ok(cachedir_stage_new(f->cd, &f->a.digest, NULL, f->a.manifest, f->a.manifest_len, NULL,
                                 false, &stage, &err));
    assert_ok(cachedir_blob_open(stage, &f->a.descriptors[1], false, &blob, &err));
    assert_int_equal(cachedir_blob_open(stage, &f->a.descriptors[1], false, &other, &err), -1);
    assert_int_equal(err.kind, ERROR_LOCKED);
    error_clear(&err);
    assert_ok(cachedir_blob_write(blob, 6, "layer", 5, &err)); /* the tail first */
    assert_ok(cachedir_blob_write(blob, 0, "fir", 3, &err));
    cachedir_blob_close(blob);
    assert_int_equal(count_names(f, ".basewarm/partial"), 2);
    assert_ok(cachedir_blob_open(stage, &f->a.descriptors[1], false, &blob, &err));
    assert_true(cachedir_blob_gap(blob, 0, &start, &end));
    assert_int_equal(start, 3);
    assert_int_equal(end, 6);
    assert_int_equal(cachedir_blob_commit(blob, &err), -1);
    error_clear(&err);
    assert_ok(cachedir_blob_write(blob, 3, "st ", 3, &err));
    assert_ok(cachedir_blob_commit(blob, &err));
    cachedir_blob_close(blob);
    assert_int_equal(cachedir_stage_take(stage, &f->a.descriptors[1], &err), 1);
    cachedir_stage_free(stage);
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
    assert_int_equal(count_names(f, ".basewarm/stage"), 0);
}

static void test_wrong_bytes_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_stage *stage;
    struct cachedir_blob *blob;
    int64_t start, end;

    assert_ok(cachedir_stage_new(f->cd, &f->a.digest, NULL, f->a.manifest, f->a.manifest_len, NULL,
                                 false, &stage, &err));
    assert_ok(cachedir_blob_open(stage, &f->a.descriptors[1], false, &blob, &err));
    assert_int_equal(cachedir_blob_write(blob, 0, "first layer and more", 20, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
    assert_ok(cachedir_blob_write(blob, 0, "wrong bytes", 11, &err));
    assert_int_equal(cachedir_blob_commit(blob, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
    assert_true(cachedir_blob_gap(blob, 0, &start, &end));
    assert_int_equal(end - start, 11);
    assert_ok(cachedir_blob_write(blob, 0, "first layer", 11, &err));
    assert_ok(cachedir_blob_commit(blob, &err));
    cachedir_blob_close(blob);
    cachedir_stage_free(stage);
}

static void test_renewing_moves_the_clock_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    warm(f, &f->a, false);
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(f->root, f->a.digest.text, old, 0), 0);
    cleanup_free char *layer = entry_blob(&f->a, 1);
    struct stat before = stat_of(f, "%s", layer);
    assert_ok(cachedir_renew(f->cd, &f->a.digest, &err));
    assert_true(stat_of(f, "%s", f->a.digest.text).st_mtime > 1000);
    assert_int_equal(stat_of(f, "%s", layer).st_ino, before.st_ino);
    assert_int_equal(cachedir_renew(f->cd, &f->b.digest, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
}

static void test_names_survive_other_writers(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    cleanup_cachedir_name struct cachedir_name found = {0};
    warm(f, &f->a, false);
    warm(f, &f->b, false);
    /* Somebody else's descriptor stays as it is. */
    const char *foreign = "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x/y\",\"size\":1,"
                          "\"digest\":\"sha256:00\"}]}";
    assert_int_equal(fs_create(f->root, "index.json", 0644, foreign, strlen(foreign)), 0);
    struct cachedir *other = open_cache(f, 0);
    char reference[] = "docker.io/library/x:1", amd64[] = "linux/amd64", arm64[] = "linux/arm64";
    struct cachedir_name amd = {reference, amd64, f->a.digest, f->b.digest, 1000};
    struct cachedir_name arm = {reference, arm64, f->b.digest, f->b.digest, 2000};
    assert_ok(cachedir_name_set(f->cd, &amd, &err));
    assert_ok(cachedir_name_set(other, &arm, &err));
    assert_ok(cachedir_flush(f->cd, &err));
    assert_ok(cachedir_flush(other, &err));
    cachedir_close(other);
    reopen(f, 0);
    assert_int_equal(cachedir_name_find(f->cd, amd.reference, amd.platform, &found, &err), 1);
    assert_true(digest_equal(&found.manifest, &f->a.digest));
    assert_true(digest_equal(&found.source, &f->b.digest));
    assert_int_equal(found.checked, 1000);
    assert_int_equal(cachedir_name_find(f->cd, amd.reference, "linux/s390x", &found, &err), 0);

    cleanup_free char *text = NULL;
    size_t len;
    assert_int_equal(fs_read(f->root, "index.json", 1 << 20, &text, &len), 0);
    assert_non_null(strstr(text, "\"x/y\""));
    assert_non_null(strstr(text, "vnd.oci.image.index.v1+json"));

    /* What went from the disk goes from the index. */
    assert_int_equal(fs_remove(f->root, f->b.digest.text), 0);
    assert_int_equal(count_problems(f, true), 1);
    assert_ok(cachedir_flush(f->cd, &err));
    assert_int_equal(count_problems(f, true), 0);
    free(take_ptr(text));
    assert_int_equal(fs_read(f->root, "index.json", 1 << 20, &text, &len), 0);
    assert_null(strstr(text, "linux/arm64"));
    assert_non_null(strstr(text, MEDIA_OCI_MANIFEST));
}

static void test_verify_finds_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    warm(f, &f->a, false);
    warm(f, &f->b, false);
    cleanup_free char *layer = entry_blob(&f->a, 1);
    rot(f, layer);
    /* One inode, three names: the pool's and both entries'. */
    assert_int_equal(count_problems(f, true), 0);
    assert_int_equal(count_problems(f, false), 3);
    cleanup_free char *stray = xasprintf("%s/blobs/sha256/stray\033", f->a.digest.text);
    assert_int_equal(fs_create(f->root, stray, 0644, "", 0), 0);
    assert_int_equal(fs_create(f->root, "blobs/sha256/stray", 0644, "", 0), 0);
    assert_int_equal(count_problems(f, true), 2);
}

static void test_opens_only_what_it_may(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir *cd;
    cleanup_free char *absent = xasprintf("%s/absent", f->path);
    assert_int_equal(cachedir_open(absent, &(struct cachedir_options){0}, &cd, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    cleanup_free char *file = xasprintf("%s/oci-layout", f->path);
    error_clear(&err);
    assert_int_equal(cachedir_open(file, &(struct cachedir_options){.create = true}, &cd, &err),
                     -1);
    assert_int_equal(err.kind, ERROR_DIRECTORY);
    error_clear(&err);
    /* A tenant who plants a symlink where we write gets nothing. */
    assert_int_equal(fs_remove(f->root, ".basewarm"), 0);
    assert_int_equal(symlinkat("/tmp", f->root, ".basewarm"), 0);
    assert_int_equal(cachedir_open(f->path, &(struct cachedir_options){.create = true}, &cd, &err),
                     -1);
    error_clear(&err);
    assert_int_equal(unlinkat(f->root, ".basewarm", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_publishes_an_entry_that_the_builder_reads, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stores_a_shared_layer_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mends_what_is_broken_and_only_that, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_directory_for_a_blob_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_fallback_makes_the_same_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopts_what_kaniko_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_partial_file_is_resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_bytes_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewing_moves_the_clock_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_names_survive_other_writers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_finds_what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opens_only_what_it_may, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
