/* Credentials files, and the answers of token servers: JSON both, and secret both. */
#include "warmer/authfile.h"
#include "warmer/token.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

static void check_file(const char *bytes, size_t len, bool dockercfg)
{
    cleanup_error struct error err = {0};
    cleanup_auth_file struct auth_file file = {0};
    if (auth_file_parse(bytes, len, "FILE", dockercfg, &file, &err) < 0) {
        CHECK(err.kind == ERROR_CONFIG && strncmp(err.message, "FILE: ", 6) == 0);
        CHECK(file.count == 0 && !file.helper);
        return;
    }
    CHECK(file.count <= AUTH_FILE_ENTRIES_MAX);
    for (size_t i = 0; i < file.count; i++) {
        const struct auth_entry *e = &file.entries[i];
        const struct credential *c = &e->credential;
        CHECK(!e->helper || !credential_is_set(c));
        CHECK(!c->username || c->password);
        for (const char *p = c->registry_token; p && *p; p++)
            CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
        if (!e->helper && !credential_is_set(c))
            continue;
        const struct auth_entry *found = auth_file_find(&file, e->registry, e->repository);
        CHECK(found && strcmp(found->repository, e->repository) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *bytes = xmalloc(size + 1); /* and not a byte more */
    if (size > 0)
        memcpy(bytes, data, size);
    check_file(bytes, size, false);
    check_file(bytes, size, true);

    cleanup_error struct error err = {0};
    struct token_response token = {0};
    if (token_response_parse(bytes, size, &token, &err) < 0) {
        CHECK(err.kind == ERROR_PROTOCOL && err.message && !token.token);
        return 0;
    }
    CHECK(*token.token && token.lifetime_s >= TOKEN_LIFETIME_MIN_S &&
          token.lifetime_s <= TOKEN_LIFETIME_MAX_S);
    for (const char *p = token.token; *p; p++)
        CHECK(*p > ' ' && *p < 0x7f);
    secret_free(token.token);
    return 0;
}
