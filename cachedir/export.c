/*
 * Images into a tar.
 *
 *     oci-layout  index.json             or  manifest.json (docker-archive)
 *     blobs/<algorithm>/<hex>            each once, image by image in the order of their digests:
 *                                        what proves its aliases, manifest, config, layers
 *
 * Everything small is read and everything is looked up first; what is left is copying.
 */
#include "export.h"
#include "alias.h"
#include "alloc.h"
#include "docker-archive.h"
#include "reference.h"
#include "tar-out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BUFFER_SIZE ((size_t)256 << 10)

void export_plan_release(struct export_plan *p)
{
    for (size_t i = 0; i < p->image_count; i++) {
        struct export_image *image = &p->images[i];
        cachedir_entry_release(&image->entry);
        manifest_release(&image->manifest);
        free(image->bytes);
        free(image->wanted);
        for (size_t j = 0; j < image->alias_count; j++)
            alias_release(&image->aliases[j]);
        free(image->aliases);
    }
    free(p->images);
    for (size_t i = 0; i < p->name_count; i++) {
        free(p->names[i].reference);
        free(p->names[i].platform);
    }
    free(p->names);
    for (size_t i = 0; i < p->item_count; i++)
        free(p->items[i].bytes);
    free(p->items);
    free(p->head);
    *p = (struct export_plan){0};
}

/* ---- what is wanted ---- */

