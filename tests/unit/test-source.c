#include "tinyserver.h"
#include "warmer/source.h"

#include "cachedir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct source_options options = {
    .what = "Dockerfile",
    .max = 1 << 20,
    .urls = true,
    .limits = {2, 10 * NS_PER_S},
};

/* "/to/X" leads to X; "/status/N" answers so; the rest is the file. */
static bool handle(struct tiny_connection *c, const char *request, void *userdata)
{
    char path[200] = "";
    int status = 0;
    (void)sscanf(request, "GET %199s", path);
    if (strcmp(path, "/round") == 0) {
        tiny_send(c, "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n");
    } else if (strncmp(path, "/to/", 4) == 0) {
        tiny_send(c, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", path + 4);
    } else if (sscanf(path, "/status/%d", &status) == 1) {
        tiny_send(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status);
    } else if (strcmp(path, "/second") == 0 && (*(unsigned *)userdata)++ == 0) {
        tiny_send(c, "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/large") == 0) {
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", (1 << 20) + 1);
        return false;
    } else if (strcmp(path, "/empty") == 0) {
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    } else {
        tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nFROM debian");
    }
    return true;
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum error_kind kind;
        const char *says; /* the file, or a part of the message */
        unsigned requests;
    } rows[] = {
        {"/Dockerfile", ERROR_NONE, "FROM debian", 1},
        {"/Dockerfile?token=secret", ERROR_NONE, "FROM debian", 1},
        {"/empty", ERROR_NONE, "", 1},
        {"/to//Dockerfile", ERROR_NONE, "FROM debian", 2},
        {"/to/http://user:word@127.0.0.1/", ERROR_PROTOCOL, "redirected by http://127.0.0.1:", 1},
        {"/round", ERROR_PROTOCOL, "more than 10 redirects", 11},
        {"/to/ftp://127.0.0.1/", ERROR_PROTOCOL, "redirected by http://127.0.0.1:", 1},
        {"/to/http://169.254.169.254/", ERROR_REFUSED, "169.254.169.254", 1},
        {"/status/404?token=secret", ERROR_NOT_FOUND, "/status/404: 404 Not Found", 1},
        {"/status/401", ERROR_REFUSED, "401 Unauthorized", 1},
        {"/status/302", ERROR_PROTOCOL, "302", 1},
        {"/status/503", ERROR_TRANSIENT, "503 Service Unavailable", 3},
        {"/second", ERROR_NONE, "FROM debian", 2},
        {"/large", ERROR_PROTOCOL, "1048576", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned seen = 0;
        struct tiny_server s = {0};
        tiny_start(&s, handle, &seen);
        cleanup_free char *url = xasprintf("http://127.0.0.1:%u%s", s.port, rows[i].path);
        cleanup_free char *bytes = NULL;
        size_t len = 0;
        cleanup_error struct error err = {0};
        const int r = source_read(&options, url, &bytes, &len, &err);
        const char *said = r == 0 ? bytes : err.message;
        if (r != (rows[i].kind == ERROR_NONE ? 0 : -1) || err.kind != rows[i].kind ||
            (r == 0 ? strcmp(said, rows[i].says) != 0 || len != strlen(said)
                    : !strstr(said, rows[i].says) || strncmp(said, "Dockerfile: ", 12) != 0))
            fail_msg("%s: %s: %s", rows[i].path, error_kind_name(err.kind), said);
        if (strstr(said, "secret"))
            fail_msg("%s: a secret is told: %s", rows[i].path, said);
        if (tiny_requests(&s) != rows[i].requests)
            fail_msg("%s: %u requests", rows[i].path, tiny_requests(&s));
        tiny_stop(&s);
    }
}

static void test_bad_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum error_kind kind;
    } rows[] = {
        {"http://user:secret@127.0.0.1/", ERROR_PROTOCOL},
        {"http://", ERROR_PROTOCOL},
        {"http://127.0.0.1:0/", ERROR_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *bytes = NULL;
        size_t len;
        cleanup_error struct error err = {0};
        if (source_read(&options, rows[i].url, &bytes, &len, &err) != -1 ||
            err.kind != rows[i].kind || strstr(err.message, "secret"))
            fail_msg("%s: %s: %s", rows[i].url, error_kind_name(err.kind), err.message);
    }
}

/* A list is a file, whatever its name looks like. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *where;
        bool urls;
        const char *name;
    } rows[] = {
        {"-", true, "stdin"},
        {"dir/Dockerfile", true, "dir/Dockerfile"},
        {"http://h/D?secret", true, "http://h/D"},
        {"HTTPS://h/D", true, "https://h/D"},
        {"http://h/D?x", false, "http://h/D?x"},
        {"a\033b", true, "a\\x1bb"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *name = source_name(rows[i].where, rows[i].urls);
        assert_string_equal(name, rows[i].name);
    }
    struct source_options list = {.what = "list", .max = 1 << 20};
    cleanup_free char *bytes = NULL;
    size_t len;
    cleanup_error struct error err = {0};
    assert_int_equal(source_read(&list, "http://127.0.0.1/", &bytes, &len, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
