/*
 * Dockerfiles: from which images does a build start? Pure.
 *
 * They are read as BuildKit reads them (moby/buildkit, frontend/dockerfile), whose parser is
 * kaniko's, too: parser directives, continuations, comments, heredocs, quotes, the whole of
 * ${variable:-word}. Where kaniko does otherwise than BuildKit with what was parsed, kaniko counts,
 * because it is kaniko that will ask for the image:
 *
 *     --platform      of FROM is not followed; a warning names the line
 *     BUILD*, TARGET* have no value in FROM unless --build-arg gives one
 *     --build-arg     counts for FROM whether ARG declares it or not, and an empty one leaves the
 *                     default as it is
 *     FROM NAME       is the first stage before it that is called so, whatever the case
 *
 * An ARG without a value is empty, and a warning names the line; it is an error when what remains
 * is no reference.
 *
 *     FROM            is a base: the builder looks for it in its --cache-dir
 *     COPY --from     and RUN --mount=from, where they name no stage, are images that kaniko never
 *                     looks for there: they are of use only for pinning
 *     ONBUILD         is for the builds that start from this one; of use only for the stages that
 *                     a stage needs
 */
#pragma once

#include "cachedir/digest.h"

#include <stdbool.h>
#include <stddef.h>

#define DOCKERFILE_SIZE_MAX (4 << 20)
#define DOCKERFILE_LINE_MAX 65535       /* bytes, as in BuildKit */
#define DOCKERFILE_VALUE_MAX (64 << 10) /* bytes of a value: ARG B=$A$A, ARG C=$B$B, ... */
#define DOCKERFILE_NESTING_MAX 100      /* of ${a:-${b:-...}} */
#define DOCKERFILE_ARGS_MAX 1000        /* before the first FROM */
#define DOCKERFILE_STAGES_MAX 1000
#define DOCKERFILE_MESSAGES_MAX 50             /* that are kept */
#define DOCKERFILE_WORK_MAX (INT64_C(1) << 26) /* steps of what is not linear */

enum dockerfile_use { DOCKERFILE_FROM, DOCKERFILE_COPY, DOCKERFILE_MOUNT };
const char *dockerfile_use_name(enum dockerfile_use use); /* "FROM", "COPY --from=", ... */

struct dockerfile_image {
    enum dockerfile_use use;
    size_t line; /* the first of the instruction */
    char *text;  /* the reference, with all variables in place: reference_parse() takes it */
    /* Where it is written: bytes [start, end). Both 0 where it is written so that it cannot be
     * replaced: with quotes or escapes within. */
    size_t start, end;
};

struct dockerfile_message {
    size_t line; /* 0: of the whole file */
    bool error;
    char *text; /* safe to print */
};

struct dockerfile_options {
    char **build_args;  /* "NAME=VALUE", NULL-terminated; NULL: none */
    const char *target; /* only what this stage needs; NULL: what any stage needs */
};

struct dockerfile { /* all in the order of the lines */
    struct dockerfile_image *images;
    size_t count;
    struct dockerfile_message *messages;
    size_t message_count;
    size_t errors; /* 0: the Dockerfile is good, as far as we look */
};

/* *ret is filled in any case, and to be released. */
void dockerfile_parse(const char *bytes, size_t len, const struct dockerfile_options *options,
                      struct dockerfile *ret);
void dockerfile_release(struct dockerfile *d);
#define cleanup_dockerfile __attribute__((cleanup(dockerfile_release)))

/*
 * The bytes again with each image pinned to digests[i]: "debian:12" becomes
 * "debian:12@sha256:...", and all other bytes stay as they are. An image without a digest, or one
 * that cannot be replaced, stays as it is. Owned.
 */
char *dockerfile_pin(const char *bytes, size_t len, const struct dockerfile *d,
                     const struct digest *digests, size_t *ret_len);
