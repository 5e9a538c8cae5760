#include "encoding.h"

#include "cachedir/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#define ZLIB_CONST /* it does not write to what it reads */
#include <zlib.h>

#define PIECE (64 << 10)
#define GZIP_ONLY (16 + MAX_WBITS) /* for inflateInit2() */

struct unpacker {
    z_stream stream;
    bool ended;
    unsigned char out[PIECE];
};

enum encoding encoding_parse(const char *value)
{
    if (!value || !*value || strcasecmp(value, "identity") == 0)
        return ENCODING_NONE;
    if (strcasecmp(value, "gzip") == 0 || strcasecmp(value, "x-gzip") == 0)
        return ENCODING_GZIP;
    return ENCODING_OTHER;
}

struct unpacker *unpacker_new(void)
{
    struct unpacker *u = xcalloc(1, sizeof *u);
    if (inflateInit2(&u->stream, GZIP_ONLY) != Z_OK)
        abort(); /* out of memory, or another zlib than the one that this was built with */
    return u;
}

void unpacker_free(struct unpacker *u)
{
    if (!u)
        return;
    (void)inflateEnd(&u->stream);
    free(u);
}

int unpacker_feed(struct unpacker *u, const void *data, size_t len, unpacker_sink sink,
                  void *userdata, struct error *err)
{
    z_stream *z = &u->stream;
    z->next_in = data;
    z->avail_in = (uInt)len;
    /* A full piece may have left more inside. */
    for (bool full = false; !u->ended && (z->avail_in > 0 || full);) {
        z->next_out = u->out;
        z->avail_out = PIECE;
        int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_MEM_ERROR)
            abort();
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
            return error_set(err, ERROR_PROTOCOL, "malformed gzip: %s", z->msg ? z->msg : "?");
        u->ended = code == Z_STREAM_END;
        full = z->avail_out == 0;
        int said = z->avail_out < PIECE ? sink(userdata, u->out, PIECE - z->avail_out, err) : 0;
        if (said != 0)
            return said;
        if (code == Z_BUF_ERROR)
            break; /* it wants more */
    }
    return 0;
}

struct buffer {
    char *bytes;
    size_t len, max;
};

static int append(void *userdata, const void *data, size_t len, struct error *err)
{
    struct buffer *b = userdata;
    if (len > b->max - b->len)
        return error_set(err, ERROR_PROTOCOL, "more than %zu bytes come out of the gzip", b->max);
    b->bytes = xreallocarray(b->bytes, b->len + len + 1, 1);
    memcpy(b->bytes + b->len, data, len);
    b->len += len;
    return 0;
}

int encoding_unpack(const void *data, size_t len, size_t max, char **ret, size_t *ret_len,
                    struct error *err)
{
    struct unpacker *u = unpacker_new();
    struct buffer b = {.bytes = xmalloc(1), .max = max};
    int result = unpacker_feed(u, data, len, append, &b, err);
    if (result == 0 && !u->ended)
        result = error_set(err, ERROR_PROTOCOL, "the gzip ends in the middle");
    unpacker_free(u);
    if (result < 0) {
        free(b.bytes);
        return -1;
    }
    b.bytes[b.len] = '\0';
    *ret = b.bytes;
    *ret_len = b.len;
    return 0;
}
