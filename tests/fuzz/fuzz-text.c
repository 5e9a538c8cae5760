#include "cachedir/text.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

static void check_foreign(const uint8_t *data, size_t size)
{
    cleanup_free char *bytes = xmalloc(size); /* just as large: no NUL behind it */
    if (size > 0)
        memcpy(bytes, data, size);
    cleanup_free char *safe = text_foreign(bytes, size);
    CHECK(strlen(safe) <= TEXT_FOREIGN_MAX);
    for (const char *s = safe; *s; s++)
        CHECK((unsigned char)*s >= 0x20 && *s != 0x7F);
    CHECK(text_columns(safe) <= strlen(safe));
    cleanup_free char *again = text_foreign_str(safe); /* so it was valid UTF-8, and safe */
    CHECK(strcmp(again, safe) == 0);
}

static void check_duration(const char *text)
{
    int64_t ns = 0, again;
    cleanup_error struct error err = {0};
    if (duration_parse(text, &ns, &err) < 0) {
        CHECK(err.kind == ERROR_USAGE && *err.message);
        return;
    }
    CHECK(ns >= 0);
    cleanup_free char *shown = duration_format(ns);
    CHECK(duration_parse(shown, &again, NULL) == 0);
    CHECK(again <= ns && ns - again <= ns / 24 + 1); /* two units: no more is lost */
}

static void check_size(const char *text)
{
    int64_t bytes = 0;
    cleanup_error struct error err = {0};
    if (size_parse(text, &bytes, &err) < 0) {
        CHECK(err.kind == ERROR_USAGE && *err.message);
        return;
    }
    CHECK(bytes >= 0);
    cleanup_free char *shown = size_format(bytes);
    CHECK(strlen(shown) <= strlen("1023.9 KiB"));
}

static void check_time(const char *text)
{
    time_t t, again;
    if (!time_parse(text, &t))
        return;
    cleanup_free char *shown = time_format(t);
    if (t >= 0) /* before the year 0 and after 9999 there is no such text */
        CHECK(t > INT64_C(253402300799) || (time_parse(shown, &again) && again == t));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    check_foreign(data, size);
    (void)text_columns(text);
    check_duration(text);
    check_size(text);
    check_time(text);
    return 0;
}
