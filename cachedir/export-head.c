#include "alias.h"
#include "alloc.h"
#include "docker-archive.h"
#include "export.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Sorted, so that only the content decides about the bytes. Drops the reference. Owned. */
static char *dump(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        abort(); /* out of memory: all of it was parsed, or passed text_foreign() */
    json_decref(json);
    return text;
}

/* ---- an OCI layout ---- */

static json_t *descriptor_of(const struct export_image *image)
{
    const struct platform *p = &image->entry.platform;
    json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType", image->manifest.media_type, "digest",
                          image->entry.digest.text, "size", (json_int_t)image->len);
    if (!d || !p->os)
        return d;
    json_t *platform = json_pack("{s:s, s:s}", "architecture", p->architecture, "os", p->os);
    if (platform && p->variant)
        (void)json_object_set_new(platform, "variant", json_string(p->variant));
    (void)json_object_set_new(d, "platform", platform);
    return d;
}

static void annotate(json_t *annotations, const char *key, const char *of, const char *value)
{
    cleanup_free char *whole = xasprintf("%s%s", key, of);
    (void)json_object_set_new(annotations, whole, json_string(value));
}

static void annotate_aliases(json_t *annotations, const struct export_image *image)
{
    for (size_t i = 0; i < image->alias_count; i++)
        annotate(annotations, EXPORT_ALIAS_KEY, digest_hex(&image->aliases[i].index),
                 image->entry.digest.text);
}

static void annotate_name(json_t *annotations, const struct export_plan *p,
                          const struct export_name *name)
{
    const struct export_image *image = &p->images[name->image];
    annotate_aliases(annotations, image);
    annotate(annotations, MANIFEST_KEY, name->platform, image->entry.digest.text);
    if (digest_is_set(&name->source))
        annotate(annotations, SOURCE_KEY, name->platform, name->source.text);
}

/* Of several platforms: an index of ours that names just those. */
static json_t *joined(struct export_plan *p, json_t *manifests)
{
    char *text = dump(json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX,
                                "manifests", manifests));
    const size_t len = strlen(text);
    struct digest digest;
    digest_of(text, len, &digest);
    struct export_item *item = export_add_item(p, &digest);
    item->bytes = text;
    item->size = (int64_t)len;
    return json_pack("{s:s, s:s, s:I}", "mediaType", MEDIA_OCI_INDEX, "digest", digest.text, "size",
                     (json_int_t)len);
}

/* The descriptor of one reference: names [first, past) are of it. */
static json_t *reference_json(struct export_plan *p, size_t first, size_t past)
{
    cleanup_json json_t *manifests = json_array(), *annotations = json_object();
    (void)json_object_set_new(annotations, STORE_REF_NAME, json_string(p->names[first].reference));
    for (size_t i = first; i < past; i++) {
        bool again = false;
        for (size_t j = first; j < i && !again; j++)
            again = p->names[j].image == p->names[i].image;
        if (!again)
            (void)json_array_append_new(manifests, descriptor_of(&p->images[p->names[i].image]));
        annotate_name(annotations, p, &p->names[i]);
    }
    json_t *d = json_array_size(manifests) == 1 ? json_incref(json_array_get(manifests, 0))
                                                : joined(p, manifests);
    (void)json_object_set(d, "annotations", annotations);
    return d;
}

int export_describe_layout(struct export_plan *p, struct error *err)
{
    json_t *manifests = json_array();
    (void)err; /* nothing here can fail but memory */
    for (size_t i = 0, past; i < p->name_count; i = past) {
        for (past = i + 1;
             past < p->name_count && strcmp(p->names[past].reference, p->names[i].reference) == 0;)
            past++;
        (void)json_array_append_new(manifests, reference_json(p, i, past));
    }
    for (size_t i = 0; i < p->image_count; i++) {
        if (p->images[i].is_named)
            continue;
        json_t *d = descriptor_of(&p->images[i]), *annotations = json_object();
        annotate_aliases(annotations, &p->images[i]);
        if (json_object_size(annotations) > 0)
            (void)json_object_set(d, "annotations", annotations);
        json_decref(annotations);
        (void)json_array_append_new(manifests, d);
    }
    p->head = dump(json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX,
                             "manifests", manifests));
    return 0;
}

/* ---- a docker-archive ---- */

