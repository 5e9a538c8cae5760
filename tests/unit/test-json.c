/* JSON that strangers wrote: what is refused, and that it is said where. */
#include "cachedir/alloc.h"
#include "cachedir/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "line 1, column 0"},           {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":\"\\u0000\"}", "\\u0000"}, {"{\n \"a\": }", "line 2, column 7"},
        {"[]", "not a JSON object"},        {"{} {}", "end of file expected"},
        {"{\"\x1b[31m\": 1}", "0x1b near"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        cleanup_json json_t *j = json_object_parse(rows[i].text, strlen(rows[i].text), &err);
        if (j || err.kind != ERROR_PROTOCOL || !strstr(err.message, rows[i].says))
            fail_msg("row %zu: %s", i, j ? "taken" : err.message);
    }
}

/* `unit` so often, comma-separated, in {"a":[...]}. */
static json_t *repeated(const char *unit, size_t times, struct error *err)
{
    const size_t len = strlen(unit);
    cleanup_free char *text = xmalloc(times * (len + 1) + 16);
    char *end = stpcpy(text, "{\"a\":[");
    for (size_t i = 0; i < times; i++) {
        end = mempcpy(end, unit, len);
        *end++ = ',';
    }
    end = stpcpy(end - (times > 0), "]}");
    return json_object_parse(text, (size_t)(end - text), err);
}

static void test_bloated(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t times;
        bool taken;
    } rows[] = {
        {"{}", JSON_FEW, true},
        {"{}", JSON_FEW + JSON_FEW / 10, false},
        {"[]", JSON_FEW + JSON_FEW / 10, false},
        {"{\"digest\":\"sha256:0123456789012345678901234567890123456789\"}", 100000, true},
        {"{\"digest\":\"sha256:0123456789012345678901234567890123456789\"}", JSON_CONTAINERS_MAX,
         false},
        {"0", JSON_FEW, true},
        {"0", 2 * JSON_FEW, false},
        {"12345678", JSON_VALUES_MAX, true},
        {"12345678", JSON_VALUES_MAX + 2, false},
        /* In strings nothing counts, after a quoted quote either. */
        {"\"\\\"{[{[{[{[,,,,,,\\\\\"", 200000, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        cleanup_json json_t *j = repeated(rows[i].unit, rows[i].times, &err);
        if (!!j != rows[i].taken)
            fail_msg("row %zu: %s", i, j ? "taken" : err.message);
        if (!j && !strstr(err.message, "too many"))
            fail_msg("row %zu: %s", i, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bloated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
