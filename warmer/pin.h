/*
 * --pinned-dockerfile: the Dockerfile again, with every image that was warmed for it pinned to the
 * digest of its platform's manifest, which is what the builder asks its --cache-dir for.
 */
#pragma once

#include "dockerfile.h"
#include "report.h"

struct pin { /* what is kept of the Dockerfile until the digests are known */
    char *bytes;
    size_t len;
    char *origin;   /* its name, as safe text */
    char *platform; /* whose digests are wanted, as the report names it */
    struct dockerfile parsed;
};
void pin_free(struct pin *p); /* takes NULL */

/*
 * Write it, by a rename. Nothing is written when an image was not warmed: the error, of the kind
 * of what befell it, names the line. `report` must hold all images; NULL: there were none.
 */
int pin_write(const struct pin *p, struct report *report, const char *path, struct error *err);
