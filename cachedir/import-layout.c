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
    unsigned walk;
    struct import_image **images; /* that it leads to, each once */
    size_t image_count;
};

static int visit(struct visit *v, const struct digest *digest, int64_t size, const char *media_type,
                 int depth, struct error *err);

/* Once a walk; again where it is met deeper, from where it may lead too deep. */
static int visit_children(struct visit *v, struct import_index *index, int depth, struct error *err)
{
    const struct digest *digest = &index->member->digest;
    if (depth > INDEX_DEPTH_MAX)
        return error_set(err, ERROR_PROTOCOL, "indexes within indexes, more than %d deep",
                         INDEX_DEPTH_MAX);
    if (index->walk == v->walk && index->depth >= depth)
        return 0;
    const bool again = index->walk == v->walk;
    index->walk = v->walk;
    index->depth = depth;
    if (import_step(v->in, index, err) < 0)
        return -1;
    for (size_t i = 0; i < index->child_count; i++) {
        const struct import_child *child = &index->children[i];
        if (visit(v, &child->member->digest, child->size, child->media_type, depth + 1, err) < 0)
            return -1;
    }
    if (index->child_count == 0)
        return error_set(err, ERROR_PROTOCOL, "of the index %s the tar holds nothing",
                         digest->text);
    if (index->child_count < index->said && !again)
        import_note(v->in, "of the index %s the tar holds %zu of %zu", digest->text,
                    index->child_count, index->said);
    return 0;
}

static int visit(struct visit *v, const struct digest *digest, int64_t size, const char *media_type,
                 int depth, struct error *err)
{
    struct spooled *member = spool_digest(&v->in->spool, digest);
    if (!member)
        return error_set(err, ERROR_PROTOCOL, "%s is not in the tar", digest->text);
    if (member->size != size)
        return error_set(err, ERROR_DIGEST, "%s has %lld bytes, and is said to have %lld",
                         digest->text, (long long)member->size, (long long)size);
    if (import_understand(v->in, member, media_type, err) < 0)
        return -1;
    if (member->index)
        return visit_children(v, member->index, depth, err);
    if (member->image->walk != v->walk)
        *array_add(v->images, v->image_count) = member->image;
    member->image->walk = v->walk;
    return 0;
}

/* ---- names ---- */

/* Does the tar prove that what a reference is pinned to leads here? */
static int leads_here(const struct visit *v, const struct digest *pinned, struct error *err)
{
    int fits = digest_equal(pinned, &v->top);
    for (size_t i = 0; i < v->image_count && fits == 0; i++)
        fits = digest_equal(pinned, &v->images[i]->member->digest);
    for (size_t i = 0; i < v->image_count && fits == 0; i++) {
        struct import_way way;
        fits = import_find_way(v->in, pinned, v->images[i], &way, err);
    }
    return fits;
}

/* *ret: full text of the reference, owned; NULL: it says none. */
static int read_reference(const struct visit *v, char **ret, struct error *err)
{
    const char *full = json_member_string(v->annotations, CONTAINERD_NAME);
    const char *short_one = json_member_string(v->annotations, STORE_REF_NAME);
    const char *text = full ? full : short_one;
    cleanup_reference struct reference ref = {0};
    cleanup_error struct error why = {0};
    *ret = NULL;
    if (v->in->options->name || !text)
        return 0;
    cleanup_free char *shown = text_foreign_str(text);
    int r = !full && !strpbrk(text, ":/")
                ? error_set(&why, ERROR_USAGE, "\"%s\" is no full name", shown)
                : reference_parse(text, &ref, &why);
    if (r < 0) {
        import_note(v->in,
                    "%s: the image %s is found by its digest only, unless it is given a name",
                    why.message, v->top.text);
        return 0;
    }
    int fits = reference_is_pinned(&ref) ? leads_here(v, &ref.digest, err) : 1;
    if (fits > 0)
        *ret = xstrdup(ref.name);
    else if (fits == 0)
        import_note(v->in, "the tar does not prove that %s is %s: the name is dropped", shown,
                    v->top.text);
    return fits < 0 ? -1 : 0;
}

/* The image of this digest, if it is one of those that the descriptor leads to. */
static struct import_image *find_image(const struct visit *v, const char *text)
{
    struct digest digest;
    if (!text || digest_parse(text, &digest, NULL) < 0)
        return NULL;
    const struct spooled *member = spool_digest(&v->in->spool, &digest);
    return member && member->image && member->image->walk == v->walk ? member->image : NULL;
}

static const char *after(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0 ? key + strlen(prefix) : NULL;
}

/* The platform that an annotation of ours is about, and the manifest; NULL: it is no such thing. An
 * export names each manifest, a directory only those that are not the descriptor's own. */
static const char *annotated(const struct visit *v, const char *key, const json_t *value,
                             const char **ret_manifest)
{
    const char *platform = after(key, MANIFEST_KEY);
    *ret_manifest = json_string_value(value);
    if (platform)
        return platform;
    platform = after(key, CHECKED_KEY);
    cleanup_free char *other = xasprintf("%s%s", MANIFEST_KEY, platform ? platform : "");
    *ret_manifest = v->top.text;
    return json_object_get(v->annotations, other) ? NULL : platform;
}

/* As an export of ours says it, or a directory. Returns how many, or -1. */
static int add_our_names(struct visit *v, const char *reference, struct error *err)
{
    const char *key;
    json_t *value;
    int count = 0;
    json_object_foreach(v->annotations, key, value)
    {
        const char *manifest, *platform = annotated(v, key, value, &manifest);
        struct digest source = {0};
        struct import_way way;
        struct import_image *image = platform ? find_image(v, manifest) : NULL;
        if (!image)
            continue;
        cleanup_free char *source_key = xasprintf("%s%s", SOURCE_KEY, platform);
        const char *said = json_member_string(v->annotations, source_key);
        if (said && digest_parse(said, &source, NULL) == 0) {
            int proven = import_find_way(v->in, &source, image, &way, err);
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
    cleanup_free char *reference = NULL;
    if (read_reference(v, &reference, err) < 0)
        return -1;
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
        struct import_way way;
        struct digest index;
        if (strncmp(key, EXPORT_ALIAS_KEY, strlen(EXPORT_ALIAS_KEY)) != 0)
            continue;
        cleanup_free char *text = xasprintf("sha256:%s", key + strlen(EXPORT_ALIAS_KEY));
        if (digest_parse(text, &index, err) < 0)
            return error_prefix(err, "an alias");
        struct import_image *image = find_image(v, json_string_value(value));
        if (!image)
            return error_set(err, ERROR_PROTOCOL, "the alias %s stands for nothing in the tar",
                             index.text);
        const int proven = import_find_way(v->in, &index, image, &way, err);
        if (proven == 0)
            return error_set(err, ERROR_PROTOCOL, "the tar does not prove that %s leads to %s",
                             index.text, image->member->digest.text);
        if (proven < 0 || import_add_alias(v->in, image, &way, err) < 0)
            return -1;
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
    v.walk = ++in->walk;
    int r = import_go_on(in, err);
    if (r == 0)
        r = visit(&v, &v.top, size, media_type, 1, err);
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
