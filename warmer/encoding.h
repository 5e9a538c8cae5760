/*
 * Content-Encoding (RFC 9110, section 8.4.1). We accept identity alone, and some servers answer
 * with gzip all the same: web servers that pack whatever passes, and object stores that were once
 * told of a .gz file's type, and name an encoding that nobody has applied: there the bytes are the
 * blob's own. Which of the two it is shows the length, or else the hash.
 *
 * Pure: hostile bytes in, bytes out.
 */
#pragma once

#include "cachedir/error.h"

#include <stddef.h>

enum encoding { ENCODING_NONE, ENCODING_GZIP, ENCODING_OTHER };

/* The header's value; NULL is none. "x-gzip" is gzip (RFC 9110, section 8.4.1.3). */
enum encoding encoding_parse(const char *value);

/* One gzip stream, piece by piece, in constant memory. */
struct unpacker;
struct unpacker *unpacker_new(void);
void unpacker_free(struct unpacker *u); /* takes NULL */

typedef int (*unpacker_sink)(void *userdata, const void *data, size_t len, struct error *err);
/*
 * `sink` gets what comes out, at most 64 KiB at once: 0 "go on", anything else ends it and is
 * returned. 0: all of it is unpacked; what stands behind the stream's end is dropped.
 * ERROR_PROTOCOL: it is no gzip.
 */
int unpacker_feed(struct unpacker *u, const void *data, size_t len, unpacker_sink sink,
                  void *userdata, struct error *err);

/* A whole one. *ret is owned, with a NUL behind it. ERROR_PROTOCOL: no gzip, cut, or more than
 * `max` bytes come out. */
int encoding_unpack(const void *data, size_t len, size_t max, char **ret, size_t *ret_len,
                    struct error *err);
