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
#include <search.h>
#include <string.h>

#define DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"

struct parts { /* what an image of manifest.json is made of */
    const struct spooled *config;
    struct spooled **layers;
    size_t layer_count;
    struct digest *diff_ids;
};

struct document { /* the manifests, among the blobs, of one list of parts */
    struct digest parts;
    struct spooled **members;
    size_t count, taken;
};

struct archive {
    struct import *in;
    void *documents; /* tsearch(3) tree of struct document */
    struct spooled **indexes;
    size_t index_count;
};

/* ---- the registry's manifest, if it is there ---- */

static void add_part(struct hasher *h, const struct digest *digest, int64_t size)
{
    cleanup_free char *text = xasprintf("%s %lld\n", digest->text, (long long)size);
    hasher_update(h, text, strlen(text));
}

/* What stands for a config and layers. */
static struct digest manifest_parts(const struct manifest *m)
{
    static const struct digest sha256 = {.text = "sha256:"};
    cleanup_hasher struct hasher *h = hasher_new(&sha256);
    struct digest ret;
    add_part(h, &m->config.digest, m->config.size);
    for (size_t i = 0; i < m->layer_count; i++)
        add_part(h, &m->layers[i].digest, m->layers[i].size);
    hasher_final(h, &ret);
    return ret;
}

static int compare_documents(const void *a, const void *b)
{
    return strcmp(((const struct document *)a)->parts.text,
                  ((const struct document *)b)->parts.text);
}

static void free_document(void *node)
{
    struct document *d = node;
    free(d->members);
    free(d);
}

static void add_document(struct archive *a, struct spooled *member, const struct manifest *m)
{
    struct document *d = xcalloc(1, sizeof *d);
    d->parts = manifest_parts(m);
    struct document **node = tsearch(d, &a->documents, compare_documents);
    if (!node)
        abort(); /* out of memory */
    if (*node != d)
        free(d);
    *array_add((*node)->members, (*node)->count) = member;
}

/* All that could be one. */
static int read_documents(struct archive *a, struct error *err)
{
    struct import *in = a->in;
    for (size_t i = 0; i < in->spool.count; i++) {
        const struct spooled *member = in->spool.list[i];
        cleanup_free char *bytes = NULL;
        cleanup_manifest struct manifest m = {0};
        if (member->link || !member->is_object || member->size > MANIFEST_SIZE_MAX ||
            strncmp(member->name, "blobs/sha256/", 13) != 0)
            continue;
        if (import_read(in, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
            return -1;
        if (manifest_parse(bytes, (size_t)member->size, NULL, &m, NULL, NULL) < 0)
            continue;
        struct spooled *first = spool_digest(&in->spool, &member->digest);
        if (m.kind == MANIFEST_IMAGE)
            add_document(a, first, &m);
        else if (import_add_index(in, first, &m, err) == 0)
            *array_add(a->indexes, a->index_count) = first;
        else
            return -1;
    }
    return 0;
}

/* NULL: it is not there. Where several images have the same parts, as an OCI and a Docker manifest
 * of one may, their manifests stand in the order of the images. */
static struct spooled *find_manifest(const struct archive *a, const struct parts *p)
{
    static const struct digest sha256 = {.text = "sha256:"};
    cleanup_hasher struct hasher *h = hasher_new(&sha256);
    struct document key = {0};
    add_part(h, &p->config->digest, p->config->size);
    for (size_t i = 0; i < p->layer_count; i++)
        add_part(h, &p->layers[i]->digest, p->layers[i]->size);
    hasher_final(h, &key.parts);
    struct document *const *found = tfind(&key, &a->documents, compare_documents);
    if (!found)
        return NULL;
    struct document *d = *found;
    return d->members[d->taken < d->count ? d->taken++ : d->count - 1];
}

/* ---- one of our own ---- */

static int read_encoding(int fd, const struct spooled *layer, enum layer_encoding *ret)
{
    char magic[LAYER_MAGIC_SIZE];
    const size_t len = layer->size < LAYER_MAGIC_SIZE ? (size_t)layer->size : LAYER_MAGIC_SIZE;
    if (fs_pread_all(fd, magic, len, 0) < 0)
        return -1;
    *ret = layer_encoding(magic, len);
    return 0;
}

/* Unpack it, as verify --deep looks at it and within its limits, wherever it stands first. */
static int read_layer(const struct import *in, struct spooled *layer, struct error *err)
{
    cleanup_layer struct layer seen = {0};
    enum layer_encoding encoding;
    if (layer->layer)
        return 0;
    cleanup_close int fd = spool_open_member(&in->spool, layer);
    if (fd < 0 || read_encoding(fd, layer, &encoding) < 0)
        return error_errno(err, errno, "cannot read back %s", layer->digest.text);
    if (layer_check(fd, WHOLE_FILE, &layer->digest, layer->size, &layer_limits, in->options->stop,
                    &seen, err) < 0)
        return -1;
    if (seen.problem || seen.not_checked)
        return error_set(err, ERROR_PROTOCOL, "%s", seen.problem ? seen.problem : seen.not_checked);
    layer->layer = xcalloc(1, sizeof *layer->layer);
    *layer->layer = (struct import_layer){seen.diff_id, encoding};
    return 0;
}

/* Does it unpack to what the config says? */
static int check_layer(const struct import *in, struct spooled *layer, const struct digest *diff_id,
                       struct error *err)
{
    if (read_layer(in, layer, err) < 0)
        return -1;
    const struct digest *seen = &layer->layer->diff_id;
    if (!digest_equal(diff_id, seen))
        return error_set(err, ERROR_DIGEST, "it unpacks to %s, and the config says %s", seen->text,
                         diff_id->text);
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
        struct spooled *layer = p->layers[i];
        if (check_layer(in, layer, &p->diff_ids[i], err) < 0) {
            (void)error_prefix(err, "layer %zu", i + 1);
            return NULL;
        }
        (void)json_array_append_new(
            layers, descriptor_json(layer_encoding_type(layer->layer->encoding), layer));
    }
    cleanup_json json_t *manifest =
        json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", MEDIA_DOCKER_MANIFEST,
                  "config", descriptor_json(DOCKER_CONFIG, p->config), "layers", layers);
    char *text = manifest ? json_dumps(manifest, JSON_INDENT(3)) : NULL;
    if (!text)
        abort(); /* out of memory */
    return text;
}

