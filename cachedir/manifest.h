/*
 * Manifests and indexes, OCI and Docker (OCI image-spec manifest.md, image-index.md; Docker
 * image manifest version 2, schema 2). A pure parser of hostile bytes: it looks at no disk and no
 * net, and the caller has hashed the bytes already.
 */
#pragma once

#include "digest.h"
#include "error.h"
#include "platform.h"

#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_SIZE_MAX (4 << 20) /* bytes (distribution-spec: registries should take 4 MiB) */
#define MANIFEST_LAYERS_MAX 4096
#define INDEX_CHILDREN_MAX 4096
#define INDEX_DEPTH_MAX 4 /* nested indexes */
#define DESCRIPTOR_SIZE_MAX (INT64_C(1) << 42)

#define MEDIA_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"

struct descriptor {   /* image-spec descriptor.md */
    char *media_type; /* never NULL; "" when absent; foreign text */
    struct digest digest;
    int64_t size; /* 0 <= size <= DESCRIPTOR_SIZE_MAX */
    bool has_platform;
    struct platform platform;
    char **urls; /* foreign layers: where else they may be had */
    size_t url_count;
    void *data; /* embedded content, when there and of the right size (not hashed yet); else NULL */
};

enum manifest_kind { MANIFEST_IMAGE = 1, MANIFEST_INDEX };

struct manifest {
    enum manifest_kind kind;
    const char *media_type;    /* one of the four constants above */
    struct descriptor config;  /* of an image */
    struct descriptor *layers; /* of an image, in order, duplicates as they stand */
    size_t layer_count;
    struct descriptor *children; /* of an index */
    size_t child_count;
};

/*
 * The type is the body's mediaType, else `content_type` (parameters ignored; may be NULL), else
 * what the shape says (config and layers, or manifests). When the body's type contradicts a
 * Content-Type that is one of the four: *ret_contradicts is set (may be NULL); the caller decides
 * (by digest a warning, by tag a refusal: distribution-spec, pulling manifests).
 * ERROR_PROTOCOL: not JSON, schema 1 ("rebuild it"), an artifact and no image, too many layers, a
 * bad descriptor; the message names which.
 */
int manifest_parse(const void *bytes, size_t len, const char *content_type, struct manifest *ret,
                   bool *ret_contradicts, struct error *err);

/*
 * The child that the builder picks for `want`: the first, in order, that platform_matches(); one
 * without a platform counts as linux/amd64. The child may itself be an index (see its media type):
 * then the caller selects again in there. NULL when there is none.
 */
const struct descriptor *manifest_select(const struct manifest *index, const struct platform *want);

/* "linux/amd64, linux/arm64/v8": what an index offers, for error messages: through text_foreign(),
 * "" when there is nothing to run. Owned. */
char *manifest_platforms(const struct manifest *index);

/* The constant above that has this text; NULL: none of the four. */
const char *media_type_known(const char *text);
bool media_type_is_index(const char *media_type);
bool media_type_is_image(const char *media_type);

void manifest_release(struct manifest *m);
void descriptor_copy(struct descriptor *to, const struct descriptor *from);
void descriptor_release(struct descriptor *d);
#define cleanup_manifest __attribute__((cleanup(manifest_release)))

/* The platform that an image's config names (image-spec config.md): what `list` shows and what an
 * image without an index is. ERROR_PROTOCOL when the bytes are no config. */
int config_platform(const void *bytes, size_t len, struct platform *ret, struct error *err);

/* The diff IDs in an image's config (image-spec config.md, rootfs.diff_ids): the digests of its
 * unpacked layers, in the manifest's order. Owned; NULL when it has none. ERROR_PROTOCOL when the
 * bytes are no config or name no list of digests. */
int config_diff_ids(const void *bytes, size_t len, struct digest **ret, size_t *ret_count,
                    struct error *err);
