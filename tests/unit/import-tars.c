#include "import-tars.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

int import_tar_fd(const void *bytes, size_t len)
{
    int fd = memfd_create("tar", MFD_CLOEXEC);
    if (fd < 0 || fs_write_all(fd, bytes, len) < 0 || lseek(fd, 0, SEEK_SET) != 0)
        fail_msg("memfd: %s", strerror(errno));
    return fd;
}

static void note(void *userdata, const char *line)
{
    char **last = userdata;
    free(*last);
    *last = xstrdup(line);
}

int import_with(struct fixture *f, const struct bytes *tar, const char *name, char **ret_note,
                struct cachedir_import_result *ret, struct error *err)
{
    const struct cachedir_import_options options = {
        .name = name, .note = ret_note ? note : NULL, .userdata = ret_note};
    cleanup_close int fd = import_tar_fd(tar->data, tar->len);
    return cachedir_import(f->cd, &options, fd, ret, err);
}

void tar_add_blob(struct bytes *tar, const struct digest *digest, const char *content)
{
    cleanup_free char *name = xasprintf("blobs/sha256/%s", digest_hex(digest));
    tar_add_file(tar, name, content);
}

void tar_add_image(struct bytes *tar, const struct test_image *image)
{
    tar_add_blob(tar, &image->digest, image->manifest);
    for (size_t i = 0; i < image->count; i++)
        tar_add_blob(tar, &image->descriptors[i].digest, image->blobs[i]);
}

char *layout_index(const struct test_image *image, const char *annotations)
{
    return xasprintf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
                     "\"size\":%zu,\"annotations\":{%s}}]}",
                     MEDIA_OCI_MANIFEST, image->digest.text, image->manifest_len, annotations);
}

void tar_add_index(struct bytes *tar, const char *index)
{
    tar_add_file(tar, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    tar_add_file(tar, "index.json", index);
}

void expect_nothing(struct fixture *f, const char *what)
{
    struct cachedir_entry *list;
    size_t count;
    struct error err = {0};
    assert_ok(cachedir_list(f->cd, &list, &count, &err));
    cachedir_entries_free(list, count);
    if (count > 0 || count_names(f, ".basewarm/stage") > 0 ||
        count_names(f, ".basewarm/partial") > 0)
        fail_msg("%s: something was left", what);
}

void refuse(struct fixture *f, const char *what, const struct bytes *tar, enum error_kind kind,
            const char *says)
{
    struct cachedir_import_result result;
    cleanup_error struct error err = {0};
    if (import_with(f, tar, NULL, NULL, &result, &err) == 0)
        fail_msg("%s: it was taken", what);
    if (err.kind != kind || !strstr(err.message, says))
        fail_msg("%s: kind %d, not %d: %s", what, err.kind, kind, err.message);
    expect_nothing(f, what);
}

void docker_tar_make(struct docker_tar *d)
{
    *d = (struct docker_tar){0};
    tar_add_three(&d->layer);
    tar_add_end(&d->layer);
    digest_of(d->layer.data, d->layer.len, &d->digest);
    struct digest config;
    d->config = xasprintf("{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":"
                          "\"layers\",\"diff_ids\":[\"%s\"]}}",
                          d->digest.text);
    digest_of(d->config, strlen(d->config), &config);
    d->config_name = xasprintf("%s.json", digest_hex(&config));
}

void docker_tar_free(struct docker_tar *d)
{
    bytes_release(&d->layer);
    free(d->config);
    free(d->config_name);
}

void tar_add_docker(struct bytes *tar, const struct docker_tar *d, const char *layer_name,
                    const char *json)
{
    tar_add_file(tar, d->config_name, d->config);
    tar_add_member(tar, layer_name, '0', d->layer.data, d->layer.len);
    tar_add_file(tar, "manifest.json", json);
    tar_add_end(tar);
}