/* One of our own, among the blobs. NULL. */
static struct spooled *put_manifest(struct import *in, const struct parts *p, struct error *err)
{
    cleanup_free char *text = make_manifest(in, p, err);
    struct spooled *member;
    struct digest digest;
    if (!text)
        return NULL;
    digest_of(text, strlen(text), &digest);
    cleanup_free char *name = xasprintf("blobs/sha256/%s", digest_hex(&digest));
    return spool_put(&in->spool, name, text, strlen(text), &member, err) < 0 ? NULL : member;
}

/* NULL. */
static struct import_image *add_image(const struct archive *a, const struct parts *p,
                                      struct error *err)
{
    struct spooled *found = find_manifest(a, p);
    struct spooled *member = found ? found : put_manifest(a->in, p, err);
    if (!member || import_understand(a->in, member, NULL, err) < 0)
        return NULL;
    member->image->made_up = !found;
    return member->image;
}

/* ---- aliases: indexes that lead to it ---- */

/* The first of the images that an index leads to, each index looked at once, or again where it is
 * met less deep. */
static int find_first(struct import *in, struct import_index *index, int depth,
                      struct import_image **ret, struct error *err)
{
    if (depth > INDEX_DEPTH_MAX || (index->walk == in->walk && index->depth <= depth))
        return 0;
    if (import_step(in, index, err) < 0)
        return -1;
    index->walk = in->walk;
    index->depth = depth;
    for (size_t i = 0; i < index->child_count; i++) {
        const struct spooled *child = index->children[i].member;
        if (child->image && !child->image->made_up &&
            (!*ret || child->image->place < (*ret)->place))
            *ret = child->image;
        if (child->index && find_first(in, child->index, depth + 1, ret, err) < 0)
            return -1;
    }
    return 0;
}

/* An export of ours puts an index into it for no other reason. */
static int add_aliases(const struct archive *a, struct error *err)
{
    for (size_t i = 0; i < a->index_count; i++) {
        const struct import_index *index = a->indexes[i]->index;
        for (size_t j = 0; j < index->child_count; j++)
            if (index->children[j].member->index)
                index->children[j].member->index->is_child = true;
    }
    for (size_t i = 0; i < a->index_count; i++) {
        struct spooled *top = a->indexes[i];
        struct import_image *first = NULL;
        struct import_way way;
        if (top->index->is_child)
            continue;
        a->in->walk++;
        if (find_first(a->in, top->index, 1, &first, err) < 0)
            return -1;
        int leads = first ? import_find_way(a->in, &top->digest, first, &way, err) : 0;
        if (leads < 0 || (leads > 0 && import_add_alias(a->in, first, &way, err) < 0))
            return -1;
    }
    return 0;
}

