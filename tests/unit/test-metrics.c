#include "warmer/metrics.h"

#include "cachedir/alloc.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct report_entry pulled = {
    .position = 1,
    .reference = "docker.io/library/debian:12",
    .name = "debian:12",
    .platform = "linux/amd64",
    .result = REPORT_PULLED,
    .fetched = 1536,
    .reused = 7,
    .seconds = 3.1415,
};
static const struct report_entry failed = {
    .position = 2,
    .reference = "docker.io/library/nothing:1",
    .name = "nothing:1",
    .platform = "linux/arm64",
    .result = REPORT_FAILED,
    .seconds = 0.25,
    .failed = ERROR_NOT_FOUND,
    .reason = "no such tag",
};
static const struct report_run run = {
    .started = 1764028146,
    .seconds = 3.2,
    .exit_code = 66,
    .requests = {1, 2, 3, 4},
};

static char *written(struct report *r, const struct report_run *about)
{
    char path[] = "/tmp/test-metrics.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(metrics_write(r, about, path, NULL), 0);
    char *text = xcalloc(1, 1 << 16);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_true(fread(text, 1, (1 << 16) - 1, in) > 0);
    fclose(in);
    unlink(path);
    return text;
}

static size_t count_lines(const char *text, const char *line)
{
    size_t count = 0;
    cleanup_free char *copy = xstrdup(text);
    char *rest = NULL;
    for (char *one = strtok_r(copy, "\n", &rest); one; one = strtok_r(NULL, "\n", &rest))
        count += strcmp(one, line) == 0;
    return count;
}

/* ---- the rules of the text format, and promtool's ---- */

#define FAMILIES_MAX 64

struct format {
    char *families[FAMILIES_MAX]; /* each must stand in one block, with HELP and TYPE */
    size_t family_count;
    char *samples[256]; /* each once */
    size_t sample_count;
};

static size_t name_length(const char *s)
{
    size_t len = 0;
    while (isalnum((unsigned char)s[len]) || s[len] == '_')
        len++;
    return len;
}

/* One label: name="value", in which \ stands before \ " n alone. What is behind it. */
static const char *check_label(const char *s, const char *line)
{
    const size_t len = name_length(s);
    if (len == 0 || s[len] != '=' || s[len + 1] != '"')
        fail_msg("no label: %s", line);
    for (s += len + 2; *s != '"'; s++) {
        if (!*s || (*s == '\\' && !strchr("\\\"n", *++s)))
            fail_msg("a label's value: %s", line);
    }
    return s + 1;
}

static void check_sample(struct format *f, const char *line)
{
    const size_t len = name_length(line);
    const char *family = f->family_count > 0 ? f->families[f->family_count - 1] : "";
    if (strlen(family) != len || strncmp(family, line, len) != 0)
        fail_msg("not in its family's block: %s", line);
    static const char *const suffixes[] = {"_total", "_count", "_sum", "_bucket"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (len > strlen(suffixes[i]) &&
            strncmp(line + len - strlen(suffixes[i]), suffixes[i], strlen(suffixes[i])) == 0)
            fail_msg("no gauge's name: %s", line);
    const char *s = line + len;
    if (*s == '{') {
        do
            s = check_label(s + 1, line);
        while (*s == ',');
        if (*s++ != '}')
            fail_msg("the labels do not end: %s", line);
    }
    const cleanup_free char *sample = xstrndup(line, (size_t)(s - line));
    for (size_t i = 0; i < f->sample_count; i++)
        if (strcmp(f->samples[i], sample) == 0)
            fail_msg("twice: %s", line);
    f->samples[f->sample_count++] = xstrdup(sample);
    char *end;
    if (*s != ' ' || (strtod(s + 1, &end), end == s + 1 || *end))
        fail_msg("not one value, or a timestamp: %s", line);
}

static void check_comment(struct format *f, const char *line, const char *next)
{
    static const char help[] = "# HELP ", type[] = "# TYPE ";
    const char *name = line + strlen(help);
    const size_t len = name_length(name);
    if (strncmp(line, type, strlen(type)) == 0)
        return; /* seen with its HELP */
    if (strncmp(line, help, strlen(help)) != 0 || len == 0 || name[len] != ' ' || !name[len + 1])
        fail_msg("no help: %s", line);
    cleanup_free char *want = xasprintf("# TYPE %.*s gauge", (int)len, name);
    if (!next || strcmp(next, want) != 0)
        fail_msg("no type behind: %s", line);
    for (size_t i = 0; i < f->family_count; i++)
        if (strlen(f->families[i]) == len && strncmp(f->families[i], name, len) == 0)
            fail_msg("two blocks: %s", line);
    assert_true(f->family_count < FAMILIES_MAX);
    f->families[f->family_count++] = xstrndup(name, len);
}

static void check_format(const char *text)
{
    struct format f = {0};
    cleanup_free char *copy = xstrdup(text);
    assert_true(*text && text[strlen(text) - 1] == '\n');
    for (char *line = copy, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        *next++ = '\0';
        cleanup_free char *behind = xstrndup(next, strcspn(next, "\n"));
        if (strncmp(line, "basewarm_", 9) == 0)
            check_sample(&f, line);
        else
            check_comment(&f, line, behind);
    }
    for (size_t i = 0; i < f.family_count; i++)
        free(f.families[i]);
    for (size_t i = 0; i < f.sample_count; i++)
        free(f.samples[i]);
}

/* ---- */

static void test_values(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "basewarm_build_info{version=\"" BASEWARM_VERSION "\"} 1",
        "basewarm_start_time_seconds 1764028146",
        "basewarm_duration_seconds 3.200",
        "basewarm_exit_code 66",
        "basewarm_images{result=\"pulled\"} 1",
        "basewarm_images{result=\"renewed\"} 0",
        "basewarm_images{result=\"failed\"} 1",
        "basewarm_failures{error=\"not_found\"} 1",
        "basewarm_fetched_bytes 1536",
        "basewarm_reused_bytes 7",
        "basewarm_requests{kind=\"head\"} 1",
        "basewarm_requests{kind=\"manifest\"} 2",
        "basewarm_requests{kind=\"blob\"} 3",
        "basewarm_requests{kind=\"token\"} 4",
        "basewarm_image_warm{reference=\"docker.io/library/debian:12\",platform=\"linux/amd64\"} 1",
        "basewarm_image_warm{reference=\"docker.io/library/nothing:1\",platform=\"linux/arm64\"} 0",
        "basewarm_image_fetched_bytes{reference=\"docker.io/library/debian:12\","
        "platform=\"linux/amd64\"} 1536",
        "basewarm_image_duration_seconds{reference=\"docker.io/library/nothing:1\","
        "platform=\"linux/arm64\"} 0.250",
    };
    struct report *r = report_new();
    report_add(r, &pulled);
    report_add(r, &failed);
    cleanup_free char *text = written(r, &run);
    check_format(text);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (count_lines(text, lines[i]) != 1)
            fail_msg("not there once: %s\n%s", lines[i], text);
    assert_null(strstr(text, "pruned"));
    report_free(r);
}

