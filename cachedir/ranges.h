/*
 * A set of byte ranges of one blob: which bytes are on the disk. Kept beside a partial file, so
 * that the next run goes on where this one stopped. A list that claims too much costs a refetch,
 * never a wrong blob: the whole is hashed before it is published.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RANGES_MAX 65536          /* in one list */
#define RANGES_TEXT_MAX (4 << 20) /* bytes of its text form */

struct range {
    int64_t start, end; /* [start, end), start < end */
};

struct ranges {
    struct range *list; /* sorted, neither overlapping nor touching */
    size_t count;
};

void ranges_add(struct ranges *r, int64_t start, int64_t end);
void ranges_remove(struct ranges *r, int64_t start, int64_t end);
/* The first gap at or after `from` and below `size`. false: none. */
bool ranges_gap(const struct ranges *r, int64_t from, int64_t size, int64_t *ret_start,
                int64_t *ret_end);
/* How far the bytes from `from` on are there without a gap; `from` itself when there are none. */
int64_t ranges_reach(const struct ranges *r, int64_t from);
int64_t ranges_total(const struct ranges *r);
void ranges_clear(struct ranges *r);

/* "basewarm-ranges 1 SIZE\nSTART END\n...": owned text. */
char *ranges_format(const struct ranges *r, int64_t size);
/* Hostile bytes. false (and an empty set): not that, or of a blob of another size. */
bool ranges_parse(struct ranges *ret, const char *text, int64_t size);
