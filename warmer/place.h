/*
 * Places: where a reference may be had, in the order in which kaniko's executor asks
 * (pkg/image/remote/remote.go): the registries that --registry-map and --registry-mirror name for
 * the reference's own, as listed, then, unless that is switched off, its own. Pure.
 *
 * The reference is complete before it is mapped: "debian" at a mirror "corp/hub" is
 * corp/hub/library/debian. Two things differ from the executor, on purpose: docker.io in a map is
 * Docker Hub under any of its names, and a prefix with a dot stays a prefix (the executor takes
 * "quay.io=corp/quay.io" for a way back to quay.io).
 */
#pragma once

#include "cachedir/error.h"
#include "cachedir/reference.h"

#include <stdbool.h>
#include <stddef.h>

#define PLACES_MAX 64 /* of one reference */

struct place {
    char *registry;   /* as options and credentials name it: "docker.io", "mirror.corp:5000" */
    char *authority;  /* what is connected to: the same, but "registry-1.docker.io" for the Hub */
    char *repository; /* "hub/library/debian" */
    bool mapped;      /* not the reference's own registry */
};

struct place_rule {
    char *from;     /* a registry */
    char *registry; /* the one that stands in for it */
    char *prefix;   /* "" or "a/b/" */
};

struct place_map {
    struct place_rule *rules;
    size_t count;
    bool skip_default_fallback; /* a registry that is mapped is not asked itself */
};

/* "A=B[/prefix][;C=D...]". ERROR_USAGE quotes the culprit; the map may then hold a part. */
int place_map_add(struct place_map *map, const char *text, struct error *err);
/* The same as "docker.io=<mirror>". */
int place_map_add_mirror(struct place_map *map, const char *mirror, struct error *err);
void place_map_release(struct place_map *map);
#define cleanup_place_map __attribute__((cleanup(place_map_release)))

/* At least one. Owned. */
void places_for(const struct place_map *map, const struct reference *ref, struct place **ret,
                size_t *ret_count);
void places_free(struct place *list, size_t count);

/*
 * A registry's name as it stands in an option's value: no scheme, no path. ERROR_USAGE. *ret is
 * owned; Docker Hub's three names become docker.io.
 */
int place_registry_parse(const char *text, char **ret, struct error *err);

/* Would kaniko try plain HTTP for this registry without being told to? localhost, 127/8, ::1,
 * RFC 1918's addresses, *.local, *.localhost; with or without a port. */
bool place_is_local(const char *registry);
