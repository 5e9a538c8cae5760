/*
 * index.json at the root, between the file that reads and merges it (names.c) and the one that
 * knows what a line of it is (names-descriptor.c).
 */
#pragma once

#include "store.h"

/* Annotations of ours: behind each, the platform. An export has the first two. */
#define MANIFEST_KEY "dev.basewarm.manifest." /* the manifest */
#define SOURCE_KEY "dev.basewarm.source."     /* what the reference itself was */
#define CHECKED_KEY "dev.basewarm.checked."   /* when the registry said so */

struct standing {   /* the descriptors in index.json, and what they may name */
    char **entries; /* the names in the root, sorted: one look at the directory, where a look at
                       each entry would hold the lock for seconds on a network file system */
    size_t entry_count;
    json_t *others; /* an array of those that are not ours */
    json_t *ours;   /* an object: each under its reference */
    json_t *said;   /* an object: the references of which this process said something since */
};

void names_standing_release(struct standing *s);

/* index.json overlaid with what this process said, sorted; `ret` (empty; may be NULL) gets the
 * descriptors, to be released even after an error. */
int names_read_all(struct cachedir *cd, struct cachedir_name **list, size_t *count,
                   struct standing *ret, struct error *err);
/* Is there an entry of this digest? `entries`: see struct standing. */
bool names_has_entry(char *const *entries, size_t count, const struct digest *digest);
/*
 * The descriptor of one reference as it is to be, of list[0..count), which all have it: as it
 * stands, if it may. NULL and no error: nothing of it is here any more.
 */
json_t *names_descriptor(struct cachedir *cd, const struct cachedir_name *list, size_t count,
                         const struct standing *standing, struct error *err);
