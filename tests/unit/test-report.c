#include "warmer/report.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "warmer/settings.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define ONE "sha256:" HEX "1"
#define TWO "sha256:" HEX "2"

static const struct report_entry pulled = {
    .position = 1,
    .reference = "docker.io/library/debian:12",
    .name = "debian:12",
    .platform = "linux/amd64",
    .digest = {ONE},
    .previous = {TWO},
    .result = REPORT_PULLED,
    .fetched = 1536,
    .reused = 0,
    .seconds = 3.1415,
};
static const struct report_entry failed = {
    .position = 0,
    .reference = "docker.io/library/nothing:1",
    .name = "nothing:1",
    .platform = "linux/amd64",
    .result = REPORT_FAILED,
    .seconds = 0.25,
    .failed = ERROR_NOT_FOUND,
    .reason = "docker.io: no such tag",
};
static const struct report_run run = {
    .cache_dir = "/cache",
    .started = 1764028146,
    .seconds = 3.2,
    .exit_code = 66,
    .requests = {1, 2, 3, 4},
};

static void test_code(void **state)
{
    (void)state;
    static const struct {
        const char *fates; /* p pulled, s stale, or the first letter of the error's kind */
        int any, all, never;
    } rows[] = {
        {"", 0, 0, 0},     {"p", 0, 0, 0},    {"pp", 0, 0, 0},   {"n", 66, 66, 0},
        {"pn", 66, 0, 0},  {"nn", 66, 66, 0}, {"nt", 75, 75, 0}, {"tnd", 75, 75, 0},
        {"nd", 65, 65, 0}, {"s", 1, 1, 0},    {"ps", 1, 1, 0},   {"sn", 66, 1, 0},
        {"st", 75, 1, 0},  {"ri", 74, 74, 0}, {"rc", 78, 78, 0}, {"rd", 77, 77, 0},
    };
    static const struct {
        char letter;
        enum error_kind kind;
    } kinds[] = {{'n', ERROR_NOT_FOUND}, {'t', ERROR_TRANSIENT}, {'d', ERROR_DIGEST},
                 {'r', ERROR_REFUSED},   {'i', ERROR_IO},        {'c', ERROR_CONFIG}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct report *r = report_new();
        for (const char *fate = rows[i].fates; *fate; fate++) {
            struct report_entry e = *fate == 'p' || *fate == 's' ? pulled : failed;
            if (*fate == 's')
                e.result = REPORT_STALE;
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
                if (kinds[k].letter == *fate)
                    e.failed = kinds[k].kind;
            report_add(r, &e);
        }
        if (report_code(r, FAIL_ANY) != rows[i].any || report_code(r, FAIL_ALL) != rows[i].all ||
            report_code(r, FAIL_NEVER) != rows[i].never)
            fail_msg("row %zu: %d %d %d", i, report_code(r, FAIL_ANY), report_code(r, FAIL_ALL),
                     report_code(r, FAIL_NEVER));
        report_free(r);
    }
    report_free(NULL);
}

static void test_table(void **state)
{
    (void)state;
    struct report *r = report_new();
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    report_print(r, out);
    assert_int_equal(fflush(out), 0);
    assert_int_equal(len, 0); /* no images, no table */
    report_add(r, &pulled);
    report_add(r, &failed);
    report_print(r, out);
    fclose(out);
    report_free(r);
    assert_string_equal(
        text,
        "IMAGE                        PLATFORM     DIGEST                                        "
        "                           RESULT  FETCHED  REUSED  SECONDS  REASON\n"
        "docker.io/library/nothing:1  linux/amd64  -                                             "
        "                           failed      0 B     0 B      0.2  docker.io: no such tag\n"
        "docker.io/library/debian:12  linux/amd64  " ONE "  pulled  1.5 KiB     0 B      3.1  "
        "moved from " TWO " to " ONE "\n"
        "2 images: 1 pulled, 1 failed; 1.5 KiB fetched, 0 B reused\n");
    free(text);
}

