/* The first byte picks the Content-Type, the rest is the document. */
#include "cachedir/manifest.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "fuzz.h"

#include <string.h>

static void check_descriptor(const struct descriptor *d)
{
    CHECK(d->media_type);
    CHECK(digest_is_set(&d->digest));
    CHECK(d->size >= 0 && d->size <= DESCRIPTOR_SIZE_MAX);
    struct descriptor copy;
    descriptor_copy(&copy, d);
    CHECK(copy.url_count == d->url_count);
    CHECK(!copy.data == !d->data);
    CHECK(platform_equal(&copy.platform, &d->platform));
    descriptor_release(&copy);
}

static void check_index(const struct manifest *m)
{
    cleanup_free char *platforms = manifest_platforms(m);
    CHECK(strlen(platforms) <= TEXT_FOREIGN_MAX);
    for (size_t i = 0; i < m->child_count; i++) {
        const struct descriptor *child = &m->children[i];
        check_descriptor(child);
        const struct descriptor *found = manifest_select(m, &child->platform);
        if (child->has_platform && platform_matches(&child->platform, &child->platform))
            CHECK(found && found <= child);
    }
}

static void check_config(const uint8_t *data, size_t size)
{
    cleanup_platform struct platform p = {0};
    if (config_platform(data, size, &p, NULL) < 0)
        CHECK(!p.os && !p.architecture);
    else
        CHECK(*p.os && *p.architecture);
    cleanup_free struct digest *ids = NULL;
    size_t count = 0;
    if (config_diff_ids(data, size, &ids, &count, NULL) < 0)
        CHECK(!ids && count == 0);
    for (size_t i = 0; i < count; i++)
        CHECK(digest_is_set(&ids[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const headers[] = {NULL, MEDIA_OCI_MANIFEST, MEDIA_DOCKER_LIST,
                                          "application/json; charset=utf-8",
                                          MEDIA_DOCKER_MANIFEST ";x"};
    if (size == 0)
        return 0;
    const char *header = headers[*data++ % (sizeof headers / sizeof *headers)];
    size--;
    check_config(data, size);

    bool contradicts = false;
    cleanup_error struct error err = {0};
    cleanup_manifest struct manifest m = {0};
    if (manifest_parse(data, size, header, &m, &contradicts, &err) < 0) {
        CHECK(err.kind == ERROR_PROTOCOL && err.message && *err.message);
        CHECK(!m.layers && !m.children && !m.media_type);
        return 0;
    }
    CHECK(err.kind == ERROR_NONE);
    CHECK(!contradicts || header);
    CHECK(m.layer_count <= MANIFEST_LAYERS_MAX && m.child_count <= INDEX_CHILDREN_MAX);
    if (m.kind == MANIFEST_INDEX) {
        CHECK(media_type_is_index(m.media_type) && m.layer_count == 0);
        check_index(&m);
    } else {
        CHECK(media_type_is_image(m.media_type) && m.child_count == 0);
        check_descriptor(&m.config);
        for (size_t i = 0; i < m.layer_count; i++)
            check_descriptor(&m.layers[i]);
    }
    return 0;
}
