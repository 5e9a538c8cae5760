#include "warmer/list.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "warmer/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void collect(void *userdata, const char *message)
{
    fprintf(userdata, "! %s\n", message);
}

static void put_list(FILE *out, const struct wanted_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct wanted *w = &list->items[i];
        cleanup_free char *platform = platform_format(&w->platform);
        fprintf(out, "%s %s%s %s\n", w->reference.name, platform, w->explicit_platform ? "*" : "",
                w->origin);
    }
}

static struct platform amd = {.os = (char[]){"linux"}, .architecture = (char[]){"amd64"}};
static struct platform both[] = {
    {.os = (char[]){"linux"}, .architecture = (char[]){"amd64"}},
    {.os = (char[]){"linux"}, .architecture = (char[]){"arm"}, .variant = (char[]){"v7"}},
};

/* The list, then what was wrong. */
static char *parsed(const char *bytes, size_t len, const struct platform *platforms, size_t count)
{
    char *text, *problems;
    size_t text_len, problems_len;
    FILE *out = open_memstream(&text, &text_len), *bad = open_memstream(&problems, &problems_len);
    cleanup_wanted_list struct wanted_list list = {0};
    struct list_reader reader = {platforms, count, collect, bad};
    list_parse(&list, &reader, bytes, len, "f");
    fclose(bad);
    put_list(out, &list);
    fputs(problems, out);
    fclose(out);
    free(problems);
    return text;
}

#define DEBIAN "docker.io/library/debian:"

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", ""},
        {"\n\n \t\n", ""},
        {"# nothing\n  # nothing", ""},
        {"debian", DEBIAN "latest linux/amd64 f:1\n"},
        {"debian:12\n", DEBIAN "12 linux/amd64 f:1\n"},
        {"\xef\xbb\xbf"
         "debian:12\r\n\r\nnode:22\r\n",
         DEBIAN "12 linux/amd64 f:1\ndocker.io/library/node:22 linux/amd64 f:3\n"},
        {"  debian:12\t# the base\n", DEBIAN "12 linux/amd64 f:1\n"},
        {"debian:12 platform=linux/arm64\n", DEBIAN "12 linux/arm64* f:1\n"},
        {"debian:12\tplatform=linux/arm64,linux/arm/v7  # two\n",
         DEBIAN "12 linux/arm64* f:1\n" DEBIAN "12 linux/arm/v7* f:1\n"},
        /* Twice is once: the first counts. */
        {"debian\nlibrary/debian:latest\nindex.docker.io/library/debian\n",
         DEBIAN "latest linux/amd64 f:1\n"},
        {"debian platform=linux/amd64,linux/amd64\ndebian\n", DEBIAN "latest linux/amd64* f:1\n"},
        {"debian:1\ndebian:2 platform=linux/amd64\ndebian:1 platform=linux/arm64\n",
         DEBIAN "1 linux/amd64 f:1\n" DEBIAN "2 linux/amd64* f:2\n" DEBIAN "1 linux/arm64* f:3\n"},
        /* Wrong ones do not keep the others from being read. */
        {"a//b\ndebian\nX\n",
         DEBIAN "latest linux/amd64 f:2\n"
                "! f:1: bad image reference \"a//b\": a part of the name is empty (an unset "
                "variable?)\n"
                "! f:3: bad image reference \"X\": "},
        {"two words\n", "! f:1: \"two words\": unexpected \"words\": a line is a reference, and at "
                        "most one platform=os/arch[/variant][,...] after it\n"},
        {"debian platform=linux/amd64 platform=linux/arm64",
         "! f:1: \"debian platform=linux/amd64 platform=linux/arm64\": unexpected \"platform="},
        {"debian platform=\n", "! f:1: an empty platform: "},
        {"debian platform=linux/amd64,\n", "! f:1: an empty platform: "},
        {"debian platform=linux\n", "! f:1: bad platform \"linux\": "},
        {"debian#tag\n", "! f:1: bad image reference \"debian#tag\": "},
        {"platform=linux/amd64\n", "! f:1: bad image reference \"platform=linux/amd64\": "},
        {"\x1b[31mred\n", "! f:1: bad image reference \"\\x1b[31mred\": "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *in = rows[i].in, *expected = rows[i].out;
        cleanup_free char *got = parsed(in, strlen(in), &amd, 1);
        /* The words of other parsers are not ours to fix: a row that does not end in a line end
         * is a beginning. */
        const size_t len = strlen(expected);
        const bool whole = len == 0 || expected[len - 1] == '\n';
        if (whole ? strcmp(got, expected) != 0 : strncmp(got, expected, len) != 0)
            fail_msg("row %zu: %s\nnot\n%s", i, got, expected);
        if (strchr(got, '\x1b'))
            fail_msg("row %zu: a control character", i);
    }
    /* Several platforms for those that name none. */
    cleanup_free char *two = parsed("debian\ndebian platform=linux/s390x", 34, both, 2);
    assert_string_equal(two,
                        DEBIAN "latest linux/amd64* f:1\n" DEBIAN
                               "latest linux/arm/v7* f:1\n" DEBIAN "latest linux/s390x* f:2\n");
}

