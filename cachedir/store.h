/*
 * Inside the store: what the files of libcachedir share. The public manual is cachedir.h.
 *
 * Shared between threads, each behind the one mutex of struct cachedir, held for a few instructions
 * or one small file and never while another lock is awaited:
 *     told       which warnings were given already
 *     said, flush_due  what cachedir_name_set() said in this process
 *     names      what index.json said when cachedir_name_find() was first asked
 *     holders    which entries of kaniko's own warmers hold which blobs
 *     archives   which docker-archives hold which blobs (held while new ones' headers are read)
 *     aliases    which aliases stand for which entries (held while their records are read)
 *     trusted    inodes that were hashed in this run and found good
 * One more mutex, `naming`, is taken before it: whoever asks for a name first reads index.json, and
 * the others wait for that instead of reading thousands of names, too.
 * `without` is atomic. Everything else is set by cachedir_open() and constant.
 */
#pragma once

#include "cachedir.h"
#include "fs.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#define STORE_OWN ".basewarm"
#define STORE_ENTRY_LOCKS ".warmer-locks"
#define STORE_REF_NAME "org.opencontainers.image.ref.name" /* image-spec annotations.md */

#define INDEX_SIZE_MAX (64 << 20)       /* the root's index.json: some 100,000 references */
#define ENTRY_INDEX_SIZE_MAX (64 << 10) /* an entry's */
#define CONFIG_SIZE_MAX (16 << 20)
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}\n" /* image-spec image-layout.md */

/* The two directories of a blobs/ tree, by algorithm; -1 where there is none (yet). */
struct blobs {
    int parent; /* blobs/ */
    _Atomic int sha256, sha512;
};

struct holder { /* an entry that holds a blob which the pool does not */
    struct digest blob, entry;
};

struct trusted { /* a file that still has a name in the pool, so that its inode means it */
    dev_t device;
    ino_t inode;
    struct digest digest;
};

struct cachedir {
    char *path;
    const struct entry_format *format;
    bool converting; /* the format is not the recorded one, and may be */
    bool writable;
    uid_t uid; /* our effective one */
    mode_t file_mode, directory_mode;
    atomic_uint without;
    void (*warn)(void *userdata, const char *message);
    void *userdata;

    int root, own, partial, stage, trash, aliases, blob_locks, entry_locks; /* -1: not there */
    struct blobs pool;
    char run[FS_NAME_MAX]; /* what our temporary names begin with */
    struct cachedir_lock *run_lock;
    enum { CLONING_UNKNOWN, CLONING_WORKS, CLONING_REFUSED } cloning; /* guarded by the mutex */

    pthread_mutex_t mutex;
    char **told;
    size_t told_count;
    struct cachedir_name *said;
    size_t said_count;
    pthread_mutex_t naming; /* held while index.json is read for `names` */
    struct cachedir_name *names;
    size_t name_count;
    bool names_known;
    time_t flush_due; /* CLOCK_MONOTONIC seconds; 0: nothing was said yet */
    struct holder *holders;
    size_t holder_count;
    bool holders_known;
    struct archives *archives;     /* archives.h; NULL: not asked for yet */
    struct alias_list *alias_list; /* alias.h; NULL: not asked for yet */
    void *trusted;                 /* tsearch(3) tree of struct trusted */
};

