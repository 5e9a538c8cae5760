/*
 * The images of a tar, their names, and the indexes that lead to them: each looked at once.
 */
#include "alloc.h"
#include "import.h"
#include "text.h"

#include <search.h>
#include <string.h>

void import_note(const struct import *in, const char *format, ...)
{
    va_list args;
    if (!in->options->note)
        return;
    va_start(args, format);
    cleanup_free char *line = xvasprintf(format, args);
    va_end(args);
    in->options->note(in->options->userdata, line);
}

int import_go_on(const struct import *in, struct error *err)
{
    if (in->options->stop && *in->options->stop)
        return error_set(err, ERROR_INTERRUPTED, "stopped before everything was imported");
    return 0;
}

/* ---- releasing ---- */

static void free_image(struct import_image *image)
{
    if (!image)
        return;
    for (size_t i = 0; i < image->name_count; i++)
        free(image->names[i].platform);
    free(image->names);
    free(image->aliases);
    free(image->platform);
    free(image);
}

static void free_reference(void *node)
{
    struct import_reference *reference = node;
    free(reference->text);
    free(reference);
}

void import_release(struct import *in)
{
    for (size_t i = 0; i < in->spool.count; i++) {
        free_image(in->spool.list[i]->image);
        free(in->spool.list[i]->index);
        free(in->spool.list[i]->layer);
    }
    free(in->images);
    tdestroy(in->references, free_reference);
    spool_release(&in->spool);
}

/* ---- reading ---- */

static int count_bytes(struct import *in, int64_t bytes, struct error *err)
{
    in->read += bytes;
    if (in->read > IMPORT_READ_MAX)
        return error_set(err, ERROR_PROTOCOL, "more than %lld MiB of manifests and configs to read",
                         (long long)IMPORT_READ_MAX >> 20);
    return import_go_on(in, err);
}

int import_read(struct import *in, const struct spooled *member, size_t max, char **ret,
                struct error *err)
{
    cleanup_free char *bytes = NULL;
    if (spool_bytes(&in->spool, member, max, &bytes, err) < 0 ||
        count_bytes(in, member->size, err) < 0)
        return -1;
    *ret = take_ptr(bytes);
    return 0;
}

/* Is it in the tar, or here? */
static bool has_blob(const struct import *in, const struct descriptor *blob)
{
    const struct spooled *member = spool_digest(&in->spool, &blob->digest);
    return (member && member->size == blob->size) || cachedir_has_blob(in->cd, blob);
}

static int check_blobs(const struct import *in, const struct digest *image,
                       const struct manifest *m, struct error *err)
{
    for (size_t i = 0; i <= m->layer_count; i++) {
        const struct descriptor *blob = i == 0 ? &m->config : &m->layers[i - 1];
        const struct spooled *member = spool_digest(&in->spool, &blob->digest);
        if (has_blob(in, blob))
            continue;
        if (member)
            return error_set(err, ERROR_DIGEST, "%s: %s has %lld bytes, and is said to have %lld",
                             image->text, blob->digest.text, (long long)member->size,
                             (long long)blob->size);
        return error_set(err, ERROR_PROTOCOL, "%s: its %s %s is neither in the tar nor here",
                         image->text, i == 0 ? "config" : "layer", blob->digest.text);
    }
    return in->cd->format->is_file ? docker_archive_check(m, image, err) : 0;
}

static int read_platform(struct import *in, struct import_image *image,
                         const struct descriptor *config, struct error *err)
{
    const struct spooled *member = spool_digest(&in->spool, &config->digest);
    cleanup_free char *bytes = NULL;
    cleanup_platform struct platform said = {0}, parsed = {0};
    if (!member || member->size > CONFIG_SIZE_MAX)
        return 0;
    if (import_read(in, member, CONFIG_SIZE_MAX, &bytes, err) < 0)
        return -1;
    if (config_platform(bytes, (size_t)member->size, &said, NULL) < 0)
        return 0;
    cleanup_free char *text = platform_format(&said);
    if (platform_parse(text, &parsed, NULL) < 0)
        image->is_odd = true;
    else
        image->platform = take_ptr(text);
    return 0;
}

