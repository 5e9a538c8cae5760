/*
 * Which archives hold which blobs: those that are published, and those in the making, ours and
 * other processes'. What is said here is a hint: whoever takes a blob hashes it.
 *
 * Guarded by the mutex of struct cachedir. Scanning one archive reads its headers only.
 */
#pragma once

#include "store.h"

/* Look for archives that came since the last time. Costs two stats when none did. */
void archives_refresh(struct cachedir *cd);
/* Around a publishing of ours, whose blobs are known already: were all that stand there seen? Then
 * its name is no news, or thousands of archives would cost their square. */
bool archives_all_seen(struct cachedir *cd);
void archives_published(struct cachedir *cd);
/* Forget them all: of cachedir_close(). */
void archives_release(struct cachedir *cd);
/* A blob landed in .basewarm/partial/<name>. */
void archives_add(struct cachedir *cd, const struct digest *blob, const char *name, int64_t offset,
                  int64_t size);

/*
 * Open the `n`th place of a blob of this size: *ret_fd is the caller's. 1; 0 there is no such place
 * any more, but may be at n + 1; -1 there are no more.
 */
int archives_open(struct cachedir *cd, const struct digest *blob, int64_t size, size_t n,
                  int *ret_fd, int64_t *ret_offset);

/* Bytes of a blob that stand in an archive in the making. */
int64_t archives_partial(struct cachedir *cd, const struct digest *blob, int64_t size);
