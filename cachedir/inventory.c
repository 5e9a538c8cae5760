#include "inventory.h"

#include "alias.h"
#include "alloc.h"
#include "reference.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>

/* ---- gathering ---- */

static struct thing *add_thing(struct inventory *inv, enum thing_kind kind, const char *above,
                               const char *name)
{
    struct thing *thing = array_add(inv->things, inv->thing_count);
    cleanup_free char *shown = text_foreign_str(name);
    thing->kind = kind;
    thing->name = xstrdup(name);
    thing->path = xasprintf("%s%s", above, shown);
    return thing;
}

static void add_inode(struct inventory *inv, struct thing *thing, const struct stat *st)
{
    *array_add(thing->inodes, thing->inode_count) = st->st_ino;
    *array_add(inv->inodes, inv->inode_count) =
        (struct inventory_inode){st->st_ino, st->st_size, 1};
}

/* Returns when it was written; 0: it is not there. */
static time_t add_file(struct inventory *inv, struct thing *thing, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    add_inode(inv, thing, &st);
    return st.st_mtime;
}

/* An archive's mtime is its life. 0 where the volume does not know. */
static time_t born(int dir, const char *name)
{
    struct statx st;
    return statx(dir, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st) == 0 &&
                   (st.stx_mask & STATX_BTIME)
               ? (time_t)st.stx_btime.tv_sec
               : 0;
}

static void note_time(struct thing *thing, const struct stat *st)
{
    if (st->st_mtim.tv_sec > thing->mtime ||
        (st->st_mtim.tv_sec == thing->mtime && st->st_mtim.tv_nsec > thing->mtime_ns)) {
        thing->mtime = st->st_mtim.tv_sec;
        thing->mtime_ns = st->st_mtim.tv_nsec;
    }
}

#define TREE_DEPTH_MAX 8

/* A tree of no known shape: all its files, and the latest time of anything in it. */
static void add_tree(struct inventory *inv, struct thing *thing, int dir, const char *name,
                     int depth)
{
    struct stat st;
    cleanup_names char **names = NULL;
    size_t count;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return; /* it went meanwhile */
    note_time(thing, &st);
    if (S_ISREG(st.st_mode))
        add_inode(inv, thing, &st);
    if (!S_ISDIR(st.st_mode) || depth > TREE_DEPTH_MAX)
        return;
    cleanup_close int fd = fs_open_directory(dir, name);
    if (fd < 0 || fs_names(fd, &names, &count) < 0)
        return; /* what we may not read we cannot count, and will fail to remove, with a word */
    for (size_t i = 0; i < count; i++) {
        add_tree(inv, thing, fd, names[i], depth + 1);
        cleanup_free char *text = xasprintf("sha256:%s", names[i]);
        struct digest digest;
        if (digest_parse(text, &digest, NULL) == 0)
            *array_add(thing->named, thing->named_count) = digest;
    }
}

static void gather_entry(struct inventory *inv, const struct cachedir_entry *e)
{
    struct thing *thing = add_thing(inv, THING_ENTRY, "", e->digest.text);
    struct cachedir *cd = inv->cd;
    thing->digest = e->digest;
    thing->mtime = e->renewed.tv_sec;
    thing->mtime_ns = e->renewed.tv_nsec;
    thing->reference = e->reference ? xstrdup(e->reference) : NULL;
    for (size_t i = 0; i < e->blob_count; i++) {
        *array_add(thing->named, thing->named_count) = e->blobs[i].digest;
        if (e->blobs[i].present && !cd->format->is_file)
            add_inode(inv, thing,
                      &(struct stat){.st_ino = e->blobs[i].inode, .st_size = e->blobs[i].size});
    }
    cleanup_alias struct alias alias = {.manifest = e->alias_of};
    if (digest_is_set(&e->alias_of) ||
        (e->state == CACHEDIR_BROKEN && alias_read(cd, &e->digest, &alias, NULL) > 0)) {
        thing->alias_of = alias.manifest;
        inv->alias_count++;
        add_file(inv, thing, cd->aliases, digest_hex(&e->digest));
    }
    cleanup_free char *beside = xasprintf("%s" ARCHIVE_BESIDE, e->digest.text);
    add_file(inv, thing, cd->root, beside);
    cleanup_close int dir = fs_open_directory(cd->root, e->digest.text);
    if (dir < 0) {
        add_file(inv, thing, cd->root, e->digest.text);
        thing->made = born(cd->root, e->digest.text);
        return;
    }
    if (cd->format->is_file) { /* a directory where a file should be */
        struct thing tree = {0};
        add_tree(inv, &tree, cd->root, e->digest.text, 0);
        for (size_t i = 0; i < tree.inode_count; i++)
            *array_add(thing->inodes, thing->inode_count) = tree.inodes[i];
        free(tree.inodes);
        free(tree.named);
        return;
    }
    thing->made = add_file(inv, thing, dir, "index.json");
    add_file(inv, thing, dir, "oci-layout");
}

