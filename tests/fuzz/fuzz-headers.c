#include "warmer/headers.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "fuzz.h"

#include <string.h>

#define NOW 1800000000

static void check_range(const char *text)
{
    struct content_range r = {0}, again = {0};
    cleanup_error struct error err = {0};
    if (content_range_parse(text, &r, &err) < 0) {
        CHECK(err.kind == ERROR_PROTOCOL && err.message);
        return;
    }
    cleanup_free char *total = r.total < 0 ? xstrdup("*") : xasprintf("%lld", (long long)r.total);
    cleanup_free char *plain = r.satisfied ? xasprintf("bytes %lld-%lld/%s", (long long)r.start,
                                                       (long long)r.end - 1, total)
                                           : xasprintf("bytes */%s", total);
    if (r.satisfied) {
        CHECK(r.start >= 0 && r.end > r.start && (r.total < 0 || r.end <= r.total));
    } else {
        CHECK(r.total >= 0 && r.start == 0 && r.end == 0);
    }
    CHECK(content_range_parse(plain, &again, NULL) == 0);
    CHECK(again.satisfied == r.satisfied && again.start == r.start && again.end == r.end &&
          again.total == r.total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    check_range(text);

    time_t date = -1;
    bool is_date = http_date_parse(text, &date);
    int64_t after = retry_after_parse(text, NULL, NOW);
    CHECK(!is_date || date >= 0);
    CHECK(!is_date || after >= 0);
    CHECK(after >= -1 && after <= RETRY_AFTER_MAX_S * NS_PER_S);
    CHECK(retry_after_parse("5", text, NOW) == 5 * NS_PER_S);
    return 0;
}
