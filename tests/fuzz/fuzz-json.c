/* The shortcut for plain documents never reads what jansson reads otherwise, or refuses. */
#include "cachedir/json.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_error_t why;
    cleanup_json json_t *plain = json_plain_parse(data, size);
    if (!plain)
        return 0;
    cleanup_json json_t *whole = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &why);
    CHECK(json_equal(plain, whole));
    return 0;
}
