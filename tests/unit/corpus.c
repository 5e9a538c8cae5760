#include "corpus.h"

#include "cachedir/alloc.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FILE_MAX (8 << 20)

static void corpus_one(const char *path, const char *file,
                       void (*check)(const char *file, const char *bytes, size_t len))
{
    cleanup_fclose FILE *f = fopen(path, "re");
    if (!f)
        fail_msg("%s cannot be opened", path);
    cleanup_free char *bytes = xmalloc(FILE_MAX + 1);
    size_t len = fread(bytes, 1, FILE_MAX, f);
    /* Just as large as it is: a parser that reads on meets the sanitizer. */
    bytes = xreallocarray(bytes, len + 1, 1);
    bytes[len] = '\0';
    check(file, bytes, len);
}

char *corpus_read(const char *path)
{
    cleanup_free char *whole = xasprintf("%s/corpus/%s", TESTS_DIR, path);
    cleanup_fclose FILE *f = fopen(whole, "re");
    if (!f)
        fail_msg("%s cannot be opened", whole);
    char *bytes = xmalloc(FILE_MAX + 1);
    bytes[fread(bytes, 1, FILE_MAX, f)] = '\0';
    return bytes;
}

size_t corpus_each(const char *directory,
                   void (*check)(const char *file, const char *bytes, size_t len))
{
    size_t count = 0;
    cleanup_free char *path = xasprintf("%s/corpus/%s", TESTS_DIR, directory);
    DIR *dir = opendir(path);
    if (!dir)
        fail_msg("%s cannot be opened", path);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        cleanup_free char *file = xasprintf("%s/%s", path, e->d_name);
        corpus_one(file, e->d_name, check);
        count++;
    }
    closedir(dir);
    assert_true(count > 0);
    return count;
}
