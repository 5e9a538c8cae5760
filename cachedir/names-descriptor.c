/* What index.json says of one reference: the descriptor of its manifest, or of an index of ours. */
#include "alloc.h"
#include "json.h"
#include "names.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

bool names_has_entry(char *const *entries, size_t count, const struct digest *digest)
{
    return count > 0 && bsearch(digest->text, entries, count, sizeof *entries, compare_text);
}

/* One manifest of an entry as a descriptor; NULL when the entry is gone or broken. */
static json_t *entry_descriptor(struct cachedir *cd, const struct digest *digest)
{
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    if (cd->format->look(cd, digest, &e, NULL) < 0 || e.state != CACHEDIR_COMPLETE)
        return NULL;
    /* An archive may have lost the registry's manifest: the builder makes up one of Docker's. */
    json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType",
                          e.media_type ? e.media_type : MEDIA_DOCKER_MANIFEST, "digest",
                          e.digest.text, "size", (json_int_t)e.blobs[0].size);
    if (d && e.platform.os) {
        json_t *platform =
            json_pack("{s:s, s:s}", "architecture", e.platform.architecture, "os", e.platform.os);
        if (platform && e.platform.variant)
            (void)json_object_set_new(platform, "variant", json_string(e.platform.variant));
        (void)json_object_set_new(d, "platform", platform);
    }
    return d;
}

/* The index of ours that names several platforms: a blob in the pool, by its digest. */
static json_t *index_descriptor(struct cachedir *cd, json_t *manifests, struct error *err)
{
    cleanup_json json_t *index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
                                           MEDIA_OCI_INDEX, "manifests", manifests);
    cleanup_free char *text = index ? json_dumps(index, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    if (!text)
        abort(); /* out of memory */
    struct digest digest;
    digest_of(text, strlen(text), &digest);
    /* Touched: a prune that took it for unused looks at its age again. */
    if (!pool_has(cd->pool.sha256, digest_hex(&digest), (int64_t)strlen(text), NULL) ||
        (utimensat(cd->pool.sha256, digest_hex(&digest), NULL, AT_SYMLINK_NOFOLLOW) < 0 &&
         errno == ENOENT)) {
        char temporary[FS_NAME_MAX];
        store_temporary(cd, temporary, "index");
        if (fs_create(cd->stage, temporary, cd->file_mode, text, strlen(text)) < 0) {
            (void)error_errno(err, errno, "cannot write an index for index.json");
            return NULL;
        }
        int r = pool_put(cd, cd->stage, temporary, &digest, true, err);
        (void)unlinkat(cd->stage, temporary, 0);
        if (r < 0)
            return NULL;
    }
    return json_pack("{s:s, s:s, s:I}", "mediaType", MEDIA_OCI_INDEX, "digest", digest.text, "size",
                     (json_int_t)strlen(text));
}

static void annotate(json_t *annotations, const char *prefix, const struct cachedir_name *name,
                     const char *value)
{
    cleanup_free char *key = xasprintf("%s%s", prefix, name->platform);
    (void)json_object_set_new(annotations, key, json_string(value));
}

static void annotate_name(json_t *annotations, const struct cachedir_name *name,
                          const json_t *descriptor)
{
    cleanup_free char *checked = time_format(name->checked);
    if (strcmp(name->manifest.text, json_member_string(descriptor, "digest")) != 0)
        annotate(annotations, MANIFEST_KEY, name, name->manifest.text);
    if (digest_is_set(&name->source))
        annotate(annotations, SOURCE_KEY, name, name->source.text);
    annotate(annotations, CHECKED_KEY, name, checked);
}

/* Say on a descriptor what is known of a reference: list[0..count) all have it. */
static void annotate_all(json_t *descriptor, const struct cachedir_name *list, size_t count)
{
    json_t *annotations = json_object();
    for (size_t i = 0; i < count; i++)
        annotate_name(annotations, &list[i], descriptor);
    (void)json_object_set_new(annotations, STORE_REF_NAME, json_string(list[0].reference));
    (void)json_object_set_new(descriptor, "annotations", annotations);
}

/* The descriptor of one reference: list[0..count) all have it. NULL and no error: nothing of it is
 * here any more. */
static json_t *reference_descriptor(struct cachedir *cd, const struct cachedir_name *list,
                                    size_t count, struct error *err)
{
    cleanup_json json_t *manifests = json_array();
    cleanup_free struct cachedir_name *here = xcalloc(count, sizeof *here); /* borrowed */
    size_t here_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool again = false;
        for (size_t j = 0; j < i && !again; j++)
            again = digest_equal(&list[i].manifest, &list[j].manifest);
        if (!again) {
            json_t *d = entry_descriptor(cd, &list[i].manifest);
            if (!d)
                continue;
            (void)json_array_append_new(manifests, d);
        }
        here[here_count++] = list[i];
    }
    if (json_array_size(manifests) == 0)
        return NULL;
    json_t *d = json_array_size(manifests) == 1 || cd->format->is_file
                    ? json_incref(json_array_get(manifests, 0))
                    : index_descriptor(cd, manifests, err);
    if (d)
        annotate_all(d, here, here_count);
    return d;
}

/* Is a descriptor what would be made anew, but for its annotations? Looking at every entry costs a
 * directory of thousands seconds, whoever warms one image. `news`: something was said of it, so
 * that an index of several platforms may be another one. */
static bool is_still_true(struct cachedir *cd, const json_t *descriptor,
                          const struct cachedir_name *list, size_t count,
                          const struct standing *standing, bool news)
{
    const char *text = json_member_string(descriptor, "digest");
    const char *type = json_member_string(descriptor, "mediaType");
    struct digest digest;
    int64_t size;
    bool is_manifest = false, several = false;
    if (!text || !type || digest_parse(text, &digest, NULL) < 0 ||
        !json_member_integer(descriptor, "size", &size))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!names_has_entry(standing->entries, standing->entry_count, &list[i].manifest))
            return false;
        is_manifest = is_manifest || digest_equal(&list[i].manifest, &digest);
        several = several || !digest_equal(&list[i].manifest, &list[0].manifest);
    }
    if (!several || cd->format->is_file)
        return is_manifest && media_type_is_image(type);
    return !news && media_type_is_index(type) &&
           pool_has(blobs_directory(&cd->pool, &digest), digest_hex(&digest), size, NULL);
}

json_t *names_descriptor(struct cachedir *cd, const struct cachedir_name *list, size_t count,
                         const struct standing *standing, struct error *err)
{
    json_t *old = json_object_get(standing->ours, list[0].reference);
    const bool news = json_object_get(standing->said, list[0].reference) != NULL;
    if (!old || !is_still_true(cd, old, list, count, standing, news))
        return reference_descriptor(cd, list, count, err);
    if (!news)
        return json_incref(old);
    json_t *d = json_copy(old);
    annotate_all(d, list, count);
    return d;
}
