#include "docker-archive.h"

#include "alloc.h"
#include "json.h"
#include "manifest.h"
#include "reference.h"

#include <string.h>

static int read_layers(const json_t *array, struct docker_archive *a, struct error *err)
{
    size_t i;
    const json_t *layer;
    if (!array || json_is_null(array))
        return 0;
    if (!json_is_array(array) || json_array_size(array) > MANIFEST_LAYERS_MAX)
        return error_set(err, ERROR_PROTOCOL, "\"Layers\" is no list of at most %d",
                         MANIFEST_LAYERS_MAX);
    json_array_foreach(array, i, layer)
    {
        if (!json_is_string(layer))
            return error_set(err, ERROR_PROTOCOL, "layer %zu is not a string", i + 1);
        *array_add(a->layers, a->layer_count) = xstrdup(json_string_value(layer));
    }
    return 0;
}

static int read_sources(json_t *object, struct docker_archive *a, struct error *err)
{
    static const char *const keys[] = {"mediaType", "digest", "size", NULL};
    const char *key;
    json_t *value;
    if (!object || json_is_null(object))
        return 0;
    if (!json_is_object(object) || json_object_size(object) > MANIFEST_LAYERS_MAX)
        return error_set(err, ERROR_PROTOCOL, "\"LayerSources\" is no object of at most %d",
                         MANIFEST_LAYERS_MAX);
    json_object_foreach(object, key, value)
    {
        struct docker_source source;
        if (digest_parse(key, &source.diff_id, err) < 0 ||
            json_check_spelling(value, keys, err) < 0 ||
            digest_parse(json_member_string(value, "digest"), &source.digest, err) < 0)
            return error_prefix(err, "LayerSources");
        if (!json_member_integer(value, "size", &source.size) || source.size < 0 ||
            source.size > DESCRIPTOR_SIZE_MAX)
            return error_set(err, ERROR_PROTOCOL, "LayerSources: a size is missing or impossible");
        *array_add(a->sources, a->source_count) = source;
    }
    return 0;
}

static int read_image(json_t *image, struct docker_archive *a, struct error *err)
{
    static const char *const keys[] = {"Config", "RepoTags", "Layers", "LayerSources", NULL};
    const char *config = json_member_string(image, "Config");
    const json_t *tags = json_object_get(image, "RepoTags"), *tag;
    size_t i;
    if (json_check_spelling(image, keys, err) < 0)
        return -1;
    if (!config)
        return error_set(err, ERROR_PROTOCOL, "\"Config\" is missing");
    a->config = xstrdup(config);
    if (json_array_size(tags) > DOCKER_ARCHIVE_IMAGES_MAX)
        return error_set(err, ERROR_PROTOCOL, "more than %d \"RepoTags\"",
                         DOCKER_ARCHIVE_IMAGES_MAX);
    json_array_foreach(tags, i, tag)
    {
        if (json_is_string(tag))
            *array_add(a->tags, a->tag_count) = xstrdup(json_string_value(tag));
    }
    if (read_layers(json_object_get(image, "Layers"), a, err) < 0)
        return -1;
    return read_sources(json_object_get(image, "LayerSources"), a, err);
}

int docker_archive_parse_all(const void *bytes, size_t len, struct docker_archive **ret,
                             size_t *ret_count, struct error *err)
{
    size_t i;
    json_t *image;
    if (len > DOCKER_ARCHIVE_JSON_MAX)
        return error_set(err, ERROR_PROTOCOL, "%zu bytes are more than %d", len,
                         DOCKER_ARCHIVE_JSON_MAX);
    cleanup_json json_t *images = json_array_parse(bytes, len, err);
    struct docker_archive *list = NULL;
    size_t count = 0;
    if (!images)
        return -1;
    if (json_array_size(images) > DOCKER_ARCHIVE_IMAGES_MAX)
        return error_set(err, ERROR_PROTOCOL, "%zu images", json_array_size(images));
    json_array_foreach(images, i, image)
    {
        cleanup_docker_archive struct docker_archive a = {0};
        if (!json_is_object(image)) {
            docker_archives_free(list, count);
            return error_set(err, ERROR_PROTOCOL, "image %zu is no object", i + 1);
        }
        if (read_image(image, &a, err) < 0) {
            docker_archives_free(list, count);
            return -1;
        }
        *array_add(list, count) = a;
        a = (struct docker_archive){0};
    }
    *ret = list;
    *ret_count = count;
    return 0;
}

