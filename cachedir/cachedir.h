/*
 * The cache directory that kaniko's executor reads with --cache-dir: the store behind warmer(1)
 * and cachedir(1). It knows files and nothing else: no network, no printing, no exit.
 *
 * What stands on the disk (format oci):
 *
 *     <dir>/oci-layout  index.json      an OCI image layout: one descriptor a reference
 *     <dir>/blobs/sha256/<hex>          the pool: every blob once
 *     <dir>/sha256:<hex>/               an entry: what the builder reads; hard links to the pool
 *     <dir>/.warmer-locks/              locks that kaniko's own warmer takes too
 *     <dir>/.basewarm/                  format, partial/, stage/, trash/, aliases/, locks: ours
 *                                       alone
 *
 * and in format docker-archive, which archived kaniko and envbuilder read:
 *
 *     <dir>/sha256:<hex>              an entry: a tar with everything in it; no pool, no layout
 *     <dir>/.basewarm/                as above, and index.json
 *
 * What it promises:
 *   - An entry becomes visible by one rename, after every blob's size and digest matched and
 *     everything was synced. A crash at any instant, of a process or of the machine, leaves the
 *     old state or the new one.
 *   - An entry loses its name, on the disk, before it loses a file: what is removed or replaced is
 *     renamed away, the root is synced, and then it is deleted. Whoever looks meanwhile
 *     (cachedir_look(), _list(), _verify()) sees it whole or not at all.
 *   - The entries are the truth; index.json is derived from them.
 *   - The mtime of an entry is when its life began; renewing is a touch with the file system's own
 *     clock. Ages are judged by that clock, too.
 *   - No lock is needed for correctness. Locks save work; one that the file system refuses is
 *     reported once through `warn`, and then done without.
 *   - Names inside the directory are made from parsed digests only, relative to directory
 *     descriptors, following no symlink. Other tenants may plant what they like.
 *
 * Filling it:
 *
 *     cachedir_open() --> cachedir_look(digest): complete? --yes--> cachedir_renew()
 *                             | no
 *                         cachedir_stage_new(manifest bytes)
 *                             | for each blob: cachedir_stage_take() --1--> it was here already
 *                             |                                      --0--> fetch it:
 *                             |    cachedir_blob_open() ... _write() ... _commit(), then take again
 *                         cachedir_stage_publish()
 *                         cachedir_name_set(), ..., cachedir_flush() --> cachedir_close()
 *
 * Threads: a struct cachedir may be used by many threads at once. A stage or a blob may be, too,
 * as their functions say. What a function returns by pointer belongs to the caller.
 *
 * Errors are error.h's. ERROR_REFUSED names the owner and the mode of what we may not touch.
 */
#pragma once

#include "digest.h"
#include "error.h"
#include "manifest.h"
#include "platform.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct cachedir;

/* ---- opening -------------------------------------------------------------------------------- */

enum cachedir_format {
    CACHEDIR_FORMAT_ANY = 0, /* as found; oci where nothing is found */
    CACHEDIR_FORMAT_OCI,
    CACHEDIR_FORMAT_DOCKER_ARCHIVE,
};

/* What a volume may be unable to do. Probed by use; a bit given in `without` is treated as
 * refused from the start, which is how each fallback is tested. */
enum cachedir_ability {
    CACHEDIR_HARD_LINKS = 1 << 0,
    CACHEDIR_REFLINKS = 1 << 1,
    CACHEDIR_LOCKS = 1 << 2,
    CACHEDIR_RENAME_DIRECTORIES = 1 << 3, /* else an entry is made in place, index.json last */
    CACHEDIR_OPENAT2 = 1 << 4,
};

struct cachedir_options {
    bool create; /* make what is missing (else a missing directory is ERROR_NOT_FOUND) */
    enum cachedir_format format; /* another than the recorded one is ERROR_USAGE, naming both */
    unsigned without;            /* of enum cachedir_ability */
    /* Told, in one line and at most once a cause, what is weaker than it should be here. May be
     * called from any thread that uses the directory. NULL: nobody listens. */
    void (*warn)(void *userdata, const char *message);
    void *userdata;
};