static void test_hostile(void **state)
{
    (void)state;
    cleanup_free char *nul = parsed("debian\nno\0de\nnode\n", 17, &amd, 1);
    assert_string_equal(nul, DEBIAN "latest linux/amd64 f:1\n! f:2: a NUL byte: is this a text "
                                    "file?\n");

    char *many;
    size_t len;
    FILE *out = open_memstream(&many, &len);
    fputs("debian platform=", out);
    for (int i = 0; i <= LIST_PLATFORMS_MAX; i++)
        fprintf(out, "%slinux/a%d", i ? "," : "", i);
    fclose(out);
    cleanup_free char *got = parsed(many, len, &amd, 1);
    assert_string_equal(got, "! f:1: more than 64 platforms\n");
    free(many);

    char *huge = xmalloc(1 << 20);
    memset(huge, 'a', 1 << 20);
    cleanup_free char *one = parsed(huge, 1 << 20, &amd, 1);
    assert_memory_equal(one, "! f:1: bad image reference \"aaa", 31);
    assert_true(strlen(one) < 1000);
    free(huge);
}

static char *loaded(const struct settings *s, struct error *err)
{
    char *text, *problems;
    size_t text_len, problems_len;
    FILE *out = open_memstream(&text, &text_len), *bad = open_memstream(&problems, &problems_len);
    cleanup_wanted_list struct wanted_list list = {0};
    int r = list_load(s, collect, bad, &list, err);
    fclose(bad);
    assert_int_equal(r, err->kind == ERROR_NONE ? 0 : -1);
    if (r == 0)
        put_list(out, &list);
    fputs(problems, out);
    fclose(out);
    free(problems);
    return text;
}

static void test_load(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-list.XXXXXX";
    assert_non_null(mkdtemp(directory));
    cleanup_free char *path = xasprintf("%s/list", directory);
    cleanup_free char *none = xasprintf("%s/none", directory);
    cleanup_free char *link = xasprintf("%s/link", directory);
    FILE *file = fopen(path, "w");
    fputs("node:22\ndebian:12\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(symlink("list", link), 0); /* as Kubernetes mounts them */

    char image[] = "debian:12", empty[] = "", bad[] = "a//b";
    const struct {
        char *images[4], *files[4];
        enum error_kind kind;
        const char *error, *out; /* how they begin */
    } rows[] = {
        {{NULL}, {NULL}, ERROR_NONE, NULL, ""},
        {{image},
         {link, path},
         ERROR_NONE,
         NULL,
         DEBIAN "12 linux/amd64 --image\ndocker.io/library/node:22 linux/amd64 "},
        /* One mistake is the error; several are told before. */
        {{image, empty}, {path}, ERROR_USAGE, "--image: the reference is empty", ""},
        {{bad, empty},
         {path},
         ERROR_USAGE,
         "2 mistakes in the list of images, and nothing was done: mend what is named above",
         "! --image: bad image reference \"a//b\": a part of the name is empty (an unset "
         "variable?)\n! --image: the reference is empty\n"},
        {{image}, {none}, ERROR_NOT_FOUND, "list /tmp/test-list.", ""},
        {{bad}, {none}, ERROR_NOT_FOUND, "2 mistakes ", "! --image: "},
        {{image}, {directory}, ERROR_IO, "list /tmp/test-list.", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        char *images[4], *files[4];
        memcpy(images, rows[i].images, sizeof images);
        memcpy(files, rows[i].files, sizeof files);
        struct settings s = {
            .images = images, .images_files = files, .platforms = &amd, .platform_count = 1};
        cleanup_free char *got = loaded(&s, &err);
        if (err.kind != rows[i].kind || strncmp(got, rows[i].out, strlen(rows[i].out)) != 0 ||
            (rows[i].error && strncmp(err.message, rows[i].error, strlen(rows[i].error)) != 0))
            fail_msg("row %zu: %s: %s\n%s", i, error_kind_name(err.kind), err.message, got);
    }
    unlink(link);
    unlink(path);
    rmdir(directory);
}

static void test_stdin(void **state)
{
    (void)state;
    int ends[2];
    char dash[] = "-", *files[] = {dash, NULL};
    struct settings s = {.images_files = files, .platforms = &amd, .platform_count = 1};
    cleanup_error struct error err = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "debian:12\n", 10), 10);
    close(ends[1]);
    assert_true(dup2(ends[0], STDIN_FILENO) >= 0);
    close(ends[0]);
    cleanup_free char *got = loaded(&s, &err);
    assert_string_equal(got, DEBIAN "12 linux/amd64 stdin:1\n");
}

static void test_too_large(void **state)
{
    (void)state;
    char path[] = "/tmp/test-list.XXXXXX", *files[] = {path, NULL};
    struct settings s = {.images_files = files, .platforms = &amd, .platform_count = 1};
    cleanup_error struct error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, LIST_SIZE_MAX + 1), 0);
    cleanup_free char *got = loaded(&s, &err);
    assert_string_equal(got, "");
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.message, ": more than 16 MiB: not a list"));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_hostile),   cmocka_unit_test(test_load),
        cmocka_unit_test(test_stdin), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
