/*
 * Inside cachedir_import(): what a tar holds, found and proven before anything is published.
 *
 *     spool --> import-layout.c  (index.json)     --\
 *           --> import-docker.c  (manifest.json)  ---> import-tree.c --> import.c publishes
 *           --> import-docker.c  (a bare layer)   --/
 *
 * A small tar may say much: indexes that lead to each other, one layer in a thousand places. So
 * each member is understood once and then remembered by what it is (struct spooled), nothing that
 * can be read again is kept, and what is done and kept in all has ceilings. Beyond one:
 * ERROR_PROTOCOL. The caller's wish to stop is heard wherever one of them is counted.
 */
#pragma once

#include "docker-archive.h"
#include "json.h"
#include "spool.h"

#include <assert.h>

#define IMPORT_IMAGES_MAX 65536
#define IMPORT_PLATFORMS_MAX 64            /* of one name */
#define IMPORT_READ_MAX (INT64_C(1) << 30) /* bytes of manifests, indexes and configs */
#define IMPORT_CHILDREN_MAX (1 << 21)      /* of all indexes */
#define IMPORT_STEPS_MAX (1 << 24)         /* down from indexes to children */

/* What a name takes of the directory's index.json beside its own letters and those of platforms:
 * its share of objects and values is smaller. All names of a tar fit there. */
#define IMPORT_NAME_ROOM 768
static_assert(INDEX_SIZE_MAX / IMPORT_NAME_ROOM * 3 < JSON_CONTAINERS_MAX, "objects of a name");
static_assert(INDEX_SIZE_MAX / IMPORT_NAME_ROOM * 10 < JSON_VALUES_MAX, "values of a name");

struct import_reference {
    char *text;
    size_t names;
};

struct import_name {
    const char *reference; /* an import_reference's */
    char *platform;        /* NULL: none that a builder could ask for */
    struct digest source;  /* what the reference itself was; unset: not proven */
};

struct import_child {
    struct spooled *member;
    int64_t size;           /* as the index says, */
    const char *media_type; /* and this: one of manifest.h's constants, or NULL */
};

struct import_index {
    struct spooled *member;
    const struct import_image *alias_of; /* NULL: nobody asks for that */
    bool is_child;                       /* of another index */
    unsigned walk;                       /* which came here last, */
    int depth;                           /* and how deep it was then */
    size_t said;                         /* children that it names, attestations apart, */
    size_t child_count;                  /* and those of them that are in the tar */
    struct import_child children[];
};

struct import_way { /* down from an index, the outermost first */
    struct import_index *indexes[INDEX_DEPTH_MAX];
    size_t count;
};

struct import_image { /* a manifest whose blobs are all in the tar or here */
    const struct spooled *member;
    const char *media_type; /* one of manifest.h's constants */
    char *platform;         /* as its config says; NULL: it does not */
    bool is_odd;            /* what its config says is no platform */
    bool made_up;           /* the tar does not hold the registry's manifest */
    size_t place;           /* among the images */
    unsigned walk;
    struct import_name *names;
    size_t name_count;
    struct import_way *aliases;
    size_t alias_count;
};

struct import_layer { /* what was seen of one that was unpacked */
    struct digest diff_id;
    enum layer_encoding encoding;
};

struct import {
    struct cachedir *cd;
    const struct cachedir_import_options *options;
    struct spool spool;
    struct import_image **images;
    size_t image_count;
    void *references; /* tsearch(3) tree of struct import_reference */
    int64_t room;     /* that its names take in index.json */
    int64_t read, steps;
    size_t child_count;
    unsigned walk;
};

void import_release(struct import *in);
/* What one thinks of that is no failure: through options->note. */
void import_note(const struct import *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* ERROR_INTERRUPTED when it is to stop. */
int import_go_on(const struct import *in, struct error *err);
/* spool_bytes(), counted. */
int import_read(struct import *in, const struct spooled *member, size_t max, char **ret,
                struct error *err);

/* Read a manifest or an index, if nobody did yet: then member->image or member->index says it. */
int import_understand(struct import *in, struct spooled *member, const char *media_type,
                      struct error *err);
/* The same of one that was read. */
int import_add_index(struct import *in, struct spooled *member, const struct manifest *m,
                     struct error *err);

/* `platform`: NULL: what the image's config says. `source` may be unset. */
int import_add_name(struct import *in, struct import_image *image, const char *reference,
                    const char *platform, const struct digest *source, struct error *err);

/* The children of an index are about to be looked at. */
int import_step(struct import *in, const struct import_index *index, struct error *err);
/* Do indexes in the tar lead from this digest down to the image? 1, 0, -1. */
int import_find_way(struct import *in, const struct digest *index, const struct import_image *image,
                    struct import_way *ret, struct error *err);
/* The entry stands under the digest of the way's first index, too; no second image does. */
int import_add_alias(struct import *in, struct import_image *image, const struct import_way *way,
                     struct error *err);

int import_layout(struct import *in, const struct spooled *index, struct error *err);
int import_archive(struct import *in, const struct spooled *json, struct error *err);
int import_single_layer(struct import *in, struct spooled *layer, struct error *err);
