#include "manifest.h"

#include "alloc.h"
#include "json.h"
#include "text.h"

#include <openssl/evp.h>
#include <string.h>

#define DESCRIPTOR_URLS_MAX 16

#define MEDIA_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MEDIA_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"

static const struct {
    const char *name;
    enum manifest_kind kind;
} media_types[] = {
    {MEDIA_OCI_MANIFEST, MANIFEST_IMAGE},
    {MEDIA_OCI_INDEX, MANIFEST_INDEX},
    {MEDIA_DOCKER_MANIFEST, MANIFEST_IMAGE},
    {MEDIA_DOCKER_LIST, MANIFEST_INDEX},
};

static bool media_type_is(const char *media_type, enum manifest_kind kind)
{
    for (size_t i = 0; i < sizeof media_types / sizeof *media_types; i++) {
        if (strcmp(media_types[i].name, media_type) == 0)
            return media_types[i].kind == kind;
    }
    return false;
}

bool media_type_is_index(const char *media_type)
{
    return media_type_is(media_type, MANIFEST_INDEX);
}

bool media_type_is_image(const char *media_type)
{
    return media_type_is(media_type, MANIFEST_IMAGE);
}

/* The header's type without its parameters; NULL when it is none of the four. */
static const char *media_type_of_header(const char *content_type)
{
    if (!content_type)
        return NULL;
    content_type += strspn(content_type, " \t");
    size_t len = strcspn(content_type, "; \t");
    for (size_t i = 0; i < sizeof media_types / sizeof *media_types; i++) {
        const char *name = media_types[i].name;
        if (strlen(name) == len && strncasecmp(name, content_type, len) == 0)
            return name;
    }
    return NULL;
}

const char *media_type_known(const char *text)
{
    for (size_t i = 0; i < sizeof media_types / sizeof *media_types; i++) {
        if (strcmp(media_types[i].name, text) == 0)
            return media_types[i].name;
    }
    return NULL;
}

static bool media_type_is_schema1(const char *text)
{
    static const char prefix[] = "application/vnd.docker.distribution.manifest.v1+";
    return text && strncasecmp(text, prefix, sizeof prefix - 1) == 0;
}

/* A member that is there: encoders of Go write null for what is not. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

/* A string member, *ret borrowed; NULL when it is absent. */
static int member_string(const json_t *object, const char *key, const char **ret, struct error *err)
{
    const json_t *value = member(object, key);
    if (value && !json_is_string(value))
        return error_set(err, ERROR_PROTOCOL, "\"%s\" is not a string", key);
    *ret = json_string_value(value);
    return 0;
}

static int read_platform(json_t *object, struct platform *ret, struct error *err)
{
    static const char *const keys[] = {"os", "architecture", "variant", "os.version", NULL};
    const char *os, *architecture, *variant, *version;
    if (!json_is_object(object))
        return error_set(err, ERROR_PROTOCOL, "the platform is not an object");
    if (json_check_spelling(object, keys, err) < 0 || member_string(object, "os", &os, err) < 0 ||
        member_string(object, "architecture", &architecture, err) < 0 ||
        member_string(object, "variant", &variant, err) < 0 ||
        member_string(object, "os.version", &version, err) < 0)
        return -1;
    *ret = (struct platform){
        .os = xstrdup(os ? os : ""),
        .architecture = xstrdup(architecture ? architecture : ""),
        .variant = variant && *variant ? xstrdup(variant) : NULL,
        .os_version = version && *version ? xstrdup(version) : NULL,
    };
    return 0;
}

static int read_urls(const json_t *array, struct descriptor *d, struct error *err)
{
    size_t i;
    const json_t *url;
    if (!json_is_array(array))
        return error_set(err, ERROR_PROTOCOL, "\"urls\" is not an array");
    if (json_array_size(array) > DESCRIPTOR_URLS_MAX)
        return error_set(err, ERROR_PROTOCOL, "%zu URLs are more than %d", json_array_size(array),
                         DESCRIPTOR_URLS_MAX);
    json_array_foreach(array, i, url)
    {
        if (!json_is_string(url))
            return error_set(err, ERROR_PROTOCOL, "a URL is not a string");
        *array_add(d->urls, d->url_count) = xstrdup(json_string_value(url));
    }
    return 0;
}

/* Embedded content. A wrong length is no error: the content can be fetched, and its hash decides.
 */
