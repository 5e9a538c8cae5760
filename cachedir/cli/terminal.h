/*
 * What the terminal at the other end can do. Asked anew at each call, since windows are resized.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A terminal that moves its cursor: not a file, a pipe or TERM=dumb. */
bool terminal_is_capable(int fd);
/* Colours are welcome: a capable terminal or `always`, and NO_COLOR (no-color.org) is not set. */
bool terminal_wants_color(int fd, bool always);
/* Its size. false: it is none, or does not say; then nothing is filled. */
bool terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows);

/* The text, with its middle replaced by ".." where it is wider than `columns`. Owned. */
char *terminal_shorten(const char *text, size_t columns);
