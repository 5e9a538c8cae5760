#include "warmer/progress.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "capture.h"

#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MIB (INT64_C(1) << 20)

static const struct digest digest = {
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};

static void test_transfer_line(void **state)
{
    (void)state;
    static const struct {
        struct progress_line line;
        size_t columns;
        const char *expected;
    } rows[] = {
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB},
         120,
         "0123456789ab debian:12                    [=========>                           ]        "
         " 3.0 MiB of 12.0 MiB, 1.0 MiB/s"},
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB},
         79,
         "0123456789ab debian:12      [==>       ]         3.0 MiB of 12.0 MiB, 1.0 MiB/s"},
        {{"0123456789ab", "debian:12", 12 * MIB, 12 * MIB, 0},
         79,
         "0123456789ab debian:12      [==========]            12.0 MiB of 12.0 MiB, 0 B/s"},
        {{"0123456789ab", "debian:12", 0, 0, 0},
         79,
         "0123456789ab debian:12      [==========]                      0 B of 0 B, 0 B/s"},
        {{"0123456789ab", "library/debian:bookworm", 0, MIB, 0},
         68,
         "0123456789ab library..ookworm                  0 B of 1.0 MiB, 0 B/s"},
        {{"0123456789ab", "library/debian:bookworm", 0, MIB, 0},
         59,
         "0123456789ab library/debian:bookworm        0%        0 B/s"},
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB},
         44,
         "0123456789ab debian:12      25%    1.0 MiB/s"},
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB},
         30,
         "0123456789ab  25%    1.0 MiB/s"},
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB}, 20, "0123456789ab  25%"},
        {{"0123456789ab", "debian:12", 3 * MIB, 12 * MIB, MIB}, 9, "0123..25%"},
        {{"0123456789ab", "debian:12", 1023 * MIB + 900000, 1023 * MIB + 900000, 1023 * MIB},
         79,
         "0123456789ab debian:12      [==========] 1023.9 MiB of 1023.9 MiB, 1023.0 MiB/s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *got = progress_format_transfer(&rows[i].line, rows[i].columns);
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("row %zu:\n%s, not\n%s", i, got, rows[i].expected);
    }
    /* Never wider than there is room, whatever stands in it. */
    const struct progress_line wide = {
        "0123456789ab", "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2:1",
        1023 * MIB + 900000, (1 << 20) * MIB, 1023 * MIB};
    for (size_t columns = 0; columns < 200; columns++) {
        cleanup_free char *got = progress_format_transfer(&wide, columns);
        if (text_columns(got) > columns)
            fail_msg("%zu columns: %s", columns, got);
    }
}

static void test_total_line(void **state)
{
    (void)state;
    static const struct {
        struct progress_sum sum;
        const char *expected;
    } rows[] = {
        {{.images = 1}, "0 of 1 image"},
        {{.images = 3, .images_done = 2, .images_failed = 1}, "2 of 3 images (1 failed)"},
        {{.images = 3, .done = MIB, .wanted = 11 * MIB}, "0 of 3 images, 1.0 MiB of 11.0 MiB"},
        {{.images = 3, .done = MIB, .wanted = 11 * MIB, .rate = MIB},
         "0 of 3 images, 1.0 MiB of 11.0 MiB, 1.0 MiB/s, 10s left"},
        {{.images = 3, .done = MIB, .wanted = MIB, .rate = MIB},
         "0 of 3 images, 1.0 MiB of 1.0 MiB"},
        {{.images = 3, .done = 0, .wanted = INT64_C(1) << 42, .rate = 1},
         "0 of 3 images, 0 B of 4.0 TiB, 1 B/s"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *got = progress_format_total(&rows[i].sum, SIZE_MAX);
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("row %zu: %s, not %s", i, got, rows[i].expected);
    }
    static const struct {
        size_t columns;
        const char *expected;
    } narrow[] = {
        {72, "2 of 13 images (1 failed), 1.0 MiB of 11.0 MiB, 1.0 MiB/s, 10s left"},
        {60, "2 of 13 images (1 failed), 1.0 MiB of 11.0 MiB, 10s left"},
        {50, "2 of 13 (1 failed), 1.0 MiB of 11.0 MiB, 10s left"},
        {40, "2 of 13 (1 failed),   9%, 10s left"},
        {20, "  9%, 10s left"},
        {8, "  9..eft"},
    };
    const struct progress_sum sum = {13, 2, 1, MIB, 11 * MIB, MIB};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
        cleanup_free char *got = progress_format_total(&sum, narrow[i].columns);
        assert_string_equal(got, narrow[i].expected);
    }
    for (size_t columns = 0; columns < 100; columns++) {
        cleanup_free char *got = progress_format_total(&sum, columns);
        assert_true(text_columns(got) <= columns);
    }
}

