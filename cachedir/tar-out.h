/*
 * Writing a tar into a pipe or file: the same members give the same bytes (POSIX ustar, and pax for
 * long names; time 0, nobody's, no padding but the format's own).
 */
#pragma once

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tar_out;

/* `fd` is borrowed. *stop (NULL: never) ends a write that waits, within a second, with
 * ERROR_INTERRUPTED. */
struct tar_out *tar_out_new(int fd, const volatile bool *stop);
/* A regular file, mode 0644; exactly `size` bytes must follow. */
int tar_out_begin(struct tar_out *t, const char *name, int64_t size, struct error *err);
int tar_out_write(struct tar_out *t, const void *bytes, size_t len, struct error *err);
/* All of a small file. */
int tar_out_put(struct tar_out *t, const char *name, const void *bytes, size_t len,
                struct error *err);
/* The mark of the end. Without it, readers of ours take nothing from what was written. */
int tar_out_end(struct tar_out *t, struct error *err);
int64_t tar_out_bytes(const struct tar_out *t); /* written so far */
void tar_out_free(struct tar_out *t);           /* takes NULL */
static inline void tar_out_free_p_(struct tar_out **t)
{
    tar_out_free(*t);
}
#define cleanup_tar_out __attribute__((cleanup(tar_out_free_p_)))
