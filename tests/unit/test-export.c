/* Tars that we write: the same bytes for the same images, and what goes out comes in again. */
#include "archive-cache.h"
#include "layers.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/tar-out.h"
#include "cachedir/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static void test_tar_out(void **state)
{
    static const size_t lengths[] = {1, 99, 100, 141, TAR_NAME_MAX};
    struct error err = {0};
    cleanup_close int fd = memfd_create("tar", MFD_CLOEXEC);
    cleanup_tar_out struct tar_out *t = tar_out_new(fd, NULL);
    cleanup_tar_members struct tar_members members = {0};
    char name[TAR_NAME_MAX + 1];
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(name, (int)('a' + i), lengths[i]);
        name[lengths[i]] = '\0';
        assert_ok(tar_out_put(t, name, name, lengths[i], &err));
    }
    /* A member has the size that was said. */
    assert_ok(tar_out_begin(t, "x", 2, &err));
    assert_int_equal(tar_out_write(t, "123", 3, &err), -1);
    error_clear(&err);
    assert_int_equal(tar_out_end(t, &err), -1);
    error_clear(&err);
    assert_ok(tar_out_write(t, "12", 2, &err));
    assert_ok(tar_out_end(t, &err));
    assert_ok(tar_scan(fd, &members, &err));
    assert_int_equal(members.count, sizeof lengths / sizeof *lengths + 1);
    assert_int_equal(tar_out_bytes(t), lseek(fd, 0, SEEK_END));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char got[TAR_NAME_MAX];
        assert_int_equal(strlen(members.list[i].name), lengths[i]);
        assert_int_equal(members.list[i].size, lengths[i]);
        assert_int_equal(fs_pread_all(fd, got, lengths[i], members.list[i].offset), 0);
        assert_memory_equal(got, members.list[i].name, lengths[i]);
    }
}

static struct bytes export(struct fixture *f, const struct test_image *image, struct error *err)
{
    const struct cachedir_selection list[] = {{.digest = image->digest}};
    const struct cachedir_export_options options = {.list = list, .count = 1};
    struct cachedir_export_result result;
    struct bytes tar = {0};
    cleanup_close int fd = memfd_create("tar", MFD_CLOEXEC);
    if (cachedir_export(f->cd, &options, fd, &result, err) == 0) {
        tar.len = (size_t)result.bytes;
        tar.data = xmalloc(tar.len);
        assert_int_equal(lseek(fd, 0, SEEK_END), result.bytes);
        assert_int_equal(fs_pread_all(fd, tar.data, tar.len, 0), 0);
    }
    return tar;
}

static int import(struct fixture *f, const struct bytes *tar, struct cachedir_import_result *ret,
                  struct error *err)
{
    cleanup_close int fd = memfd_create("tar", MFD_CLOEXEC);
    assert_int_equal(fs_write_all(fd, tar->data, tar->len), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return cachedir_import(f->cd, &(struct cachedir_import_options){0}, fd, ret, err);
}

/* What goes out comes in again, and out as the same. */
static void test_round(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_import_result result;
    struct cachedir_convert_result converted;
    int64_t freed;
    warm(f, &f->a, false);
    cleanup_bytes struct bytes first = export(f, &f->a, &err);
    assert_non_null(first.data);
    for (int round = 0; round < 2; round++) {
        assert_ok(cachedir_remove(f->cd, &f->a.digest, &freed, &err));
        assert_ok(import(f, &first, &result, &err));
        assert_int_equal(result.made_up, 0);
        assert_whole(f, &f->a);
        cleanup_bytes struct bytes again = export(f, &f->a, &err);
        assert_int_equal(again.len, first.len);
        assert_memory_equal(again.data, first.data, first.len);
        assert_ok(cachedir_convert(f->cd, CACHEDIR_FORMAT_OCI, NULL, NULL, NULL, &converted, &err));
        reopen(f);
    }
    /* What is not here, and what is broken, is said before anything is written. */
    cleanup_bytes struct bytes none = export(f, &f->b, &err);
    assert_null(none.data);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
    cleanup_free char *index = xasprintf("%s/index.json", f->a.digest.text);
    assert_int_equal(unlinkat(f->root, index, 0), 0);
    cleanup_bytes struct bytes broken = export(f, &f->a, &err);
    assert_null(broken.data);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tar_out),
        cmocka_unit_test_setup_teardown(test_round, archives_setup, archives_teardown),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
