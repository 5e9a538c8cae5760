/*
 * Aliases: entries under the digest of an index that leads to their manifest.
 *
 *     sha256:<index>             the entry of the manifest once more: in format oci a directory of
 *                                hard links, in docker-archive a hard link to the archive
 *     .basewarm/aliases/<hex>    why it may stand there: {"manifest": "sha256:...", "indexes":
 *                                ["<bytes of the index>", "<of one within it>", ...]}
 *
 * The record comes before the entry and goes after it. An entry that holds another manifest than
 * its name says, without a record that proves it, is broken.
 */
#pragma once

#include "store.h"

struct alias {
    struct digest index, manifest;
    char **indexes; /* their bytes, the outermost first; NUL-terminated, and without NUL */
    size_t index_count;
};

/* What is recorded under an index's digest, with its proof looked at: 1, 0 nothing that holds, -1.
 */
int alias_read(struct cachedir *cd, const struct digest *index, struct alias *ret,
               struct error *err);
void alias_release(struct alias *alias);
#define cleanup_alias __attribute__((cleanup(alias_release)))

/* Do these bytes lead from the index down to the manifest? ERROR_DIGEST, ERROR_PROTOCOL. */
int alias_prove(const struct digest *index, const struct digest *manifest,
                const struct cachedir_bytes *indexes, size_t count, struct error *err);

/* Make the alias anew, from the entry that stands. */
int alias_publish(struct cachedir *cd, const struct alias *alias, struct error *err);
/* Is the alias what it should be? In format docker-archive: the very file (a copy is made again).
 */
bool alias_follows(struct cachedir *cd, const struct digest *index, const struct digest *manifest);
/* What was made of an entry was made anew: its aliases follow. */
int aliases_mend(struct cachedir *cd, const struct digest *manifest, struct error *err);
/* An entry of this name is gone: its record goes, if it has one. */
int alias_forget(struct cachedir *cd, const char *entry, struct error *err);

void aliases_release(struct cachedir *cd); /* of cachedir_close() */
