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

/* The shortcut reads what jansson reads, or leaves it to jansson. */
static void test_plain(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool plain;
    } rows[] = {
        {"{}", true},
        {" [ ] \n", true},
        {"{\"a\":{\"b\":[1,0,123456789012345678,\"x y\",true,false,null,[],{}]},\"c\":\"\"}", true},
        {"{\"\": 1}", true},
        {"\t{\r\n\"a\" : [ 1 , 2 ] }", true},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", true},
        /* jansson takes these. */
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", false},
        {"{\"a\":-1}", false},
        {"{\"a\":1.0}", false},
        {"{\"a\":1e2}", false},
        {"{\"a\":1E2}", false},
        {"{\"a\":1234567890123456789}", false},
        {"{\"a\":\"\\n\"}", false},
        {"{\"a\\n\":1}", false},
        {"{\"a\":\"\xc3\xa4\"}", false},
        {"{\"a\":\"\x7f\"}", false},
        /* And these not. */
        {"", false},
        {" ", false},
        {"1", false},
        {"\"a\"", false},
        {"null", false},
        {"{", false},
        {"[", false},
        {"[1", false},
        {"[1,", false},
        {"[1,]", false},
        {"[,1]", false},
        {"[1 2]", false},
        {"[1}", false},
        {"{\"a\"}", false},
        {"{\"a\":}", false},
        {"{\"a\":1,}", false},
        {"{a:1}", false},
        {"{\"a\":1 \"b\":2}", false},
        {"{\"a\":1,\"a\":1}", false},
        {"{\"a\":1,\"b\":{\"c\":1,\"c\":2}}", false},
        {"{} {}", false},
        {"{}x", false},
        {"[01]", false},
        {"[0x1]", false},
        {"[+1]", false},
        {"[tru]", false},
        {"[True]", false},
        {"[truefalse]", false},
        {"[\"a]", false},
        {"[\"a\tb\"]", false},
        {"[\"a\xff\"]", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const size_t len = strlen(rows[i].text);
        json_error_t why;
        cleanup_json json_t *plain = json_plain_parse(rows[i].text, len);
        cleanup_json json_t *whole = json_loadb(rows[i].text, len, JSON_REJECT_DUPLICATES, &why);
        if (!!plain != rows[i].plain || (plain && !json_equal(plain, whole)))
            fail_msg("row %zu: %s: %s", i, rows[i].text, plain ? "taken" : "not taken");
    }
    /* Nothing behind the end is read. */
    static const char cut[] = "{\"a\":12}";
    for (size_t len = 0; len < strlen(cut); len++) {
        cleanup_free char *exact = memcpy(xmalloc(len ? len : 1), cut, len);
        cleanup_json json_t *plain = json_plain_parse(exact, len);
        if (plain)
            fail_msg("%zu bytes are taken", len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bloated),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