static void test_pruned(void **state)
{
    (void)state;
    struct report_run about = run;
    struct report *r = report_new();
    about.has_pruned = true;
    about.pruned.removed[CACHEDIR_PRUNE_EXPIRED] = 3;
    about.pruned.freed[CACHEDIR_PRUNE_EXPIRED] = 4096;
    about.pruned.removed[CACHEDIR_PRUNE_EVICTED] = 2;
    about.pruned.freed[CACHEDIR_PRUNE_EVICTED] = 512;
    cleanup_free char *text = written(r, &about);
    check_format(text);
    assert_int_equal(count_lines(text, "basewarm_pruned_entries{reason=\"expired\"} 3"), 1);
    assert_int_equal(count_lines(text, "basewarm_pruned_bytes{reason=\"expired\"} 4096"), 1);
    assert_int_equal(count_lines(text, "basewarm_pruned_entries{reason=\"evicted\"} 2"), 1);
    assert_int_equal(count_lines(text, "basewarm_pruned_bytes{reason=\"evicted\"} 512"), 1);
    assert_int_equal(count_lines(text, "basewarm_pruned_entries{reason=\"unused\"} 0"), 1);
    assert_int_equal(count_lines(text, "basewarm_limits_met 0"), 1);
    report_free(r);
}

/* Whatever a label is made of, the file stays readable. */
static void test_hostile(void **state)
{
    (void)state;
    char first[400], second[400];
    memset(first, 'x', sizeof first);
    memset(second, 'x', sizeof second);
    first[398] = '1', second[398] = '2'; /* the same, once they are cut */
    first[399] = second[399] = '\0';
    const char *const references[] = {"a\"b\\c\nd\x1b\xff} 1", "", first, second};
    struct report *r = report_new();
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        struct report_entry e = failed;
        e.position = i;
        e.reference = references[i];
        report_add(r, &e);
    }
    cleanup_free char *text = written(r, &run);
    check_format(text);
    assert_non_null(strstr(text, "{reference=\"#0 a\\\"b\\\\c d\\\\x1b\\\\xff} 1\",platform=\""));
    assert_int_equal(count_lines(text, "basewarm_failures{error=\"not_found\"} 4"), 1);
    report_free(r);
}

static void test_errors(void **state)
{
    (void)state;
    cleanup_error struct error err = {0};
    struct report *r = report_new();
    assert_int_equal(metrics_write(r, &run, "/nowhere/metrics.prom", &err), -1);
    assert_int_equal(err.kind, ERROR_IO);
    assert_non_null(strstr(err.message, "--metrics-file /nowhere/metrics.prom: cannot create"));
    report_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_pruned),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