int docker_archive_parse(const void *bytes, size_t len, struct docker_archive *ret,
                         struct error *err)
{
    struct docker_archive *list;
    size_t count;
    if (docker_archive_parse_all(bytes, len, &list, &count, err) < 0)
        return -1;
    if (count != 1) {
        docker_archives_free(list, count);
        return error_set(err, ERROR_PROTOCOL, "%zu images, not one", count);
    }
    *ret = list[0];
    free(list);
    return 0;
}

void docker_archives_free(struct docker_archive *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        docker_archive_release(&list[i]);
    free(list);
}

const struct docker_source *docker_archive_source(const struct docker_archive *a,
                                                  const struct digest *diff_id)
{
    for (size_t i = 0; i < a->source_count; i++)
        if (digest_equal(&a->sources[i].diff_id, diff_id))
            return &a->sources[i];
    return NULL;
}

void docker_archive_release(struct docker_archive *a)
{
    free(a->config);
    for (size_t i = 0; i < a->layer_count; i++)
        free(a->layers[i]);
    free(a->layers);
    for (size_t i = 0; i < a->tag_count; i++)
        free(a->tags[i]);
    free(a->tags);
    free(a->sources);
    *a = (struct docker_archive){0};
}

/* "blobs/sha256/<hex>" (ours, and docker's since 25), "sha256:<hex>" and "<hex>.tar.gz"
 * (go-containerregistry), "<hex>.json" (docker before). */
bool docker_archive_digest(const char *name, struct digest *ret)
{
    static const char *const prefixes[] = {"blobs/sha256/", "sha256:", ""};
    static const char *const suffixes[] = {"", ".json", ".tar", ".tar.gz", ".tar.zst"};
    const size_t hex = 64;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const size_t before = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], before) != 0 || strlen(name) < before + hex)
            continue;
        cleanup_free char *text = xasprintf("sha256:%.64s", name + before);
        bool known = false;
        for (size_t j = 0; j < sizeof suffixes / sizeof *suffixes && !known; j++)
            known = strcmp(name + before + hex, suffixes[j]) == 0;
        if (known)
            return digest_parse(text, ret, NULL) == 0;
    }
    return false;
}

enum layer_encoding layer_encoding(const void *bytes, size_t len)
{
    if (len >= 2 && memcmp(bytes, "\x1f\x8b", 2) == 0)
        return LAYER_GZIP;
    if (len >= 4 && memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0)
        return LAYER_ZSTD;
    return LAYER_PLAIN;
}

/* ---- writing ---- */

static int mixed(const struct digest *digest, struct error *err)
{
    return error_set(err, ERROR_PROTOCOL,
                     "%s: its first layer is not compressed and a later one is, which readers of "
                     "docker-archives misread: only format oci can hold it",
                     digest->text);
}

static int check_algorithm(const struct digest *digest, struct error *err)
{
    if (digest_is_sha256(digest))
        return 0;
    return error_set(err, ERROR_PROTOCOL, "readers of docker-archives know only sha256, not %s",
                     digest->text);
}

int docker_archive_check(const struct manifest *m, const struct digest *digest, struct error *err)
{
    bool plain = false;
    if (check_algorithm(&m->config.digest, err) < 0)
        return -1;
    for (size_t i = 0; i < m->layer_count; i++) {
        const char *type = m->layers[i].media_type, *packed = strrchr(type, '+');
        const size_t len = strlen(type);
        if (check_algorithm(&m->layers[i].digest, err) < 0)
            return -1;
        if (i == 0)
            plain = len > 4 && strcmp(type + len - 4, ".tar") == 0;
        else if (plain && packed)
            return mixed(digest, err);
    }
    return 0;
}

int docker_archive_check_encodings(const enum layer_encoding *encodings, size_t count,
                                   const struct digest *digest, struct error *err)
{
    for (size_t i = 1; i < count; i++)
        if (encodings[0] == LAYER_PLAIN && encodings[i] != LAYER_PLAIN)
            return mixed(digest, err);
    return 0;
}

int docker_archive_diff_ids(const void *config, size_t len, size_t layer_count, struct digest **ret,
                            struct error *err)
{
    cleanup_free struct digest *ids = NULL;
    size_t count;
    if (config_diff_ids(config, len, &ids, &count, err) < 0)
        return -1;
    if (count != layer_count)
        return error_set(err, ERROR_PROTOCOL, "the config names %zu diff IDs for %zu layers", count,
                         layer_count);
    for (size_t i = 0; i < count; i++)
        if (check_algorithm(&ids[i], err) < 0)
            return error_prefix(err, "diff ID %zu", i + 1);
    *ret = take_ptr(ids);
    return 0;
}

#define DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define DOCKER_FOREIGN_LAYER "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

