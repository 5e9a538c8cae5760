/*
 * Images out of a tar: read once and kept aside (spool.h), understood and proven as a whole, and
 * only then published, one after another, as a pull publishes.
 */
#include "import.h"

#include "alloc.h"
#include "docker-archive.h"
#include "text.h"

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

static void release_image(struct import_image *image)
{
    free(image->bytes);
    free(image->platform);
    manifest_release(&image->manifest);
    for (size_t i = 0; i < image->name_count; i++) {
        free(image->names[i].reference);
        free(image->names[i].platform);
    }
    free(image->names);
    for (size_t i = 0; i < image->alias_count; i++)
        alias_release(&image->aliases[i]);
    free(image->aliases);
}

static void import_release(struct import *in)
{
    for (size_t i = 0; i < in->image_count; i++)
        release_image(&in->images[i]);
    free(in->images);
    for (size_t i = 0; i < in->document_count; i++)
        manifest_release(&in->documents[i].manifest);
    free(in->documents);
    spool_release(&in->spool);
}

/* ---- what is in it ---- */

/* Is it in the tar, or here? */
static bool has_blob(const struct import *in, const struct descriptor *blob)
{
    const struct spooled *member = spool_digest(&in->spool, &blob->digest);
    return (member && member->size == blob->size) || cachedir_has_blob(in->cd, blob);
}

static int check_blobs(const struct import *in, const struct import_image *image, struct error *err)
{
    const struct manifest *m = &image->manifest;
    for (size_t i = 0; i <= m->layer_count; i++) {
        const struct descriptor *blob = i == 0 ? &m->config : &m->layers[i - 1];
        const struct spooled *member = spool_digest(&in->spool, &blob->digest);
        if (has_blob(in, blob))
            continue;
        if (member)
            return error_set(err, ERROR_DIGEST, "%s: %s has %lld bytes, and is said to have %lld",
                             image->digest.text, blob->digest.text, (long long)member->size,
                             (long long)blob->size);
        return error_set(err, ERROR_PROTOCOL, "%s: its %s %s is neither in the tar nor here",
                         image->digest.text, i == 0 ? "config" : "layer", blob->digest.text);
    }
    return in->cd->format->is_file ? docker_archive_check(m, &image->digest, err) : 0;
}

static void read_platform(const struct import *in, struct import_image *image)
{
    const struct spooled *config = spool_digest(&in->spool, &image->manifest.config.digest);
    cleanup_free char *bytes = NULL;
    struct platform platform = {0};
    if (!config || spool_bytes(&in->spool, config, CONFIG_SIZE_MAX, &bytes, NULL) < 0 ||
        config_platform(bytes, (size_t)config->size, &platform, NULL) < 0)
        return;
    image->platform = platform_format(&platform);
    platform_release(&platform);
}

struct import_image *import_add_image(struct import *in, const struct digest *digest, char *bytes,
                                      size_t len, const char *media_type, struct error *err)
{
    struct import_image image = {.digest = *digest, .bytes = bytes, .len = len};
    for (size_t i = 0; i < in->image_count; i++)
        if (digest_equal(&in->images[i].digest, digest)) {
            free(bytes);
            return &in->images[i];
        }
    if (in->image_count >= IMPORT_IMAGES_MAX)
        (void)error_set(err, ERROR_PROTOCOL, "more than %d images", IMPORT_IMAGES_MAX);
    else if (!digest_is_sha256(digest))
        (void)error_set(err, ERROR_PROTOCOL, "the builder reads only sha256 manifests, not %s",
                        digest->text);
    else if (manifest_parse(bytes, len, media_type, &image.manifest, NULL, err) == 0 &&
             check_blobs(in, &image, err) == 0) {
        read_platform(in, &image);
        *array_add(in->images, in->image_count) = image;
        return &in->images[in->image_count - 1];
    }
    release_image(&image);
    return NULL;
}

int import_add_name(struct import *in, size_t image, const char *reference, const char *platform,
                    const struct digest *source, struct error *err)
{
    if (++in->name_count > IMPORT_NAMES_MAX)
        return error_set(err, ERROR_PROTOCOL, "more than %d names", IMPORT_NAMES_MAX);
    struct import_image *to = &in->images[image];
    struct import_name *name = array_add(to->names, to->name_count);
    name->reference = xstrdup(reference);
    name->platform = platform ? xstrdup(platform) : NULL;
    name->source = *source;
    return 0;
}

