#include "cachedir/platform.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    cleanup_error struct error err = {0};
    cleanup_platform struct platform p = {0}, again = {0}, copy = {0};
    if (platform_parse(text, &p, &err) < 0) {
        CHECK(err.kind == ERROR_USAGE && err.message && *err.message);
        CHECK(!p.os);
        return 0;
    }
    CHECK(*p.os && *p.architecture);
    cleanup_free char *shown = platform_format(&p);
    CHECK(platform_parse(shown, &again, NULL) == 0);
    CHECK(platform_equal(&p, &again));
    platform_copy(&copy, &p);
    CHECK(platform_equal(&p, &copy));
    bool unknown = strcmp(p.os, "unknown") == 0 && strcmp(p.architecture, "unknown") == 0;
    CHECK(platform_matches(&p, &copy) == !unknown);
    return 0;
}
