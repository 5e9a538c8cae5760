/*
 * Inside cachedir_import(): what a tar holds, found and proven before anything is published.
 *
 *     spool --> import-layout.c  (index.json)     --\
 *           --> import-docker.c  (manifest.json)  ---> list of images --> import.c publishes
 *           --> import-docker.c  (a bare layer)   --/
 */
#pragma once

#include "alias.h"
#include "spool.h"

#define IMPORT_IMAGES_MAX 65536
#define IMPORT_NAMES_MAX (1 << 18)

struct import_name {
    char *reference;
    char *platform;       /* NULL: what the config says */
    struct digest source; /* what the reference itself was; unset: not proven */
};

struct import_image { /* a manifest, hashed and parsed */
    struct digest digest;
    char *bytes;
    size_t len;
    struct manifest manifest;
    char *platform; /* as its config says; NULL: it does not */
    bool made_up;   /* the tar does not hold the registry's manifest */
    struct import_name *names;
    size_t name_count;
    struct alias *aliases;
    size_t alias_count;
};

struct import_document { /* a manifest or index among a docker-archive's blobs */
    const struct spooled *member;
    struct manifest manifest;
};

struct import {
    struct cachedir *cd;
    const struct cachedir_import_options *options;
    struct spool spool;
    struct import_image *images;
    size_t image_count, name_count;
    struct import_document *documents;
    size_t document_count;
};

/* What one thinks of that is no failure: through options->note. */
void import_note(const struct import *in, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The image of these bytes, which are handed over (also on failure), new or known; NULL. */
struct import_image *import_add_image(struct import *in, const struct digest *digest, char *bytes,
                                      size_t len, const char *media_type, struct error *err);
/* ERROR_PROTOCOL: too many. `platform` may be NULL; `source` may be unset. */
int import_add_name(struct import *in, size_t image, const char *reference, const char *platform,
                    const struct digest *source, struct error *err);
/* The indexes in the tar that lead from one digest down to another: 1, 0 none do, -1. */
int import_find_way(const struct import *in, const struct digest *index,
                    const struct digest *manifest, struct alias *ret, struct error *err);
/* The member of a layout's blob; NULL: it is not in the tar. */
const struct spooled *import_blob(const struct import *in, const struct digest *digest);

int import_layout(struct import *in, const struct spooled *index, struct error *err);
int import_archive(struct import *in, const struct spooled *json, struct error *err);
int import_single_layer(struct import *in, const struct spooled *layer, struct error *err);
