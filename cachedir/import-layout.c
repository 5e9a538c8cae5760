/*
 * An OCI image layout in a tar (image-spec image-layout.md): what cachedir export, skopeo and
 * buildah (oci-archive), and docker save since 25 write.
 *
 * Names: the annotation of containerd where it stands, else that of the specification, if it is
 * more than a tag. Which platforms a reference was asked for, what it was, and under which indexes
 * it stands, too, is said by annotations of ours, and believed as far as the tar proves it.
 */
#include "alloc.h"
#include "export.h"
#include "import.h"
#include "json.h"
#include "reference.h"
#include "text.h"

#include <string.h>

#define CONTAINERD_NAME "io.containerd.image.name"

struct visit { /* one descriptor of index.json */
    struct import *in;
    json_t *annotations;
    struct digest top;
    size_t *images; /* that it leads to */
    size_t image_count;
};

const struct spooled *import_blob(const struct import *in, const struct digest *digest)
{
    cleanup_free char *name = xasprintf(
        "blobs/%s/%s", digest_is_sha256(digest) ? "sha256" : "sha512", digest_hex(digest));
    return spool_find(&in->spool, name);
}

static int visit(struct visit *v, const struct digest *digest, int64_t size, const char *media_type,
                 int depth, struct error *err);

/* BuildKit's attestations stand beside images, and are none. */
static bool is_for_nobody(const struct descriptor *child)
{
    return child->has_platform && child->platform.os && strcmp(child->platform.os, "unknown") == 0;
}

static int visit_children(struct visit *v, const struct digest *digest,
                          const struct manifest *index, int depth, struct error *err)
{
    size_t here = 0;
    if (depth > INDEX_DEPTH_MAX)
        return error_set(err, ERROR_PROTOCOL, "indexes within indexes, more than %d deep",
                         INDEX_DEPTH_MAX);
    for (size_t i = 0; i < index->child_count; i++) {
        const struct descriptor *child = &index->children[i];
        if (is_for_nobody(child))
            continue;
        if (!import_blob(v->in, &child->digest))
            continue; /* docker save, skopeo: one platform of several */
        here++;
        if (visit(v, &child->digest, child->size, child->media_type, depth + 1, err) < 0)
            return -1;
    }
    if (here == 0)
        return error_set(err, ERROR_PROTOCOL, "of the index %s the tar holds nothing",
                         digest->text);
    if (here < index->child_count)
        import_note(v->in, "of the index %s the tar holds %zu of %zu", digest->text, here,
                    index->child_count);
    return 0;
}

