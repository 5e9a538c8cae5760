#include "layers.h"

#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

void bytes_release(struct bytes *b)
{
    free(b->data);
}

void bytes_add(struct bytes *b, const void *data, size_t len)
{
    b->data = xreallocarray(b->data, b->len + len + 1, 1);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void bytes_add_zeros(struct bytes *b, size_t len)
{
    cleanup_free char *zeros = xcalloc(1, len + 1);
    bytes_add(b, zeros, len);
}

void tar_add_header(struct bytes *tar, const char *name, char type, size_t size)
{
    char h[512] = "";
    snprintf(h, 100, "%s", name);
    memcpy(h + 100, "0000644", 8);
    memcpy(h + 108, "0000000", 8);
    memcpy(h + 116, "0000000", 8);
    snprintf(h + 124, 12, "%011zo", size);
    memcpy(h + 136, "00000000000", 12);
    h[156] = type;
    memcpy(h + 257, type == 'x' ? "ustar\00000" : "ustar  ", 8);
    if (type == 'S') {
        memcpy(h + 386, "00000000000\00000000000001", 24); /* offset, size */
        h[482] = 1; /* the map of the sparse file goes on in the next block */
    }
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < sizeof h; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    bytes_add(tar, h, sizeof h);
}

void tar_add_member(struct bytes *tar, const char *name, char type, const void *content,
                    size_t size)
{
    tar_add_header(tar, name, type, size);
    bytes_add(tar, content, size);
    bytes_add_zeros(tar, (512 - size % 512) % 512);
}

void tar_add_file(struct bytes *tar, const char *name, const char *content)
{
    tar_add_member(tar, name, '0', content, strlen(content));
}

void bytes_add_noise(struct bytes *b, size_t len)
{
    uint64_t x = 88172645463325252U;
    cleanup_free char *noise = xmalloc(len);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        noise[i] = (char)x;
    }
    bytes_add(b, noise, len);
}

void gzip_add(struct bytes *to, const void *data, size_t len)
{
    const size_t room = len + len / 100 + 1000;
    cleanup_free char *out = xmalloc(room);
    z_stream z = {
        .next_in = data, .avail_in = (uInt)len, .next_out = (Bytef *)out, .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    bytes_add(to, out, z.total_out);
    deflateEnd(&z);
}

void zstd_add(struct bytes *to, const void *data, size_t len, int window)
{
    const size_t room = ZSTD_compressBound(len) + 100;
    cleanup_free char *out = xmalloc(room);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window);
    ZSTD_inBuffer in = {data, len, 0};
    ZSTD_outBuffer dst = {out, room, 0};
    /* In two steps: else it knows the size, and takes no larger window than that. */
    assert_false(ZSTD_isError(ZSTD_compressStream2(c, &dst, &in, ZSTD_e_continue)));
    assert_int_equal(ZSTD_compressStream2(c, &dst, &in, ZSTD_e_end), 0);
    bytes_add(to, out, dst.pos);
    ZSTD_freeCCtx(c);
}

void tar_add_three(struct bytes *tar)
{
    tar_add_member(tar, "etc/", '5', "", 0);
    tar_add_file(tar, "etc/motd", "hello\n");
    tar_add_file(tar, "etc/issue", "Debian\n");
}

void tar_add_end(struct bytes *tar)
{
    bytes_add_zeros(tar, 1024);
}

void tar_add_large(struct bytes *tar)
{
    struct bytes content = {0};
    bytes_add_noise(&content, 700001);
    bytes_add_zeros(&content, 300000);
    tar_add_member(tar, "noise", '0', content.data, content.len);
    tar_add_three(tar);
    tar_add_end(tar);
    bytes_add_zeros(tar, 9 * 1024); /* tar fills its blocks */
    free(content.data);
}