static int read_data(const char *text, struct descriptor *d, struct error *err)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text);
    size_t good = strspn(text, alphabet);
    size_t padding = strspn(text + good, "=");
    /* EVP_DecodeBlock() takes '=' anywhere and counts it as zeros. */
    if (len % 4 != 0 || good + padding != len || padding > 2)
        return error_set(err, ERROR_PROTOCOL, "\"data\" is not base64");
    size_t size = len / 4 * 3 - padding;
    if ((int64_t)size != d->size)
        return 0;
    unsigned char *data = xmalloc(size + padding + 1);
    d->data = data;
    if (EVP_DecodeBlock(data, (const unsigned char *)text, (int)len) != (int)(size + padding))
        return error_set(err, ERROR_PROTOCOL, "\"data\" is not base64");
    return 0;
}

static int read_size(const json_t *value, int64_t *ret, struct error *err)
{
    if (!value)
        return error_set(err, ERROR_PROTOCOL, "the size is missing");
    if (!json_is_integer(value))
        return error_set(err, ERROR_PROTOCOL, "the size is not a whole number");
    json_int_t size = json_integer_value(value);
    if (size < 0 || size > DESCRIPTOR_SIZE_MAX)
        return error_set(err, ERROR_PROTOCOL, "the size %lld is not between 0 and %lld",
                         (long long)size, (long long)DESCRIPTOR_SIZE_MAX);
    *ret = size;
    return 0;
}

/* *ret is zeroed. What has been read stays in it on failure: the caller releases it. */
static int read_descriptor(json_t *object, struct descriptor *ret, struct error *err)
{
    static const char *const keys[] = {"mediaType", "digest",   "size", "urls",
                                       "data",      "platform", NULL};
    const char *media_type, *digest, *data;
    if (!json_is_object(object))
        return error_set(err, ERROR_PROTOCOL, "not an object");
    if (json_check_spelling(object, keys, err) < 0 ||
        member_string(object, "mediaType", &media_type, err) < 0 ||
        member_string(object, "digest", &digest, err) < 0 ||
        member_string(object, "data", &data, err) < 0 ||
        digest_parse(digest, &ret->digest, err) < 0 ||
        read_size(member(object, "size"), &ret->size, err) < 0)
        return -1;
    ret->media_type = xstrdup(media_type ? media_type : "");
    if (data && read_data(data, ret, err) < 0)
        return -1;
    json_t *urls = member(object, "urls"), *platform = member(object, "platform");
    if (urls && read_urls(urls, ret, err) < 0)
        return -1;
    if (platform) {
        if (read_platform(platform, &ret->platform, err) < 0)
            return -1;
        ret->has_platform = true;
    }
    return 0;
}

/* NULL for `array` is an empty one. */
static int read_descriptors(json_t *array, const char *what, size_t max, struct descriptor **ret,
                            size_t *ret_count, struct error *err)
{
    size_t i;
    json_t *object;
    if (!array)
        return 0;
    if (!json_is_array(array))
        return error_set(err, ERROR_PROTOCOL, "\"%ss\" is not an array", what);
    if (json_array_size(array) > max)
        return error_set(err, ERROR_PROTOCOL, "%zu %ss are more than %zu", json_array_size(array),
                         what, max);
    json_array_foreach(array, i, object)
    {
        if (read_descriptor(object, array_add(*ret, *ret_count), err) < 0)
            return error_prefix(err, "%s %zu", what, i + 1);
    }
    return 0;
}

static int refuse_schema1(struct error *err)
{
    return error_set(err, ERROR_PROTOCOL,
                     "an image in the long-dead format \"schema 1\", which no builder reads: "
                     "rebuild it and push it again");
}

/*
 * Is it an image that the config belongs to? Docker's clients wrote other types into their own
 * manifests for years (distribution issue 1621), and every builder reads those images.
 */
static bool is_image_config(const char *media_type, const struct manifest *m,
                            const char *artifact_type)
{
    static const char *const historical[] = {"", "application/octet-stream", "application/json",
                                             "text/html"};
    if (strcmp(media_type, MEDIA_OCI_CONFIG) == 0 || strcmp(media_type, MEDIA_DOCKER_CONFIG) == 0)
        return true;
    if (strcmp(m->media_type, MEDIA_DOCKER_MANIFEST) != 0 || (artifact_type && *artifact_type))
        return false;
    for (size_t i = 0; i < sizeof historical / sizeof *historical; i++) {
        if (strcmp(media_type, historical[i]) == 0)
            return true;
    }
    return false;
}

static int read_image(json_t *root, struct manifest *m, struct error *err)
{
    const char *artifact_type;
    json_t *config = member(root, "config");
    if (member_string(root, "artifactType", &artifact_type, err) < 0)
        return -1;
    if (!config)
        return error_set(err, ERROR_PROTOCOL, "an image manifest without a config");
    if (read_descriptor(config, &m->config, err) < 0)
        return error_prefix(err, "config");
    if (!is_image_config(m->config.media_type, m, artifact_type)) {
        const char *type = artifact_type && *artifact_type ? artifact_type : m->config.media_type;
        if (!*type)
            return error_set(err, ERROR_PROTOCOL, "the config's media type is missing");
        cleanup_free char *shown = text_foreign_str(type);
        return error_set(err, ERROR_PROTOCOL, "an artifact of type \"%s\", not an image", shown);
    }
    return read_descriptors(member(root, "layers"), "layer", MANIFEST_LAYERS_MAX, &m->layers,
                            &m->layer_count, err);
}

