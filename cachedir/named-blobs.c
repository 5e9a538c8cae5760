/* Which blobs the root's index.json names, so that prune keeps them. */
#include "alloc.h"
#include "json.h"
#include "manifest.h"
#include "names.h"

#include <search.h>
#include <string.h>

struct naming { /* digests, each once: a few bytes on the volume must not make us walk for ever */
    struct cachedir *cd;
    void *seen; /* tsearch(3) tree of struct digest, owned by it */
    struct digest *list;
    size_t count;
};

static int compare_digests(const void *a, const void *b)
{
    return strcmp(((const struct digest *)a)->text, ((const struct digest *)b)->text);
}

/* false: it is there already. */
static bool add_one(struct naming *n, const struct digest *digest)
{
    struct digest *new = xmalloc(sizeof *new);
    *new = *digest;
    struct digest *const *found = tsearch(new, &n->seen, compare_digests);
    if (!found)
        abort(); /* out of memory */
    if (*found != new) {
        free(new);
        return false;
    }
    *array_add(n->list, n->count) = *digest;
    return true;
}

/* Add what a manifest or index in the pool names, and what those name. */
static void add_named(struct naming *n, const struct digest *digest, int depth)
{
    struct cachedir *cd = n->cd;
    cleanup_free char *bytes = NULL;
    size_t len;
    cleanup_manifest struct manifest m = {0};

    if (!add_one(n, digest) || depth > INDEX_DEPTH_MAX ||
        fs_read(blobs_directory(&cd->pool, digest), digest_hex(digest), MANIFEST_SIZE_MAX, &bytes,
                &len) < 0 ||
        digest_check(digest, bytes, len, NULL) < 0 ||
        manifest_parse(bytes, len, NULL, &m, NULL, NULL) < 0)
        return; /* a layer, an artifact, or not here: then it names nothing that we could keep */
    for (size_t i = 0; i < m.child_count; i++)
        add_named(n, &m.children[i].digest, depth + 1);
    if (m.kind != MANIFEST_IMAGE)
        return;
    (void)add_one(n, &m.config.digest);
    for (size_t i = 0; i < m.layer_count; i++)
        (void)add_one(n, &m.layers[i].digest);
}

static void list_blobs(struct cachedir *cd, const struct standing *root, bool others_only,
                       struct digest **ret, size_t *ret_count)
{
    struct naming n = {.cd = cd};
    const char *reference;
    json_t *descriptor;
    size_t i;

    json_array_foreach(root->others, i, descriptor)
    {
        const char *named = json_member_string(descriptor, "digest");
        struct digest digest;
        if (named && digest_parse(named, &digest, NULL) == 0)
            add_named(&n, &digest, 0);
    }
    /* Of ours the entries keep everything but the index that joins several platforms. */
    json_object_foreach(others_only ? NULL : root->ours, reference, descriptor)
    {
        const char *named = json_member_string(descriptor, "digest");
        const char *type = json_member_string(descriptor, "mediaType");
        struct digest digest;
        if (type && media_type_is_index(type) && named && digest_parse(named, &digest, NULL) == 0)
            (void)add_one(&n, &digest);
    }
    tdestroy(n.seen, free);
    *ret = n.list;
    *ret_count = n.count;
}

int names_and_blobs(struct cachedir *cd, bool others_only, struct cachedir_name **ret_names,
                    size_t *ret_name_count, struct digest **ret_blobs, size_t *ret_blob_count,
                    struct error *err)
{
    struct standing root = {0};
    int r = names_read_all(cd, ret_names, ret_name_count, &root, err);
    if (r == 0 && !cd->format->is_file) /* else there is no pool, and so no blobs */
        list_blobs(cd, &root, others_only, ret_blobs, ret_blob_count);
    names_standing_release(&root);
    return r;
}