/*
 * Open `path` (symlinks on the way are followed: Kubernetes mounts through them). A directory on a
 * read-only volume, or one that we may not write, opens too: what only reads works, and what
 * writes fails with ERROR_REFUSED.
 */
int cachedir_open(const char *path, const struct cachedir_options *options, struct cachedir **ret,
                  struct error *err);
/* Writes nothing: call cachedir_flush() before. Takes NULL. */
void cachedir_close(struct cachedir *cd);
static inline void cachedir_close_p_(struct cachedir **cd)
{
    cachedir_close(*cd);
}
#define cleanup_cachedir __attribute__((cleanup(cachedir_close_p_)))

const char *cachedir_path(const struct cachedir *cd); /* as given */
bool cachedir_writable(const struct cachedir *cd);
enum cachedir_format cachedir_format(const struct cachedir *cd);
const char *cachedir_format_name(enum cachedir_format format); /* "oci", "docker-archive" */

/* Was anything ever warmed here, by us or by kaniko's own? */
bool cachedir_is_cache(struct cachedir *cd);
/* Does nothing stand in it, but for what a fresh volume may have? */
bool cachedir_is_empty(struct cachedir *cd);

/* Now, by the clock of the file system under the directory (the mtime of a file just touched
 * there; by this machine's on a read-only volume). */
time_t cachedir_now(struct cachedir *cd);

/* ---- entries -------------------------------------------------------------------------------- */

enum cachedir_state {
    CACHEDIR_ABSENT = 0,
    CACHEDIR_COMPLETE, /* structure, names and sizes are as the manifest says */
    CACHEDIR_BROKEN,   /* a builder that uses it fails, or does not see it: `problem` says why */
};

struct cachedir_blob_info {
    struct digest digest;
    int64_t size;  /* as the manifest says */
    bool present;  /* a regular file of that size, readable by us, stands under its name */
    ino_t inode;   /* of that file, */
    nlink_t links; /* and how many names it has (one of them in the pool) */
    /* Where it begins in that file: 0, but for docker-archive, where all have one file. -1: it is
     * the manifest that archived kaniko's warmer leaves in a file beside the archive. */
    int64_t offset;
};

struct cachedir_entry {
    struct digest digest;   /* the builder's key: the manifest's, or, of an alias, an index's */
    struct digest alias_of; /* of an alias: the manifest's; else unset */
    enum cachedir_state state;
    char *problem;            /* owned; NULL unless broken; safe to print */
    bool unreadable;          /* broken, as far as could be seen: reading failed, which may pass */
    struct timespec renewed;  /* when its life began */
    char *media_type;         /* owned; of the manifest; NULL when unknown */
    char *reference;          /* owned; the name it was made under; NULL: unknown; foreign */
    struct platform platform; /* from the config; all NULL when unknown */
    struct cachedir_blob_info *blobs; /* manifest first, config, layers: each digest once */
    size_t blob_count;
    int64_t size;        /* sum of the blobs that are present, bytes */
    int64_t shared_size; /* the part of it that other entries hold, too; cachedir_list() only */
};

/* What stands under one digest. Names and sizes are checked, bytes are not (but the manifest and
 * index.json are read, and the manifest hashed). ABSENT is success. */
int cachedir_look(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                  struct error *err);
/* All of them, by digest. Entries of kaniko's own warmers are entries; other names are skipped. */
int cachedir_list(struct cachedir *cd, struct cachedir_entry **ret, size_t *ret_count,
                  struct error *err);
void cachedir_entry_release(struct cachedir_entry *e);
void cachedir_entries_free(struct cachedir_entry *list, size_t count);
#define cleanup_cachedir_entry __attribute__((cleanup(cachedir_entry_release)))

/* The bytes of a manifest that the directory holds, in the pool or in its entry, hashed; owned.
 * Returns 1 when found, 0 when not (or damaged). */
int cachedir_manifest(struct cachedir *cd, const struct digest *digest, char **ret, size_t *ret_len,
                      struct error *err);

/* Would cachedir_stage_take() find this blob? By name and size, without a promise. */
bool cachedir_has_blob(struct cachedir *cd, const struct descriptor *blob);
/* Does every entry that takes a blob from elsewhere here need its bytes once more? So in format
 * docker-archive, and where there are no hard links, unless the volume can share blocks. Tries
 * that, once. */
