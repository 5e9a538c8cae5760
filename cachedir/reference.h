/*
 * Image references, read as go-containerregistry's name.ParseReference (weak validation) reads
 * them, since that is what the builder does with the FROM line:
 *
 *     debian                        docker.io/library/debian:latest
 *     user/app:1.2                  docker.io/user/app:1.2
 *     localhost/app                 localhost/app:latest        (a first part with '.', ':' or
 *     [::1]:5000/app@sha256:..      [::1]:5000/app@sha256:..     "localhost" is a registry)
 *     host/app:1.2@sha256:..        pinned: the tag is kept for people and ignored otherwise
 *
 * index.docker.io, registry-1.docker.io and docker.io are one registry, written docker.io.
 *
 * Stricter than the builder where no registry could answer: "." and ".." and empty parts of a name,
 * a registry's name that no resolver could look up. Both forms, `name` and `familiar`, read back as
 * the same reference.
 */
#pragma once

#include "digest.h"
#include "error.h"

#define REFERENCE_MAX 1024 /* bytes of a reference that anything here looks at */

struct reference {
    char *registry;       /* "docker.io", "localhost:5000", "[::1]:5000" */
    char *repository;     /* "library/debian" */
    char *tag;            /* NULL when pinned without a tag; "latest" when neither was given */
    struct digest digest; /* unset unless pinned */
    char *name;     /* the full name: registry/repository[:tag][@digest]; the key in index.json */
    char *familiar; /* the short name that people type: "debian:bookworm", "user/app:1" */
};

/* ERROR_USAGE says what is wrong and quotes the culprit. `text` may be hostile. */
int reference_parse(const char *text, struct reference *ret, struct error *err);
bool reference_is_pinned(const struct reference *r);
void reference_copy(struct reference *to, const struct reference *from);
void reference_release(struct reference *r);
#define cleanup_reference __attribute__((cleanup(reference_release)))