static int add_image(struct import *in, struct spooled *member, const struct manifest *m,
                     struct error *err)
{
    if (in->image_count >= IMPORT_IMAGES_MAX)
        return error_set(err, ERROR_PROTOCOL, "more than %d images", IMPORT_IMAGES_MAX);
    if (!digest_is_sha256(&member->digest))
        return error_set(err, ERROR_PROTOCOL, "the builder reads only sha256 manifests, not %s",
                         member->digest.text);
    if (check_blobs(in, &member->digest, m, err) < 0)
        return -1;
    struct import_image *image = xcalloc(1, sizeof *image);
    *image = (struct import_image){
        .member = member, .media_type = m->media_type, .place = in->image_count};
    member->image = image;
    *array_add(in->images, in->image_count) = image;
    return read_platform(in, image, &m->config, err);
}

/* BuildKit's attestations stand beside images, and are none. */
static bool is_for_nobody(const struct descriptor *child)
{
    return child->has_platform && child->platform.os && strcmp(child->platform.os, "unknown") == 0;
}

int import_add_index(struct import *in, struct spooled *member, const struct manifest *m,
                     struct error *err)
{
    if (member->index)
        return 0;
    in->child_count += m->child_count;
    if (in->child_count > IMPORT_CHILDREN_MAX)
        return error_set(err, ERROR_PROTOCOL, "indexes with more than %d children",
                         IMPORT_CHILDREN_MAX);
    struct import_index *index =
        xcalloc(1, sizeof *index + m->child_count * sizeof(struct import_child));
    index->member = member;
    for (size_t i = 0; i < m->child_count; i++) {
        const struct descriptor *child = &m->children[i];
        struct spooled *there = spool_digest(&in->spool, &child->digest);
        if (is_for_nobody(child))
            continue;
        index->said++;
        if (there) /* docker save, skopeo: one platform of several */
            index->children[index->child_count++] =
                (struct import_child){there, child->size, media_type_known(child->media_type)};
    }
    member->index = index;
    return 0;
}