/*
 * A terminal that rewraps its lines when it is resized. It knows what the view needs: whole lines,
 * "up n rows", "erase below", colours, and BEL, at which it takes the next width. Returns the lines
 * that are left, and fails where something moves into the middle of a line or beyond the top.
 */
static char *screen(const char *bytes, const unsigned *columns)
{
    char **lines = NULL, *text;
    size_t count = 0, up = 0, len;
    while (*bytes) {
        int used = 0, n = 0;
        if (*bytes == '\a') {
            columns++;
            bytes++;
        } else if (*bytes == '\r') {
            bytes++;
        } else if (sscanf(bytes, "\x1b[%dA%n", &n, &used) == 1 && used) {
            up = (size_t)n;
            bytes += used;
        } else if (strncmp(bytes, "\x1b[J", 3) == 0) {
            while (up > 0) {
                assert_true(count > 0);
                size_t width = text_columns(lines[count - 1]);
                size_t rows = width ? (width + *columns - 1) / *columns : 1;
                assert_true(rows <= up);
                up -= rows;
                free(lines[--count]);
            }
            bytes += 3;
        } else {
            assert_true(up == 0);
            const char *end = strchr(bytes, '\n');
            assert_non_null(end);
            char *line = xcalloc(1, (size_t)(end - bytes) + 1), *to = line;
            for (; bytes < end; bytes++)
                if (*bytes == '\x1b' && strchr(bytes, 'm') && strchr(bytes, 'm') < end)
                    bytes = strchr(bytes, 'm');
                else
                    *to++ = *bytes;
            assert_null(strchr(line, '\x1b'));
            *array_add(lines, count) = line;
            bytes++;
        }
    }
    FILE *out = open_memstream(&text, &len);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s\n", lines[i]);
        free(lines[i]);
    }
    free(lines);
    fclose(out);
    return text;
}

struct resize {
    struct terminal *terminal;
    unsigned short columns, rows;
};

static void resize(void *userdata)
{
    const struct resize *r = userdata;
    fputc('\a', stderr);
    terminal_resize(r->terminal, r->columns, r->rows);
}

static const struct report_entry pulled = {
    .reference = "docker.io/library/debian:12",
    .name = "debian:12",
    .platform = "linux/amd64",
    .result = REPORT_PULLED,
    .fetched = MIB,
    .seconds = 1,
};
static const struct report_entry failed = {
    .reference = "docker.io/library/node:1",
    .name = "node:1",
    .platform = "linux/amd64",
    .result = REPORT_FAILED,
    .failed = ERROR_NOT_FOUND,
    .reason = "no such tag",
};

#define PULLED "debian:12: pulled: 1.0 MiB fetched, 0 B reused, 1.0 s\n"
#define TRANSFERS 12

static void test_bar(void **state)
{
    (void)state;
    struct terminal *terminal = terminal_new(100, 10);
    struct progress_transfer *t[TRANSFERS];
    log_init(&(struct log_options){.level = LOG_INFO, .format = LOG_COLOR});
    struct progress *p = progress_new(&(struct progress_options){
        .mode = PROGRESS_AUTO, .images = 2, .redraw_ns = NS_PER_S / 1000});
    progress_image_started(p, "debian:12");
    progress_want(p, 2 * TRANSFERS * MIB);
    for (int i = 0; i < TRANSFERS; i++) /* more than there are rows */
        t[i] = progress_transfer_started(p, &digest, "debian:12", 2 * MIB, MIB / 2);
    terminal_await(terminal, "0 of 2 images, 6.0 MiB of 24.0 MiB");
    for (int i = 0; i < TRANSFERS; i++)
        progress_add(t[i], MIB / 2);
    terminal_await(terminal, "0 of 2 images, 12.0 MiB of 24.0 MiB");
    terminal_await(terminal, "0123456789ab debian:12 ");
    log_info("meanwhile");
    log_exclusively(resize, &(struct resize){terminal, 30, 10});
    terminal_await(terminal, "0 of 2, ");
    log_warn("a line that is wider than the terminal");
    log_exclusively(resize, &(struct resize){terminal, 200, 4});
    progress_image_done(p, &failed);
    terminal_await(terminal, "1 of 2 images (1 failed), 12.0 MiB of 24.0 MiB");
    for (int i = 0; i < TRANSFERS; i++) {
        progress_add(t[i], MIB);
        progress_transfer_ended(p, t[i]);
    }
    progress_image_done(p, &pulled);
    terminal_await(terminal, "2 of 2 images (1 failed), 24.0 MiB of 24.0 MiB");
    progress_stop(p);
    progress_stop(p);
    log_info("after");
    progress_free(p);
    cleanup_free char *bytes = terminal_end(terminal);
    cleanup_free char *left = screen(bytes, (const unsigned[]){100, 30, 200});
    /* The seconds of the log are as they may be. */
    for (char *c = left; (c = strchr(c, '[')); c++)
        memcpy(c + 1, "0000", 4);
    assert_string_equal(left, "INFO[0000] meanwhile\n"
                              "WARN[0000] a line that is wider than the terminal\n"
                              "ERRO[0000] node:1: no such tag\n"
                              "INFO[0000] " PULLED "INFO[0000] after\n");
}