bool cachedir_copies(struct cachedir *cd);

/* Begin an entry's life anew, and its aliases' with it, and look that it still stands.
 * ERROR_NOT_FOUND when it vanished. */
int cachedir_renew(struct cachedir *cd, const struct digest *digest, struct error *err);

/* Take the blobs of an entry that kaniko's own warmer made into the pool: each is hashed, synced,
 * and linked if the file is ours and nobody else may write it, else copied. Blobs that the pool
 * has already cost one stat each. ERROR_DIGEST when one is bad: then the entry is. */
int cachedir_adopt(struct cachedir *cd, const struct digest *digest, struct error *err);

/* ---- aliases: entries under the digest of an index that leads to them ------------------------ */

struct cachedir_bytes {
    const void *bytes;
    size_t len;
};

/*
 * Publish the entry of `manifest`, which must stand, also under `index`, for builders that look for
 * the digest of an index as it is written. The alias has the entry's time, is renewed and mended
 * with it, and removed before it. `indexes` proves it: the bytes of the index, and of each index
 * within it on the way down; they are hashed (ERROR_DIGEST), must lead to the manifest
 * (ERROR_PROTOCOL), and are kept in .basewarm/aliases. No `indexes` (count 0): what is kept there
 * must do. ERROR_USAGE: the alias stands already, for another manifest.
 */
int cachedir_alias(struct cachedir *cd, const struct digest *index, const struct digest *manifest,
                   const struct cachedir_bytes *indexes, size_t count, struct error *err);
enum cachedir_alias_state {
    CACHEDIR_ALIAS_UNKNOWN = 0, /* cachedir_alias() needs the indexes */
    CACHEDIR_ALIAS_PROVEN,      /* what is kept here leads from one to the other: it does not */
    CACHEDIR_ALIAS_STANDS,      /* and the alias is complete */
};
/* ERROR_USAGE: it stands, for another manifest; the message says what to do. */
int cachedir_alias_state(struct cachedir *cd, const struct digest *index,
                         const struct digest *manifest, enum cachedir_alias_state *ret,
                         struct error *err);
/* The indexes under whose digests an entry stands, too; owned. */
int cachedir_aliases(struct cachedir *cd, const struct digest *manifest, struct digest **ret,
                     size_t *ret_count, struct error *err);

/* ---- names: the references that led to the entries ------------------------------------------- */

struct cachedir_name {
    char *reference;        /* full name, as reference.h makes it */
    char *platform;         /* as asked for: "linux/amd64" */
    struct digest manifest; /* the entry */
    struct digest source;   /* what the reference itself resolved to: an index, or `manifest` */
    time_t checked;         /* when the registry last said so */
};

/* All that index.json says (entries it does not name are not in here), by reference, platform. */
int cachedir_names(struct cachedir *cd, struct cachedir_name **ret, size_t *ret_count,
                   struct error *err);
/* One of them, as index.json was when this was first asked; returns 1 when found, 0 when not. */
int cachedir_name_find(struct cachedir *cd, const char *reference, const char *platform,
                       struct cachedir_name *ret, struct error *err);
/* Remember; written by the next cachedir_flush(), or now if the last one is 10 s ago, or more where
 * that took long. */
int cachedir_name_set(struct cachedir *cd, const struct cachedir_name *name, struct error *err);
/* Was anything set since the directory was opened? */
bool cachedir_has_news(struct cachedir *cd);
/* Write index.json: read, merge, rename under a lock; names whose entry is gone go. */
int cachedir_flush(struct cachedir *cd, struct error *err);
void cachedir_name_release(struct cachedir_name *n);
void cachedir_names_free(struct cachedir_name *list, size_t count);
#define cleanup_cachedir_name __attribute__((cleanup(cachedir_name_release)))

/* cachedir_list() and cachedir_names() at once: with thousands of entries each keeps a
 * core busy. Both lists are the caller's to free; after an error there are none. */
int cachedir_list_named(struct cachedir *cd, struct cachedir_entry **ret, size_t *ret_count,
                        struct cachedir_name **ret_names, size_t *ret_name_count,
                        struct error *err);

/* ---- filling -------------------------------------------------------------------------------- */

