#include "image.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>

static void add_blob(struct test_image *image, const char *media_type, const char *bytes)
{
    size_t blobs = image->count, sizes = image->count;
    *array_add(image->blobs, blobs) = xstrdup(bytes);
    *array_add(image->sizes, sizes) = strlen(bytes);
    struct descriptor *d = array_add(image->descriptors, image->count);
    d->media_type = xstrdup(media_type);
    d->size = (int64_t)strlen(bytes);
    digest_of(bytes, strlen(bytes), &d->digest);
}

static json_t *descriptor_json(const struct descriptor *d)
{
    return json_pack("{s:s, s:s, s:I}", "mediaType", d->media_type, "digest", d->digest.text,
                     "size", (json_int_t)d->size);
}

void test_image_make(struct test_image *image, const char *architecture, const char *const *layers,
                     size_t count, bool docker)
{
    *image = (struct test_image){0};
    json_t *ids = json_array();
    for (size_t i = 0; i < count; i++) { /* as if no layer were compressed */
        struct digest id;
        digest_of(layers[i], strlen(layers[i]), &id);
        (void)json_array_append_new(ids, json_string(id.text));
    }
    json_t *json = json_pack("{s:s, s:s, s:{s:s, s:o}}", "os", "linux", "architecture",
                             architecture, "rootfs", "type", "layers", "diff_ids", ids);
    cleanup_free char *config = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    add_blob(image,
             docker ? "application/vnd.docker.container.image.v1+json"
                    : "application/vnd.oci.image.config.v1+json",
             config);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        add_blob(image,
                 docker ? "application/vnd.docker.image.rootfs.diff.tar.gzip"
                        : "application/vnd.oci.image.layer.v1.tar+gzip",
                 layers[i]);
        json_array_append_new(list, descriptor_json(&image->descriptors[image->count - 1]));
    }
    json_t *manifest = json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
                                 docker ? MEDIA_DOCKER_MANIFEST : MEDIA_OCI_MANIFEST, "config",
                                 descriptor_json(&image->descriptors[0]), "layers", list);
    image->manifest = json_dumps(manifest, JSON_COMPACT);
    image->manifest_len = strlen(image->manifest);
    digest_of(image->manifest, image->manifest_len, &image->digest);
    json_decref(manifest);
}

void test_image_free(struct test_image *image)
{
    for (size_t i = 0; i < image->count; i++) {
        free(image->blobs[i]);
        descriptor_release(&image->descriptors[i]);
    }
    free(image->blobs);
    free(image->sizes);
    free(image->descriptors);
    free(image->manifest);
}

static int fill(struct cachedir_stage *stage, const struct descriptor *blob, const char *bytes,
                struct error *err)
{
    struct cachedir_blob *file;
    int64_t start, end;
    if (cachedir_blob_open(stage, blob, false, &file, err) < 0)
        return -1;
    int r = 0;
    while (r == 0 && cachedir_blob_gap(file, 0, &start, &end))
        r = cachedir_blob_write(file, start, bytes + start, (size_t)(end - start), err);
    if (r == 0)
        r = cachedir_blob_commit(file, err);
    cachedir_blob_close(file);
    return r;
}

int test_image_warm(struct cachedir *cd, const struct test_image *image, bool distrust,
                    struct error *err)
{
    struct cachedir_stage *stage;
    int written = 0;
    if (cachedir_stage_new(cd, &image->digest, NULL, image->manifest, image->manifest_len,
                           "test/image:1", distrust, &stage, err) < 0)
        return -1;
    for (size_t i = 0; i < image->count && written >= 0; i++) {
        int taken = cachedir_stage_take(stage, &image->descriptors[i], err);
        if (taken == 0 && fill(stage, &image->descriptors[i], image->blobs[i], err) == 0) {
            written++;
            taken = cachedir_stage_take(stage, &image->descriptors[i], err);
        }
        if (taken <= 0)
            written = -1;
    }
    if (written >= 0 && cachedir_stage_publish(stage, err) < 0)
        written = -1;
    cachedir_stage_free(stage);
    return written;
}

char *test_directory_make(void)
{
    const char *above = getenv("TMPDIR");
    char *path = xasprintf("%s/basewarm-test-XXXXXX", above ? above : "/tmp");
    if (!mkdtemp(path))
        abort();
    return path;
}

void test_directory_remove(char *path)
{
    /* fs.h's functions take names below a directory, never an absolute path. */
    cleanup_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_names char **names = NULL;
    size_t count = 0;
    if (dir < 0 || fs_names(dir, &names, &count) < 0)
        abort();
    for (size_t i = 0; i < count; i++)
        if (fs_remove(dir, names[i]) < 0)
            abort();
    if (rmdir(path) < 0)
        abort();
    free(path);
}