static void test_sentence(void **state)
{
    (void)state;
    struct report_entry e = pulled;
    cleanup_free char *moved = report_sentence(&e), *bad = report_sentence(&failed);
    e.previous = (struct digest){""};
    e.result = REPORT_RENEWED;
    cleanup_free char *renewed = report_sentence(&e);
    assert_string_equal(
        moved, "debian:12: pulled: 1.5 KiB fetched, 0 B reused, 3.1 s, moved from " TWO " to " ONE);
    assert_string_equal(bad, "nothing:1: docker.io: no such tag");
    assert_string_equal(renewed, "debian:12: renewed, 3.1 s");
}

static char *contents(const char *path)
{
    char *text = xcalloc(1, 1 << 16);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_true(fread(text, 1, (1 << 16) - 1, in) < (1 << 16) - 1);
    fclose(in);
    return text;
}

/* The value at a path of keys and numbers, dumped. */
static char *at(const json_t *j, const char *path)
{
    cleanup_free char *copy = xstrdup(path);
    char *rest = NULL;
    for (char *key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
        j = json_is_array(j) ? json_array_get(j, (size_t)(*key - '0')) : json_object_get(j, key);
    return j ? json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6))
             : xstrdup("absent");
}

static void check_members(const char *text, const char *const (*rows)[2], size_t count)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *got = at(j, rows[i][0]);
        if (strcmp(got, rows[i][1]) != 0)
            fail_msg("%s is %s, not %s", rows[i][0], got, rows[i][1]);
    }
    json_decref(j);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"schema", "\"basewarm.report/1\""},
        {"program", "\"warmer " BASEWARM_VERSION "\""},
        {"cache_dir", "\"/cache\""},
        {"started", "\"2025-11-24T23:49:06Z\""},
        {"seconds", "3.2"},
        {"exit_code", "66"},
        {"error", "null"},
        {"totals", "{\"images\":2,\"pulled\":1,\"renewed\":0,\"fresh\":0,\"stale\":0,"
                   "\"planned\":0,\"failed\":1,\"bytes_fetched\":1536,\"bytes_reused\":0}"},
        {"requests", "{\"heads\":1,\"manifests\":2,\"blobs\":3,\"tokens\":4}"},
        {"images.0", "{\"reference\":\"docker.io/library/nothing:1\",\"platform\":\"linux/amd64\","
                     "\"digest\":null,\"previous\":null,\"result\":\"failed\",\"bytes_fetched\":0,"
                     "\"bytes_reused\":0,\"seconds\":0.25,\"error\":\"not-found\","
                     "\"reason\":\"docker.io: no such tag\"}"},
        {"images.1.digest", "\"" ONE "\""},
        {"images.1.previous", "\"" TWO "\""},
        {"images.1.seconds", "3.142"},
        {"images.1.error", "null"},
        {"images.1.reason", "null"},
        {"images.2", "absent"},
    };
    char directory[] = "/tmp/test-report.XXXXXX";
    assert_non_null(mkdtemp(directory));
    cleanup_free char *path = xasprintf("%s/report.json", directory);
    cleanup_free char *link = xasprintf("%s/link", directory);
    cleanup_free char *nowhere = xasprintf("%s/no/report", directory);
    struct report *r = report_new();
    report_add(r, &pulled);
    report_add(r, &failed);
    assert_int_equal(symlink("report.json", link), 0);
    for (int i = 0; i < 2; i++) { /* new, then replaced through a symlink */
        assert_int_equal(report_write(r, &run, i ? link : path, NULL), 0);
        cleanup_free char *text = contents(path);
        check_members(text, rows, sizeof rows / sizeof *rows);
        struct stat st;
        assert_int_equal(lstat(link, &st), 0);
        assert_true(S_ISLNK(st.st_mode));
    }
    cleanup_error struct error err = {0};
    assert_int_equal(report_write(r, &run, nowhere, &err), -1);
    assert_int_equal(err.kind, ERROR_IO);
    assert_int_equal(report_write(r, &run, directory, &err), -1);
    assert_int_equal(err.kind, ERROR_IO);
    report_free(r);
    unlink(link);
    unlink(path);
    assert_int_equal(rmdir(directory), 0); /* no temporary file is left */
}