struct cachedir_stage; /* an entry in the making, invisible until published */
struct cachedir_blob;  /* one blob in the making */
struct cachedir_lock;

/* Take the lock that kaniko's own warmer takes for an entry. ERROR_LOCKED: somebody else has it,
 * come back later. Where locks are refused it is granted, with a warning. Never blocks. */
int cachedir_lock_entry(struct cachedir *cd, const struct digest *digest,
                        struct cachedir_lock **ret, struct error *err);
void cachedir_unlock(struct cachedir_lock *lock); /* takes NULL */

/*
 * Begin an entry. The bytes are hashed against `digest` (ERROR_DIGEST). `reference`, if not NULL,
 * is written into the entry, so that it is known later which name it had. `distrust`: what is on
 * the disk already is hashed before it is taken.
 */
int cachedir_stage_new(struct cachedir *cd, const struct digest *digest, const char *media_type,
                       const void *manifest, size_t len, const char *reference, bool distrust,
                       struct cachedir_stage **ret, struct error *err);
/*
 * Take a blob that the directory has: link, clone or copy it into the stage. 1: it is in. 0: it is
 * not here (or not good) and must be fetched. Any thread.
 */
int cachedir_stage_take(struct cachedir_stage *stage, const struct descriptor *blob,
                        struct error *err);
/*
 * Make the entry visible, or mend the one that stands there, and begin its life. All blobs must
 * have been taken. Losing the race to another writer of the same digest is success.
 */
int cachedir_stage_publish(struct cachedir_stage *stage, struct error *err);
/* Remove what was not published. Takes NULL. */
void cachedir_stage_free(struct cachedir_stage *stage);

/*
 * Open a blob for writing, and close it before the stage is freed; what an earlier run left of it
 * is kept. `insist`: do without the lock if another holds it (its holder seems dead), with a file
 * of our own; else that is ERROR_LOCKED.
 */
int cachedir_blob_open(struct cachedir_stage *stage, const struct descriptor *blob, bool insist,
                       struct cachedir_blob **ret, struct error *err);
/* The first gap at or after `from`: [*ret_start, *ret_end). false when nothing is missing there. */
bool cachedir_blob_gap(struct cachedir_blob *b, int64_t from, int64_t *ret_start, int64_t *ret_end);
/*
 * Store `len` bytes at `offset`: written, and hashed on the way by whoever writes at the hashed
 * frontier. Many threads may write, each its own stretch. ERROR_DIGEST when it would exceed the
 * descriptor's size.
 */
int cachedir_blob_write(struct cachedir_blob *b, int64_t offset, const void *data, size_t len,
                        struct error *err);
/*
 * All is there: hash what is not hashed yet, compare, sync, and put it where stage_take() finds it.
 * ERROR_DIGEST: wrong bytes, which are dropped; the blob is empty then, to be written anew.
 */
int cachedir_blob_commit(struct cachedir_blob *b, struct error *err);
/* Forget all that was written. */
int cachedir_blob_reset(struct cachedir_blob *b, struct error *err);
/* Keeps an uncommitted rest for the next run. Takes NULL. */
void cachedir_blob_close(struct cachedir_blob *b);
/* Bytes of this blob that an interrupted transfer left here. */
int64_t cachedir_partial(struct cachedir *cd, const struct descriptor *blob);
/* A number that changes while somebody writes this blob's partial file, or (NULL) any; 0 when there
 * is none. How one sees whether the holder of a lock is alive. */
int64_t cachedir_progress(struct cachedir *cd, const struct digest *digest);

/* ---- keeping -------------------------------------------------------------------------------- */

struct cachedir_verify_options {
    bool quick;       /* structure, names and sizes only */
    bool deep;        /* unpack the layers, too: see below */
    unsigned threads; /* hashing; 0: one a core */
    /* Only these entries (and not the root); NULL: everything. */
    const struct digest *only;
    size_t only_count;
    /* Told, as problems are, what is none: why a layer was not unpacked, names in index.json whose
     * entries are gone. NULL: nobody listens. */
    void (*note)(void *userdata, const char *where, const char *what);
    const volatile bool *stop; /* seen within a second; NULL: never */
};

