/* Which blobs the root's index.json names, so that prune keeps them. */
#include "alloc.h"
#include "json.h"
#include "manifest.h"
#include "store.h"

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

int names_blobs(struct cachedir *cd, bool others_only, struct digest **ret, size_t *ret_count,
                struct error *err)
{
    struct naming n = {.cd = cd};
    cleanup_free char *text = NULL;
    size_t len, i;
    json_t *descriptor;

    if (cd->format->is_file)
        return 0; /* no pool, so no blobs */
    if (names_read_index(cd, &text, &len, err) < 0)
        return -1;
    cleanup_json json_t *root = text ? json_object_parse(text, len, NULL) : NULL;
    json_array_foreach(json_object_get(root, "manifests"), i, descriptor)
    {
        struct cachedir_name *ours = NULL;
        size_t our_count = 0;
        struct digest digest;
        const char *named = json_member_string(descriptor, "digest");
        const char *type = json_member_string(descriptor, "mediaType");
        bool is_ours = names_read_descriptor(descriptor, &ours, &our_count) > 0;
        cachedir_names_free(ours, our_count);
        if (!named || digest_parse(named, &digest, NULL) < 0)
            continue;
        /* Of ours the entries keep everything but the index that joins several platforms. */
        if (!is_ours)
            add_named(&n, &digest, 0);
        else if (!others_only && type && media_type_is_index(type))
            (void)add_one(&n, &digest);
    }
    tdestroy(n.seen, free);
    for (i = 0; i < n.count; i++)
        *array_add(*ret, *ret_count) = n.list[i];
    free(n.list);
    return 0;
}