const char *layer_encoding_type(enum layer_encoding encoding)
{
    switch (encoding) {
    case LAYER_PLAIN:
        break;
    case LAYER_ZSTD:
        return DOCKER_LAYER ".zstd"; /* containerd's name for it */
    case LAYER_GZIP:
        return DOCKER_LAYER ".gzip";
    }
    return DOCKER_LAYER;
}

/* By what its bytes are, whatever the manifest says: the reader decides by them, too. */
static const char *layer_type(const struct descriptor *layer, enum layer_encoding encoding)
{
    const bool foreign =
        strstr(layer->media_type, ".nondistributable.") || strstr(layer->media_type, ".foreign.");
    return foreign && encoding == LAYER_GZIP ? DOCKER_FOREIGN_LAYER : layer_encoding_type(encoding);
}

static json_t *source_json(const struct descriptor *layer, const char *media_type)
{
    json_t *source = json_pack("{s:s, s:I, s:s}", "mediaType", media_type, "size",
                               (json_int_t)layer->size, "digest", layer->digest.text);
    if (!source)
        abort(); /* out of memory */
    if (layer->url_count > 0) {
        json_t *urls = json_array();
        for (size_t i = 0; i < layer->url_count; i++)
            (void)json_array_append_new(urls, json_string(layer->urls[i]));
        (void)json_object_set_new(source, "urls", urls);
    }
    return source;
}

/* One diff ID may stand for layers with different bytes: then the reader must look for itself. */
static void drop_ambiguous(json_t *sources, const struct manifest *m, const struct digest *diff_ids)
{
    for (size_t i = 0; i < m->layer_count; i++) {
        const json_t *source = json_object_get(sources, diff_ids[i].text);
        const char *digest = source ? json_member_string(source, "digest") : NULL;
        if (digest && strcmp(digest, m->layers[i].digest.text) != 0)
            (void)json_object_del(sources, diff_ids[i].text);
    }
}

static json_t *image_json(const struct docker_image *image)
{
    const struct manifest *m = image->manifest;
    cleanup_json json_t *layers = json_array(), *sources = json_object();
    for (size_t i = 0; i < m->layer_count; i++) {
        const struct descriptor *layer = &m->layers[i];
        cleanup_free char *name = xasprintf("blobs/sha256/%s", digest_hex(&layer->digest));
        (void)json_array_append_new(layers, json_string(name));
        (void)json_object_set_new(sources, image->diff_ids[i].text,
                                  source_json(layer, layer_type(layer, image->encodings[i])));
    }
    drop_ambiguous(sources, m, image->diff_ids);
    cleanup_json json_t *tags = image->tag_count > 0 ? json_array() : json_null();
    for (size_t i = 0; i < image->tag_count; i++)
        (void)json_array_append_new(tags, json_string(image->tags[i]));
    cleanup_free char *config = xasprintf("blobs/sha256/%s", digest_hex(&m->config.digest));
    return json_pack("{s:s, s:O, s:O, s:O}", "Config", config, "RepoTags", tags, "Layers", layers,
                     "LayerSources", sources);
}

char *docker_archive_format_all(const struct docker_image *images, size_t count)
{
    cleanup_json json_t *list = json_array();
    int r = 0;
    for (size_t i = 0; i < count; i++)
        r |= json_array_append_new(list, image_json(&images[i]));
    char *text = r == 0 ? json_dumps(list, JSON_COMPACT) : NULL;
    if (!text)
        abort(); /* out of memory: all of it is valid UTF-8 */
    return text;
}

char *docker_archive_format(const struct manifest *m, const struct digest *diff_ids,
                            const enum layer_encoding *encodings, const char *tag)
{
    return docker_archive_format_all(
        &(struct docker_image){m, diff_ids, encodings, &tag, tag != NULL}, 1);
}

/* Made up so that each is a key of its own, with the longest type. */
size_t docker_archive_format_max(const struct manifest *m)
{
    cleanup_free struct digest *diff_ids = xcalloc(m->layer_count + 1, sizeof *diff_ids);
    cleanup_free enum layer_encoding *encodings = xcalloc(m->layer_count + 1, sizeof *encodings);
    for (size_t i = 0; i < m->layer_count; i++) {
        (void)snprintf(diff_ids[i].text, sizeof diff_ids[i].text, "sha256:%064zx", i);
        encodings[i] = LAYER_GZIP;
    }
    cleanup_free char *text = docker_archive_format(m, diff_ids, encodings, "");
    return strlen(text) + m->layer_count * sizeof DOCKER_FOREIGN_LAYER + 2 * REFERENCE_MAX;
}
