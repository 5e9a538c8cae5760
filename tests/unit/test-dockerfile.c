#include "warmer/dockerfile.h"

#include "cachedir/alloc.h"
#include "cachedir/reference.h"
#include "cachedir/text.h"
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static const struct digest digest = {"sha256:" HEX};

/* ---- what a Dockerfile says, as text ---- */

static char *text_of(const char *bytes, size_t len, const struct dockerfile *d)
{
    char *text;
    size_t text_len;
    FILE *out = open_memstream(&text, &text_len);
    for (size_t i = 0; i < d->count; i++) {
        const struct dockerfile_image *image = &d->images[i];
        assert_true(image->start <= image->end && image->end <= len);
        cleanup_free char *written = text_foreign(bytes + image->start, image->end - image->start);
        fprintf(out, "line %zu: %s%s%s%s\n", image->line, dockerfile_use_name(image->use),
                image->text, *written ? ", written " : ", not to be replaced", written);
    }
    for (size_t i = 0; i < d->message_count; i++)
        fprintf(out, "%s %zu: %s\n", d->messages[i].error ? "error" : "warning",
                d->messages[i].line, d->messages[i].text);
    fclose(out);
    return text;
}

static char *parsed(const char *bytes, size_t len, const struct dockerfile_options *options)
{
    cleanup_dockerfile struct dockerfile d;
    dockerfile_parse(bytes, len, options, &d);
    return text_of(bytes, len, &d);
}

/* ---- the corpus: NAME is a Dockerfile, NAME.expect what it yields ---- */

#define OPTIONS_MAX 8

struct expectation { /* "build-arg A=B", "target STAGE", and then the text */
    char *build_args[OPTIONS_MAX + 1];
    struct dockerfile_options options;
    const char *text;
};

static void read_expectation(char *bytes, struct expectation *ret)
{
    size_t count = 0;
    *ret = (struct expectation){0};
    for (char *line = bytes; line;) {
        static const char build_arg[] = "build-arg ", target[] = "target ";
        char *end = strchr(line, '\n');
        ret->text = line;
        if (strncmp(line, build_arg, strlen(build_arg)) == 0 && count < OPTIONS_MAX)
            ret->build_args[count++] = line + strlen(build_arg);
        else if (strncmp(line, target, strlen(target)) == 0)
            ret->options.target = line + strlen(target);
        else
            break;
        assert_non_null(end);
        *end = '\0';
        line = end + 1;
    }
    ret->options.build_args = ret->build_args;
}

static size_t refused, good;

/* Pinned, it is the same Dockerfile, but for the references. */
static void check_pinned(const char *file, const char *bytes, size_t len,
                         const struct dockerfile_options *options, const struct dockerfile *d)
{
    cleanup_free struct digest *digests = xcalloc(d->count + 1, sizeof *digests);
    cleanup_dockerfile struct dockerfile again;
    for (size_t i = 0; i < d->count; i++)
        digests[i] = digest;
    size_t pinned_len;
    cleanup_free char *pinned = dockerfile_pin(bytes, len, d, digests, &pinned_len);
    dockerfile_parse(pinned, pinned_len, options, &again);
    if (again.errors > 0 || again.count != d->count)
        fail_msg("%s, pinned, is another:\n%s", file, pinned);
    for (size_t i = 0; i < d->count; i++) {
        cleanup_free char *want = xasprintf("%.*s@%s", (int)strcspn(d->images[i].text, "@"),
                                            d->images[i].text, digest.text);
        if (strcmp(again.images[i].text, d->images[i].end > 0 ? want : d->images[i].text) != 0)
            fail_msg("%s, pinned: %s, not %s", file, again.images[i].text, want);
    }
}

static void check_file(const char *file, const char *bytes, size_t len)
{
    static const char suffix[] = ".expect";
    cleanup_dockerfile struct dockerfile d = {0};
    const size_t name = strlen(file);
    if (name > strlen(suffix) && strcmp(file + name - strlen(suffix), suffix) == 0)
        return;
    cleanup_free char *path = xasprintf("dockerfile/%s%s", file, suffix);
    cleanup_free char *expected = corpus_read(path);
    struct expectation want;
    read_expectation(expected, &want);
    dockerfile_parse(bytes, len, &want.options, &d);
    cleanup_free char *got = text_of(bytes, len, &d);
    if (strcmp(got, want.text) != 0)
        fail_msg("%s yields\n%snot\n%s", file, got, want.text);
    if (d.errors > 0)
        refused++;
    else
        good++;
    if (d.errors == 0)
        check_pinned(file, bytes, len, &want.options, &d);
}

static void test_corpus(void **state)
{
    (void)state;
    corpus_each("dockerfile", check_file);
    assert_true(good >= 60 && refused >= 25);
}

/* ---- variables ---- */

