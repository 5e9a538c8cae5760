/* What a credential helper says: its answer, and its excuse. */
#include "warmer/helper.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *bytes = xmalloc(size + 1); /* and not a byte more */
    if (size > 0)
        memcpy(bytes, data, size);
    (void)helper_says_none(bytes, size);

    cleanup_error struct error err = {0};
    cleanup_credential struct credential c = {0};
    int result = helper_output_parse(bytes, size, &c, &err);
    if (result < 0) {
        CHECK(err.kind == ERROR_CONFIG && err.message && !credential_is_set(&c));
        return 0;
    }
    CHECK(credential_is_set(&c) == (result == 1));
    if (result == 0)
        return 0;
    CHECK(*c.username && c.password && !c.registry_token);
    CHECK(!c.identity_token == (strcmp(c.username, "<token>") != 0));
    for (const char *p = c.username; *p; p++)
        CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
    for (const char *p = c.password; *p; p++)
        CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
    return 0;
}
