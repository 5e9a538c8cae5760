#include "warmer/failure.h"

#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *body, *type, *want; /* want NULL: nothing for people */
} bodies[] = {
    {"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\","
     "\"detail\":{\"Tag\":\"1\"}}]}\n",
     "application/json", "MANIFEST_UNKNOWN: manifest unknown"},
    {"{\"errors\":[{\"code\":\"DENIED\"},{\"code\":\"OTHER\"}]}", NULL, "DENIED"},
    {"{\"errors\":[{\"message\":\"no\"}]}", NULL, "no"},
    {"{\"errors\":[\"just text\"]}", NULL, "just text"},
    {"{\"errors\":[]}", NULL, NULL},
    {"{\"errors\":{}}", NULL, NULL},
    {"{\"details\":\"incorrect username or password\"}", NULL, "incorrect username or password"},
    {"{\"error\":\"invalid_grant\",\"error_description\":\"expired\"}", NULL,
     "invalid_grant: expired"},
    {"{\"message\":\"Not Found\"}", NULL, "Not Found"},
    {"{\"errors\":[{\"message\":\"a\\u001b[31mb\\nc\"}]}", NULL, "a\\x1B[31mb c"},
    {"{\"errors\":[{\"message\":\"cut off", NULL, NULL},
    {"{\"token\":\"secret\"}", NULL, NULL},
    {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has "
     "expired</Message></Error>",
     "application/xml", "AccessDenied: Request has expired"},
    {"<html><h1>502</h1></html>", "text/html", NULL},
    {"<html>\r\n<head><title>502 Bad Gateway</title></head>", "text/html", "502 Bad Gateway"},
    {"<Message>endless", "application/xml", NULL},
    {"404 page not found\n", "text/plain; charset=utf-8", "404 page not found"},
    {"404 page not found\n", NULL, NULL},
    {"one\ntwo", "Text/Plain", "one"},
    {" \r\n", "text/plain", NULL},
    {"", "text/plain", NULL},
};

static void finds_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        size_t len = strlen(bodies[i].body);
        cleanup_free char *exact = xmalloc(len + 1);
        memcpy(exact, bodies[i].body, len);
        exact[len] = '\0';
        cleanup_free char *got = failure_words(exact, len, bodies[i].type);
        bool same =
            got && bodies[i].want ? strcasecmp(got, bodies[i].want) == 0 : !got && !bodies[i].want;
        if (!same)
            fail_msg("%s: %s", bodies[i].body, got ? got : "(nothing)");
    }
}

static void sorts_statuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum error_kind want;
    } rows[] = {
        {400, ERROR_PROTOCOL},  {401, ERROR_REFUSED},   {403, ERROR_REFUSED},
        {404, ERROR_NOT_FOUND}, {405, ERROR_PROTOCOL},  {408, ERROR_TRANSIENT},
        {410, ERROR_NOT_FOUND}, {416, ERROR_PROTOCOL},  {425, ERROR_TRANSIENT},
        {429, ERROR_TRANSIENT}, {451, ERROR_PROTOCOL},  {499, ERROR_TRANSIENT},
        {500, ERROR_TRANSIENT}, {501, ERROR_PROTOCOL},  {502, ERROR_TRANSIENT},
        {503, ERROR_TRANSIENT}, {504, ERROR_TRANSIENT}, {505, ERROR_PROTOCOL},
        {522, ERROR_TRANSIENT}, {599, ERROR_TRANSIENT}, {302, ERROR_PROTOCOL},
        {204, ERROR_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (failure_kind(rows[i].status) != rows[i].want)
            fail_msg("%d", rows[i].status);
}

static void names_the_url_without_its_query(void **state)
{
    (void)state;
    char body[] = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}";
    const struct http_response r = {.status = 403, .body = body, .received = (int64_t)strlen(body)};
    cleanup_error struct error err = {0};
    assert_int_equal(failure_set(HTTP_GET, "https://a.io/v2/x?sig=secret", &r, &err), -1);
    assert_int_equal(err.kind, ERROR_REFUSED);
    assert_string_equal(err.message, "GET https://a.io/v2/x: 403 Forbidden: DENIED: no");
}

static void a_certificate_is_wanted(void **state)
{
    (void)state;
    char body[] = "<html><head><title>400 No required SSL certificate was sent</title></head>";
    struct http_response r = {.status = 400, .body = body, .received = (int64_t)strlen(body)};
    cleanup_error struct error err = {0};
    assert_int_equal(failure_set(HTTP_GET, "https://a.io/v2/x", &r, &err), -1);
    assert_int_equal(err.kind, ERROR_REFUSED);
    assert_non_null(strstr(err.message, "No required SSL certificate was sent: --registry-client"));
    error_clear(&err);
    r.status = 404;
    assert_int_equal(failure_set(HTTP_GET, "https://a.io/v2/x", &r, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_words),
        cmocka_unit_test(sorts_statuses),
        cmocka_unit_test(names_the_url_without_its_query),
        cmocka_unit_test(a_certificate_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