struct cachedir_verify_result {
    size_t entries, blobs; /* looked at; each inode counts once */
    int64_t bytes;         /* hashed */
    size_t layers;         /* unpacked, deep only; each inode counts once */
    int64_t unpacked;      /* bytes that came out of them */
    size_t not_checked;    /* layers that could not be unpacked here, which is no problem */
    size_t problems;
};

/*
 * Check what is there; each inode is hashed once, on all cores. Every problem is told, one line
 * each, from one thread at a time: `where` is an entry's digest, a path below the directory, or
 * "index.json". Problems are no failure of the function: look at ret->problems.
 *
 * Deep: each layer is unpacked while it is hashed (gzip, zstd, plain tar; memory does not depend on
 * its size), its tar read to the end, and the digest of what came out compared with the diff ID in
 * the config of every entry that holds it. A layer has a problem when it unpacks to more than 1000
 * times its size or 1 TiB, has more than 10 million members, or a name of more than 64 KiB. It is
 * not checked when its media type is foreign, encrypted or unknown, or when it wants a zstd window
 * of more than 128 MiB.
 */
int cachedir_verify(struct cachedir *cd, const struct cachedir_verify_options *options,
                    void (*problem)(void *userdata, const char *where, const char *what),
                    void *userdata, struct cachedir_verify_result *ret, struct error *err);

enum cachedir_repair {
    CACHEDIR_REPAIR_NOTHING, /* all its bytes and its structure are right */
    CACHEDIR_REPAIR_MENDED,  /* from what was here */
    CACHEDIR_REPAIR_REMOVED, /* out of the builder's sight; what is good of it stays in the pool */
    CACHEDIR_REPAIR_OTHER,   /* good in the other format, and left alone: cachedir_convert() */
};

/*
 * Mend an entry from what the directory holds, hashing all of it; where that does not suffice, take
 * it out of the builder's sight, so that a build pulls it instead of failing, and the next warm
 * fetches only what is missing. A mended entry keeps its clock: nothing is renewed here.
 * ERROR_NOT_FOUND when there is none. ERROR_IO when it cannot be read: that is no reason to remove
 * it.
 */
int cachedir_repair(struct cachedir *cd, const struct digest *digest, enum cachedir_repair *ret,
                    struct error *err);

/* Remove a blob from the pool if its bytes are not what its name says: after the entries that it is
 * in were repaired. Returns 1 when it went, 0 when it is good or not there. */
int cachedir_repair_blob(struct cachedir *cd, const struct digest *digest, struct error *err);

struct cachedir_limits {
    int64_t max_size;        /* bytes of all that is known here, each inode once; 0: no limit */
    int64_t min_free;        /* bytes that must stay free for us on the file system; 0: no limit */
    double min_free_percent; /* the same, of its size */
};

/* Read --min-free: "10G", or "15%" of the file system. ERROR_USAGE. */
int cachedir_limits_min_free(struct cachedir_limits *ret, const char *text, struct error *err);

struct cachedir_prune_options {
    int64_t ttl_ns;   /* the executors' --cache-ttl */
    int64_t grace_ns; /* longer than the longest build: what expired stays for so long */
    struct cachedir_limits limits;
    char **keep; /* globs of references, NULL-terminated; NULL: none. These entries stay. */
    /* Entries whose reference leads elsewhere go, too, a grace after the next entry was made for it
     * (in format docker-archive: where the volume knows when that was). Where it went back to an
     * entry that was here before, what it left goes when it expires. */
    bool superseded;
    bool dry_run; /* tell what would be done, and do nothing */
    const volatile bool *stop;
};

enum cachedir_prune_reason {
    CACHEDIR_PRUNE_LEFTOVER,   /* stage, trash or temporary file of a run that was killed */
    CACHEDIR_PRUNE_PARTIAL,    /* a partial file older than the ttl, or in the way of the limits */
    CACHEDIR_PRUNE_EXPIRED,    /* an entry past ttl + grace */
    CACHEDIR_PRUNE_SUPERSEDED, /* an entry that its reference has left, past the grace */
    CACHEDIR_PRUNE_EVICTED,    /* an entry that the limits cost, however young: a build may fail */
    CACHEDIR_PRUNE_UNUSED,     /* a blob that no entry and no stage names */
    CACHEDIR_PRUNE_REASONS
};