/* What the shape says. An image without a type is OCI's, where the type is optional; only Docker's
 * own config makes it Docker's. */
static const char *media_type_of_shape(const json_t *root)
{
    const json_t *config = member(root, "config");
    if (!config)
        return json_object_get(root, "manifests") ? MEDIA_OCI_INDEX : NULL;
    const char *type = json_member_string(config, "mediaType");
    return type && strcmp(type, MEDIA_DOCKER_CONFIG) == 0 ? MEDIA_DOCKER_MANIFEST
                                                          : MEDIA_OCI_MANIFEST;
}

static int check_schema_version(const json_t *root, struct error *err)
{
    const json_t *version = member(root, "schemaVersion");
    if (!version)
        return 0; /* the builder does not ask for it either */
    if (!json_is_integer(version))
        return error_set(err, ERROR_PROTOCOL, "schemaVersion is not a whole number");
    if (json_integer_value(version) == 1)
        return refuse_schema1(err);
    if (json_integer_value(version) != 2)
        return error_set(err, ERROR_PROTOCOL, "schemaVersion %lld is unknown here",
                         (long long)json_integer_value(version));
    return 0;
}

static int decide_type(const json_t *root, const char *content_type, struct manifest *m,
                       bool *ret_contradicts, struct error *err)
{
    const char *said, *header = media_type_of_header(content_type);
    if (member_string(root, "mediaType", &said, err) < 0)
        return -1;
    if (said && !*said)
        said = NULL;
    if (media_type_is_schema1(said ? said : content_type) || json_object_get(root, "fsLayers"))
        return refuse_schema1(err);
    if (check_schema_version(root, err) < 0)
        return -1;
    if (said) {
        m->media_type = media_type_known(said);
        if (!m->media_type) {
            cleanup_free char *shown = text_foreign_str(said);
            return error_set(err, ERROR_PROTOCOL, "an artifact of type \"%s\", not an image",
                             shown);
        }
    } else {
        m->media_type = header ? header : media_type_of_shape(root);
        if (!m->media_type)
            return error_set(err, ERROR_PROTOCOL, "neither an image manifest nor an index");
    }
    m->kind = media_type_is_index(m->media_type) ? MANIFEST_INDEX : MANIFEST_IMAGE;
    *ret_contradicts = said && header && strcmp(m->media_type, header) != 0;
    return 0;
}

static int read_manifest(json_t *root, const char *content_type, struct manifest *m,
                         bool *ret_contradicts, struct error *err)
{
    static const char *const keys[] = {"schemaVersion", "mediaType",    "config", "layers",
                                       "manifests",     "artifactType", NULL};
    if (json_check_spelling(root, keys, err) < 0 ||
        decide_type(root, content_type, m, ret_contradicts, err) < 0)
        return -1;
    /* A document that can be read as both means one thing here and another elsewhere:
     * CVE-2021-41190 (OCI image-spec, manifest.md and image-index.md). */
    if (member(root, "manifests") && (member(root, "config") || member(root, "layers")))
        return error_set(err, ERROR_PROTOCOL, "both an image manifest and an index");
    if (m->kind == MANIFEST_IMAGE)
        return read_image(root, m, err);
    if (!json_object_get(root, "manifests"))
        return error_set(err, ERROR_PROTOCOL, "an index without its list of manifests");
    return read_descriptors(member(root, "manifests"), "manifest", INDEX_CHILDREN_MAX, &m->children,
                            &m->child_count, err);
}

int manifest_parse(const void *bytes, size_t len, const char *content_type, struct manifest *ret,
                   bool *ret_contradicts, struct error *err)
{
    if (len > MANIFEST_SIZE_MAX)
        return error_set(err, ERROR_PROTOCOL, "a manifest of %zu bytes is larger than %d", len,
                         MANIFEST_SIZE_MAX);
    if (media_type_is_schema1(content_type))
        return refuse_schema1(err); /* signed ones are not even well-formed in old registries */
    cleanup_json json_t *root = json_object_parse(bytes, len, err);
    if (!root)
        return error_prefix(err, "the manifest");

    bool contradicts = false;
    cleanup_manifest struct manifest m = {0};
    if (read_manifest(root, content_type, &m, &contradicts, err) < 0)
        return -1;
    *ret = m;
    m = (struct manifest){0};
    if (ret_contradicts)
        *ret_contradicts = contradicts;
    return 0;
}

