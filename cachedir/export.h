/* Inside cachedir_export(): what is to be written (export.c), and the document at the head of the
 * tar that describes it (export-head.c). */
#pragma once

#include "names.h"

/* An annotation beside those in names.h. */
#define EXPORT_ALIAS_KEY "dev.basewarm.alias." /* + hex of an index: the manifest */

struct export_image { /* one entry */
    struct cachedir_entry entry;
    char *bytes; /* its manifest's */
    size_t len;
    struct manifest manifest;
    const char **wanted; /* references that it was selected by; NULL: all of its own. Borrowed */
    size_t wanted_count;
    struct alias *aliases;
    size_t alias_count;
    bool is_named;
};

struct export_name { /* one reference that leads to one of them */
    char *reference;
    char *platform;
    size_t image;
    struct digest source; /* unset: nothing proves it */
};

struct export_item { /* one blob */
    struct digest digest;
    int64_t size;
    char *bytes;                /* owned; NULL: it is in the directory: */
    const struct digest *entry; /* in this entry, */
    const struct cachedir_blob_info *blob;
    bool is_duplicate;
};

struct export_plan {
    struct export_image *images; /* by digest */
    size_t image_count;
    struct export_name *names; /* by reference and platform */
    size_t name_count;
    struct export_item *items; /* in the order in which they are written */
    size_t item_count;
    char *head; /* index.json or manifest.json */
};

struct export_item *export_add_item(struct export_plan *p, const struct digest *digest);
void export_plan_release(struct export_plan *p);

/* Fill p->head; and, where one reference has several platforms, an item: an index that joins them.
 */
int export_describe_layout(struct export_plan *p, struct error *err);
int export_describe_archive(struct cachedir *cd, struct export_plan *p, struct error *err);
