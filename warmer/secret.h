/*
 * Secrets in memory: strings that are wiped when they are freed, and files that hold them.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>

#define SECRET_FILE_BYTES_MAX (1 << 20)

/* Free a string and what it says. Takes NULL. */
void secret_free(char *text);
static inline void secret_free_p_(char **text)
{
    secret_free(*text);
}
#define cleanup_secret __attribute__((cleanup(secret_free_p_)))

/* From now on all that jansson frees is wiped: it keeps copies of every string. Before there are
 * threads; again does nothing. (What it had before came from malloc, too.) */
void secret_json_memory(void);

/* Base64 as shells wrap it, with or without its padding; NULs at the end are stripped. NULL when it
 * is not that, or holds a NUL elsewhere. A secret. */
char *secret_base64(const char *text);

/* A whole file, followed through links, or a pipe. */
struct secret_file {
    char *bytes; /* `len` bytes and a NUL behind them; NULL: the file was not there */
    size_t len;
    bool regular;  /* it can be read again */
    unsigned mode; /* st_mode's permissions */
};
/*
 * ERROR_CONFIG, with the path before it: it cannot be opened or read, is a directory, or is longer
 * than SECRET_FILE_BYTES_MAX. A file that is not there is no failure.
 */
int secret_file_read(const char *path, struct secret_file *ret, struct error *err);
void secret_file_release(struct secret_file *f);
#define cleanup_secret_file __attribute__((cleanup(secret_file_release)))

/* A regular file that everybody on the machine may read: words of warning, owned. Else NULL. */
char *secret_file_exposed(const struct secret_file *f, const char *path);