struct cachedir_removal {
    enum cachedir_prune_reason reason;
    const char *path;      /* below the directory; safe to print */
    const char *reference; /* NULL when it has none, or is no entry; safe to print */
    int64_t age_s;         /* since it was renewed or written */
    int64_t freed;         /* bytes that no other name holds */
};

struct cachedir_prune_result {
    size_t removed[CACHEDIR_PRUNE_REASONS];
    int64_t freed[CACHEDIR_PRUNE_REASONS];
    int64_t size_before, size_after; /* of all that is known here */
    int64_t free_after;              /* bytes on the file system (in a dry run: expected) */
    size_t refused; /* things that another uid owns and we may not delete: told through `warn` */
    bool limits_met;
};

const char *cachedir_prune_reason_name(enum cachedir_prune_reason reason); /* "expired", ... */

/*
 * Remove what is over: in the order of enum cachedir_prune_reason, the limits after all that age
 * alone takes, and under them unused blobs and partial files before entries, oldest renewal first.
 * An alias goes with its entry, and before it; and when it is expired itself, since it would hide
 * the entry from a builder.
 * An entry is renamed away before it is deleted, and put back when it was renewed meanwhile.
 * What is unknown here is never touched. A dry run tells exactly what a real one does.
 * ERROR_LOCKED: another prune is at work. Limits that cannot be met are no failure:
 * ret->limits_met.
 */
int cachedir_prune(struct cachedir *cd, const struct cachedir_prune_options *options,
                   void (*removed)(void *userdata, const struct cachedir_removal *removal),
                   void *userdata, struct cachedir_prune_result *ret, struct error *err);

/* Remove one entry, its aliases first, and the blobs that only they named. ERROR_NOT_FOUND when
 * there is none. */
int cachedir_remove(struct cachedir *cd, const struct digest *digest, int64_t *ret_freed,
                    struct error *err);

struct cachedir_usage {
    size_t entries, blobs, partials, leftovers;
    int64_t entry_bytes;              /* what the entries hold, each inode once */
    int64_t unused_bytes;             /* blobs that no entry names */
    int64_t partial_bytes;            /* unfinished transfers */
    int64_t leftover_bytes;           /* stages, trash, temporary files of kaniko's warmers */
    int64_t total_bytes;              /* all of it, each inode once: what --max-size limits */
    int64_t volume_bytes, free_bytes; /* of the file system; free for us */
};

/* How large the file system is, and how much of it is free for us, in bytes. */
int cachedir_space(struct cachedir *cd, int64_t *ret_size, int64_t *ret_free, struct error *err);

/* How much is here. */
int cachedir_usage(struct cachedir *cd, struct cachedir_usage *ret, struct error *err);

/* One entry, told when it is done with. */
struct cachedir_conversion {
    const struct digest *digest;
    const char *reference; /* NULL: none is known; safe to print */
    const char *kept;      /* why it stays as it is; NULL: it was converted; safe to print */
    int64_t bytes;         /* of its blobs */
};

struct cachedir_convert_result {
    size_t converted, already, kept;
    int64_t bytes; /* of the blobs of what was converted */
};

/*
 * Give the directory another format without fetching anything: entry by entry, each in one step
 * where the volume can exchange names (else its builder misses it for a moment), with its clock.
 * What the format cannot hold, what is broken, and what another process works on stays as it is,
 * and is told. Killed or stopped in between (ERROR_INTERRUPTED), or out of space, it goes on when
 * it is called again; until then the directory has its old format. Builds that read a directory
 * while it is converted may fail. `cd` must be closed afterwards. ERROR_LOCKED: a prune or another
 * conversion is at work.
 */
int cachedir_convert(struct cachedir *cd, enum cachedir_format to, const volatile bool *stop,
                     void (*told)(void *userdata, const struct cachedir_conversion *conversion),
                     void *userdata, struct cachedir_convert_result *ret, struct error *err);

/* ---- in and out through tar files ------------------------------------------------------------ */

struct cachedir_selection {
    struct digest digest;  /* of an entry; of an alias: then of what it is an alias of */
    const char *reference; /* under this name only; NULL: under all that it has */
};

