#include "cachedir/reference.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

static void check_again(const char *text, const struct reference *r)
{
    cleanup_reference struct reference again = {0};
    CHECK(reference_parse(text, &again, NULL) == 0);
    CHECK(strcmp(again.registry, r->registry) == 0);
    CHECK(strcmp(again.repository, r->repository) == 0);
    CHECK(again.tag ? r->tag && strcmp(again.tag, r->tag) == 0 : !r->tag);
    CHECK(digest_equal(&again.digest, &r->digest));
    CHECK(strcmp(again.name, r->name) == 0);
    CHECK(strcmp(again.familiar, r->familiar) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    cleanup_error struct error err = {0};
    cleanup_reference struct reference r = {0};
    if (reference_parse(text, &r, &err) < 0) {
        CHECK(err.kind == ERROR_USAGE && err.message && *err.message);
        CHECK(!r.name);
        return 0;
    }
    CHECK(err.kind == ERROR_NONE);
    CHECK(strlen(r.name) <= REFERENCE_MAX);
    for (const char *s = r.name; *s; s++)
        CHECK(*s > ' ' && *s < 0x7F);
    CHECK(!strstr(r.repository, "//") && !strstr(r.repository, "/../"));
    CHECK(r.tag || reference_is_pinned(&r));
    check_again(r.name, &r);
    check_again(r.familiar, &r);
    return 0;
}
