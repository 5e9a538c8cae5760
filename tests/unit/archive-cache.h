/* What the tests of archives that we make share: a cache directory of that format, and two images
 * with a layer in common. */
#pragma once

#include "tarball.h"

#include <stdbool.h>
#include <sys/stat.h>

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

struct fixture {
    char *path;
    int root;
    struct cachedir *cd;
    struct test_image a, b; /* they share a layer */
};

int archives_setup(void **state); /* *state is a struct fixture */
int archives_teardown(void **state);

struct cachedir *open_cache(const struct fixture *f, enum cachedir_format format);
struct cachedir *open_cache_without(const struct fixture *f, unsigned abilities);
void reopen(struct fixture *f);
struct stat stat_of(const struct fixture *f, const char *path);
bool exists(const struct fixture *f, const char *name);
size_t count_names(const struct fixture *f, const char *path);
size_t count_problems(struct fixture *f);
struct cachedir_entry look(struct fixture *f, const struct test_image *image);
/* Also: nothing is left of the making. */
void assert_whole(struct fixture *f, const struct test_image *image);
int warm(struct fixture *f, const struct test_image *image, bool distrust);
void put(const struct fixture *f, const char *name, const void *bytes, size_t len);
/* One other byte in the middle of a blob of the published archive. */
void rot(struct fixture *f, const struct test_image *image, size_t blob);