static void test_variables(void **state)
{
    (void)state;
    /* FROM <word>, with A=value, E empty (by ARG), U not set; NULL: refused. */
    static const struct {
        const char *word, *text;
    } rows[] = {
        {"$A", "value"},
        {"${A}", "value"},
        {"x$A", "xvalue"},
        {"$A-x", "value-x"},
        {"$A.x", "value.x"},
        {"${A}x", "valuex"},
        {"${A:-dd}", "value"},
        {"${A-dd}", "value"},
        {"${A:+dd}", "dd"},
        {"${A+dd}", "dd"},
        {"${A:?no}", "value"},
        {"${A?no}", "value"},
        {"${E:-dd}", "dd"},
        {"xx${E-dd}", "xx"},
        {"xx${E:+dd}", "xx"},
        {"${E+dd}", "dd"},
        {"${E:?no}", NULL},
        {"xx${E?no}", "xx"},
        {"${U:-dd}", "dd"},
        {"${U-dd}", "dd"},
        {"xx${U:+dd}", "xx"},
        {"xx${U+dd}", "xx"},
        {"${U:?no}", NULL},
        {"${U?no}", NULL},
        {"${U:-$A}", "value"},
        {"${U:-${A}}", "value"},
        {"${U:-${E:-${U:-deep}}}", "deep"},
        {"${A:+${U:-x}y}", "xy"},
        {"${A#v}", "alue"},
        {"${A#*l}", "ue"},
        {"${A##*[aeiou]}", "value"},
        {"${A##?a}", "lue"},
        {"${A%e}", "valu"},
        {"${A%u*}", "val"},
        {"${A%%?u?}", "va"},
        {"${A%?}", "valu"},
        {"${A%x}", "value"},
        {"${A/a/o}", "volue"},
        {"${A//?l/x}", "vxue"},
        {"${A/u*/}", "val"},
        {"${A/x/y}", "value"},
        {"${A^}", NULL},
        {"${A:#v}", NULL},
        {"${A:}", NULL},
        {"${A", NULL},
        {"${A:-x", NULL},
        {"${A/x}", NULL},
        {"${}", NULL},
        {"${:-x}", NULL},
        {"${{A}}", NULL},
        {"${A#\\a}", NULL},
        {"\"$A\"", "value"},
        {"\"${A}\"x", "valuex"},
        {"a\"b\"'c'", "abc"},
        {"\\aa", "aa"},
        {"\"a", NULL},
        {"'a", NULL},
        {"a'$A'", NULL}, /* a$A is no reference */
        {"a\\$A", NULL},
        {"$", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dockerfile_options options = {0};
        cleanup_dockerfile struct dockerfile d;
        cleanup_free char *file = xasprintf("ARG A=value\nARG E=\nFROM %s\n", rows[i].word);
        dockerfile_parse(file, strlen(file), &options, &d);
        if (!rows[i].text
                ? d.errors != 1
                : d.errors > 0 || d.count != 1 || strcmp(d.images[0].text, rows[i].text) != 0) {
            cleanup_free char *got = text_of(file, strlen(file), &d);
            fail_msg("FROM %s yields\n%s", rows[i].word, got);
        }
    }
}

/* ---- ceilings ---- */

static char *repeated(const char *before, const char *part, size_t count, const char *after)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    fputs(before, out);
    for (size_t i = 0; i < count; i++)
        fputs(part, out);
    fputs(after, out);
    fclose(out);
    return text;
}

static void expect_error(const char *file, const char *error)
{
    const struct dockerfile_options options = {0};
    cleanup_free char *got = parsed(file, strlen(file), &options);
    if (!strstr(got, error))
        fail_msg("%.200s: not: %s", got, error);
}

static void test_ceilings(void **state)
{
    (void)state;
    cleanup_free char *large = repeated("FROM xx\n", "# comment\n", DOCKERFILE_SIZE_MAX / 10, "");
    expect_error(large, "error 0: more than 4 MiB: not a Dockerfile\n");

    cleanup_free char *wide = repeated("FROM xx\nRUN ", "x", DOCKERFILE_LINE_MAX, "\n");
    expect_error(wide, "error 2: a line of more than 65535 bytes\n");
    cleanup_free char *heredoc =
        repeated("FROM xx\nRUN <<EOF\n", "x", DOCKERFILE_LINE_MAX + 1, "\nEOF\n");
    expect_error(heredoc, "error 2: the heredoc that begins here has no line \"EOF\"");

    cleanup_free char *stages = repeated("", "FROM xx\n", DOCKERFILE_STAGES_MAX + 1, "");
    expect_error(stages, "error 1001: more than 1000 stages\n");

    cleanup_free char *deep = repeated("FROM ", "${a:-", DOCKERFILE_NESTING_MAX, "x");
    expect_error(deep, "within each other, more than 100 deep\n");

    /* A thousand laughs: each ARG is twice the one before it. */
    cleanup_free char *laughs = repeated("ARG A=xx\n", "ARG A=$A$A\n", 40, "FROM $A\n");
    expect_error(laughs, "a value of more than 64 KiB\n");

    cleanup_free char *messages = repeated("FROM xx\n", "WRONG\n", 1000, "");
    const struct dockerfile_options options = {0};
    cleanup_dockerfile struct dockerfile d;
    dockerfile_parse(messages, strlen(messages), &options, &d);
    assert_int_equal(d.message_count, DOCKERFILE_MESSAGES_MAX);
}

