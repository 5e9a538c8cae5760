/*
 * Content digests: "sha256:<64 hex>" and "sha512:<128 hex>" (OCI image-spec,
 * descriptor.md#digests).
 *
 * A value type: copied, compared and printed as text. A digest that exists has been parsed, so its
 * text is safe as a file name (apart from volumes that refuse colons) and on a terminal.
 */
#pragma once

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

#define DIGEST_TEXT_MAX (7 + 128) /* "sha512:" and its hex */

struct digest {
    char text[DIGEST_TEXT_MAX + 1]; /* lower case; "" means none */
};

/* Upper-case hex, unknown algorithms and wrong lengths are ERROR_PROTOCOL. `text` may be hostile,
 * and NULL: then "the digest is missing". */
int digest_parse(const char *text, struct digest *ret, struct error *err);

bool digest_equal(const struct digest *a, const struct digest *b);
bool digest_is_set(const struct digest *d);
bool digest_same_algorithm(const struct digest *a, const struct digest *b);

/* The part after, and the length of the part before, the colon. */
const char *digest_hex(const struct digest *d);
bool digest_is_sha256(const struct digest *d);

/* "sha256:0123456789ab": enough for people. `buf` must hold DIGEST_SHORT_SIZE bytes; returns it. */
#define DIGEST_SHORT_SIZE (7 + 12 + 1)
const char *digest_short(const struct digest *d, char buf[DIGEST_SHORT_SIZE]);

/* Hashing. The algorithm is that of `like`, which must be set (else: abort). A hasher is used by
 * one thread at a time. */
struct hasher;
struct hasher *hasher_new(const struct digest *like);
void hasher_update(struct hasher *h, const void *data, size_t len);
/* Finish into *ret; the hasher may only be freed or reset afterwards. */
void hasher_final(struct hasher *h, struct digest *ret);
void hasher_reset(struct hasher *h);
void hasher_free(struct hasher *h); /* takes NULL */
static inline void hasher_free_p_(struct hasher **h)
{
    hasher_free(*h);
}
#define cleanup_hasher __attribute__((cleanup(hasher_free_p_)))

/* Hash a buffer and compare; ERROR_DIGEST says both digests. */
int digest_check(const struct digest *want, const void *data, size_t len, struct error *err);
/* The sha256 of a buffer. */
void digest_of(const void *data, size_t len, struct digest *ret);
