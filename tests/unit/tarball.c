#include "tarball.h"

#include "cachedir/alloc.h"

#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <string.h>

struct test_tar {
    struct archive *archive;
    char *bytes;
    size_t len;
};

static la_ssize_t collect(struct archive *a, void *userdata, const void *bytes, size_t len)
{
    struct test_tar *t = userdata;
    (void)a;
    t->bytes = xreallocarray(t->bytes, t->len + len, 1);
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return (la_ssize_t)len;
}

static void must(struct test_tar *t, int result)
{
    if (result == ARCHIVE_OK)
        return;
    fprintf(stderr, "%s\n", archive_error_string(t->archive));
    abort();
}

struct test_tar *test_tar_new(const char *format)
{
    struct test_tar *t = xcalloc(1, sizeof *t);
    t->archive = archive_write_new();
    must(t, archive_write_set_format_by_name(t->archive, format));
    must(t, archive_write_set_bytes_per_block(t->archive, 0));
    must(t, archive_write_open(t->archive, t, NULL, collect, NULL));
    return t;
}

static struct archive_entry *new_entry(const char *name, size_t size)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_mode(entry, AE_IFREG | 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    return entry;
}

void test_tar_add(struct test_tar *t, const char *name, const void *bytes, size_t len)
{
    struct archive_entry *entry = new_entry(name, len);
    must(t, archive_write_header(t->archive, entry));
    if (archive_write_data(t->archive, bytes, len) != (la_ssize_t)len)
        abort();
    must(t, archive_write_finish_entry(t->archive));
    archive_entry_free(entry);
}

void test_tar_add_link(struct test_tar *t, const char *name, const char *target)
{
    struct archive_entry *entry = new_entry(name, 0);
    archive_entry_set_filetype(entry, AE_IFLNK);
    archive_entry_set_symlink(entry, target);
    must(t, archive_write_header(t->archive, entry));
    archive_entry_free(entry);
}

char *test_tar_end(struct test_tar *t, size_t *ret_len)
{
    must(t, archive_write_close(t->archive));
    must(t, archive_write_free(t->archive));
    char *bytes = t->bytes;
    *ret_len = t->len;
    free(t);
    return bytes;
}

static char *layer_name(const struct test_image *image, size_t blob)
{
    return xasprintf("%s.tar.gz", digest_hex(&image->descriptors[blob].digest));
}

char *test_tar_of_image(const struct test_image *image, size_t *ret_len)
{
    struct test_tar *t = test_tar_new("ustar");
    json_t *layers = json_array();
    test_tar_add(t, image->descriptors[0].digest.text, image->blobs[0], image->sizes[0]);
    for (size_t i = 1; i < image->count; i++) {
        cleanup_free char *name = layer_name(image, i);
        test_tar_add(t, name, image->blobs[i], image->sizes[i]);
        (void)json_array_append_new(layers, json_string(name));
    }
    json_t *json = json_pack("[{s:s, s:[s], s:o}]", "Config", image->descriptors[0].digest.text,
                             "RepoTags", "registry.example.org/test/image:1", "Layers", layers);
    cleanup_free char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    test_tar_add(t, "manifest.json", text, strlen(text));
    return test_tar_end(t, ret_len);
}
