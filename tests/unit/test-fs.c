/* Files on a volume where strangers plant things; with openat2 and without. */
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

static char *path;
static int root = -1;

static int setup(void **state)
{
    fs_without_openat2 = *state != NULL;
    path = test_directory_make();
    root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(root, "a", 0755), 0);
    assert_int_equal(mkdirat(root, "a/b", 0755), 0);
    assert_int_equal(fs_create(root, "a/b/file", 0640, "content", 7), 0);
    assert_int_equal(symlinkat("b", root, "a/link"), 0);
    assert_int_equal(symlinkat("/etc/hostname", root, "a/b/out"), 0);
    assert_int_equal(mkfifoat(root, "a/fifo", 0644), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fs_without_openat2 = false;
    close(root);
    test_directory_remove(path);
    return 0;
}

static void test_no_symlink_is_followed(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int error; /* 0: opens */
    } rows[] = {
        {"a/b/file", 0},         {"a/link/file", ELOOP}, {"a/b/out", ELOOP}, {"a/b/absent", ENOENT},
        {"a/b/file/x", ENOTDIR}, {"a/../a/b/file", -1},  {"../x", EXDEV},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        errno = 0;
        cleanup_close int fd = fs_open(root, rows[i].path, O_RDONLY | O_NONBLOCK, 0);
        if (rows[i].error < 0) /* inside all the same: openat2 allows it, the loop does not */
            continue;
        if ((fd >= 0) != (rows[i].error == 0) || (fd < 0 && errno != rows[i].error))
            fail_msg("%s: %s", rows[i].path, strerror(errno));
    }
}

static void test_reads_only_regular_files_up_to_a_ceiling(void **state)
{
    (void)state;
    char *text;
    size_t len;
    assert_int_equal(fs_read(root, "a/b/file", 7, &text, &len), 0);
    assert_int_equal(len, 7);
    assert_string_equal(text, "content");
    free(text);
    assert_int_equal(fs_read(root, "a/b/file", 6, &text, &len), -1);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(fs_read(root, "a/fifo", 100, &text, &len), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(fs_read(root, "a/b", 100, &text, &len), -1);
    assert_int_equal(fs_read(root, "a/b/out", 100, &text, &len), -1);
    assert_int_equal(errno, ELOOP);
}

static void test_creates_once_with_the_mode_asked_for(void **state)
{
    (void)state;
    struct stat st;
    mode_t old = umask(077);
    assert_int_equal(fs_create(root, "new", 0666, "x", 1), 0);
    cleanup_close int dir = fs_make_directory(root, "directory", 01777);
    (void)umask(old);
    assert_true(dir >= 0);
    assert_int_equal(fs_stat(root, "new", &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0666);
    assert_int_equal(fs_stat(root, "directory", &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 01777);
    assert_int_equal(fs_create(root, "new", 0666, "y", 1), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(fs_create(root, "a/b/out", 0666, "y", 1), -1);
    assert_int_equal(fs_make_directory(root, "a/link", 0755), -1);
}

static void test_removes_trees_but_not_what_links_point_to(void **state)
{
    (void)state;
    cleanup_free char *outside = test_directory_make();
    int fd = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fs_create(fd, "precious", 0644, "x", 1), 0);
    assert_int_equal(symlinkat(outside, root, "a/outside"), 0);
    assert_int_equal(fs_remove(root, "a"), 0);
    assert_int_equal(faccessat(root, "a", F_OK, 0), -1);
    assert_int_equal(faccessat(fd, "precious", F_OK, 0), 0);
    assert_int_equal(fs_remove(root, "a"), 0);
    close(fd);
    test_directory_remove(take_ptr(outside));
}

static void test_copies(void **state)
{
    (void)state;
    for (int reflink = 0; reflink < 2; reflink++) {
        cleanup_close int from = fs_open(root, "a/b/file", O_RDONLY, 0);
        cleanup_close int to = fs_open(root, "copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
        char buf[8] = "";
        assert_int_equal(fs_copy(from, to, reflink), 0);
        assert_int_equal(pread(to, buf, 8, 0), 7);
        assert_string_equal(buf, "content");
    }
}

int main(void)
{
    static char without[] = "without openat2";
#define both(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, setup, teardown),                                        \
        cmocka_unit_test_prestate_setup_teardown(test, setup, teardown, without)
    const struct CMUnitTest tests[] = {
        both(test_no_symlink_is_followed),
        both(test_reads_only_regular_files_up_to_a_ceiling),
        both(test_creates_once_with_the_mode_asked_for),
        both(test_removes_trees_but_not_what_links_point_to),
        both(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
