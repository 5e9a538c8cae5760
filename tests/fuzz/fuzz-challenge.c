#include "warmer/challenge.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

/* What was understood, written in the plain way, is understood the same. */
static void check_again(const struct challenge *c)
{
    if (c->scheme == CHALLENGE_OTHER || !c->realm)
        return;
    size_t len = strlen(c->realm);
    cleanup_free char *quoted = xcalloc(2 * len + 1, 1);
    char *to = quoted;
    for (const char *p = c->realm; *p; p++) {
        if (*p == '"' || *p == '\\')
            *to++ = '\\';
        *to++ = *p;
    }
    cleanup_free char *line =
        xasprintf("%s realm=\"%s\"", c->scheme == CHALLENGE_BASIC ? "Basic" : "Bearer", quoted);
    cleanup_challenges struct challenges again = {0};
    if (strlen(line) > CHALLENGE_BYTES_MAX)
        return;
    CHECK(challenges_add(&again, line, NULL) == 0);
    CHECK(again.count == 1 && again.items[0].scheme == c->scheme);
    CHECK(strcmp(again.items[0].realm, c->realm) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    cleanup_error struct error err = {0};
    cleanup_challenges struct challenges list = {0};
    if (challenges_add(&list, text, &err) < 0) {
        CHECK(err.kind == ERROR_PROTOCOL && err.message && *err.message);
        CHECK(list.count == 0);
        return 0;
    }
    CHECK(err.kind == ERROR_NONE && list.count > 0 && list.count <= CHALLENGES_MAX);
    for (size_t i = 0; i < list.count; i++) {
        const struct challenge *c = &list.items[i];
        const char *const texts[] = {c->realm, c->service, c->scope, c->error};
        for (size_t k = 0; k < 4; k++)
            for (const char *p = texts[k]; p && *p; p++)
                CHECK((unsigned char)*p >= 0x20 || *p == '\t');
        check_again(c);
    }
    const struct challenge *pick = challenges_pick(&list);
    CHECK(!pick || pick->scheme == CHALLENGE_BASIC || (pick->realm && *pick->realm));
    return 0;
}
