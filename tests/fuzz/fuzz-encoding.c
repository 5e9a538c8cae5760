/* Gzip in one piece and in two must come to the same. */
#include "warmer/encoding.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

#define MAX (1 << 20)

struct buffer {
    char *bytes; /* MAX */
    size_t len;
};

static int append(void *userdata, const void *data, size_t len, struct error *err)
{
    struct buffer *b = userdata;
    (void)err;
    CHECK(len > 0);
    if (len > MAX - b->len)
        return 1;
    memcpy(b->bytes + b->len, data, len);
    b->len += len;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_error struct error err = {0};
    char *whole = NULL;
    size_t len = 0;
    int result = encoding_unpack(data, size, MAX, &whole, &len, &err);
    CHECK(result == 0 ? len <= MAX && whole[len] == '\0' : err.kind == ERROR_PROTOCOL);

    cleanup_free char *room = xmalloc(MAX);
    struct buffer parts = {.bytes = room};
    struct unpacker *u = unpacker_new();
    size_t half = size / 2;
    int said = unpacker_feed(u, data, half, append, &parts, NULL);
    if (said == 0)
        said = unpacker_feed(u, data + half, size - half, append, &parts, NULL);
    unpacker_free(u);
    if (result == 0)
        CHECK(said == 0 && parts.len == len && memcmp(room, whole, len) == 0);
    free(whole);
    return 0;
}
