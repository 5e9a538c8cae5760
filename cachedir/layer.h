/*
 * Layers (image-spec layer.md): a tar, packed or not, read once from end to end in constant memory.
 * One pass gives the digest of the file, the digest of what it unpacks to (its diff ID, config.md),
 * and whether the tar in it can be read to its end:
 *
 *     file --> blob's hash --> gzip, zstd or neither --> diff ID's hash --> libarchive
 *
 * How it is packed is told from its first bytes, as the builder's library does, and not from its
 * media type. gzip members and zstd frames may follow each other (pigz, eStargz and zstd:chunked
 * make such); what stands behind the last must be another.
 *
 * Of the tar is accepted what builders accept: one that ends behind a member without the end mark,
 * one without members, and no byte at all. Behind the end mark may stand anything: they stop there,
 * and the diff ID covers it.
 */
#pragma once

#include "digest.h"
#include "error.h"
#include "fs.h"

#include <stdbool.h>
#include <stdint.h>

/* How far a layer is followed. Beyond all but the last it has a problem. */
struct layer_limits {
    int64_t ratio;    /* unpacked bytes for each byte of the file, */
    int64_t unpacked; /* and unpacked bytes in all */
    int64_t members;
    int64_t name;   /* bytes of a member's name, and of what it links to */
    int64_t header; /* bytes of all that stands before a member's content: long names, pax records
                       and maps of sparse files, which libarchive holds in memory */
    int window;     /* logarithm of what a zstd frame may want us to remember: beyond that the layer
                       is not checked */
};
extern const struct layer_limits layer_limits; /* what verify uses */

struct layer {
    struct digest diff_id; /* sha256; unset unless all was unpacked */
    int64_t unpacked;      /* bytes */
    int64_t members;
    char *problem;     /* owned; what is wrong with it, safe to print; NULL: nothing */
    char *not_checked; /* owned; why it could not be unpacked, which is no problem; NULL: it was */
};

/* Is this a type of layer that can be unpacked here? Foreign (nondistributable), encrypted and
 * unknown ones cannot. */
bool layer_media_type(const char *media_type);

/*
 * Read the part of a file that begins at `start`, or WHOLE_FILE. ERROR_DIGEST when it is
 * not `digest` and `size`: then nothing else is said about it. ERROR_INTERRUPTED within a second of
 * *stop (NULL: never). What is wrong with the layer itself is no failure: look at ret->problem.
 */
int layer_check(int fd, int64_t start, const struct digest *digest, int64_t size,
                const struct layer_limits *limits, const volatile bool *stop, struct layer *ret,
                struct error *err);
void layer_release(struct layer *layer);
#define cleanup_layer __attribute__((cleanup(layer_release)))
