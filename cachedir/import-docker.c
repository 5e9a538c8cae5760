/*
 * A docker-archive in a tar (docker-archive.h): what skopeo, buildah and podman (docker-archive),
 * crane, archived kaniko, docker save before 25, and cachedir export --format docker-archive write.
 *
 * Only the last of them puts the registry's manifest into it. Where it is there, everything follows
 * from it. Where it is not, nobody can know the registry's digest; the image gets a manifest of
 * Docker's kind, which names what is in the tar, and every layer is unpacked and compared with what
 * the config says of it.
 */
#include "alloc.h"
#include "docker-archive.h"
#include "import.h"
#include "json.h"
#include "layer.h"
#include "reference.h"
#include "text.h"

#include <errno.h>
#include <string.h>

#define DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"

struct parts { /* what an image of manifest.json is made of */
    const struct spooled *config;
    const struct spooled **layers;
    size_t layer_count;
    struct digest *diff_ids;
};

/* ---- the registry's manifest, if it is there ---- */

static bool is_manifest_of(const struct manifest *m, const struct parts *p)
{
    if (m->kind != MANIFEST_IMAGE || !digest_equal(&m->config.digest, &p->config->digest) ||
        m->config.size != p->config->size || m->layer_count != p->layer_count)
        return false;
    for (size_t i = 0; i < m->layer_count; i++)
        if (!digest_equal(&m->layers[i].digest, &p->layers[i]->digest) ||
            m->layers[i].size != p->layers[i]->size)
            return false;
    return true;
}