static int visit(struct visit *v, const struct digest *digest, int64_t size, const char *media_type,
                 int depth, struct error *err)
{
    cleanup_manifest struct manifest m = {0};
    cleanup_free char *bytes = NULL;
    const struct spooled *member = import_blob(v->in, digest);
    if (!member)
        return error_set(err, ERROR_PROTOCOL, "%s is not in the tar", digest->text);
    if (member->size != size)
        return error_set(err, ERROR_DIGEST, "%s has %lld bytes, and is said to have %lld",
                         digest->text, (long long)member->size, (long long)size);
    if (spool_bytes(&v->in->spool, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
        return -1;
    if (manifest_parse(bytes, (size_t)size, media_type, &m, NULL, err) < 0)
        return error_prefix(err, "%s", digest->text);
    if (m.kind == MANIFEST_INDEX)
        return visit_children(v, digest, &m, depth, err);
    const struct import_image *image =
        import_add_image(v->in, digest, take_ptr(bytes), (size_t)size, media_type, err);
    if (!image)
        return -1;
    *array_add(v->images, v->image_count) = (size_t)(image - v->in->images);
    return 0;
}

/* ---- names ---- */

/* Full text of the reference; NULL: it says none. Owned. */
static char *reference_of(const struct visit *v)
{
    const char *full = json_member_string(v->annotations, CONTAINERD_NAME);
    const char *short_one = json_member_string(v->annotations, STORE_REF_NAME);
    const char *text = full ? full : short_one;
    cleanup_reference struct reference ref = {0};
    if (v->in->options->name || !text)
        return NULL;
    cleanup_free char *shown = text_foreign_str(text);
    if ((!full && !strpbrk(text, ":/")) || reference_parse(text, &ref, NULL) < 0) {
        import_note(v->in,
                    "\"%s\" is no full name: the image %s is found by its digest only, unless "
                    "it is given a name",
                    shown, v->top.text);
        return NULL;
    }
    bool fits = !reference_is_pinned(&ref) || digest_equal(&ref.digest, &v->top);
    for (size_t i = 0; i < v->image_count && !fits; i++)
        fits = digest_equal(&ref.digest, &v->in->images[v->images[i]].digest);
    /* What a reference is pinned to may be an index that leads here. */
    for (size_t i = 0; i < v->image_count && !fits; i++) {
        cleanup_alias struct alias way = {0};
        fits = import_find_way(v->in, &ref.digest, &v->in->images[v->images[i]].digest, &way,
                               NULL) > 0;
    }
    if (fits)
        return xstrdup(ref.name);
    import_note(v->in, "the tar does not prove that %s is %s: the name is dropped", shown,
                v->top.text);
    return NULL;
}

static bool leads_to(const struct visit *v, const char *digest, size_t *ret)
{
    for (size_t i = 0; digest && i < v->image_count; i++)
        if (strcmp(v->in->images[v->images[i]].digest.text, digest) == 0) {
            *ret = v->images[i];
            return true;
        }
    return false;
}

/* As an export of ours says it. Returns how many, or -1. */
static int add_our_names(struct visit *v, const char *reference, struct error *err)
{
    const char *key;
    json_t *value;
    int count = 0;
    json_object_foreach(v->annotations, key, value)
    {
        size_t image;
        const char *platform = key + strlen(EXPORT_MANIFEST_KEY);
        struct digest source = {0};
        cleanup_alias struct alias way = {0};
        if (strncmp(key, EXPORT_MANIFEST_KEY, strlen(EXPORT_MANIFEST_KEY)) != 0 ||
            !leads_to(v, json_string_value(value), &image))
            continue;
        cleanup_free char *source_key = xasprintf("%s%s", EXPORT_SOURCE_KEY, platform);
        const char *said = json_member_string(v->annotations, source_key);
        if (said && digest_parse(said, &source, NULL) == 0) {
            int proven = import_find_way(v->in, &source, &v->in->images[image].digest, &way, err);
            if (proven < 0)
                return -1;
            if (proven == 0)
                source = (struct digest){0};
        }
        if (import_add_name(v->in, image, reference, platform, &source, err) < 0)
            return -1;
        count++;
    }
    return count;
}

static int add_names(struct visit *v, struct error *err)
{
    cleanup_free char *reference = reference_of(v);
    if (!reference)
        return 0;
    const int ours = add_our_names(v, reference, err);
    for (size_t i = 0; i < v->image_count && ours == 0; i++)
        if (import_add_name(v->in, v->images[i], reference, NULL, &v->top, err) < 0)
            return -1;
    return ours < 0 ? -1 : 0;
}

/* Entries that stood under the digests of indexes do so again. */
static int add_aliases(struct visit *v, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(v->annotations, key, value)
    {
        size_t image;
        struct alias way = {0};
        struct digest index;
        if (strncmp(key, EXPORT_ALIAS_KEY, strlen(EXPORT_ALIAS_KEY)) != 0)
            continue;
        cleanup_free char *text = xasprintf("sha256:%s", key + strlen(EXPORT_ALIAS_KEY));
        if (digest_parse(text, &index, err) < 0)
            return error_prefix(err, "an alias");
        if (!leads_to(v, json_string_value(value), &image))
            return error_set(err, ERROR_PROTOCOL, "the alias %s stands for nothing in the tar",
                             index.text);
        const int proven = import_find_way(v->in, &index, &v->in->images[image].digest, &way, err);
        if (proven == 0)
            return error_set(err, ERROR_PROTOCOL, "the tar does not prove that %s leads to %s",
                             index.text, v->in->images[image].digest.text);
        if (proven < 0)
            return -1;
        struct import_image *to = &v->in->images[image];
        bool known = false;
        for (size_t i = 0; i < to->alias_count && !known; i++)
            known = digest_equal(&to->aliases[i].index, &index);
        if (known)
            alias_release(&way);
        else
            *array_add(to->aliases, to->alias_count) = way;
    }
    return 0;
}

/* ---- index.json ---- */

static int take_descriptor(struct import *in, const json_t *descriptor, struct error *err)
{
    struct visit v = {.in = in, .annotations = json_object_get(descriptor, "annotations")};
    const char *media_type = json_member_string(descriptor, "mediaType");
    int64_t size;
    if (digest_parse(json_member_string(descriptor, "digest"), &v.top, err) < 0)
        return -1;
    if (!json_member_integer(descriptor, "size", &size) || size < 0)
        return error_set(err, ERROR_PROTOCOL, "%s: no size", v.top.text);
    if (media_type && !media_type_is_image(media_type) && !media_type_is_index(media_type)) {
        cleanup_free char *shown = text_foreign_str(media_type);
        import_note(in, "%s is no image, but \"%s\": passed over", v.top.text, shown);
        return 0;
    }
    int r = visit(&v, &v.top, size, media_type, 1, err);
    if (r == 0)
        r = add_names(&v, err);
    if (r == 0)
        r = add_aliases(&v, err);
    free(v.images);
    return r;
}

int import_layout(struct import *in, const struct spooled *index, struct error *err)
{
    static const char *const keys[] = {"mediaType", "digest", "size", "annotations", NULL};
    cleanup_free char *text = NULL;
    size_t i;
    json_t *descriptor;
    if (spool_bytes(&in->spool, index, INDEX_SIZE_MAX, &text, err) < 0)
        return -1;
    cleanup_json json_t *root = json_object_parse(text, (size_t)index->size, err);
    if (!root)
        return error_prefix(err, "index.json");
    if (!json_is_array(json_object_get(root, "manifests")))
        return error_set(err, ERROR_PROTOCOL, "index.json: no list of manifests");
    json_array_foreach(json_object_get(root, "manifests"), i, descriptor)
    {
        if (!json_is_object(descriptor))
            return error_set(err, ERROR_PROTOCOL, "index.json: manifest %zu is no object", i + 1);
        if (json_check_spelling(descriptor, keys, err) < 0 ||
            take_descriptor(in, descriptor, err) < 0)
            return error_prefix(err, "index.json: manifest %zu", i + 1);
    }
    return 0;
}
