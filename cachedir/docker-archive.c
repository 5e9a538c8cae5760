#include "docker-archive.h"

#include "alloc.h"
#include "json.h"
#include "manifest.h"

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
    const char *tag = json_string_value(json_array_get(json_object_get(image, "RepoTags"), 0));
    if (json_check_spelling(image, keys, err) < 0)
        return -1;
    if (!config)
        return error_set(err, ERROR_PROTOCOL, "\"Config\" is missing");
    a->config = xstrdup(config);
    a->tag = tag ? xstrdup(tag) : NULL;
    if (read_layers(json_object_get(image, "Layers"), a, err) < 0)
        return -1;
    return read_sources(json_object_get(image, "LayerSources"), a, err);
}

int docker_archive_parse(const void *bytes, size_t len, struct docker_archive *ret,
                         struct error *err)
{
    if (len > DOCKER_ARCHIVE_JSON_MAX)
        return error_set(err, ERROR_PROTOCOL, "%zu bytes are more than %d", len,
                         DOCKER_ARCHIVE_JSON_MAX);
    cleanup_json json_t *images = json_array_parse(bytes, len, err);
    cleanup_docker_archive struct docker_archive a = {0};
    if (!images)
        return -1;
    if (json_array_size(images) != 1 || !json_is_object(json_array_get(images, 0)))
        return error_set(err, ERROR_PROTOCOL, "%zu images, not one", json_array_size(images));
    if (read_image(json_array_get(images, 0), &a, err) < 0)
        return -1;
    *ret = a;
    a = (struct docker_archive){0};
    return 0;
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
    free(a->tag);
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