/* What would take a naive matcher for ever. */
static void test_work(void **state)
{
    (void)state;
    cleanup_free char *value = repeated("ARG A=", "a", 30000, "\n");
    cleanup_free char *pattern = repeated(value, "", 0, "ARG B=${A/");
    cleanup_free char *file = repeated(pattern, "a*", 10000, "b/}\nFROM xx\n");
    expect_error(file, "too much work\n");
}

static void test_nul(void **state)
{
    (void)state;
    const struct dockerfile_options options = {0};
    cleanup_free char *got = parsed("FROM x\0y\n", 9, &options);
    assert_string_equal(got, "error 0: a NUL byte: is this a text file?\n");
    cleanup_free char *none = parsed(NULL, 0, &options);
    assert_string_equal(none, "error 0: there is no FROM in it\n");
}

/* ---- pinning ---- */

static void test_pin(void **state)
{
    (void)state;
#define AT "@sha256:" HEX
    static const struct {
        const char *file, *pinned;
    } rows[] = {
        {"FROM debian:12\n", "FROM debian:12" AT "\n"},
        {"FROM debian", "FROM debian" AT},
        {"from\tdebian:12\t as x # \\\r\n", NULL},
        {"from\tdebian:12\t as x\r\nRUN y \r\n", "from\tdebian:12" AT "\t as x\r\nRUN y \r\n"},
        {"ARG T=12\nFROM debian:${T} AS x\n", "ARG T=12\nFROM debian:12" AT " AS x\n"},
        {"FROM \"debian\"\n", "FROM debian" AT "\n"},
        {"FROM xx@sha256:" HEX "\n", "FROM xx" AT "\n"},
        {"FROM deb\\\n  # c\nian \\\nAS x\n", "FROM debian" AT " \\\nAS x\n"},
        {"FROM aa\nCOPY --from=bb:1 --link x y\nRUN --mount=target=/x,from=cc z\n",
         "FROM aa" AT "\nCOPY --from=bb:1" AT " --link x y\nRUN --mount=target=/x,from=cc" AT
         " z\n"},
        {"FROM aa\nCOPY --from=\"bb\" x y\nCOPY --from='cc' x y\n",
         "FROM aa" AT "\nCOPY --from=\"bb" AT "\" x y\nCOPY --from='cc" AT "' x y\n"},
        {"FROM aa\nCOPY --from=bb\"c\" x y\n", "FROM aa" AT "\nCOPY --from=bb\"c\" x y\n"},
        {"FROM aa AS bb\nFROM bb\nFROM scratch\nCOPY --from=bb x y\nCOPY --from=0 x y\n",
         "FROM aa" AT " AS bb\nFROM bb\nFROM scratch\nCOPY --from=bb x y\nCOPY --from=0 x y\n"},
        {"FROM aa\nRUN <<E\nFROM bb\nE\nFROM cc", "FROM aa" AT "\nRUN <<E\nFROM bb\nE\nFROM cc" AT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dockerfile_options options = {0};
        const struct digest digests[] = {digest, digest, digest, digest};
        cleanup_dockerfile struct dockerfile d;
        dockerfile_parse(rows[i].file, strlen(rows[i].file), &options, &d);
        if (!rows[i].pinned) {
            assert_true(d.errors > 0);
            continue;
        }
        assert_int_equal(d.errors, 0);
        size_t len;
        cleanup_free char *pinned =
            dockerfile_pin(rows[i].file, strlen(rows[i].file), &d, digests, &len);
        assert_string_equal(pinned, rows[i].pinned);
        assert_int_equal(len, strlen(pinned));
    }
    /* What has no digest stays. */
    const struct dockerfile_options options = {0};
    const struct digest digests[] = {{""}, digest};
    cleanup_dockerfile struct dockerfile d;
    dockerfile_parse("FROM aa\nFROM bb\n", 16, &options, &d);
    size_t len;
    cleanup_free char *pinned = dockerfile_pin("FROM aa\nFROM bb\n", 16, &d, digests, &len);
    assert_string_equal(pinned, "FROM aa\nFROM bb" AT "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),   cmocka_unit_test(test_variables),
        cmocka_unit_test(test_ceilings), cmocka_unit_test(test_work),
        cmocka_unit_test(test_nul),      cmocka_unit_test(test_pin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