/* A pipe, as /dev/stdout may be, is written to and not replaced. */
static void test_pipe(void **state)
{
    (void)state;
    int ends[2];
    char text[4096];
    struct report *r = report_new();
    assert_int_equal(pipe(ends), 0);
    cleanup_free char *path = xasprintf("/proc/self/fd/%d", ends[1]);
    assert_int_equal(report_write(r, &run, path, NULL), 0);
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    assert_true(got > 0);
    text[got] = '\0';
    static const char *const rows[][2] = {{"images", "[]"}, {"totals.images", "0"}};
    check_members(text, rows, 2);
    close(ends[0]);
    report_free(r);
}

static void test_hostile(void **state)
{
    (void)state;
    struct report_entry e = failed;
    struct report *r = report_new();
    char path[] = "/tmp/test-report.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    e.reason = "\xff\x9b\"";
    report_add(r, &e);
    assert_int_equal(report_write(r, &run, path, NULL), 0);
    cleanup_free char *text = contents(path);
    static const char *const rows[][2] = {{"images.0.reason", "\"\\\\xff\\\\x9b\\\"\""}};
    check_members(text, rows, 1);
    report_free(r);
    unlink(path);
}

static void test_termination(void **state)
{
    (void)state;
    char path[] = "/tmp/test-report.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "what stood here before", 22), 22);
    struct report *r = report_new();
    report_add(r, &pulled);
    report_add(r, &failed);
    assert_int_equal(report_terminate(r, &run, path, NULL), 0);
    static const char *const rows[][2] = {
        {"schema", "\"basewarm.termination/1\""},
        {"exit_code", "66"},
        {"totals.pulled", "1"},
        {"failures", "[{\"image\":\"nothing:1\",\"error\":\"not-found\","
                     "\"reason\":\"docker.io: no such tag\"}]"},
        {"failures_left_out", "0"},
        {"images", "absent"},
    };
    cleanup_free char *text = contents(path);
    check_members(text, rows, sizeof rows / sizeof *rows);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */

    /* Too many failures to hold: some are left out, and it stays JSON. */
    char reason[301];
    memset(reason, 'x', 300);
    reason[300] = '\0';
    struct report_entry e = failed;
    e.reason = reason;
    for (int i = 0; i < 50; i++)
        report_add(r, &e);
    char dir[3000], error[3000];
    memset(dir, 'd', sizeof dir - 1);
    memset(error, 'e', sizeof error - 1);
    dir[sizeof dir - 1] = error[sizeof error - 1] = '\0';
    struct report_run large = run;
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            large.cache_dir = dir;
        if (i > 1)
            large.error = error;
        assert_int_equal(report_terminate(r, &large, path, NULL), 0);
        cleanup_free char *full = contents(path);
        assert_true(strlen(full) <= REPORT_TERMINATION_MAX && strlen(full) > 1500);
        json_t *j = json_loads(full, 0, NULL);
        assert_non_null(j);
        size_t told = json_array_size(json_object_get(j, "failures"));
        assert_true(told > 1);
        assert_int_equal(told + (size_t)json_integer_value(json_object_get(j, "failures_left_out")),
                         51);
        json_decref(j);
    }
    /* No image was looked at. */
    large = run;
    large.error = "the directory cannot be made";
    assert_int_equal(report_terminate(NULL, &large, path, NULL), 0);
    cleanup_free char *none = contents(path);
    static const char *const no_rows[][2] = {
        {"error", "\"the directory cannot be made\""}, {"totals.images", "0"}, {"failures", "[]"}};
    check_members(none, no_rows, 3);
    close(fd);
    unlink(path);

    /* Where there is none, nothing is made; what is no file of Kubernetes' is left alone. */
    assert_int_equal(report_terminate(r, &run, path, NULL), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(report_terminate(r, &run, "/dev/null", NULL), 0);
    report_free(r);
}

#define THREADS 4
#define ENTRIES 100

static void *adder(void *userdata)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        struct report_entry e = pulled;
        e.position = i;
        report_add(userdata, &e);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct report *r = report_new();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, adder, r), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    report_print(r, out);
    fclose(out);
    assert_non_null(strstr(text, "\n400 images: 400 pulled; "));
    free(text);
    report_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code),        cmocka_unit_test(test_table),
        cmocka_unit_test(test_sentence),    cmocka_unit_test(test_json),
        cmocka_unit_test(test_pipe),        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_termination), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
