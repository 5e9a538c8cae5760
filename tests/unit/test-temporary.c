/* What a killed run left in the making is swept by the next; what a living one makes is not. */
#include "image.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct cachedir *open_cache(const char *path, unsigned without)
{
    struct cachedir_options options = {.create = true, .without = without};
    struct cachedir *cd = NULL;
    struct error err = {0};
    if (cachedir_open(path, &options, &cd, &err) < 0)
        fail_msg("%s", err.message);
    return cd;
}

static size_t count(int dir)
{
    cleanup_names char **names = NULL;
    size_t found = 0;
    assert_int_equal(fs_names(dir, &names, &found), 0);
    return found;
}

/* Something in the making, in the stage and in the trash; then the pipe says so. */
static pid_t begin_run(const char *path, unsigned without, int *ret_said)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct cachedir_options options = {.create = true, .without = without};
        struct cachedir *cd = NULL;
        char name[FS_NAME_MAX];
        if (cachedir_open(path, &options, &cd, NULL) < 0)
            _exit(1);
        store_temporary(cd, name, "entry");
        int dir = fs_make_directory(cd->stage, name, 0755);
        store_temporary(cd, name, "entry");
        if (dir < 0 || fs_create(dir, "file", 0644, "x", 1) < 0 ||
            fs_create(cd->trash, name, 0644, "x", 1) < 0 || write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    *ret_said = ends[0];
    return pid;
}

static void end_run(pid_t pid, int said)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(said);
}

static void test_dead_runs_are_swept(void **state)
{
    (void)state;
    char *path = test_directory_make();
    int said[2];
    pid_t dead = begin_run(path, 0, &said[0]), alive = begin_run(path, 0, &said[1]);
    end_run(dead, said[0]);

    struct cachedir *cd = open_cache(path, 0);
    assert_int_equal(count(cd->stage), 1);
    assert_int_equal(count(cd->trash), 1);
    assert_int_equal(count(cd->blob_locks), 2);
    cachedir_close(cd);
    end_run(alive, said[1]);

    cd = open_cache(path, 0);
    assert_int_equal(count(cd->stage), 0);
    assert_int_equal(count(cd->trash), 0);
    assert_int_equal(count(cd->blob_locks), 1);
    cachedir_close(cd);
    test_directory_remove(path);
}

static void test_without_locks_nobody_is_dead(void **state)
{
    (void)state;
    char *path = test_directory_make();
    int said;
    const pid_t run = begin_run(path, CACHEDIR_LOCKS, &said); /* before `said` is read */
    end_run(run, said);
    for (unsigned without = 0; without <= CACHEDIR_LOCKS; without += CACHEDIR_LOCKS) {
        struct cachedir *cd = open_cache(path, without);
        assert_int_equal(count(cd->stage), 1);
        cachedir_close(cd);
    }
    test_directory_remove(path);
}

/* Another kernel's lock may be had here while its run lives. */
static void test_another_machine_is_left_alone(void **state)
{
    (void)state;
    char *path = test_directory_make();
    struct cachedir *cd = open_cache(path, 0);
    static const char id[] = "run-zzzzzzzzzzzzzzzz-0123456789abcdef";
    cleanup_free char *lock = xasprintf("%s.lock", id), *stage = xasprintf("%s-entry-1", id);
    assert_int_equal(fs_create(cd->blob_locks, lock, 0644, "", 0), 0);
    assert_int_equal(fs_create(cd->stage, stage, 0644, "", 0), 0);
    cachedir_close(cd);

    cd = open_cache(path, 0);
    assert_int_equal(count(cd->stage), 1);
    assert_int_equal(count(cd->blob_locks), 2);
    /* In the end its lock file goes; the stage goes by age, in prune. */
    const struct timespec old[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(cd->blob_locks, lock, old, 0), 0);
    cachedir_close(cd);
    cd = open_cache(path, 0);
    assert_int_equal(count(cd->stage), 1);
    assert_int_equal(count(cd->blob_locks), 1);
    cachedir_close(cd);
    test_directory_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead_runs_are_swept),
        cmocka_unit_test(test_without_locks_nobody_is_dead),
        cmocka_unit_test(test_another_machine_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
