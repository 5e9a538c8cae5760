#include "cachedir/cli/log.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "capture.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char *logged(const struct log_options *options, enum log_level level, const char *message)
{
    capture_begin();
    log_init(options);
    log_at(level, "%s", message);
    return capture_end();
}

/* Does `text` look like `pattern`, where "@" stands for RFC 3339 and "#" for four digits? */
static bool is_like(const char *text, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == '@') {
            cleanup_free char *stamp = xstrndup(text, strlen(text) < 20 ? strlen(text) : 20);
            time_t t, now = time(NULL);
            if (!time_parse(stamp, &t) || t > now || t < now - 60)
                return false;
            text += 20;
        } else if (*pattern == '#') {
            if (strspn(text, "0123456789") != 4)
                return false;
            text += 4;
        } else if (*text++ != *pattern) {
            return false;
        }
    }
    return *text == '\0';
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        struct log_options options;
        enum log_level level;
        const char *message, *pattern;
    } rows[] = {
        {{LOG_INFO, LOG_TEXT, false}, LOG_INFO, "plain", "time=\"@\" level=info msg=plain\n"},
        {{LOG_INFO, LOG_TEXT, false},
         LOG_WARN,
         "two \"words\"",
         "time=\"@\" level=warning msg=\"two \\\"words\\\"\"\n"},
        {{LOG_INFO, LOG_TEXT, true}, LOG_ERROR, "a\\b", "time=\"@\" level=error msg=\"a\\\\b\"\n"},
        {{LOG_INFO, LOG_COLOR, false}, LOG_INFO, "so", "\x1b[36mINFO\x1b[0m[#] so\n"},
        {{LOG_INFO, LOG_COLOR, true}, LOG_WARN, "so", "\x1b[33mWARN\x1b[0m[@] so\n"},
        {{LOG_INFO, LOG_COLOR, true}, LOG_ERROR, "so", "\x1b[31mERRO\x1b[0m[@] so\n"},
        {{LOG_TRACE, LOG_COLOR, true}, LOG_TRACE, "so", "\x1b[37mTRAC\x1b[0m[@] so\n"},
        {{LOG_INFO, LOG_JSON, false},
         LOG_INFO,
         "\"q\" \xc3\xbc",
         "{\"level\":\"info\",\"msg\":\"\\\"q\\\" \xc3\xbc\",\"time\":\"@\"}\n"},
        /* One line, whatever it holds; JSON stays JSON. */
        {{LOG_INFO, LOG_TEXT, false},
         LOG_INFO,
         "a\r\nb\x1b[1m\x7f",
         "time=\"@\" level=info msg=\"a  b [1m \"\n"},
        {{LOG_INFO, LOG_JSON, false},
         LOG_INFO,
         "a\n\xff",
         "{\"level\":\"info\",\"msg\":\"a \\\\xff\",\"time\":\"@\"}\n"},
        /* Levels. */
        {{LOG_ERROR, LOG_TEXT, false}, LOG_WARN, "no", ""},
        {{LOG_INFO, LOG_TEXT, false}, LOG_DEBUG, "no", ""},
        {{LOG_DEBUG, LOG_TEXT, false}, LOG_DEBUG, "yes", "time=\"@\" level=debug msg=yes\n"},
        {{LOG_PANIC, LOG_TEXT, false}, LOG_ERROR, "no", ""},
    };
    assert_int_equal(unsetenv("NO_COLOR"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *text = logged(&rows[i].options, rows[i].level, rows[i].message);
        if (!is_like(text, rows[i].pattern))
            fail_msg("row %zu: %s", i, text);
    }
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    cleanup_free char *text =
        logged(&(struct log_options){LOG_INFO, LOG_COLOR, false}, LOG_INFO, "so");
    assert_true(is_like(text, "INFO[#] so\n"));
    assert_int_equal(unsetenv("NO_COLOR"), 0);
}

static void test_default_format(void **state)
{
    (void)state;
    capture_begin();
    enum log_format in_file = log_default_format();
    free(capture_end());
    assert_int_equal(in_file, LOG_TEXT);

    struct terminal *t = terminal_new(80, 24);
    enum log_format on_terminal = log_default_format();
    assert_int_equal(setenv("TERM", "dumb", 1), 0);
    enum log_format on_dumb = log_default_format();
    free(terminal_end(t));
    assert_int_equal(on_terminal, LOG_COLOR);
    assert_int_equal(on_dumb, LOG_TEXT);
}

static void before(void *userdata)
{
    fputs(userdata, stderr);
}

static void after(void *userdata)
{
    (void)userdata;
    fputs("after\n", stderr);
}

static void test_view(void **state)
{
    (void)state;
    static char name[] = "before\n";
    log_init(&(struct log_options){LOG_INFO, LOG_COLOR, false});
    capture_begin();
    log_set_view(before, after, name);
    log_info("one");
    log_debug("not wanted: the view is left alone");
    log_exclusively(before, name);
    log_set_view(NULL, NULL, NULL);
    log_info("two");
    cleanup_free char *text = capture_end();
    assert_true(is_like(text, "before\n\x1b[36mINFO\x1b[0m[#] one\nafter\nbefore\n"
                              "\x1b[36mINFO\x1b[0m[#] two\n"));
}

#define THREADS 4
#define LINES 200

static void *chatter(void *userdata)
{
    (void)userdata;
    for (int i = 0; i < LINES; i++)
        log_info("a line of %d words, whole", 5);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    log_init(&(struct log_options){LOG_INFO, LOG_JSON, false});
    capture_begin();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    cleanup_free char *text = capture_end();
    size_t lines = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        json_decref(j);
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_default_format),
        cmocka_unit_test(test_view),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
