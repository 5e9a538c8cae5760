/* --alias-index: an entry also under the digest of the index that its reference led through. */
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"

#include <string.h>

bool image_has_alias(const struct image *image, const struct digest *manifest)
{
    return image->run->settings->alias_index && digest_is_set(&image->source) &&
           !digest_equal(&image->source, manifest);
}

static int two_platforms(struct error *err, const char *index)
{
    return error_set(err, ERROR_USAGE,
                     "--alias-index: %s is wanted for two platforms, and its digest can stand for "
                     "one only: warm each into a directory of its own",
                     index);
}

static int compare_wanted(const void *a, const void *b)
{
    return strcmp((*(const struct wanted *const *)a)->reference.name,
                  (*(const struct wanted *const *)b)->reference.name);
}

int run_check_aliases(const struct settings *s, const struct wanted_list *list, struct error *err)
{
    cleanup_free const struct wanted **sorted =
        xcalloc(list->count + 1, sizeof(const struct wanted *));
    if (!s->alias_index)
        return 0;
    for (size_t i = 0; i < list->count; i++)
        sorted[i] = &list->items[i];
    qsort(sorted, list->count, sizeof(const struct wanted *), compare_wanted);
    for (size_t i = 1; i < list->count; i++) /* each reference and platform is in it once */
        if (compare_wanted(&sorted[i - 1], &sorted[i]) == 0)
            return two_platforms(err, sorted[i]->reference.familiar);
    return 0;
}

int image_claim_alias(struct image *image, const struct digest *manifest, struct error *err)
{
    struct run *run = image->run;
    enum cachedir_alias_state state;
    const struct claim *other = NULL;
    if (!image_has_alias(image, manifest))
        return 0;
    if (image_alias_state(image, manifest, &state, err) < 0)
        return -1;
    pthread_mutex_lock(&run->mutex);
    for (size_t i = 0; i < run->claim_count && !other; i++)
        if (digest_equal(&run->claims[i].index, &image->source))
            other = &run->claims[i];
    const bool taken = other && !digest_equal(&other->manifest, manifest);
    if (!other)
        *array_add(run->claims, run->claim_count) = (struct claim){image->source, *manifest};
    pthread_mutex_unlock(&run->mutex);
    return taken ? two_platforms(err, image->source.text) : 0;
}

int image_alias_state(const struct image *image, const struct digest *manifest,
                      enum cachedir_alias_state *ret, struct error *err)
{
    *ret = CACHEDIR_ALIAS_STANDS; /* nothing is lacking where none is wanted */
    if (!image_has_alias(image, manifest))
        return 0;
    return cachedir_alias_state(image->run->cd, &image->source, manifest, ret, err);
}

void image_forget_indexes(struct image *image)
{
    for (size_t i = 0; i < image->index_count; i++) {
        union {
            const void *borrowed;
            void *owned;
        } bytes = {.borrowed = image->indexes[i].bytes};
        free(bytes.owned);
    }
    free(image->indexes);
    image->indexes = NULL;
    image->index_count = 0;
}

void image_add_index(struct image *image, const struct registry_manifest *index, bool first)
{
    if (!image->run->settings->alias_index)
        return;
    if (first)
        image_forget_indexes(image);
    void *bytes = xmalloc(index->len + 1);
    memcpy(bytes, index->bytes, index->len);
    *array_add(image->indexes, image->index_count) = (struct cachedir_bytes){bytes, index->len};
}

int image_make_alias(struct image *image, const struct digest *manifest, struct error *err)
{
    if (!image_has_alias(image, manifest))
        return 0;
    if (cachedir_alias(image->run->cd, &image->source, manifest, image->indexes, image->index_count,
                       err) < 0)
        return error_prefix(err, "--alias-index");
    log_debug("%s: also under %s", image->name, image->source.text);
    return 0;
}

void image_warn_of_index(const struct image *image, const struct digest *manifest)
{
    const struct reference *ref = &image->wanted->reference;
    enum cachedir_alias_state state = CACHEDIR_ALIAS_UNKNOWN;
    if (!reference_is_pinned(ref) || digest_equal(&ref->digest, manifest) ||
        image->run->settings->alias_index ||
        (cachedir_alias_state(image->run->cd, &ref->digest, manifest, &state, NULL) == 0 &&
         state == CACHEDIR_ALIAS_STANDS))
        return;
    log_warn("%s is pinned to an index: archived kaniko and envbuilder will miss; with "
             "--alias-index, or pinned to %s, they hit",
             image->name, manifest->text);
}
