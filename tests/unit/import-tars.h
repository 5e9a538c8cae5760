/* What the tests of cachedir_import() share: tars of images, and whether they are taken. */
#pragma once

#include "archive-cache.h"
#include "layers.h"

int import_tar_fd(const void *bytes, size_t len);
/* *ret_note: the last thing noted, owned. */
int import_with(struct fixture *f, const struct bytes *tar, const char *name, char **ret_note,
                struct cachedir_import_result *ret, struct error *err);
void tar_add_blob(struct bytes *tar, const struct digest *digest, const char *content);
void tar_add_image(struct bytes *tar, const struct test_image *image);
/* An index.json of one image. Owned. */
char *layout_index(const struct test_image *image, const char *annotations);
/* The two files that make it a layout. */
void tar_add_index(struct bytes *tar, const char *index);
void expect_nothing(struct fixture *f, const char *what);
/* It is not taken, and nothing of it is left. */
void refuse(struct fixture *f, const char *what, const struct bytes *tar, enum error_kind kind,
            const char *says);

struct docker_tar { /* one image of one layer, made from a real tar */
    struct bytes layer;
    struct digest digest;
    char *config, *config_name;
};

void docker_tar_make(struct docker_tar *d);
void docker_tar_free(struct docker_tar *d);
/* With the end mark. */
void tar_add_docker(struct bytes *tar, const struct docker_tar *d, const char *layer_name,
                    const char *json);
