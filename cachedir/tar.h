/*
 * Tar files (POSIX pax interchange format; GNU's extensions are read): where the bytes of their
 * members stand. Nothing is extracted. libarchive reads; headers are written by hand, because the
 * layers of an archive are written out of order, at offsets that are known beforehand, and what
 * goes into a pipe (tar-out.h) must have the same bytes whatever library is there.
 */
#pragma once

#include "error.h"

#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK 512
#define TAR_MEMBERS_MAX 32768 /* docker's old form has three a layer */
#define TAR_NAME_LENGTH_MAX 4096

struct tar_member {
    char *name;     /* as it stands there: foreign */
    int64_t offset; /* of its first byte in the file; -1: not a regular file */
    int64_t size;
};

struct tar_members {
    struct tar_member *list; /* in their order; names may repeat, and readers take the first */
    size_t count;
};

/*
 * All members of the tar that `fd` stands for; its file position moves. ERROR_PROTOCOL: no tar, cut
 * short, or beyond the ceilings; *ret holds what came before that, and is to be released anyway.
 */
int tar_scan(int fd, struct tar_members *ret, struct error *err);
/* The first of that name; NULL: none. */
const struct tar_member *tar_find(const struct tar_members *members, const char *name);

/* A member's header: a regular file's, mode 0644, of nobody. The name has at most 99 bytes. */
void tar_header(char ret[TAR_BLOCK], const char *name, int64_t size);
/* The same for a name of at most TAR_NAME_MAX bytes, which may need an extended header before it.
 * Returns the number of bytes, whole blocks. */
#define TAR_NAME_MAX 400
#define TAR_HEADER_MAX ((size_t)3 * TAR_BLOCK)
size_t tar_long_header(char ret[TAR_HEADER_MAX], const char *name, int64_t size);
/* Fill `len` bytes before a header so that readers skip them: none, or at least two blocks, and at
 * most TAR_PADDING_MAX. A comment of the pax format (POSIX pax, "comment"). */
#define TAR_PADDING_MAX (16 * TAR_BLOCK)
void tar_padding(char *ret, size_t len);
#define TAR_END (2 * TAR_BLOCK) /* zeros at the end of a tar */

void tar_members_release(struct tar_members *members);
#define cleanup_tar_members __attribute__((cleanup(tar_members_release)))