int import_understand(struct import *in, struct spooled *member, const char *media_type,
                      struct error *err)
{
    cleanup_manifest struct manifest m = {0};
    cleanup_free char *bytes = NULL;
    if (member->image || member->index)
        return 0;
    if (import_read(in, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
        return -1;
    if (manifest_parse(bytes, (size_t)member->size, media_type, &m, NULL, err) < 0)
        return error_prefix(err, "%s", member->digest.text);
    return (m.kind == MANIFEST_INDEX ? import_add_index : add_image)(in, member, &m, err);
}

/* ---- names ---- */

static int compare_references(const void *a, const void *b)
{
    return strcmp(((const struct import_reference *)a)->text,
                  ((const struct import_reference *)b)->text);
}

static struct import_reference *find_reference(struct import *in, const char *text)
{
    cleanup_free char *copy = xstrdup(text);
    const struct import_reference key = {.text = copy};
    struct import_reference *const *found = tfind(&key, &in->references, compare_references);
    if (found)
        return *found;
    struct import_reference *reference = xcalloc(1, sizeof *reference);
    reference->text = take_ptr(copy);
    if (!tsearch(reference, &in->references, compare_references))
        abort(); /* out of memory */
    return reference;
}

/* What is asked for, as the directory writes it; *ret is NULL: nothing is. */
static int read_asked(struct import *in, const struct import_image *image, const char *reference,
                      const char *platform, char **ret, struct error *err)
{
    const char *asked = platform ? platform : image->platform;
    cleanup_platform struct platform parsed = {0};
    cleanup_error struct error why = {0};
    *ret = NULL;
    if (image->is_odd)
        import_note(in,
                    "%s: no builder can ask for the platform that its config says: the name "
                    "is dropped",
                    reference);
    if (image->is_odd || !asked)
        return 0;
    if (platform_parse(asked, &parsed, &why) < 0)
        return error_set(err, ERROR_PROTOCOL, "%s: %s", reference, why.message);
    *ret = platform_format(&parsed);
    return 0;
}

static int64_t length(const char *s)
{
    return s ? (int64_t)strlen(s) : 0;
}

int import_add_name(struct import *in, struct import_image *image, const char *reference,
                    const char *platform, const struct digest *source, struct error *err)
{
    char *asked;
    if (read_asked(in, image, reference, platform, &asked, err) < 0)
        return -1;
    struct import_reference *to = find_reference(in, reference);
    *array_add(image->names, image->name_count) =
        (struct import_name){.reference = to->text, .platform = asked, .source = *source};
    if (++to->names > IMPORT_PLATFORMS_MAX)
        return error_set(err, ERROR_PROTOCOL, "%s for more than %d platforms", reference,
                         IMPORT_PLATFORMS_MAX);
    /* Each of three annotations says what is asked for. */
    in->room += IMPORT_NAME_ROOM + length(reference) + 3 * length(asked) + length(image->platform);
    if (in->room > INDEX_SIZE_MAX)
        return error_set(err, ERROR_PROTOCOL, "more names than an index.json of %d MiB holds",
                         INDEX_SIZE_MAX >> 20);
    return 0;
}

/* ---- ways down ---- */

int import_step(struct import *in, const struct import_index *index, struct error *err)
{
    in->steps += 1 + (int64_t)index->child_count;
    if (in->steps > IMPORT_STEPS_MAX)
        return error_set(err, ERROR_PROTOCOL,
                         "indexes within indexes, to be looked through in more than %d steps",
                         IMPORT_STEPS_MAX);
    return import_go_on(in, err);
}

/* What is no index leads nowhere, whatever it is said to be. */
static int read_index(struct import *in, struct spooled *member, struct error *err)
{
    cleanup_manifest struct manifest m = {0};
    cleanup_free char *bytes = NULL;
    if (member->image || member->index || !member->is_object || member->size > MANIFEST_SIZE_MAX)
        return 0;
    if (import_read(in, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
        return -1;
    if (manifest_parse(bytes, (size_t)member->size, NULL, &m, NULL, NULL) < 0 ||
        m.kind != MANIFEST_INDEX)
        return 0;
    return import_add_index(in, member, &m, err);
}

/* Once a walk; again where it is met less deep, from where more can be reached. */
static int find_below(struct import *in, struct spooled *member, const struct spooled *wanted,
                      struct import_way *way, struct error *err)
{
    const int depth = (int)way->count + 1;
    if (depth > INDEX_DEPTH_MAX)
        return 0;
    if (read_index(in, member, err) < 0)
        return -1;
    struct import_index *index = member->index;
    if (!index || (index->walk == in->walk && index->depth <= depth))
        return 0;
    if (import_step(in, index, err) < 0)
        return -1;
    index->walk = in->walk;
    index->depth = depth;
    way->indexes[way->count++] = index;
    for (size_t i = 0; i < index->child_count; i++)
        if (index->children[i].member == wanted)
            return 1;
    for (size_t i = 0; i < index->child_count; i++) {
        const struct import_child *child = &index->children[i];
        if (!child->media_type || !media_type_is_index(child->media_type))
            continue;
        int below = find_below(in, child->member, wanted, way, err);
        if (below != 0)
            return below;
    }
    way->count--;
    return 0;
}

int import_find_way(struct import *in, const struct digest *index, const struct import_image *image,
                    struct import_way *ret, struct error *err)
{
    struct spooled *member = spool_digest(&in->spool, index);
    *ret = (struct import_way){0};
    in->walk++;
    return member ? find_below(in, member, image->member, ret, err) : 0;
}

int import_add_alias(struct import *in, struct import_image *image, const struct import_way *way,
                     struct error *err)
{
    struct import_index *index = way->indexes[0];
    if (index->alias_of && index->alias_of != image)
        import_note(in, "the alias %s stands for %s, and can stand for one platform only",
                    index->member->digest.text, index->alias_of->member->digest.text);
    if (index->alias_of)
        return 0;
    index->alias_of = image;
    *array_add(image->aliases, image->alias_count) = *way;
    /* The proof stands in each alias's record. */
    for (size_t i = 0; i < way->count; i++)
        if (count_bytes(in, way->indexes[i]->member->size, err) < 0)
            return -1;
    return 0;
}
