/*
 * Images out of a tar: read once and kept aside (spool.h), understood and proven as a whole, and
 * only then published, one after another, as a pull publishes.
 */
#include "import.h"

#include "alias.h"
#include "alloc.h"
#include "text.h"

#include <string.h>

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
    return import_add_name(in, in->images[0], name, NULL, &(struct digest){0}, err);
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

static int give_blobs(struct import *in, struct cachedir_stage *stage, const struct manifest *m,
                      struct error *err)
{
    for (size_t i = 0; i <= m->layer_count; i++)
        if (import_go_on(in, err) < 0 ||
            give_blob(in, stage, i == 0 ? &m->config : &m->layers[i - 1], err) < 0)
            return -1;
    return 0;
}

static int publish(struct import *in, const struct import_image *image, struct error *err)
{
    struct cachedir_stage *stage;
    cleanup_manifest struct manifest m = {0};
    cleanup_free char *bytes = NULL;
    const size_t len = (size_t)image->member->size;
    const char *reference = image->name_count > 0 ? image->names[0].reference : NULL;
    if (spool_bytes(&in->spool, image->member, MANIFEST_SIZE_MAX, &bytes, err) < 0 ||
        manifest_parse(bytes, len, image->media_type, &m, NULL, err) < 0 ||
        cachedir_stage_new(in->cd, &image->member->digest, m.media_type, bytes, len, reference,
                           false, &stage, err) < 0)
        return -1;
    int r = give_blobs(in, stage, &m, err);
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
    if (!name->platform)
        return 0; /* no builder asks for it */
    if (import_go_on(in, err) < 0)
        return -1;
    int found = cachedir_name_find(in->cd, name->reference, name->platform, &known, err);
    if (found < 0)
        return -1;
    if (found > 0 && digest_equal(&known.manifest, &image->member->digest))
        return 0;
    cleanup_free char *reference = xstrdup(name->reference), *asked = xstrdup(name->platform);
    const struct cachedir_name said = {.reference = reference,
                                       .platform = asked,
                                       .manifest = image->member->digest,
                                       .source = name->source};
    return cachedir_name_set(in->cd, &said, err);
}

/* An index's digest stands for one platform: another one stays what it is. */
static int make_alias(struct import *in, const struct import_image *image,
                      const struct import_way *way, struct error *err)
{
    cleanup_alias struct alias alias = {0};
    struct cachedir_bytes bytes[INDEX_DEPTH_MAX];
    cleanup_error struct error why = {0};
    for (size_t i = 0; i < way->count; i++) {
        const struct spooled *member = way->indexes[i]->member;
        char **text = array_add(alias.indexes, alias.index_count);
        if (spool_bytes(&in->spool, member, MANIFEST_SIZE_MAX, text, err) < 0)
            return -1;
        bytes[i] = (struct cachedir_bytes){*text, (size_t)member->size};
    }
    if (cachedir_alias(in->cd, &way->indexes[0]->member->digest, &image->member->digest, bytes,
                       way->count, &why) == 0)
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
    const struct digest *digest = &image->member->digest;
    if (import_go_on(in, err) < 0 || in->cd->format->look(in->cd, digest, &before, err) < 0)
        return -1;
    const bool known = before.state == CACHEDIR_COMPLETE;
    if (known ? cachedir_renew(in->cd, digest, err) < 0 : publish(in, image, err) < 0)
        return error_prefix(err, "%s", digest->text);
    for (size_t i = 0; i < image->name_count; i++)
        if (remember(in, image, &image->names[i], err) < 0)
            return -1;
    for (size_t i = 0; i < image->alias_count; i++)
        if (import_go_on(in, err) < 0 || make_alias(in, image, &image->aliases[i], err) < 0)
            return -1;
    result->images++;
    result->known += known;
    result->made_up += image->made_up;
    if (in->options->told) {
        cleanup_free char *reference =
            image->name_count > 0 ? text_foreign_str(image->names[0].reference) : NULL;
        cleanup_free char *platform = image->platform ? text_foreign_str(image->platform) : NULL;
        in->options->told(in->options->userdata,
                          &(struct cachedir_imported){.digest = digest,
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
    struct spooled *layer;
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
        if (take_image(in, in->images[i], result, err) < 0)
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