/* Down from an index: does one of its children, or of theirs, have this digest? */
static int find_below(const struct import *in, const struct digest *index,
                      const struct digest *wanted, int depth, struct alias *way, struct error *err)
{
    const struct spooled *member = import_blob(in, index);
    cleanup_manifest struct manifest m = {0};
    cleanup_free char *bytes = NULL;
    if (!member || !member->is_object || member->size > MANIFEST_SIZE_MAX ||
        depth > INDEX_DEPTH_MAX)
        return 0;
    if (spool_bytes(&in->spool, member, MANIFEST_SIZE_MAX, &bytes, err) < 0)
        return -1;
    if (manifest_parse(bytes, (size_t)member->size, NULL, &m, NULL, NULL) < 0 ||
        m.kind != MANIFEST_INDEX)
        return 0;
    *array_add(way->indexes, way->index_count) = take_ptr(bytes);
    for (size_t i = 0; i < m.child_count; i++)
        if (digest_equal(&m.children[i].digest, wanted))
            return 1;
    for (size_t i = 0; i < m.child_count; i++) {
        if (!media_type_is_index(m.children[i].media_type))
            continue;
        int below = find_below(in, &m.children[i].digest, wanted, depth + 1, way, err);
        if (below != 0)
            return below;
    }
    free(way->indexes[--way->index_count]);
    return 0;
}

int import_find_way(const struct import *in, const struct digest *index,
                    const struct digest *manifest, struct alias *ret, struct error *err)
{
    struct alias way = {.index = *index, .manifest = *manifest};
    int found = find_below(in, index, manifest, 1, &way, err);
    if (found > 0)
        *ret = way;
    else
        alias_release(&way);
    return found;
}

static int understand(struct import *in, struct error *err)
{
    const struct spooled *index = spool_find(&in->spool, "index.json");
    const struct spooled *json = spool_find(&in->spool, "manifest.json");
    int r;
    if (index && spool_find(&in->spool, "oci-layout"))
        r = import_layout(in, index, err);
    else if (json)
        r = import_archive(in, json, err);
    else
        return error_set(err, ERROR_PROTOCOL,
                         "neither an OCI image layout nor a docker-archive: it has no index.json "
                         "with oci-layout, and no manifest.json (a single layer needs --layer)");
    if (r == 0 && in->image_count == 0)
        return error_set(err, ERROR_PROTOCOL, "there is no image in it");
    return r;
}

/* The name that was given, for the one image that there is. */
static int give_name(struct import *in, struct error *err)
{
    const char *name = in->options->name;
    if (!name)
        return 0;
    if (in->image_count != 1)
        return error_set(err, ERROR_USAGE, "%s cannot name the %zu images of this tar", name,
                         in->image_count);
    return import_add_name(in, 0, name, NULL, &(struct digest){0}, err);
}

/* ---- publishing ---- */

static int give_blob(struct import *in, struct cachedir_stage *stage, const struct descriptor *blob,
                     struct error *err)
{
    int taken = cachedir_stage_take(stage, blob, err);
    if (taken == 0)
        taken = spool_give(&in->spool, stage, blob, err);
    if (taken == 0)
        return error_set(err, ERROR_TRANSIENT, "%s vanished while it was imported: try again",
                         blob->digest.text);
    return taken < 0 ? -1 : 0;
}

static int publish(struct import *in, const struct import_image *image, struct error *err)
{
    struct cachedir_stage *stage;
    const struct manifest *m = &image->manifest;
    const char *reference = image->name_count > 0 ? image->names[0].reference : NULL;
    if (cachedir_stage_new(in->cd, &image->digest, m->media_type, image->bytes, image->len,
                           reference, false, &stage, err) < 0)
        return -1;
    int r = give_blob(in, stage, &m->config, err);
    for (size_t i = 0; i < m->layer_count && r == 0; i++)
        r = give_blob(in, stage, &m->layers[i], err);
    if (r == 0)
        r = cachedir_stage_publish(stage, err);
    cachedir_stage_free(stage);
    return r;
}