static int add_aliases(struct cachedir *cd, struct export_image *image, struct error *err)
{
    cleanup_free struct digest *aliases = NULL;
    size_t count;
    if (cachedir_aliases(cd, &image->entry.digest, &aliases, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct alias alias = {0};
        int there = alias_read(cd, &aliases[i], &alias, err);
        if (there < 0)
            return -1;
        if (there > 0)
            *array_add(image->aliases, image->alias_count) = alias;
    }
    return 0;
}

static int look(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                struct error *err)
{
    if (cd->format->look(cd, digest, ret, err) < 0)
        return -1;
    if (ret->state == CACHEDIR_ABSENT)
        return error_set(err, ERROR_NOT_FOUND, "no entry %s in %s", digest->text, cd->path);
    if (ret->state == CACHEDIR_BROKEN)
        return error_set(err, ERROR_DIGEST, "%s is broken: %s", digest->text, ret->problem);
    return 0;
}

/* The image of a selection, which may be there already. */
static int add_image(struct cachedir *cd, struct export_plan *p, const struct digest *selected,
                     struct export_image **ret, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    if (look(cd, selected, &entry, err) < 0)
        return -1;
    if (digest_is_set(&entry.alias_of)) {
        const struct digest digest = entry.alias_of;
        cachedir_entry_release(&entry);
        if (look(cd, &digest, &entry, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < p->image_count; i++)
        if (digest_equal(&p->images[i].entry.digest, &entry.digest)) {
            *ret = &p->images[i];
            return 0;
        }
    struct export_image *image = *ret = array_add(p->images, p->image_count);
    image->entry = entry;
    entry = (struct cachedir_entry){0};
    const struct digest *digest = &image->entry.digest;
    int found = cachedir_manifest(cd, digest, &image->bytes, &image->len, err);
    if (found == 0)
        return error_set(err, ERROR_DIGEST,
                         "%s: the registry's manifest is not here: warm the image again",
                         digest->text);
    if (found < 0 || manifest_parse(image->bytes, image->len, image->entry.media_type,
                                    &image->manifest, NULL, err) < 0)
        return -1;
    return add_aliases(cd, image, err);
}

static int compare_images(const void *a, const void *b)
{
    return strcmp(((const struct export_image *)a)->entry.digest.text,
                  ((const struct export_image *)b)->entry.digest.text);
}

static int compare_names(const void *a, const void *b)
{
    const struct export_name *x = a, *y = b;
    int order = strcmp(x->reference, y->reference);
    if (order == 0)
        order = strcmp(x->platform, y->platform);
    return order ? order : (x->image > y->image) - (x->image < y->image);
}

static bool is_wanted(const struct export_image *image, const char *reference)
{
    for (size_t i = 0; i < image->wanted_count; i++)
        if (!image->wanted[i] || strcmp(image->wanted[i], reference) == 0)
            return true;
    return false;
}

static void add_name(struct export_plan *p, size_t image, const char *reference,
                     const char *platform)
{
    struct export_name *name = array_add(p->names, p->name_count);
    name->reference = xstrdup(reference);
    name->platform = xstrdup(platform);
    name->image = image;
    p->images[image].is_named = true;
}

/* What the reference was is said only where it can be proven. */
static void add_source(struct export_plan *p, const struct digest *source)
{
    struct export_name *name = &p->names[p->name_count - 1];
    const struct export_image *image = &p->images[name->image];
    for (size_t i = 0; i < image->alias_count; i++)
        if (digest_equal(&image->aliases[i].index, source))
            name->source = *source;
}

static int add_names(struct cachedir *cd, struct export_plan *p, struct error *err)
{
    struct cachedir_name *names;
    size_t count;
    if (cachedir_names(cd, &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < p->image_count; j++)
            if (digest_equal(&p->images[j].entry.digest, &names[i].manifest) &&
                is_wanted(&p->images[j], names[i].reference)) {
                add_name(p, j, names[i].reference, names[i].platform);
                add_source(p, &names[i].source);
            }
    cachedir_names_free(names, count);
    /* What no name leads to may know the one that it was made under. */
    for (size_t i = 0; i < p->image_count; i++) {
        const struct cachedir_entry *entry = &p->images[i].entry;
        cleanup_reference struct reference ref = {0};
        if (p->images[i].is_named || !entry->reference || !entry->platform.os ||
            reference_parse(entry->reference, &ref, NULL) < 0)
            continue;
        cleanup_free char *platform = platform_format(&entry->platform);
        add_name(p, i, ref.name, platform);
    }
    if (p->name_count > 0)
        qsort(p->names, p->name_count, sizeof *p->names, compare_names);
    return 0;
}

static int select_images(struct cachedir *cd, const struct cachedir_export_options *o,
                         struct export_plan *p, struct error *err)
{
    for (size_t i = 0; i < o->count; i++) {
        struct export_image *image;
        if (add_image(cd, p, &o->list[i].digest, &image, err) < 0)
            return -1;
        *array_add(image->wanted, image->wanted_count) = o->list[i].reference;
    }
    if (p->image_count > 0)
        qsort(p->images, p->image_count, sizeof *p->images, compare_images);
    return add_names(cd, p, err);
}

/* ---- what stands in the tar ---- */

struct export_item *export_add_item(struct export_plan *p, const struct digest *digest)
{
    struct export_item *item = array_add(p->items, p->item_count);
    item->digest = *digest;
    return item;
}

static void add_bytes(struct export_plan *p, const struct digest *digest, const char *bytes,
                      size_t len)
{
    struct export_item *item = export_add_item(p, digest);
    item->bytes = xmalloc(len + 1);
    memcpy(item->bytes, bytes, len);
    item->size = (int64_t)len;
}

static void add_blob(struct export_plan *p, const struct export_image *image,
                     const struct digest *digest)
{
    const struct cachedir_blob_info *blob = entry_blob(&image->entry, digest);
    if (!blob)
        return; /* a complete entry has all */
    struct export_item *item = export_add_item(p, digest);
    item->size = blob->size;
    item->entry = &image->entry.digest;
    item->blob = blob;
}

static int compare_items(const void *a, const void *b)
{
    const struct export_item *x = *(struct export_item *const *)a,
                             *y = *(struct export_item *const *)b;
    int order = strcmp(x->digest.text, y->digest.text);
    return order ? order : (x > y) - (x < y);
}

/* Of several of one digest the first is written. */
static void drop_duplicates(struct export_plan *p)
{
    cleanup_free struct export_item **sorted = xcalloc(p->item_count + 1, sizeof *sorted);
    for (size_t i = 0; i < p->item_count; i++)
        sorted[i] = &p->items[i];
    qsort(sorted, p->item_count, sizeof *sorted, compare_items);
    for (size_t i = 1; i < p->item_count; i++)
        sorted[i]->is_duplicate = digest_equal(&sorted[i - 1]->digest, &sorted[i]->digest);
}

static void add_items(struct export_plan *p)
{
    for (size_t i = 0; i < p->image_count; i++) {
        const struct export_image *image = &p->images[i];
        for (size_t j = 0; j < image->alias_count; j++)
            for (size_t k = 0; k < image->aliases[j].index_count; k++) {
                const char *index = image->aliases[j].indexes[k];
                struct digest digest;
                digest_of(index, strlen(index), &digest);
                add_bytes(p, &digest, index, strlen(index));
            }
        add_bytes(p, &image->entry.digest, image->bytes, image->len);
        add_blob(p, image, &image->manifest.config.digest);
        for (size_t j = 0; j < image->manifest.layer_count; j++)
            add_blob(p, image, &image->manifest.layers[j].digest);
    }
    drop_duplicates(p);
}

/* ---- writing ---- */

struct writing {
    struct cachedir *cd;
    struct tar_out *tar;
    char *buffer;
    const volatile bool *stop;
};

/* Its bytes, read where they are, hashed on the way. */
static int copy_item(struct writing *w, const struct export_item *item, struct error *err)
{
    int64_t start, done = 0;
    cleanup_free char *path = w->cd->format->blob_path(item->entry, item->blob, &start);
    cleanup_close int fd = fs_open(w->cd->root, path, O_RDONLY | O_NONBLOCK, 0);
    cleanup_hasher struct hasher *hasher = hasher_new(&item->digest);
    struct digest got;
    if (fd < 0)
        return error_errno(err, errno, "cannot read %s", path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (done < item->size) {
        const int64_t left = item->size - done;
        const size_t len = left < (int64_t)BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;
        if (w->stop && *w->stop)
            return error_set(err, ERROR_INTERRUPTED, "stopped before the tar was written");
        if (fs_pread_all(fd, w->buffer, len, (start == WHOLE_FILE ? 0 : start) + done) < 0)
            return error_errno(err, errno, "cannot read %s", path);
        hasher_update(hasher, w->buffer, len);
        if (tar_out_write(w->tar, w->buffer, len, err) < 0)
            return -1;
        done += (int64_t)len;
    }
    hasher_final(hasher, &got);
    return pool_judge(&item->digest, item->size, &got, done, err);
}

static int write_item(struct writing *w, const struct export_item *item, struct error *err)
{
    cleanup_free char *name =
        xasprintf("blobs/%s/%s", digest_is_sha256(&item->digest) ? "sha256" : "sha512",
                  digest_hex(&item->digest));
    if (item->bytes)
        return tar_out_put(w->tar, name, item->bytes, (size_t)item->size, err);
    if (tar_out_begin(w->tar, name, item->size, err) < 0)
        return -1;
    return copy_item(w, item, err);
}

static int write_all(struct writing *w, const struct export_plan *p, bool archive,
                     struct cachedir_export_result *ret, struct error *err)
{
    if (!archive && tar_out_put(w->tar, "oci-layout", LAYOUT_TEXT, strlen(LAYOUT_TEXT), err) < 0)
        return -1;
    if (tar_out_put(w->tar, archive ? "manifest.json" : "index.json", p->head, strlen(p->head),
                    err) < 0)
        return -1;
    for (size_t i = 0; i < p->item_count; i++) {
        if (p->items[i].is_duplicate)
            continue;
        if (write_item(w, &p->items[i], err) < 0)
            return -1;
        ret->blobs++;
    }
    return tar_out_end(w->tar, err);
}

int cachedir_export(struct cachedir *cd, const struct cachedir_export_options *options, int fd,
                    struct cachedir_export_result *ret, struct error *err)
{
    __attribute__((cleanup(export_plan_release))) struct export_plan p = {0};
    const bool archive = options->format == CACHEDIR_FORMAT_DOCKER_ARCHIVE;
    *ret = (struct cachedir_export_result){0};
    if (select_images(cd, options, &p, err) < 0)
        return -1;
    if (archive ? export_describe_archive(cd, &p, err) < 0 : export_describe_layout(&p, err) < 0)
        return -1;
    add_items(&p);
    cleanup_free char *buffer = xmalloc(BUFFER_SIZE);
    cleanup_tar_out struct tar_out *tar = tar_out_new(fd, options->stop);
    struct writing w = {.cd = cd, .tar = tar, .buffer = buffer, .stop = options->stop};
    int r = write_all(&w, &p, archive, ret, err);
    ret->images = p.image_count;
    ret->bytes = tar_out_bytes(tar);
    return r;
}
