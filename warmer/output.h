/*
 * Files that are written for others at the end of a run: --report, --metrics-file,
 * --pinned-dockerfile. Whoever reads them sees the old file or the new one, never a half.
 */
#pragma once

#include "cachedir/error.h"

#include <stddef.h>

/*
 * Write `path`: by a rename beside it (through a symlink, not over it; a file that is there keeps
 * its mode), or, where it is a device or a pipe, into it as it stands. Messages begin with `what`
 * and the path.
 */
int output_write(const char *what, const char *path, const char *bytes, size_t len,
                 struct error *err);

/* Beforehand, as far as that can be known: is it worth an hour's work to be told of it there? */
int output_check(const char *what, const char *path, struct error *err);
