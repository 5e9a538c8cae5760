/* Tar files made in memory, as kaniko's warmer and others write them. */
#pragma once

#include "image.h"

#include <stddef.h>

struct test_tar;
/* "ustar", "gnutar" or "pax". */
struct test_tar *test_tar_new(const char *format);
void test_tar_add(struct test_tar *t, const char *name, const void *bytes, size_t len);
void test_tar_add_link(struct test_tar *t, const char *name, const char *target);
/* Ends it; owned. */
char *test_tar_end(struct test_tar *t, size_t *ret_len);

/* What go-containerregistry's tarball.Write makes of an image: config, layers, manifest.json. */
char *test_tar_of_image(const struct test_image *image, size_t *ret_len);
