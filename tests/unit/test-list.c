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

static void odd(void *userdata, const char *message)
{
    fprintf(userdata, "? %s\n", message);
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
    const struct list_listener listener = {collect, odd, bad};
    int r = list_load(s, &listener, &list, err);
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
        {{image}, {directory}, ERROR_NOT_FOUND, "list /tmp/test-list.", ""},
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

/* ---- Dockerfiles ---- */

static char *write_file(const char *directory, const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* Without the directory's name, which is another each time. */
static void expect_loaded(const struct settings *s, const char *directory, const char *want)
{
    cleanup_error struct error err = {0};
    cleanup_free char *got = loaded(s, &err);
    char *all;
    size_t len;
    FILE *out = open_memstream(&all, &len);
    for (const char *p = got; *p;)
        if (strncmp(p, directory, strlen(directory)) == 0)
            p += strlen(directory) + 1;
        else
            fputc(*p++, out);
    if (err.kind != ERROR_NONE)
        fprintf(out, "%s: %s", error_kind_name(err.kind), err.message);
    fclose(out);
    if (strcmp(all, want) != 0)
        fail_msg("%s\nnot\n%s", all, want);
    free(all);
}

static void test_dockerfile(void **state)
{
    (void)state;
    char directory[] = "/tmp/test-list.XXXXXX";
    assert_non_null(mkdtemp(directory));
    cleanup_free char *one = write_file(directory, "one",
                                        "ARG TAG=12\nFROM --platform=x debian:$TAG AS base\n"
                                        "COPY --from=busybox a b\nFROM base\nFROM node:22\n");
    cleanup_free char *two = write_file(directory, "two", "FROM debian:12\nFROM debian:13\n");
    cleanup_free char *bad = write_file(directory, "bad", "FROM a b\nWRONG\n");
    char image[] = "debian:12", tag[] = "TAG=13", env[] = "TAG";
    static const char platform[] =
        "? one:2: FROM --platform=x is not followed, because kaniko does not: it takes the "
        "platform from its --custom-platform alone\n";
    struct settings s = {.platforms = &amd,
                         .platform_count = 1,
                         .images = (char *[]){image, NULL},
                         .dockerfiles = (char *[]){one, two, NULL}};
    cleanup_free char *all = xasprintf(
        DEBIAN "12 linux/amd64 --image\ndocker.io/library/node:22 linux/amd64 one:5\n" DEBIAN
               "13 linux/amd64 two:2\n%s",
        platform);
    expect_loaded(&s, directory, all);

    s = (struct settings){.platforms = &amd,
                          .platform_count = 1,
                          .dockerfiles = (char *[]){one, NULL},
                          .target = "base",
                          .build_args = (char *[]){tag, NULL}};
    cleanup_free char *target = xasprintf(DEBIAN "13 linux/amd64 one:2\n%s", platform);
    expect_loaded(&s, directory, target);

    s.build_args = (char *[]){env, NULL};
    assert_int_equal(setenv("TAG", "14", 1), 0);
    cleanup_free char *from_environment = xasprintf(DEBIAN "14 linux/amd64 one:2\n%s", platform);
    expect_loaded(&s, directory, from_environment);
    assert_int_equal(unsetenv("TAG"), 0);

    /* For pinning, what COPY names is wanted, too. */
    s.pinned_dockerfile = "x";
    s.build_args = NULL;
    cleanup_free char *pinned =
        xasprintf(DEBIAN "12 linux/amd64 one:2\ndocker.io/library/busybox:latest linux/amd64 "
                         "one:3\n%s? one:3: COPY --from=busybox: kaniko never looks in its "
                         "--cache-dir for this: it is warmed for its digest alone\n",
                  platform);
    expect_loaded(&s, directory, pinned);

    s = (struct settings){
        .platforms = &amd, .platform_count = 1, .dockerfiles = (char *[]){bad, NULL}};
    cleanup_error struct error err = {0};
    cleanup_free char *got = loaded(&s, &err);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(got, "/bad:1: FROM takes one image"));
    assert_non_null(strstr(got, "/bad:2: \"wrong\" is no instruction of a Dockerfile\n"));
    char none[] = "/nowhere/Dockerfile";
    s.dockerfiles = (char *[]){none, NULL};
    expect_loaded(&s, directory,
                  "not-found: Dockerfile /nowhere/Dockerfile: there is no such file");
    unlink(one);
    unlink(two);
    unlink(bad);
    assert_int_equal(rmdir(directory), 0);
}

/* ---- shards ---- */

#define IMAGES 2000

static void make_list(struct wanted_list *list, size_t from)
{
    struct list_reader reader = {both, 2, collect, stderr};
    for (size_t i = from; i < IMAGES; i++) {
        cleanup_free char *name = xasprintf("registry.example.org/team/image-%zu", i);
        list_add(list, &reader, name, "test");
    }
}

static void test_shard(void **state)
{
    (void)state;
    static const unsigned counts[] = {1, 2, 3, 7, 16};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        const size_t even = 2 * IMAGES / counts[k];
        size_t sum = 0;
        for (unsigned i = 0; i < counts[k]; i++) {
            cleanup_wanted_list struct wanted_list list = {0};
            make_list(&list, 0);
            list_shard(&list, i, counts[k]);
            sum += list.count;
            /* Both platforms of a reference are in one part. */
            assert_int_equal(list.count % 2, 0);
            for (size_t w = 0; w < list.count; w += 2)
                assert_string_equal(list.items[w].reference.name, list.items[w + 1].reference.name);
            if (list.count < even * 7 / 10 || list.count > even * 13 / 10)
                fail_msg("part %u of %u has %zu, not about %zu", i, counts[k], list.count, even);
        }
        assert_int_equal(sum, 2 * IMAGES);
    }
    /* Which part an image is in does not depend on the others. */
    cleanup_wanted_list struct wanted_list all = {0}, some = {0};
    make_list(&all, 0);
    make_list(&some, IMAGES / 2);
    list_shard(&all, 2, 5);
    list_shard(&some, 2, 5);
    assert_true(some.count > 0);
    for (size_t i = 0; i < some.count; i++)
        assert_string_equal(some.items[some.count - 1 - i].reference.name,
                            all.items[all.count - 1 - i].reference.name);
}

/* The parts stay as they are from release to release: Jobs and volumes rely on it. */
static void test_shard_stable(void **state)
{
    (void)state;
    static const struct {
        const char *reference;
        unsigned part; /* of 5 */
    } rows[] = {{"debian:12", 2}, {"alpine", 0}, {"localhost:5000/app", 3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned part = 0; part < 5; part++) {
            cleanup_wanted_list struct wanted_list list = {0};
            struct list_reader reader = {&amd, 1, collect, stderr};
            list_add(&list, &reader, rows[i].reference, "test");
            list_shard(&list, part, 5);
            if (list.count != (part == rows[i].part))
                fail_msg("%s is in part %u", rows[i].reference, part);
        }
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
        cmocka_unit_test(test_parse), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_load),  cmocka_unit_test(test_dockerfile),
        cmocka_unit_test(test_shard), cmocka_unit_test(test_shard_stable),
        cmocka_unit_test(test_stdin), cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
