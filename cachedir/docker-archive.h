/*
 * What a docker-archive says of itself: its manifest.json (moby's image/tarexport, as
 * go-containerregistry's tarball package reads and writes it), and the config's diff IDs. Pure:
 * bytes in, structure out. Where the members stand is tar.h's.
 */
#pragma once

#include "digest.h"
#include "error.h"
#include "manifest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCKER_ARCHIVE_JSON_MAX (8 << 20) /* 4096 layers, each in Layers and in LayerSources */

struct docker_source { /* one of LayerSources */
    struct digest diff_id, digest;
    int64_t size;
};

struct docker_archive { /* one image */
    char *config;       /* the members' names: foreign */
    char **layers;      /* in order, as they stand */
    size_t layer_count;
    char **tags; /* RepoTags; foreign */
    size_t tag_count;
    struct docker_source *sources;
    size_t source_count;
};

/* ERROR_PROTOCOL: no JSON, not exactly one image, no config, too many layers, a bad source. */
int docker_archive_parse(const void *bytes, size_t len, struct docker_archive *ret,
                         struct error *err);
/* The same of any number of images, owned. */
#define DOCKER_ARCHIVE_IMAGES_MAX 65536
int docker_archive_parse_all(const void *bytes, size_t len, struct docker_archive **ret,
                             size_t *ret_count, struct error *err);
void docker_archives_free(struct docker_archive *list, size_t count);
/* How the bytes of a layer are packed, by their magic, as the readers see it. */
enum layer_encoding { LAYER_PLAIN, LAYER_GZIP, LAYER_ZSTD };
#define LAYER_MAGIC_SIZE 4
enum layer_encoding layer_encoding(const void *bytes, size_t len);
/* Docker's media type of such a layer. */
const char *layer_encoding_type(enum layer_encoding encoding);

/*
 * What no reader could read: digests other than sha256, an image whose first layer is not
 * compressed while a later one is, diff IDs that are not one for each layer. ERROR_PROTOCOL, naming
 * the image `digest`. The first judges by media types, before any layer is here.
 */
int docker_archive_check(const struct manifest *m, const struct digest *digest, struct error *err);
int docker_archive_check_encodings(const enum layer_encoding *encodings, size_t count,
                                   const struct digest *digest, struct error *err);
int docker_archive_diff_ids(const void *config, size_t len, size_t layer_count, struct digest **ret,
                            struct error *err);

/*
 * What stands in our archives: every blob under blobs/sha256/<hex>, each once, and a source for
 * every layer, with Docker's media types: then readers neither hash the layers nor mix types in
 * what they build (go-containerregistry, pkg/v1/tarball). `diff_ids` and `encodings` have one
 * element a layer; `tag` may be NULL. Owned text.
 */
char *docker_archive_format(const struct manifest *m, const struct digest *diff_ids,
                            const enum layer_encoding *encodings, const char *tag);
/* The same of several images. */
struct docker_image {
    const struct manifest *manifest;
    const struct digest *diff_ids;
    const enum layer_encoding *encodings;
    const char *const *tags;
    size_t tag_count;
};
char *docker_archive_format_all(const struct docker_image *images, size_t count);
/* No text of it, whatever diff IDs, encodings and tag, is longer. */
size_t docker_archive_format_max(const struct manifest *m);

/* The source of a diff ID; NULL: none. */
const struct docker_source *docker_archive_source(const struct docker_archive *a,
                                                  const struct digest *diff_id);
void docker_archive_release(struct docker_archive *a);
#define cleanup_docker_archive __attribute__((cleanup(docker_archive_release)))

/* The digest that a member's name means, as we, go-containerregistry and docker name them; to be
 * believed only after hashing. */
bool docker_archive_digest(const char *name, struct digest *ret);