/* ---- manifest.json ---- */

static struct spooled *find(const struct import *in, const char *name, const char *what,
                            struct error *err)
{
    cleanup_free char *simple = spool_name("", name);
    const struct spooled *member = simple ? spool_find(&in->spool, simple) : NULL;
    cleanup_free char *shown = text_foreign_str(name);
    if (!member)
        (void)error_set(err, ERROR_PROTOCOL, "%s \"%s\" is not in the tar", what, shown);
    return member ? spool_digest(&in->spool, &member->digest) : NULL;
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

static int find_parts(struct import *in, const struct docker_archive *a, struct parts *p,
                      struct error *err)
{
    cleanup_free char *config = NULL;
    p->config = find(in, a->config, "the config", err);
    if (!p->config || import_read(in, p->config, CONFIG_SIZE_MAX, &config, err) < 0 ||
        docker_archive_diff_ids(config, (size_t)p->config->size, a->layer_count, &p->diff_ids,
                                err) < 0)
        return -1;
    p->layers = xcalloc(a->layer_count + 1, sizeof(struct spooled *));
    for (size_t i = 0; i < a->layer_count; i++) {
        p->layers[p->layer_count++] = find(in, a->layers[i], "the layer", err);
        if (!p->layers[i])
            return -1;
    }
    return check_promises(a, p, err);
}

static int take_image(const struct archive *archive, const struct docker_archive *a,
                      struct error *err)
{
    struct import *in = archive->in;
    struct parts p = {0};
    struct import_image *image = NULL;
    if (find_parts(in, a, &p, err) == 0)
        image = add_image(archive, &p, err);
    free(p.layers);
    free(p.diff_ids);
    if (!image)
        return -1;
    for (size_t i = 0; i < a->tag_count && !in->options->name; i++) {
        cleanup_reference struct reference ref = {0};
        cleanup_free char *shown = text_foreign_str(a->tags[i]);
        if (reference_parse(a->tags[i], &ref, NULL) < 0 || reference_is_pinned(&ref))
            import_note(in, "\"%s\" is no tag: the name is dropped", shown);
        else if (import_add_name(in, image, ref.name, NULL, &(struct digest){0}, err) < 0)
            return -1;
    }
    return 0;
}

static int take_images(const struct archive *archive, const struct docker_archive *list,
                       size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct error why = {0};
        if (take_image(archive, &list[i], &why) == 0)
            continue;
        if (why.kind != ERROR_INTERRUPTED)
            (void)error_prefix(&why, "manifest.json: image %zu", i + 1);
        error_move(err, &why);
        return -1;
    }
    return add_aliases(archive, err);
}

int import_archive(struct import *in, const struct spooled *json, struct error *err)
{
    struct archive archive = {.in = in};
    cleanup_free char *text = NULL;
    struct docker_archive *list;
    size_t count;
    if (spool_bytes(&in->spool, json, DOCKER_ARCHIVE_JSON_MAX, &text, err) < 0)
        return -1;
    if (docker_archive_parse_all(text, (size_t)json->size, &list, &count, err) < 0)
        return error_prefix(err, "manifest.json");
    int r = read_documents(&archive, err);
    if (r == 0)
        r = take_images(&archive, list, count, err);
    tdestroy(archive.documents, free_document);
    free(archive.indexes);
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

int import_single_layer(struct import *in, struct spooled *layer, struct error *err)
{
    struct spooled *config;
    if (layer->size == 0)
        return error_set(err, ERROR_PROTOCOL, "no layer: the input is empty");
    if (read_layer(in, layer, err) < 0)
        return -1;
    struct digest *diff_id = &layer->layer->diff_id;
    cleanup_free char *text = make_config(in->options, diff_id);
    if (spool_put(&in->spool, "config", text, strlen(text), &config, err) < 0)
        return -1;
    const struct archive none = {.in = in};
    const struct parts p = {config, &layer, 1, diff_id};
    return add_image(&none, &p, err) ? 0 : -1;
}
