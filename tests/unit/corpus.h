/*
 * tests/corpus/NAME: files that a parser must refuse, each with a reason, or read rightly.
 */
#pragma once

#include <stddef.h>

/* For each file of the directory below tests/corpus/ call `check` with its content (a NUL behind
 * it). Fails the test when there is none. Returns their number. */
size_t corpus_each(const char *directory,
                   void (*check)(const char *file, const char *bytes, size_t len));

/* One file below tests/corpus/, with a NUL behind it. Owned. */
char *corpus_read(const char *path);
