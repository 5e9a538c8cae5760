/*
 * A tar from a stranger, read once from end to end, out of a pipe: its files land in a directory of
 * their own below .basewarm/stage, named by the digest of what they hold, and nothing else of it
 * touches the disk. What its members are called is remembered, never used as a path.
 *
 *     tar (gzip, zstd or neither) --> libarchive --> hash --> stage/run-...-import-<random>/<hex>
 *
 * Refused (ERROR_PROTOCOL): a tar that is cut short or lacks the mark of its end; names and links
 * that lead out of it; devices and FIFOs; sparse files; one name twice with two contents; more than
 * SPOOL_MEMBERS_MAX members or SPOOL_NAMES_MAX bytes of names; and, as by verify --deep (layer.h),
 * more than 1 TiB, what unpacks to more than 1000 times its size, names of more than 64 KiB,
 * headers of more than 4 MiB. ERROR_DIGEST: a member named blobs/<algorithm>/<hex> that holds
 * something else.
 */
#pragma once

#include "store.h"

#define SPOOL_MEMBERS_MAX (1 << 17)
#define SPOOL_NAMES_MAX (64 << 20) /* bytes of all names and links */
#define SPOOL_DEPTH_MAX                                                                            \
    4 /* parts of a name: no image has more, and what is deeper is passed over */

struct spooled { /* one member */
    char *name;  /* without "." and doubled slashes; foreign */
    char *link;  /* NULL: a file; else the name of another member, which may not be there */
    struct digest digest;
    int64_t size;
    bool is_object; /* it begins as a JSON object does */
    bool is_here;   /* the pool had it already: it was hashed, and not written */
    /* What it was understood as (import.h), each owned there; NULL: not yet. */
    struct import_image *image;
    struct import_index *index;
    struct import_layer *layer;
};

struct spool {
    struct cachedir *cd;
    char path[FS_NAME_MAX]; /* below .basewarm/stage */
    int dir;
    struct spooled **list; /* in their order */
    size_t count;
    void *names, *digests; /* tsearch(3) trees of them */
    size_t name_bytes;     /* of names and links */
    int64_t bytes;         /* read from the pipe */
    char *buffer;
};

/* Both must be released, also after a failure. *stop: see cachedir_import(). */
int spool_open(struct cachedir *cd, struct spool *ret, struct error *err);
int spool_tar(struct spool *s, int fd, const volatile bool *stop, struct error *err);
/* All that comes is one file. *ret is the spool's. */
int spool_file(struct spool *s, int fd, const volatile bool *stop, struct spooled **ret,
               struct error *err);
/* A file of ours among them, unless one has these bytes: then *ret is that. */
int spool_put(struct spool *s, const char *name, const void *bytes, size_t len,
              struct spooled **ret, struct error *err);
void spool_release(struct spool *s);

/* A member that is a file, also through links; NULL: none. */
const struct spooled *spool_find(const struct spool *s, const char *name);
/* The first with these bytes; NULL: none. */
struct spooled *spool_digest(const struct spool *s, const struct digest *digest);
/* The bytes of a small one; a NUL is appended. Owned. ERROR_PROTOCOL: larger than `max`. */
int spool_bytes(const struct spool *s, const struct spooled *member, size_t max, char **ret,
                struct error *err);
int spool_open_member(const struct spool *s, const struct spooled *member); /* -1, errno */
/* Put it where the stage finds it: into the pool, or into the archive in the making. 1, 0 it is not
 * here, -1. */
int spool_give(const struct spool *s, struct cachedir_stage *stage, const struct descriptor *blob,
               struct error *err);
/* The name of a member made simple; NULL: it leads out of the tar. `base`: where a relative one
 * begins ("" or "a/b"). Owned. */
char *spool_name(const char *base, const char *name);