/* Tell `warn`, once a cause: the format string is the cause. */
void store_warn(struct cachedir *cd, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool store_able(const struct cachedir *cd, enum cachedir_ability ability);
/* Remember that this volume cannot, and say so once: `consequence` is what we do about it. */
void store_unable(struct cachedir *cd, enum cachedir_ability ability, const char *what, int errnum,
                  const char *consequence);
/* ERROR_REFUSED unless the directory was opened for writing. */
int store_check_writable(const struct cachedir *cd, struct error *err);
/* error_errno(), with owner and mode of `name` and the ways out when permission is what failed. */
int store_error(struct cachedir *cd, int errnum, int dir, const char *name, struct error *err,
                const char *format, ...) __attribute__((format(printf, 6, 7)));

/* A small file, whole or not at all. */
int store_put_file(struct cachedir *cd, int dir, const char *name, const char *text,
                   struct error *err);
/* The same directory once more, with this format whatever it has: to convert it. Nothing is
 * recorded. */
int store_open_as(const struct cachedir *cd, const struct entry_format *format, bool create,
                  struct cachedir **ret, struct error *err);
/* ERROR_USAGE when somebody converted the directory since it was opened. */
int store_check_format(const struct cachedir *cd, struct error *err);
/* The directory that index.json is in: the root's is an OCI layout's. */
int store_names_directory(const struct cachedir *cd);

/* ---- lock.c ---- */

/* flock `name` below `dir` without blocking; `remove`: unlink it when released. */
int lock_take(struct cachedir *cd, int dir, const char *name, bool remove,
              struct cachedir_lock **ret, struct error *err);
/* The file stays when it is released. */
void lock_keep(struct cachedir_lock *lock);
/* false: it was granted because this volume refuses locks. */
bool lock_is_held(const struct cachedir_lock *lock);

#define PARTIAL_RANGES ".ranges" /* behind a partial file's name: the list of what is in it */

/* ---- temporary.c ---- */

/* Sweep what dead runs of this machine left, and let ours be seen to live until cachedir_close().
 */
int store_begin_run(struct cachedir *cd, struct error *err);
void store_end_run(struct cachedir *cd);
/* A name for something in the making, in .basewarm/stage or trash: "run-...-<what>-<random>". */
void store_temporary(const struct cachedir *cd, char name[FS_NAME_MAX], const char *what);

/* ---- pool.c: blobs, wherever they are ---- */

int blobs_open(int dir, struct blobs *ret); /* blobs/ below dir; -1, errno */
int blobs_make(struct cachedir *cd, int dir, struct blobs *ret);
void blobs_close(struct blobs *b);
int blobs_sync(struct blobs *b); /* the directories, not the files in them */
/* The directory of d's algorithm; -1 and ENOENT where there is none. */
int blobs_directory(struct blobs *b, const struct digest *d);
int blobs_make_directory(struct cachedir *cd, struct blobs *b, const struct digest *d);

/* Does a regular file of this size that we can read stand there? */
bool pool_has(int dir, const char *name, int64_t size, struct stat *ret);
/* Forget which files were found good: they are hashed again when they are needed. */
void pool_distrust(struct cachedir *cd);
/* Hash the part of a file that begins at `start`, or WHOLE_FILE; ERROR_DIGEST when it is not what
 * digest and size say. *stop (NULL: never) ends it with ERROR_INTERRUPTED. */
int pool_hash(int fd, int64_t start, const struct digest *digest, int64_t size,
              const volatile bool *stop, struct error *err);
/* What it says of a file with these bytes. */
int pool_judge(const struct digest *digest, int64_t size, const struct digest *got,
               int64_t got_size, struct error *err);
/*
 * Give the blob that stands under (from, hex) the name (to, hex) as well, which must be free: link,
 * clone or copy. `check`: hash it first (each inode once a run). 1 done, 0 what stood there is not
 * good, -1.
 */
int pool_give(struct cachedir *cd, int from, int to, const struct digest *digest, int64_t size,
              bool check, struct error *err);
/*
 * Make the good file (from, name) the pool's for `digest`. A bad one that stands there is replaced
 * under every name that it has in entries, pool first. `moves`: it need not keep the name it has.
 */
int pool_put(struct cachedir *cd, int from, const char *name, const struct digest *digest,
             bool moves, struct error *err);
/* Put (from, name) in the place of (to, name2) by link and rename, or copy and rename. */
int pool_replace(struct cachedir *cd, int from, const char *name, int to, const char *name2,
                 struct error *err);
/* The n-th entry, from 0, that holds `digest` while the pool does not; false: no more. */
bool pool_holder(struct cachedir *cd, const struct digest *digest, size_t n,
                 struct digest *ret_entry);

/* ---- named-blobs.c ---- */

/* cachedir_names(), and the blobs that index.json at the root keeps, beside those of entries: the
 * indexes of ours that join several platforms, and (alone, if `others_only`) whatever other tools
 * put there, with all that it names. */
int names_and_blobs(struct cachedir *cd, bool others_only, struct cachedir_name **ret_names,
                    size_t *ret_name_count, struct digest **ret_blobs, size_t *ret_blob_count,
                    struct error *err);

/* ---- entries.c ---- */

/* cachedir_list(), and other work at the same time in a thread of its own: with thousands of
 * entries, reading index.json keeps a core busy as long as looking at them does. */
int entries_list_beside(struct cachedir *cd, void *(*work)(void *userdata), void *userdata,
                        struct cachedir_entry **ret, size_t *ret_count, struct error *err);

/* ---- the formats of entries ---- */

struct cachedir_stage {
    struct cachedir *cd;
    struct digest digest; /* the manifest's */
    struct digest key;    /* the entry's name: the same, or, of an alias, an index's */
    struct manifest manifest;
    const char *media_type; /* one of manifest.h's constants */
    void *bytes;
    size_t len;
    char *reference; /* NULL: none */
    /* Hash what is here before it counts; also set when a blob of the entry turned out bad, so that
     * publishing does not take the entry for whole by its names and sizes. */
    atomic_bool distrust;
    char name[FS_NAME_MAX]; /* below .basewarm/stage */
    int dir;
    struct blobs blobs;
    const struct timespec *renewed; /* when its life began, if not when it is published */
    struct timespec life;           /* ... and if somebody renewed it meanwhile */
    bool published, abandoned;      /* abandoned: nothing of it is to be kept for another try */
    struct archive_stage *archive;  /* format docker-archive */
    bool stands; /* docker-archive: what stands there is whole, and nothing is to be made */
};

struct partial; /* partial.h */

struct cachedir_blob {
    struct cachedir_stage *stage;
    struct digest digest;
    int64_t size;
    struct partial *partial;
    int64_t base;               /* where it begins in there */
    bool owns_partial;          /* else it is the stage's */
    struct cachedir_lock *lock; /* beside the partial file's; may be NULL */
    bool committed;
    /* guarded by the partial file's mutex: */
    int64_t hashed;
    bool hashing; /* somebody has the hasher's role */
    struct hasher *hasher;
};

/* What archived kaniko's warmer appends to an archive's name for the manifest beside it. */
#define ARCHIVE_BESIDE ".json"

struct entry_format {
    const char *name; /* as .basewarm/format says */
    enum cachedir_format format;
    bool is_file; /* an entry is one file; there is no pool and no layout at the root */
    int (*look)(struct cachedir *cd, const struct digest *digest, struct cachedir_entry *ret,
                struct error *err);
    /* Its manifest's bytes, hashed: 1, 0 not here (or damaged), -1. */
    int (*manifest)(struct cachedir *cd, const struct digest *digest, char **ret, size_t *ret_len,
                    struct error *err);
    int (*adopt)(struct cachedir *cd, const struct digest *digest, struct error *err);
    /* The file below the root that holds a present blob of an entry, owned; and where in it, or
     * WHOLE_FILE. */
    char *(*blob_path)(const struct digest *entry, const struct cachedir_blob_info *blob,
                       int64_t *ret_start);
    int (*stage_begin)(struct cachedir_stage *stage, struct error *err);
    int (*stage_take)(struct cachedir_stage *stage, const struct descriptor *blob,
                      struct error *err);
    int (*stage_publish)(struct cachedir_stage *stage, struct error *err);
    /* Take a blob from an open file, from `start` on or WHOLE_FILE: copied or cloned, and hashed.
     * 1 it is in, 0 it is not good, -1. */
    int (*stage_give)(struct cachedir_stage *stage, const struct descriptor *blob, int fd,
                      int64_t start, struct error *err);
    void (*stage_end)(struct cachedir_stage *stage); /* what it holds; may be NULL */
    /* Where the bytes of a blob are to be written (partial, base, lock), and how they become
     * takeable once they are all there and hashed. */
    int (*blob_place)(struct cachedir_blob *b, bool insist, struct error *err);
    int (*blob_publish)(struct cachedir_blob *b, struct error *err);
    bool (*has_blob)(struct cachedir *cd, const struct descriptor *blob);
    /* What verify() knows about one entry beyond look(): stray and missing files. */
    int (*verify)(struct cachedir *cd, const struct cachedir_entry *entry,
                  void (*problem)(void *userdata, const char *where, const char *what),
                  void *userdata, struct error *err);
};

extern const struct entry_format entry_oci, entry_archive;
int oci_manifest(struct cachedir *cd, const struct digest *digest, char **ret, size_t *ret_len,
                 struct error *err);
int oci_adopt(struct cachedir *cd, const struct digest *digest, struct error *err);
bool oci_has_blob(struct cachedir *cd, const struct descriptor *blob);
int oci_blob_place(struct cachedir_blob *b, bool insist, struct error *err);
int oci_blob_publish(struct cachedir_blob *b, struct error *err);
int oci_stage_give(struct cachedir_stage *stage, const struct descriptor *blob, int fd,
                   int64_t start, struct error *err);
int oci_stage_begin(struct cachedir_stage *stage, struct error *err);
int oci_stage_take(struct cachedir_stage *stage, const struct descriptor *blob, struct error *err);
int oci_stage_publish(struct cachedir_stage *stage, struct error *err);
bool archive_has_blob(struct cachedir *cd, const struct descriptor *blob);
int archive_blob_place(struct cachedir_blob *b, bool insist, struct error *err);
int archive_blob_publish(struct cachedir_blob *b, struct error *err);
int archive_stage_begin(struct cachedir_stage *stage, struct error *err);
int archive_stage_take(struct cachedir_stage *stage, const struct descriptor *blob,
                       struct error *err);
int archive_stage_give(struct cachedir_stage *stage, const struct descriptor *blob, int fd,
                       int64_t start, struct error *err);
int archive_stage_publish(struct cachedir_stage *stage, struct error *err);
void archive_stage_end(struct cachedir_stage *stage);
/* Hash all blobs of an entry: ERROR_DIGEST when one is not good. */
int archive_hash(struct cachedir *cd, const struct cachedir_entry *e, struct error *err);

/* Before it becomes visible, and afterwards: the entry's life begins, or goes on. */
int stage_set_time(struct cachedir_stage *stage, int fd, struct error *err);
int stage_begin_life(const struct cachedir_stage *stage, struct error *err);

void entry_broken(struct cachedir_entry *e, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same where errno says why `what` could not be read, or is not there. */
void entry_unread(struct cachedir_entry *e, const char *what);
/* The same of the entry itself, which stands there as `st` says. */
void entry_unopened(struct cachedir_entry *e, const struct stat *st);
void entry_add_blob(struct cachedir_entry *e, const struct digest *digest, int64_t size);
/* The digest of what it holds. */
static inline const struct digest *entry_manifest(const struct cachedir_entry *e)
{
    return digest_is_set(&e->alias_of) ? &e->alias_of : &e->digest;
}
/* A present blob of it; NULL: none. */
const struct cachedir_blob_info *entry_blob(const struct cachedir_entry *e,
                                            const struct digest *digest);
/* The bytes of a present blob, whose size met a ceiling, not hashed; owned. -1 and errno. */
int entry_blob_read(struct cachedir *cd, const struct digest *entry,
                    const struct cachedir_blob_info *blob, char **ret);
/* Entries of kaniko's own warmers name no platform: the config does. Nothing if it is no config. */
void entry_set_platform(struct cachedir_entry *e, const void *config, size_t len);
/* Was it touched or written since it had the time `seen`? */
bool entry_is_younger(int dir, const char *name, const struct timespec *seen);
/* Take an entry out of sight and delete it; not if it is younger than `seen` (NULL: whatever its
 * age). An entry loses its name before it loses a blob. 1 gone, 0 it was renewed and stays, or
 * another was faster, -1. */
int entry_take_away(struct cachedir *cd, const char *name, const struct timespec *seen,
                    struct error *err);
/* The same with its aliases, which go first. An alias that stays keeps it. */
int entry_take_all_away(struct cachedir *cd, const struct digest *digest, struct error *err);
/* Delete what was an entry and was renamed away, or perhaps was: not before the disk knows that it
 * has its old name no more, for after a power failure an entry is there whole or not at all. -1 and
 * errno. */
int store_remove_away(struct cachedir *cd, int dir, const char *name);
/* Does `name` look like an entry's, i.e. is it a sha256 digest? */
bool entry_name(const char *name, struct digest *ret);