/* All that could be one, parsed once. */
static int read_documents(struct import *in, struct error *err)
{
    for (size_t i = 0; i < in->spool.count; i++) {
        const struct spooled *member = in->spool.list[i];
        cleanup_free char *bytes = NULL;
        struct manifest m;
        if (member->link || !member->is_object || member->size > MANIFEST_SIZE_MAX ||
            strncmp(member->name, "blobs/sha256/", 13) != 0)
            continue;
        if (spool_bytes(&in->spool, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
            return -1;
        if (manifest_parse(bytes, (size_t)member->size, NULL, &m, NULL, NULL) == 0)
            *array_add(in->documents, in->document_count) = (struct import_document){member, m};
    }
    return 0;
}

static bool is_taken(const struct import *in, const struct digest *digest)
{
    for (size_t i = 0; i < in->image_count; i++)
        if (digest_equal(&in->images[i].digest, digest))
            return true;
    return false;
}

/* NULL: it is not there. Where several images have the same parts, as an OCI and a Docker manifest
 * of one may, their manifests stand in the order of the images. */
static const struct spooled *find_manifest(const struct import *in, const struct parts *p)
{
    const struct spooled *found = NULL;
    for (size_t i = 0; i < in->document_count; i++) {
        if (!is_manifest_of(&in->documents[i].manifest, p))
            continue;
        found = in->documents[i].member;
        if (!is_taken(in, &found->digest))
            break;
    }
    return found;
}

/* ---- one of our own ---- */

static int read_encoding(const struct import *in, const struct spooled *layer,
                         enum layer_encoding *ret, struct error *err)
{
    char magic[LAYER_MAGIC_SIZE];
    const size_t len = layer->size < LAYER_MAGIC_SIZE ? (size_t)layer->size : LAYER_MAGIC_SIZE;
    cleanup_close int fd = spool_open_member(&in->spool, layer);
    if (fd < 0 || fs_pread_all(fd, magic, len, 0) < 0)
        return error_errno(err, errno, "cannot read back %s", layer->digest.text);
    *ret = layer_encoding(magic, len);
    return 0;
}

/* Does it unpack to what the config says? As verify --deep looks at it, within its limits. An unset
 * `diff_id` is filled. */
static int check_layer(const struct import *in, const struct spooled *layer, struct digest *diff_id,
                       struct error *err)
{
    cleanup_layer struct layer seen = {0};
    cleanup_close int fd = spool_open_member(&in->spool, layer);
    if (fd < 0)
        return error_errno(err, errno, "cannot read back %s", layer->digest.text);
    if (layer_check(fd, WHOLE_FILE, &layer->digest, layer->size, &layer_limits, in->options->stop,
                    &seen, err) < 0)
        return -1;
    if (seen.problem || seen.not_checked)
        return error_set(err, ERROR_PROTOCOL, "%s", seen.problem ? seen.problem : seen.not_checked);
    if (digest_is_set(diff_id) && !digest_equal(diff_id, &seen.diff_id))
        return error_set(err, ERROR_DIGEST, "it unpacks to %s, and the config says %s",
                         seen.diff_id.text, diff_id->text);
    *diff_id = seen.diff_id;
    return 0;
}

static json_t *descriptor_json(const char *media_type, const struct spooled *blob)
{
    return json_pack("{s:s, s:I, s:s}", "mediaType", media_type, "size", (json_int_t)blob->size,
                     "digest", blob->digest.text);
}

/* Always the same for the same parts. NULL. */
static char *make_manifest(const struct import *in, const struct parts *p, struct error *err)
{
    cleanup_json json_t *layers = json_array();
    for (size_t i = 0; i < p->layer_count; i++) {
        enum layer_encoding encoding;
        if (check_layer(in, p->layers[i], &p->diff_ids[i], err) < 0 ||
            read_encoding(in, p->layers[i], &encoding, err) < 0) {
            (void)error_prefix(err, "layer %zu", i + 1);
            return NULL;
        }
        (void)json_array_append_new(layers,
                                    descriptor_json(layer_encoding_type(encoding), p->layers[i]));
    }
    cleanup_json json_t *manifest =
        json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_DOCKER_MANIFEST,
                  "config", descriptor_json(DOCKER_CONFIG, p->config), "layers", layers);
    char *text = manifest ? json_dumps(manifest, JSON_INDENT(3)) : NULL;
    if (!text)
        abort(); /* out of memory */
    return text;
}

/* Returns its place, or -1. */
static ssize_t add_image(struct import *in, const struct parts *p, struct error *err)
{
    char *bytes = NULL;
    struct digest digest;
    const struct spooled *found = find_manifest(in, p);
    if (found ? spool_bytes(&in->spool, found, MANIFEST_SIZE_MAX, &bytes, err) < 0
              : (bytes = make_manifest(in, p, err)) == NULL)
        return -1;
    const size_t len = found ? (size_t)found->size : strlen(bytes);
    digest_of(bytes, len, &digest);
    struct import_image *image = import_add_image(in, &digest, bytes, len, NULL, err);
    if (!image)
        return -1;
    image->made_up = !found;
    return image - in->images;
}

/* ---- aliases: indexes that lead to it ---- */

static bool is_child_of_another(const struct import *in, const struct digest *index)
{
    for (size_t i = 0; i < in->document_count; i++) {
        const struct manifest *m = &in->documents[i].manifest;
        for (size_t j = 0; j < m->child_count; j++)
            if (digest_equal(&m->children[j].digest, index))
                return true;
    }
    return false;
}

/* An export of ours puts an index into it for no other reason. */
static int add_aliases(struct import *in, size_t image, struct error *err)
{
    for (size_t i = 0; i < in->document_count; i++) {
        const struct digest *index = &in->documents[i].member->digest;
        struct alias way = {0};
        if (in->documents[i].manifest.kind != MANIFEST_INDEX || is_child_of_another(in, index))
            continue;
        int leads = import_find_way(in, index, &in->images[image].digest, &way, err);
        if (leads < 0)
            return -1;
        if (leads > 0)
            *array_add(in->images[image].aliases, in->images[image].alias_count) = way;
    }
    return 0;
}

/* ---- manifest.json ---- */

static const struct spooled *find(const struct import *in, const char *name, const char *what,
                                  struct error *err)
{
    cleanup_free char *simple = spool_name("", name);
    const struct spooled *member = simple ? spool_find(&in->spool, simple) : NULL;
    cleanup_free char *shown = text_foreign_str(name);
    if (!member)
        (void)error_set(err, ERROR_PROTOCOL, "%s \"%s\" is not in the tar", what, shown);
    return member;
}

/* A name that is a digest promises one, and so does LayerSources. */
static int check_promises(const struct docker_archive *a, const struct parts *p, struct error *err)
{
    struct digest promise;
    if (docker_archive_digest(a->config, &promise) && !digest_equal(&promise, &p->config->digest))
        return error_set(err, ERROR_DIGEST, "the config is %s, and its name says %s",
                         p->config->digest.text, promise.text);
    for (size_t i = 0; i < p->layer_count; i++) {
        const struct docker_source *source = docker_archive_source(a, &p->diff_ids[i]);
        if (source && (!digest_equal(&source->digest, &p->layers[i]->digest) ||
                       source->size != p->layers[i]->size))
            return error_set(err, ERROR_DIGEST, "layer %zu is %s, and LayerSources says %s", i + 1,
                             p->layers[i]->digest.text, source->digest.text);
    }
    return 0;
}

static int find_parts(const struct import *in, const struct docker_archive *a, struct parts *p,
                      struct error *err)
{
    cleanup_free char *config = NULL;
    p->config = find(in, a->config, "the config", err);
    if (!p->config || spool_bytes(&in->spool, p->config, CONFIG_SIZE_MAX, &config, err) < 0 ||
        docker_archive_diff_ids(config, (size_t)p->config->size, a->layer_count, &p->diff_ids,
                                err) < 0)
        return -1;
    p->layers = xcalloc(a->layer_count + 1, sizeof(const struct spooled *));
    for (size_t i = 0; i < a->layer_count; i++) {
        p->layers[p->layer_count++] = find(in, a->layers[i], "the layer", err);
        if (!p->layers[i])
            return -1;
    }
    return check_promises(a, p, err);
}

static int take_image(struct import *in, const struct docker_archive *a, struct error *err)
{
    struct parts p = {0};
    ssize_t image = -1;
    if (find_parts(in, a, &p, err) == 0)
        image = add_image(in, &p, err);
    free(p.layers);
    free(p.diff_ids);
    if (image < 0 || (!in->images[image].made_up && add_aliases(in, (size_t)image, err) < 0))
        return -1;
    for (size_t i = 0; i < a->tag_count && !in->options->name; i++) {
        cleanup_reference struct reference ref = {0};
        cleanup_free char *shown = text_foreign_str(a->tags[i]);
        if (reference_parse(a->tags[i], &ref, NULL) < 0 || reference_is_pinned(&ref))
            import_note(in, "\"%s\" is no tag: the name is dropped", shown);
        else if (import_add_name(in, (size_t)image, ref.name, NULL, &(struct digest){0}, err) < 0)
            return -1;
    }
    return 0;
}

int import_archive(struct import *in, const struct spooled *json, struct error *err)
{
    cleanup_free char *text = NULL;
    struct docker_archive *list;
    size_t count;
    if (spool_bytes(&in->spool, json, DOCKER_ARCHIVE_JSON_MAX, &text, err) < 0)
        return -1;
    if (docker_archive_parse_all(text, (size_t)json->size, &list, &count, err) < 0)
        return error_prefix(err, "manifest.json");
    int r = read_documents(in, err);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct error why = {0};
        r = take_image(in, &list[i], &why);
        if (r < 0 && why.kind != ERROR_INTERRUPTED)
            (void)error_prefix(&why, "manifest.json: image %zu", i + 1);
        error_move(err, &why);
    }
    docker_archives_free(list, count);
    return r;
}