/* What the builder's library assumes of a child that does not say. */
static const struct platform *platform_of_child(const struct descriptor *child)
{
    static char os[] = "linux", architecture[] = "amd64";
    static const struct platform assumed = {.os = os, .architecture = architecture};
    return child->has_platform ? &child->platform : &assumed;
}

const struct descriptor *manifest_select(const struct manifest *index, const struct platform *want)
{
    for (size_t i = 0; i < index->child_count; i++) {
        if (platform_matches(platform_of_child(&index->children[i]), want))
            return &index->children[i];
    }
    return NULL;
}

/* Is an earlier child of the same platform? Then this one can never be picked. */
static bool is_shadowed(const struct manifest *index, size_t child)
{
    for (size_t i = 0; i < child; i++) {
        if (platform_equal(platform_of_child(&index->children[i]),
                           platform_of_child(&index->children[child])))
            return true;
    }
    return false;
}

char *manifest_platforms(const struct manifest *index)
{
    cleanup_free char *list = xstrdup("");
    for (size_t i = 0; i < index->child_count && strlen(list) <= TEXT_FOREIGN_MAX; i++) {
        const struct platform *p = platform_of_child(&index->children[i]);
        if (!*p->os || !platform_matches(p, p) || is_shadowed(index, i))
            continue; /* names nothing, not for running, or said already */
        cleanup_free char *before = take_ptr(list);
        cleanup_free char *one = platform_format(p);
        list = xasprintf("%s%s%s", before, *before ? ", " : "", one);
    }
    return text_foreign_str(list);
}

void descriptor_copy(struct descriptor *to, const struct descriptor *from)
{
    *to = (struct descriptor){
        .media_type = xstrdup(from->media_type ? from->media_type : ""),
        .digest = from->digest,
        .size = from->size,
        .has_platform = from->has_platform,
    };
    if (from->has_platform)
        platform_copy(&to->platform, &from->platform);
    for (size_t i = 0; i < from->url_count; i++)
        *array_add(to->urls, to->url_count) = xstrdup(from->urls[i]);
    if (from->data) {
        to->data = xmalloc((size_t)from->size);
        memcpy(to->data, from->data, (size_t)from->size);
    }
}

void descriptor_release(struct descriptor *d)
{
    if (!d)
        return;
    free(d->media_type);
    platform_release(&d->platform);
    for (size_t i = 0; i < d->url_count; i++)
        free(d->urls[i]);
    free(d->urls);
    free(d->data);
    *d = (struct descriptor){0};
}

static void descriptors_free(struct descriptor *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        descriptor_release(&list[i]);
    free(list);
}

void manifest_release(struct manifest *m)
{
    if (!m)
        return;
    descriptor_release(&m->config);
    descriptors_free(m->layers, m->layer_count);
    descriptors_free(m->children, m->child_count);
    *m = (struct manifest){0};
}

int config_platform(const void *bytes, size_t len, struct platform *ret, struct error *err)
{
    cleanup_json json_t *root = json_object_parse(bytes, len, err);
    if (!root)
        return error_prefix(err, "the image's config");
    cleanup_platform struct platform p = {0};
    if (read_platform(root, &p, err) < 0)
        return error_prefix(err, "the image's config");
    if (!*p.os || !*p.architecture)
        return error_set(err, ERROR_PROTOCOL, "the image's config names no platform");
    *ret = p;
    p = (struct platform){0};
    return 0;
}

int config_diff_ids(const void *bytes, size_t len, struct digest **ret, size_t *ret_count,
                    struct error *err)
{
    cleanup_json json_t *root = json_object_parse(bytes, len, err);
    if (!root)
        return error_prefix(err, "the image's config");
    const json_t *list = json_object_get(json_object_get(root, "rootfs"), "diff_ids");
    const size_t count = json_array_size(list);
    if (!json_is_array(list))
        return error_set(err, ERROR_PROTOCOL, "the image's config names no diff IDs");
    if (count > MANIFEST_LAYERS_MAX)
        return error_set(err, ERROR_PROTOCOL,
                         "the image's config names %zu diff IDs, which is too "
                         "many",
                         count);
    cleanup_free struct digest *ids = count > 0 ? xcalloc(count, sizeof *ids) : NULL;
    for (size_t i = 0; i < count; i++)
        if (digest_parse(json_string_value(json_array_get(list, i)), &ids[i], err) < 0)
            return error_prefix(err, "the image's config: diff ID %zu", i + 1);
    *ret = take_ptr(ids);
    *ret_count = count;
    return 0;
}
