/*
 * All that is known in a cache directory, as things that can be removed, and which bytes would be
 * freed by that: each inode counts once, and is freed with its last known name.
 *
 *     things: an entry, a pool blob, a stage, a partial file with its list, something in the trash,
 *             a temporary file of kaniko's warmers
 *     uses:   how many entries and stages name a pool blob
 *
 * A picture of one moment: prune looks at each thing again before it touches it.
 */
#pragma once

#include "store.h"

enum thing_kind {
    THING_ENTRY,
    THING_BLOB,    /* in the pool */
    THING_PARTIAL, /* and the list beside it */
    THING_STAGE,
    THING_TRASH,
    THING_ALIAS,  /* the record of an alias that is not there */
    THING_KANIKO, /* what its warmers left when they were killed */
};

struct thing {
    enum thing_kind kind;
    char *name;   /* in its directory: see inventory_directory() */
    char *path;   /* below the root, safe to print */
    time_t mtime; /* an entry's life, a file's last write */
    long mtime_ns;
    ino_t *inodes; /* of its files */
    size_t inode_count;
    struct digest digest;   /* of an entry, a blob or a partial file */
    struct digest alias_of; /* of an entry that is an alias: its entry's; else unset */
    struct digest *named;   /* blobs that an entry or a stage names */
    size_t named_count;
    char *reference;   /* of an entry: a name that leads to it, or that it was made under */
    bool is_named;     /* of an entry: index.json leads to it */
    time_t made;       /* of an entry: when it was published; 0: unknown */
    time_t superseded; /* of an entry: since when its reference leads elsewhere; 0: it does not, or
                          the volume does not tell */
    bool kept;         /* of an entry: --keep names it */
    unsigned users;    /* of a blob: entries and stages that name it and are not gone */
    bool gone;         /* planned to be removed */
};

struct inventory_inode {
    ino_t inode;
    int64_t size;
    unsigned names; /* known ones that are not gone */
};

struct inventory {
    struct cachedir *cd;
    struct thing *things;
    size_t thing_count;
    struct thing *entries; /* of them, by digest */
    size_t entry_count;
    size_t alias_count;             /* of these */
    struct inventory_inode *inodes; /* sorted */
    size_t inode_count;
    struct thing **blobs; /* sorted by digest */
    size_t blob_count;
    int64_t size; /* of all inodes that have a name left */
};

/* `keep`: see cachedir_prune_options. */
int inventory_take(struct cachedir *cd, char *const *keep, struct inventory *ret,
                   struct error *err);
void inventory_release(struct inventory *inv);

/* The directory that a thing's name is in. */
int inventory_directory(const struct inventory *inv, const struct thing *thing);
/* Note that it goes: its bytes that no other name holds are freed (returned), and the blobs that it
 * named have one user fewer. */
int64_t inventory_remove(struct inventory *inv, struct thing *thing);
/* The entry of a digest; NULL when there is none. */
struct thing *inventory_entry(const struct inventory *inv, const struct digest *digest);
/* The pool's blob of a digest; NULL when there is none. */
struct thing *inventory_blob(const struct inventory *inv, const struct digest *digest);