/* What is known of a name from the registry itself is worth more, where the two agree. */
static int remember(struct import *in, const struct import_image *image,
                    const struct import_name *name, struct error *err)
{
    cleanup_cachedir_name struct cachedir_name known = {0};
    const char *platform = name->platform ? name->platform : image->platform;
    if (!platform)
        return 0; /* no builder asks for it */
    int found = cachedir_name_find(in->cd, name->reference, platform, &known, err);
    if (found < 0)
        return -1;
    if (found > 0 && digest_equal(&known.manifest, &image->digest))
        return 0;
    cleanup_free char *reference = xstrdup(name->reference), *asked = xstrdup(platform);
    const struct cachedir_name said = {.reference = reference,
                                       .platform = asked,
                                       .manifest = image->digest,
                                       .source = name->source};
    return cachedir_name_set(in->cd, &said, err);
}

/* An index's digest stands for one platform: another one stays what it is. */
static int make_alias(struct import *in, const struct alias *alias, struct error *err)
{
    cleanup_error struct error why = {0};
    cleanup_free struct cachedir_bytes *bytes = xcalloc(alias->index_count + 1, sizeof *bytes);
    for (size_t i = 0; i < alias->index_count; i++)
        bytes[i] = (struct cachedir_bytes){alias->indexes[i], strlen(alias->indexes[i])};
    if (cachedir_alias(in->cd, &alias->index, &alias->manifest, bytes, alias->index_count, &why) ==
        0)
        return 0;
    if (why.kind == ERROR_USAGE) {
        import_note(in, "%s", why.message);
        return 0;
    }
    error_move(err, &why);
    return -1;
}

static int take_image(struct import *in, const struct import_image *image,
                      struct cachedir_import_result *result, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry before = {0};
    if (in->options->stop && *in->options->stop)
        return error_set(err, ERROR_INTERRUPTED, "stopped before everything was imported");
    if (in->cd->format->look(in->cd, &image->digest, &before, err) < 0)
        return -1;
    const bool known = before.state == CACHEDIR_COMPLETE;
    if (known ? cachedir_renew(in->cd, &image->digest, err) < 0 : publish(in, image, err) < 0)
        return error_prefix(err, "%s", image->digest.text);
    for (size_t i = 0; i < image->name_count; i++)
        if (remember(in, image, &image->names[i], err) < 0)
            return -1;
    for (size_t i = 0; i < image->alias_count; i++)
        if (make_alias(in, &image->aliases[i], err) < 0)
            return -1;
    result->images++;
    result->known += known;
    result->made_up += image->made_up;
    if (in->options->told) {
        cleanup_free char *reference =
            image->name_count > 0 ? text_foreign_str(image->names[0].reference) : NULL;
        cleanup_free char *platform = image->platform ? text_foreign_str(image->platform) : NULL;
        in->options->told(in->options->userdata,
                          &(struct cachedir_imported){.digest = &image->digest,
                                                      .reference = reference,
                                                      .platform = platform,
                                                      .known = known,
                                                      .made_up = image->made_up});
    }
    return 0;
}

static int import(struct import *in, int fd, struct cachedir_import_result *result,
                  struct error *err)
{
    const struct cachedir_import_options *o = in->options;
    const struct spooled *layer;
    if (spool_open(in->cd, &in->spool, err) < 0)
        return -1;
    if (o->layer ? spool_file(&in->spool, fd, o->stop, &layer, err) < 0 ||
                       import_single_layer(in, layer, err) < 0
                 : spool_tar(&in->spool, fd, o->stop, err) < 0 || understand(in, err) < 0)
        return -1;
    result->bytes = in->spool.bytes;
    if (give_name(in, err) < 0)
        return -1;
    for (size_t i = 0; i < in->image_count; i++)
        if (take_image(in, &in->images[i], result, err) < 0)
            return -1;
    return 0;
}

int cachedir_import(struct cachedir *cd, const struct cachedir_import_options *options, int fd,
                    struct cachedir_import_result *ret, struct error *err)
{
    struct import in = {.cd = cd, .options = options, .spool = {.dir = -1}};
    *ret = (struct cachedir_import_result){0};
    int r = import(&in, fd, ret, err);
    import_release(&in);
    /* What was published before a failure has its names. */
    if (ret->images > 0 && cachedir_flush(cd, r < 0 ? NULL : err) < 0)
        r = -1;
    return r;
}
