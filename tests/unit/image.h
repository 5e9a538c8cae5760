/*
 * An image made up in memory, for tests of the store: a config, layers, and the manifest that names
 * them. No registry involved: image_fill() plays the network.
 */
#pragma once

#include "cachedir/cachedir.h"

struct test_image {
    char *manifest;
    size_t manifest_len;
    struct digest digest;
    char **blobs; /* config first */
    size_t *sizes;
    struct descriptor *descriptors;
    size_t count;
};

/* `layers` are contents; the same content makes the same layer. docker: Docker's media types. */
void test_image_make(struct test_image *image, const char *architecture, const char *const *layers,
                     size_t count, bool docker);
void test_image_free(struct test_image *image);

/* Warm it: stage, take what is there, write the rest, publish. Returns how many blobs had to be
 * written, or -1. */
int test_image_warm(struct cachedir *cd, const struct test_image *image, bool distrust,
                    struct error *err);

/* An empty directory under $TMPDIR; removed by test_directory_remove(). */
char *test_directory_make(void);
void test_directory_remove(char *path);
