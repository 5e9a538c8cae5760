/*
 * Files in the making: .basewarm/partial/<hex>, and beside it <hex>.ranges, the list of what is on
 * the disk, so that the next run goes on where this one stopped. In format oci such a file is one
 * blob; in format docker-archive it is an archive, and each of its blobs a stretch of it.
 *
 * It has one writer: whoever holds its lock. Another who insists gets a file of his own,
 * <hex>.<random>, which begins as a copy. A list that claims too much, as after a power loss, costs
 * a refetch and no more: everything is hashed before it is published.
 */
#pragma once

#include "ranges.h"
#include "store.h"

struct partial {
    struct cachedir *cd;
    char *name, *list; /* below .basewarm/partial */
    int64_t size;      /* when it is whole */
    int fd;
    struct cachedir_lock *lock;

    pthread_mutex_t mutex; /* guards what follows, and the frontiers of the blobs in it */
    struct ranges ranges;
    int64_t unsaved; /* bytes landed since the list was written */
};

/* ERROR_LOCKED: another process works on it; not when `insist`. */
int partial_open(struct cachedir *cd, const struct digest *digest, int64_t size, bool insist,
                 struct partial **ret, struct error *err);
/* Note that bytes landed; the list is written now and then. With the mutex held. */
int partial_landed(struct partial *p, int64_t start, int64_t end, struct error *err);
/* Write the list. With the mutex held. */
int partial_save(struct partial *p, struct error *err);
/* Forget what landed there, and give its space back. */
int partial_forget(struct partial *p, int64_t start, int64_t end, struct error *err);
/* Is all of it there, as far as the list says? */
bool partial_covers(struct partial *p, int64_t start, int64_t end);
/* Keeps what it holds for the next run, unless it is `done` with (published, or superfluous).
 * Takes NULL. */
void partial_close(struct partial *p, bool done);

/* How much of a stretch is there, as the list of somebody's file says, which has `size` bytes when
 * it is whole. */
int64_t partial_bytes(struct cachedir *cd, const char *name, int64_t size, int64_t start,
                      int64_t end);