static int gather_pool(struct inventory *inv, int dir, const char *algorithm, struct error *err)
{
    cleanup_names char **names = NULL;
    cleanup_free char *above = xasprintf("blobs/%s/", algorithm);
    size_t count;
    if (dir < 0)
        return 0;
    if (fs_names(dir, &names, &count) < 0)
        return error_errno(err, errno, "cannot read blobs/%s", algorithm);
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *text = xasprintf("%s:%s", algorithm, names[i]);
        struct digest digest;
        struct stat st;
        if (digest_parse(text, &digest, NULL) < 0 ||
            fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue; /* unknown: never touched */
        struct thing *thing = add_thing(inv, THING_BLOB, above, names[i]);
        thing->digest = digest;
        note_time(thing, &st);
        add_inode(inv, thing, &st);
    }
    return 0;
}

/* "<hex>", "<hex>.<random>", and beside each "....ranges". */
static int gather_partials(struct inventory *inv, struct error *err)
{
    int dir = inv->cd->partial;
    cleanup_names char **names = NULL;
    size_t count;
    if (dir < 0)
        return 0;
    if (fs_names(dir, &names, &count) < 0)
        return error_errno(err, errno, "cannot read " STORE_OWN "/partial");
    for (size_t i = 0; i < count; i++) {
        struct stat st;
        cleanup_free char *list = xasprintf("%s" PARTIAL_RANGES, names[i]);
        cleanup_free char *text = xasprintf("sha256:%.64s", names[i]);
        const char *suffix = strrchr(names[i], '.');
        if (fstatat(dir, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (suffix && strcmp(suffix, PARTIAL_RANGES) == 0) {
            cleanup_free char *of = xstrndup(names[i], (size_t)(suffix - names[i]));
            if (faccessat(dir, of, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                continue; /* it goes with its file */
        }
        struct thing *thing = add_thing(inv, THING_PARTIAL, STORE_OWN "/partial/", names[i]);
        (void)digest_parse(text, &thing->digest, NULL); /* unset: nobody can have its lock */
        note_time(thing, &st);
        if (S_ISREG(st.st_mode))
            add_inode(inv, thing, &st);
        add_file(inv, thing, dir, list);
    }
    return 0;
}

static int gather_trees(struct inventory *inv, int dir, enum thing_kind kind, const char *above,
                        bool (*is)(struct cachedir *cd, const char *name), struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (dir < 0)
        return 0;
    if (fs_names(dir, &names, &count) < 0)
        return error_errno(err, errno, "cannot read %s", *above ? above : inv->cd->path);
    for (size_t i = 0; i < count; i++)
        if (!is || is(inv->cd, names[i]))
            add_tree(inv, add_thing(inv, kind, above, names[i]), dir, names[i], 0);
    return 0;
}

/* The archived kaniko's temporary files, and the fork's directories: a name of digits only, and
 * nothing in them but an entry in the making. A year of somebody's photographs is none. */
static bool is_kanikos(struct cachedir *cd, const char *name)
{
    if (strncmp(name, "warmingImage.", 13) == 0 || strncmp(name, "warmingManifest.", 16) == 0)
        return true;
    if (name[strspn(name, "0123456789")] != '\0')
        return false;
    cleanup_close int dir = fs_open_directory(cd->root, name);
    cleanup_names char **names = NULL;
    size_t count;
    if (dir < 0 || fs_names(dir, &names, &count) < 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], "blobs") != 0 && strcmp(names[i], "index.json") != 0 &&
            strcmp(names[i], "oci-layout") != 0)
            return false;
    return true;
}

/* "sha256:<hex>.json": of an archive of kaniko's; it goes with it, and is left over without. */
static bool entry_beside(const char *name, struct digest *ret)
{
    const size_t len = strlen(name), suffix = strlen(ARCHIVE_BESIDE);
    if (len <= suffix || strcmp(name + len - suffix, ARCHIVE_BESIDE) != 0)
        return false;
    cleanup_free char *entry = xstrndup(name, len - suffix);
    return entry_name(entry, ret);
}

static int gather_orphans(struct inventory *inv, struct error *err)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(inv->cd->root, &names, &count) < 0)
        return error_errno(err, errno, "cannot read %s", inv->cd->path);
    for (size_t i = 0; i < count; i++) {
        struct digest entry;
        struct stat st;
        if (entry_beside(names[i], &entry) &&
            fstatat(inv->cd->root, entry.text, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
            add_tree(inv, add_thing(inv, THING_KANIKO, "", names[i]), inv->cd->root, names[i], 0);
    }
    return 0;
}

/* A record comes before its entry: young, it may be of one in the making. */
static bool has_no_entry(struct cachedir *cd, const char *name)
{
    cleanup_free char *entry = xasprintf("sha256:%s", name);
    struct stat st;
    return fstatat(cd->root, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static bool has_trash_name(const char *name)
{
    return strncmp(name, STORE_OWN "-trash-", strlen(STORE_OWN "-trash-")) == 0;
}

static bool is_our_trash(struct cachedir *cd, const char *name)
{
    (void)cd;
    return has_trash_name(name);
}

/* ---- relating ---- */

static bool is_kept(const char *reference, char *const *keep)
{
    cleanup_reference struct reference ref = {0};
    if (!reference || !keep || reference_parse(reference, &ref, NULL) < 0)
        return false;
    for (; *keep; keep++)
        if (fnmatch(*keep, ref.name, 0) == 0 || fnmatch(*keep, ref.familiar, 0) == 0)
            return true;
    return false;
}

static int compare_entry(const void *key, const void *thing)
{
    return strcmp(((const struct digest *)key)->text, ((const struct thing *)thing)->digest.text);
}

/* They are sorted, for cachedir_list() is. */
struct thing *inventory_entry(const struct inventory *inv, const struct digest *digest)
{
    return inv->entry_count ? bsearch(digest, inv->entries, inv->entry_count, sizeof *inv->entries,
                                      compare_entry)
                            : NULL;
}

/* What is true of an entry is true of its aliases. */
static void relate_aliases(struct inventory *inv)
{
    for (size_t i = 0; i < inv->entry_count && inv->alias_count > 0; i++) {
        struct thing *alias = &inv->entries[i];
        const struct thing *entry =
            digest_is_set(&alias->alias_of) ? inventory_entry(inv, &alias->alias_of) : NULL;
        if (!entry)
            continue;
        free(alias->reference);
        alias->reference = entry->reference ? xstrdup(entry->reference) : NULL;
        alias->is_named = entry->is_named;
        alias->superseded = entry->superseded;
        alias->kept = entry->kept;
    }
}

struct birth { /* of an entry, under the reference and for the platform that it was made for */
    char *name;
    time_t made;
};

static int compare_births(const void *a, const void *b)
{
    const struct birth *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->made > y->made) - (x->made < y->made);
}

static char *birth_name(const struct cachedir_entry *e)
{
    cleanup_free char *platform = e->platform.os ? platform_format(&e->platform) : xstrdup("");
    return xasprintf("%s %s", e->reference, platform);
}

/* Sorted; one an entry at most. An alias is made some time after its entry; and what was made after
 * its life began was made again (converted, mended, copied), which does not tell when the tag came
 * to it. */
static struct birth *list_births(const struct inventory *inv, const struct cachedir_entry *list,
                                 size_t *ret_count)
{
    struct birth *births = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < inv->entry_count; i++) {
        const struct thing *entry = &inv->entries[i];
        if (list[i].reference && entry->made && entry->made <= entry->mtime &&
            !digest_is_set(&entry->alias_of))
            *array_add(births, *ret_count) = (struct birth){birth_name(&list[i]), entry->made};
    }
    if (*ret_count > 0)
        qsort(births, *ret_count, sizeof *births, compare_births);
    return births;
}

/* Since when a reference leads elsewhere that led to an entry at `then`: since the next entry that
 * was made for it. 0: none was since, as where a tag went back to what was there before. */
static time_t left_after(const struct birth *births, size_t count, const struct cachedir_entry *e,
                         time_t then)
{
    cleanup_free char *name = birth_name(e);
    const struct birth last = {name, then};
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare_births(&births[middle], &last) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && strcmp(births[low].name, name) == 0 ? births[low].made : 0;
}

static int compare_reference(const void *key, const void *name)
{
    return strcmp(key, ((const struct cachedir_name *)name)->reference);
}

/* `list`: the entries as they were listed. The names are sorted by reference. */
static void relate_names(struct inventory *inv, const struct cachedir_entry *list,
                         const struct cachedir_name *names, size_t count, char *const *keep)
{
    size_t birth_count;
    struct birth *births = list_births(inv, list, &birth_count);
    for (size_t i = 0; i < count; i++) {
        struct thing *entry = inventory_entry(inv, &names[i].manifest);
        if (!entry)
            continue;
        if (!entry->is_named) {
            free(entry->reference);
            entry->reference = xstrdup(names[i].reference);
        }
        entry->is_named = true;
        entry->kept |= is_kept(names[i].reference, keep);
    }
    for (size_t i = 0; i < inv->entry_count; i++) {
        struct thing *entry = &inv->entries[i];
        if (entry->is_named || !entry->reference)
            continue;
        entry->kept = is_kept(entry->reference, keep);
        if (count > 0 && bsearch(entry->reference, names, count, sizeof *names, compare_reference))
            entry->superseded = left_after(births, birth_count, &list[i], entry->mtime);
    }
    for (size_t i = 0; i < birth_count; i++)
        free(births[i].name);
    free(births);
    relate_aliases(inv);
}

struct root { /* what index.json says */
    struct cachedir *cd;
    struct cachedir_name *names;
    size_t name_count;
    struct digest *blobs;
    size_t blob_count;
    struct error err;
    int result;
};

static void *read_root(void *userdata)
{
    struct root *r = userdata;
    r->result = names_and_blobs(r->cd, false, &r->names, &r->name_count, &r->blobs, &r->blob_count,
                                &r->err);
    return NULL;
}

static void root_release(struct root *r)
{
    cachedir_names_free(r->names, r->name_count);
    free(r->blobs);
    error_clear(&r->err);
}

/* After all other things, so that no array moves any more; and the root after the pool, for what it
 * names by then is not to be taken for unused. */
static int gather_entries(struct inventory *inv, char *const *keep, struct root *root,
                          struct error *err)
{
    const size_t before = inv->thing_count;
    struct cachedir_entry *list;
    size_t count;
    if (entries_list_beside(inv->cd, read_root, root, &list, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        gather_entry(inv, &list[i]);
    inv->entries = count > 0 ? inv->things + before : NULL;
    inv->entry_count = count;
    if (root->result == 0)
        relate_names(inv, list, root->names, root->name_count, keep);
    else
        error_move(err, &root->err);
    cachedir_entries_free(list, count);
    return root->result;
}

static int compare_inodes(const void *a, const void *b)
{
    const struct inventory_inode *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

static void unite_inodes(struct inventory *inv)
{
    size_t kept = 0;
    if (inv->inode_count > 0)
        qsort(inv->inodes, inv->inode_count, sizeof *inv->inodes, compare_inodes);
    for (size_t i = 0; i < inv->inode_count; i++) {
        if (kept > 0 && inv->inodes[kept - 1].inode == inv->inodes[i].inode) {
            inv->inodes[kept - 1].names++;
        } else {
            inv->inodes[kept++] = inv->inodes[i];
            inv->size += inv->inodes[i].size;
        }
    }
    inv->inode_count = kept;
}

static int compare_blobs(const void *a, const void *b)
{
    return strcmp((*(struct thing *const *)a)->digest.text,
                  (*(struct thing *const *)b)->digest.text);
}

struct thing *inventory_blob(const struct inventory *inv, const struct digest *digest)
{
    struct thing key = {.digest = *digest}, *place = &key;
    struct thing **found = inv->blob_count ? bsearch(&place, inv->blobs, inv->blob_count,
                                                     sizeof(struct thing *), compare_blobs)
                                           : NULL;
    return found ? *found : NULL;
}

static void count_users(struct inventory *inv, const struct root *root)
{
    for (size_t i = 0; i < inv->thing_count; i++)
        if (inv->things[i].kind == THING_BLOB)
            *array_add(inv->blobs, inv->blob_count) = &inv->things[i];
    if (inv->blob_count > 0)
        qsort(inv->blobs, inv->blob_count, sizeof(struct thing *), compare_blobs);
    for (size_t i = 0; i < inv->thing_count; i++)
        for (size_t j = 0; j < inv->things[i].named_count; j++) {
            struct thing *blob = inventory_blob(inv, &inv->things[i].named[j]);
            if (blob)
                blob->users++;
        }
    for (size_t i = 0; i < root->blob_count; i++) {
        struct thing *blob = inventory_blob(inv, &root->blobs[i]);
        if (blob)
            blob->users++;
    }
}

int inventory_take(struct cachedir *cd, char *const *keep, struct inventory *ret, struct error *err)
{
    *ret = (struct inventory){.cd = cd};
    __attribute__((cleanup(root_release))) struct root root = {.cd = cd};
    if (gather_pool(ret, cd->pool.sha256, "sha256", err) < 0 ||
        gather_pool(ret, cd->pool.sha512, "sha512", err) < 0 || gather_partials(ret, err) < 0 ||
        gather_trees(ret, cd->stage, THING_STAGE, STORE_OWN "/stage/", NULL, err) < 0 ||
        gather_trees(ret, cd->trash, THING_TRASH, STORE_OWN "/trash/", NULL, err) < 0 ||
        gather_trees(ret, cd->aliases, THING_ALIAS, STORE_OWN "/aliases/", has_no_entry, err) < 0 ||
        gather_trees(ret, cd->root, THING_TRASH, "", is_our_trash, err) < 0 ||
        gather_trees(ret, cd->root, THING_KANIKO, "", is_kanikos, err) < 0 ||
        gather_orphans(ret, err) < 0 || gather_entries(ret, keep, &root, err) < 0)
        return -1;
    unite_inodes(ret);
    count_users(ret, &root);
    return 0;
}

void inventory_release(struct inventory *inv)
{
    for (size_t i = 0; i < inv->thing_count; i++) {
        free(inv->things[i].name);
        free(inv->things[i].path);
        free(inv->things[i].inodes);
        free(inv->things[i].named);
        free(inv->things[i].reference);
    }
    free(inv->things);
    free(inv->inodes);
    free(inv->blobs);
    *inv = (struct inventory){0};
}

int inventory_directory(const struct inventory *inv, const struct thing *thing)
{
    struct cachedir *cd = inv->cd;
    switch (thing->kind) {
    case THING_BLOB:
        return blobs_directory(&cd->pool, &thing->digest);
    case THING_PARTIAL:
        return cd->partial;
    case THING_STAGE:
        return cd->stage;
    case THING_TRASH:
        return has_trash_name(thing->name) ? cd->root : cd->trash;
    case THING_ALIAS:
        return cd->aliases;
    case THING_ENTRY:
    case THING_KANIKO:
        break;
    }
    return cd->root;
}

int64_t inventory_remove(struct inventory *inv, struct thing *thing)
{
    int64_t freed = 0;
    thing->gone = true;
    for (size_t i = 0; i < thing->inode_count; i++) {
        struct inventory_inode key = {.inode = thing->inodes[i]};
        struct inventory_inode *inode =
            bsearch(&key, inv->inodes, inv->inode_count, sizeof *inv->inodes, compare_inodes);
        if (inode && --inode->names == 0)
            freed += inode->size;
    }
    for (size_t i = 0; i < thing->named_count; i++) {
        struct thing *blob = inventory_blob(inv, &thing->named[i]);
        if (blob)
            blob->users--;
    }
    inv->size -= freed;
    return freed;
}