/* How the bytes of each layer are packed. */
static int read_encodings(struct cachedir *cd, const struct export_image *image,
                          enum layer_encoding *ret, struct error *err)
{
    const struct manifest *m = &image->manifest;
    for (size_t i = 0; i < m->layer_count; i++) {
        char magic[LAYER_MAGIC_SIZE];
        int64_t start;
        const struct cachedir_blob_info *blob = entry_blob(&image->entry, &m->layers[i].digest);
        if (!blob)
            return error_set(err, ERROR_NOT_FOUND, "%s vanished", m->layers[i].digest.text);
        cleanup_free char *path = cd->format->blob_path(&image->entry.digest, blob, &start);
        cleanup_close int fd = fs_open(cd->root, path, O_RDONLY | O_NONBLOCK, 0);
        const size_t len = blob->size < LAYER_MAGIC_SIZE ? (size_t)blob->size : LAYER_MAGIC_SIZE;
        if (fd < 0 || fs_pread_all(fd, magic, len, start == WHOLE_FILE ? 0 : start) < 0)
            return error_errno(err, errno, "cannot read %s", path);
        ret[i] = layer_encoding(magic, len);
    }
    return docker_archive_check_encodings(ret, m->layer_count, &image->entry.digest, err);
}

static int read_diff_ids(struct cachedir *cd, const struct export_image *image, struct digest **ret,
                         struct error *err)
{
    const struct manifest *m = &image->manifest;
    const struct cachedir_blob_info *config = entry_blob(&image->entry, &m->config.digest);
    cleanup_free char *bytes = NULL;
    if (!config || config->size > CONFIG_SIZE_MAX)
        return error_set(err, ERROR_PROTOCOL, "its config is larger than %d bytes",
                         CONFIG_SIZE_MAX);
    if (entry_blob_read(cd, &image->entry.digest, config, &bytes) < 0)
        return error_errno(err, errno, "cannot read the config %s", config->digest.text);
    if (digest_check(&config->digest, bytes, (size_t)config->size, err) < 0)
        return -1;
    return docker_archive_diff_ids(bytes, (size_t)config->size, m->layer_count, ret, err);
}

/* Names that can be said there: with a tag. Borrowed. */
static const char **tags_of(const struct export_plan *p, size_t image, size_t *ret_count)
{
    const char **tags = NULL;
    size_t count = 0;
    for (size_t i = 0; i < p->name_count; i++) {
        const char *reference = p->names[i].reference;
        if (p->names[i].image == image && !strchr(reference, '@') &&
            (count == 0 || strcmp(tags[count - 1], reference) != 0))
            *array_add(tags, count) = reference;
    }
    *ret_count = count;
    return tags;
}

static int check_names(const struct export_plan *p, struct error *err)
{
    for (size_t i = 1; i < p->name_count; i++)
        if (strcmp(p->names[i - 1].reference, p->names[i].reference) == 0 &&
            p->names[i - 1].image != p->names[i].image)
            return error_set(err, ERROR_USAGE,
                             "%s has several platforms, which a docker-archive cannot say: select "
                             "one by its digest",
                             p->names[i].reference);
    return 0;
}

struct archived { /* what an image takes */
    enum layer_encoding *encodings;
    struct digest *diff_ids;
    const char **tags;
    size_t tag_count;
};

static int describe_one(struct cachedir *cd, const struct export_plan *p, size_t i,
                        struct archived *ret, struct error *err)
{
    const struct export_image *image = &p->images[i];
    const struct digest *digest = &image->entry.digest;
    ret->encodings = xcalloc(image->manifest.layer_count + 1, sizeof *ret->encodings);
    ret->tags = tags_of(p, i, &ret->tag_count);
    if (docker_archive_check(&image->manifest, digest, err) < 0 ||
        read_encodings(cd, image, ret->encodings, err) < 0 ||
        read_diff_ids(cd, image, &ret->diff_ids, err) < 0)
        return error_prefix(err, "%s as docker-archive", digest->text);
    return 0;
}

int export_describe_archive(struct cachedir *cd, struct export_plan *p, struct error *err)
{
    cleanup_free struct archived *parts = xcalloc(p->image_count + 1, sizeof *parts);
    cleanup_free struct docker_image *images = xcalloc(p->image_count + 1, sizeof *images);
    int r = check_names(p, err);
    for (size_t i = 0; i < p->image_count && r == 0; i++) {
        r = describe_one(cd, p, i, &parts[i], err);
        images[i] = (struct docker_image){&p->images[i].manifest, parts[i].diff_ids,
                                          parts[i].encodings, parts[i].tags, parts[i].tag_count};
    }
    if (r == 0)
        p->head = docker_archive_format_all(images, p->image_count);
    for (size_t i = 0; i < p->image_count; i++) {
        free(parts[i].encodings);
        free(parts[i].diff_ids);
        free(parts[i].tags);
    }
    return r;
}
