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

static const char *const layers_a[] = {"\x1f\x8b first", "\x1f\x8b second"};
static const char *const layers_b[] = {"\x1f\x8b first", "\x1f\x8b third"};

struct cachedir *open_cache_without(const struct fixture *f, unsigned abilities)
{
    struct cachedir_options options = {.create = true, .without = abilities};
    struct cachedir *cd = NULL;
    struct error err = {0};
    assert_ok(cachedir_open(f->path, &options, &cd, &err));
    return cd;
}

struct cachedir *open_cache(const struct fixture *f, enum cachedir_format format)
{
    struct cachedir_options options = {.create = true, .format = format};
    struct cachedir *cd = NULL;
    struct error err = {0};
    assert_ok(cachedir_open(f->path, &options, &cd, &err));
    return cd;
}

int archives_setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->path = test_directory_make();
    f->root = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->cd = open_cache(f, CACHEDIR_FORMAT_DOCKER_ARCHIVE);
    test_image_make(&f->a, "amd64", layers_a, 2, false);
    test_image_make(&f->b, "arm64", layers_b, 2, true);
    *state = f;
    return 0;
}

int archives_teardown(void **state)
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

void reopen(struct fixture *f)
{
    cachedir_close(f->cd);
    f->cd = open_cache(f, CACHEDIR_FORMAT_ANY);
}

struct stat stat_of(const struct fixture *f, const char *path)
{
    struct stat st;
    if (fstatat(f->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fail_msg("%s: %s", path, strerror(errno));
    return st;
}

bool exists(const struct fixture *f, const char *name)
{
    struct stat st;
    return fstatat(f->root, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

size_t count_names(const struct fixture *f, const char *path)
{
    cleanup_close int dir = fs_open_directory(f->root, path);
    cleanup_names char **names = NULL;
    size_t count;
    assert_int_equal(fs_names(dir, &names, &count), 0);
    return count;
}

size_t count_problems(struct fixture *f)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    assert_ok(
        cachedir_verify(f->cd, &(struct cachedir_verify_options){0}, NULL, NULL, &result, &err));
    return result.problems;
}

struct cachedir_entry look(struct fixture *f, const struct test_image *image)
{
    struct cachedir_entry entry = {0};
    struct error err = {0};
    assert_ok(cachedir_look(f->cd, &image->digest, &entry, &err));
    return entry;
}

void assert_whole(struct fixture *f, const struct test_image *image)
{
    cleanup_cachedir_entry struct cachedir_entry entry = look(f, image);
    if (entry.state != CACHEDIR_COMPLETE)
        fail_msg("state %d: %s", entry.state, entry.problem ? entry.problem : "");
    assert_int_equal(count_problems(f), 0);
    assert_int_equal(count_names(f, ".basewarm/partial"), 0);
    assert_int_equal(count_names(f, ".basewarm/stage"), 0);
    assert_int_equal(count_names(f, ".basewarm/trash"), 0);
    assert_true(count_names(f, ".basewarm/locks") <= 1); /* the run's own, where there are locks */
}

int warm(struct fixture *f, const struct test_image *image, bool distrust)
{
    struct error err = {0};
    int written = test_image_warm(f->cd, image, distrust, &err);
    if (written < 0)
        fail_msg("warm: %s", err.message);
    return written;
}

void put(const struct fixture *f, const char *name, const void *bytes, size_t len)
{
    assert_int_equal(fs_remove(f->root, name), 0);
    assert_int_equal(fs_create(f->root, name, 0600, bytes, len), 0);
}

void rot(struct fixture *f, const struct test_image *image, size_t blob)
{
    cleanup_cachedir_entry struct cachedir_entry entry = look(f, image);
    cleanup_close int fd = openat(f->root, image->digest.text, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "#", 1, entry.blobs[blob].offset + 4), 1);
}