/* What is written without a live view. */
static char *plainly(int mode, const char *term, bool on_terminal)
{
    struct terminal *terminal = on_terminal ? terminal_new(80, 24) : NULL;
    if (!on_terminal)
        capture_begin();
    assert_int_equal(setenv("TERM", term, 1), 0);
    struct progress *p = progress_new(&(struct progress_options){
        .mode = mode, .log_is_json = strcmp(term, "json") == 0, .images = 2});
    struct progress_transfer *t = progress_transfer_started(p, &digest, "debian:12", MIB, 0);
    progress_image_started(p, "debian:12");
    progress_add(t, MIB);
    progress_transfer_ended(p, t);
    progress_image_done(p, &pulled);
    progress_image_done(p, &failed);
    progress_free(p);
    return on_terminal ? terminal_end(terminal) : capture_end();
}

static void test_plain(void **state)
{
    (void)state;
    static const char all[] = "INFO[0000] debian:12: started\n"
                              "INFO[0000] " PULLED "ERRO[0000] node:1: no such tag\n";
    static const char failure[] = "ERRO[0000] node:1: no such tag\n";
    static const struct {
        int mode;
        const char *term; /* "json": the log is */
        bool terminal;
        const char *expected;
    } rows[] = {
        {PROGRESS_AUTO, "xterm", false, all},    {PROGRESS_BAR, "xterm", false, all},
        {PROGRESS_PLAIN, "xterm", true, all},    {PROGRESS_AUTO, "dumb", true, all},
        {PROGRESS_BAR, "dumb", true, all},       {PROGRESS_AUTO, "json", true, all},
        {PROGRESS_NONE, "xterm", true, failure},
    };
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    log_init(&(struct log_options){.level = LOG_INFO, .format = LOG_COLOR});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *got = plainly(rows[i].mode, rows[i].term, rows[i].terminal);
        for (char *c = got; (c = strchr(c, '[')); c++)
            if (strncmp(c + 5, "] ", 2) == 0)
                memcpy(c + 1, "0000", 4);
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("row %zu: %s", i, got);
    }
    assert_int_equal(unsetenv("NO_COLOR"), 0);
}

static void test_summary(void **state)
{
    (void)state;
    struct terminal *terminal = terminal_new(80, 24);
    log_init(&(struct log_options){.level = LOG_INFO, .format = LOG_TEXT});
    struct progress *p = progress_new(&(struct progress_options){
        .mode = PROGRESS_PLAIN, .images = 2, .summary_ns = NS_PER_S / 1000});
    progress_want(p, 2 * MIB);
    struct progress_transfer *t = progress_transfer_started(p, &digest, "debian:12", MIB, 0);
    terminal_await(terminal, "msg=\"0 of 2 images, 0 B of 2.0 MiB\"");
    progress_add(t, MIB);
    terminal_await(terminal, "msg=\"0 of 2 images, 1.0 MiB of 2.0 MiB");
    progress_free(p); /* with a transfer that nobody ended */
    free(terminal_end(terminal));
}

#define THREADS 4

struct job {
    struct progress *progress;
    struct progress_transfer *shared;
};

static void *worker(void *userdata)
{
    struct job *job = userdata;
    for (int i = 0; i < 300; i++) {
        struct progress_transfer *own =
            progress_transfer_started(job->progress, &digest, "own", MIB, 0);
        progress_add(own, MIB);
        progress_add(job->shared, 1);
        progress_transfer_ended(job->progress, own);
        if (i % 30 == 0)
            progress_image_done(job->progress, &pulled);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct terminal *terminal = terminal_new(80, 24);
    log_init(&(struct log_options){.level = LOG_INFO, .format = LOG_COLOR});
    struct job job = {.progress = progress_new(&(struct progress_options){
                          .mode = PROGRESS_BAR, .images = 40, .redraw_ns = NS_PER_S / 10000})};
    job.shared = progress_transfer_started(job.progress, &digest, "shared", THREADS * 300, 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &job), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    terminal_await(terminal, "1.2 KiB of 1.2 KiB");
    progress_free(job.progress);
    cleanup_free char *bytes = terminal_end(terminal);
    cleanup_free char *left = screen(bytes, (const unsigned[]){80});
    size_t lines = 0;
    for (const char *c = left; (c = strstr(c, "] " PULLED)); c++)
        lines++;
    assert_int_equal(lines, 40);
    assert_int_equal(strlen(left), 40 * strlen("INFO[0000] " PULLED));
}

int main(void)
{
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer_line), cmocka_unit_test(test_total_line),
        cmocka_unit_test(test_bar),           cmocka_unit_test(test_plain),
        cmocka_unit_test(test_summary),       cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
