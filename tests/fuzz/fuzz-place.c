/* The first line is a --registry-map, the second a reference. */
#include "warmer/place.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);
    if (size > 0)
        memcpy(text, data, size);
    char *line = strchr(text, '\n');
    if (line)
        *line++ = '\0';
    cleanup_error struct error err = {0};
    cleanup_place_map struct place_map map = {.skip_default_fallback = size % 2};
    if (place_map_add(&map, text, &err) < 0)
        CHECK(err.kind == ERROR_USAGE && err.message);
    (void)place_is_local(text);

    cleanup_reference struct reference ref = {0};
    if (reference_parse(line ? line : "debian", &ref, NULL) < 0)
        return 0;
    struct place *list;
    size_t count;
    places_for(&map, &ref, &list, &count);
    CHECK(count > 0 && count <= PLACES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        const char *own = strstr(list[i].repository, ref.repository);
        CHECK(own &&
              strcmp(list[i].repository + strlen(list[i].repository) - strlen(ref.repository),
                     ref.repository) == 0);
        CHECK(!strchr(list[i].authority, '/') && *list[i].authority);
        CHECK(list[i].mapped || i + 1 == count);
    }
    places_free(list, count);
    return 0;
}
