/*
 * Layers made up in memory: tars byte by byte, good and damaged, and what packs them.
 */
#pragma once

#include <stddef.h>

struct bytes {
    char *data; /* owned */
    size_t len;
};
void bytes_release(struct bytes *b);
#define cleanup_bytes __attribute__((cleanup(bytes_release)))

void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_add_zeros(struct bytes *b, size_t len);
void bytes_add_noise(struct bytes *b, size_t len); /* always the same, and not compressible */

/* A header: GNU's, or, where type is 'x', POSIX's. The size need not be true. */
void tar_add_header(struct bytes *tar, const char *name, char type, size_t size);
void tar_add_member(struct bytes *tar, const char *name, char type, const void *content,
                    size_t size);
void tar_add_file(struct bytes *tar, const char *name, const char *content);
void tar_add_three(struct bytes *tar); /* etc/, etc/motd, etc/issue; without the end mark */
void tar_add_end(struct bytes *tar);
/* 3 files and a fourth, "noise", of 1 MB; with the end mark. */
void tar_add_large(struct bytes *tar);

/* A gzip member, a zstd frame with a checksum and a window of 2^window bytes. */
void gzip_add(struct bytes *to, const void *data, size_t len);
void zstd_add(struct bytes *to, const void *data, size_t len, int window);