/* ---- a bare layer ---- */

static char *make_config(const struct cachedir_import_options *o, const struct digest *diff_id)
{
    const struct platform *platform = o->platform;
    cleanup_json json_t *config =
        json_pack("{s:s, s:s, s:{}, s:{s:s, s:[s]}, s:[{s:s}]}", "architecture",
                  platform->architecture, "os", platform->os, "config", "rootfs", "type", "layers",
                  "diff_ids", diff_id->text, "history", "created_by", "cachedir import --layer");
    if (config && platform->variant && *platform->variant)
        (void)json_object_set_new(config, "variant", json_string(platform->variant));
    char *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
    if (!text)
        abort(); /* out of memory: a platform is parsed text */
    return text;
}

int import_single_layer(struct import *in, const struct spooled *layer, struct error *err)
{
    struct digest diff_id = {0};
    const struct spooled *config;
    if (layer->size == 0)
        return error_set(err, ERROR_PROTOCOL, "no layer, but nothing at all");
    if (check_layer(in, layer, &diff_id, err) < 0)
        return -1;
    cleanup_free char *text = make_config(in->options, &diff_id);
    if (spool_put(&in->spool, "config", text, strlen(text), &config, err) < 0)
        return -1;
    const struct parts p = {config, &layer, 1, &diff_id};
    return add_image(in, &p, err) < 0 ? -1 : 0;
}