struct cachedir_export_options {
    enum cachedir_format format; /* of the tar: an OCI image layout (also ANY), or docker-archive */
    const struct cachedir_selection *list;
    size_t count;
    const volatile bool *stop; /* seen within a second; NULL: never */
};

struct cachedir_export_result {
    size_t images, blobs;
    int64_t bytes; /* of the tar */
};

/*
 * Write images into a tar, in one pass: the same images and names give the same bytes, whatever
 * directory they come from. Each blob stands in it once, however many images share it, and is
 * hashed on its way: what is damaged here fails (ERROR_DIGEST) and leaves a tar without the mark of
 * its end, which cachedir_import() refuses. Everything is looked up before the first byte is
 * written. Needs no write permission in the directory.
 *
 * The layout's index.json says names as the directory's own does, so that import finds everything
 * again, aliases included. docker-archive: manifest.json for docker load, each image's registry
 * manifest beside it, for import. ERROR_USAGE: one name for two platforms, which that cannot say.
 */
int cachedir_export(struct cachedir *cd, const struct cachedir_export_options *options, int fd,
                    struct cachedir_export_result *ret, struct error *err);

struct cachedir_imported { /* one image, told when it stands */
    const struct digest *digest;
    const char *reference; /* NULL: no name leads to it; safe to print */
    const char *platform;  /* NULL: its config names none; safe to print */
    bool known;            /* it stood already, and was renewed */
    bool made_up;          /* the tar lacks the registry's manifest: its digest is no registry's */
};

struct cachedir_import_options {
    bool layer; /* what comes is one layer, packed or not, and no tar of images: */
    const struct platform *platform; /* what it is for */
    const char *name; /* the full name of the one image, whatever the tar says; NULL: as it says */
    void (*told)(void *userdata, const struct cachedir_imported *imported);
    void (*note)(void *userdata, const char *line); /* what was odd, in one line; safe to print */
    void *userdata;
    const volatile bool *stop; /* seen within a second; NULL: never */
};

struct cachedir_import_result {
    size_t images; /* that stand now, */
    size_t known;  /* of which so many stood before, */
    size_t made_up;
    int64_t bytes; /* read */
};

/*
 * Images out of a tar that is read once: an OCI image layout, or a docker-archive; packed by gzip
 * or zstd or not; as cachedir_export(), skopeo, buildah, podman, docker save (before 25 and since)
 * and crane write them.
 *
 * Nothing is believed. All of it is read and hashed, and every image is found whole, before the
 * first is published: a tar that is cut short, contradicts itself, or asks for more than the limits
 * of a deep verification (cachedir_verify()) publishes nothing; nor does one with more than 65536
 * images, 64 platforms of one name, 1 GiB of manifests and configs, or names than an index.json of
 * 64 MiB holds. Each thing in it is looked at once. No path in it is used as one.
 * ERROR_DIGEST, ERROR_PROTOCOL. What is published was proven as a pull proves it: from the digest
 * of the manifest down. Where the tar holds no manifest of the registry's, the layers are unpacked
 * and compared with the config, and the image gets a manifest, and so a digest, of its own.
 *
 * Names are the tar's. Indexes under whose digests an entry stood are so again, if the tar proves
 * them. While it works, it needs room for what it reads and the directory has not, in
 * .basewarm/stage.
 */
int cachedir_import(struct cachedir *cd, const struct cachedir_import_options *options, int fd,
                    struct cachedir_import_result *ret, struct error *err);

enum cachedir_verdict { CACHEDIR_GOOD, CACHEDIR_WEAKER, CACHEDIR_BAD, CACHEDIR_UNKNOWN };

struct cachedir_finding {
    const char *check; /* a fixed word: "hard-links", "colons", ... */
    enum cachedir_verdict verdict;
    char *detail;     /* what was seen; owned by the caller of `told` only during the call */
    const char *then; /* what it means, or what to do; NULL: nothing to say */
};

/*
 * Try what this volume can do, in a directory of its own that is removed again. BAD: it cannot be
 * used as it is; WEAKER: it works, and `then` says how. On a read-only volume what needs writing is
 * UNKNOWN.
 */
int cachedir_doctor(struct cachedir *cd,
                    void (*told)(void *userdata, const struct cachedir_finding *finding),
                    void *userdata, struct error *err);
