/*
 * A run: from the list of images to entries that the builder finds.
 *
 *     image    a reference and a platform that somebody wants       resolve.c
 *       |  resolves to
 *     target   one manifest digest, however many images want it     target.c
 *       |  lacks
 *     fetch    one blob, however many targets lack it               fetch.c
 *
 *     RESOLVE image --> renewed, fresh, failed
 *          `--> PLAN target --> PUBLISH target --> pulled, failed
 *                    `--> FETCH blob --^ (the last one that lands)
 *
 * Who touches what: an image belongs to the worker that resolves it, then to its target; a target
 * to the worker that plans or publishes it; a fetch to the worker that fetches it. In between they
 * belong to the queue. What several touch at once is guarded by run->mutex, which is held for a
 * few instructions, never while anything is read, written or awaited, and never with another:
 *     run->targets, ->fetches, ->stretches  the tables
 *     run->claims                           which index stands for which manifest in this run
 *     target->images, ->missing, ->failed   who waits, for how many blobs, and the first failure
 *     fetch->waiters, ->state, ->failed     who waits for it, and how it went; and ->source, while
 *                                           nobody fetches it
 *     fetch->active, ->trouble              its transfers, and what befell the first of them
 * A stretch's pos and end are atomic: its worker moves the one, a splitter the other.
 * One exception to "never with another": fetch_split() asks queue_claim() under it.
 */
#pragma once

#include "list.h"
#include "progress.h"
#include "queue.h"
#include "registry.h"
#include "report.h"
#include "retry.h"
#include "settings.h"

#include "cachedir/cachedir.h"

#include <pthread.h>
#include <stdatomic.h>

struct run {
    const struct settings *settings;
    struct cachedir *cd;
    struct registries *registries;
    struct report *report;
    struct progress *progress;
    struct queue *queue;
    struct retry_limits limits;
    atomic_bool stopped;
    volatile bool stop;      /* the same, for libcachedir */
    _Atomic int64_t missing; /* bytes that are planned to be fetched and have not landed */

    struct image *images; /* one a wanted item, in the list's order */
    size_t image_count;

    pthread_mutex_t pruning; /* held while a worker prunes: the others wait for its result */
    bool has_pruned;         /* ... and what all prunes of this run removed: */
    struct cachedir_prune_result pruned;

    pthread_mutex_t mutex;
    struct target **targets;
    size_t target_count;
    void *fetches; /* tsearch(3) tree of struct fetch, by digest */
    struct stretch *stretches;
    struct claim *claims;
    size_t claim_count;
};

struct claim { /* with --alias-index */
    struct digest index, manifest;
};

struct image {
    struct run *run;
    const struct wanted *wanted;
    char *name; /* for people: "debian:bookworm", with the platform where it is not the default */
    char *platform;         /* "linux/amd64", the key beside the reference */
    struct digest previous; /* the entry that the reference led to before; may be unset */
    struct digest source;   /* what the reference is now: an index, or the manifest itself */
    struct cachedir_bytes *indexes; /* owned: that index and those within it, as far as they came */
    size_t index_count;             /* from the registry: what proves an alias */
    struct retry_state retry;
    int64_t started; /* ns */
    atomic_bool done;
};

struct target {
    struct run *run;
    struct digest digest;
    struct reference ref; /* of the first image: where its manifest and blobs are asked for */
    char *name;           /* of the first image, for people */
    void *bytes;          /* the manifest, once it is here */
    size_t len;
    char *content_type;
    int64_t size; /* the manifest's, as its descriptor says; -1 unknown */
    struct manifest manifest;
    struct cachedir_lock *lock;
    struct cachedir_stage *stage;
    struct retry_state retry;
    int64_t locked_since;    /* when its lock was first found taken; 0: it was not */
    int64_t locked_progress; /* cachedir_progress() then */
    int64_t fetched, reused; /* bytes */
    bool open;               /* it counts among the queue's open plans */
    bool existed;            /* something stood there, and was mended */

    struct image **images;
    size_t image_count;
    size_t missing;
    bool finished;
    struct error failed;
};

struct stretch { /* one stretch of a blob on one connection; on its worker's stack */
    struct stretch *next;
    struct fetch *fetch;
    bool is_tail; /* taken over from another */
    int64_t start, began;
    _Atomic int64_t pos, end;
};

enum fetch_state { FETCH_WAITING, FETCH_RUNNING, FETCH_LANDED, FETCH_FAILED };

struct waiter { /* both live until the run ends */
    struct target *target;
    const struct descriptor *blob; /* as its manifest says: two may lie differently */
};

struct fetch {
    struct run *run;
    struct digest digest;
    struct waiter source; /* whose registry is asked, and for what */
    struct cachedir_blob *file;
    struct progress_transfer *shown;
    struct retry_state retry;
    unsigned wrong; /* how often the bytes were not what the digest says; then all of it */
    struct registry_terms once; /* is fetched from one place, and the next time from the next */
    unsigned split_in_vain;     /* tails that got nothing */
    int64_t locked_since, locked_progress;
    bool insist;
    _Atomic int64_t fetched;  /* bytes that came over the network */
    _Atomic int64_t missing;  /* its part of run->missing */
    _Atomic int64_t progress; /* and of these, since the last verdict of retry.h */

    enum fetch_state state;
    unsigned lost; /* how often it was gone again after it had landed */
    struct waiter *waiters;
    size_t waiter_count;
    unsigned active;                 /* transfers */
    struct error trouble;            /* the first of theirs, */
    struct registry_try trouble_how; /* and how that went */
    struct error failed;
};

/* ---- resolve.c ---- */
void image_resolve(struct run *run, struct image *image, struct registry_client *client);
/* Report how it went; the error is NULL or handed over. */
void image_finish(struct image *image, enum report_result result, const struct target *target,
                  struct error *failed);
/* Let index.json say that the image's reference led to this entry. */
void image_remember(struct image *image, const struct digest *manifest, time_t checked);
/* Put work back for later if its failure is worth another try. true: it is back in the queue;
 * *err is empty then. `what` is said when waiting. */
bool run_again(struct run *run, struct retry_state *retry, struct work work, const char *name,
               int64_t progress, int64_t took, const struct registry_try *how, struct error *err);

/* ---- alias.c ---- */
/* Is this image's entry to stand under the digest of its index, too? */
bool image_has_alias(const struct image *image, const struct digest *manifest);
/* Before anything is fetched: may it? ERROR_USAGE: the index stands for another platform already,
 * here or in this run. */
int image_claim_alias(struct image *image, const struct digest *manifest, struct error *err);
/* What the directory has of it. */
int image_alias_state(const struct image *image, const struct digest *manifest,
                      enum cachedir_alias_state *ret, struct error *err);
/* Remember an index on the way down; its bytes are copied. The first one begins anew. */
void image_add_index(struct image *image, const struct registry_manifest *index, bool first);
/* Once the entry stands. */
int image_make_alias(struct image *image, const struct digest *manifest, struct error *err);
/* Builders that look for the digest of an index as it is written will miss: say so. */
void image_warn_of_index(const struct image *image, const struct digest *manifest);
/* Two platforms of one reference: ERROR_USAGE. */
int run_check_aliases(const struct settings *s, const struct wanted_list *list, struct error *err);
void image_forget_indexes(struct image *image);

/* ---- target.c ---- */
/* Let `image` wait for the entry `digest`; `manifest` (may be empty) is handed over. */
void target_want(struct image *image, const struct digest *digest, int64_t size,
                 struct registry_manifest *manifest);
void target_plan(struct target *target, struct registry_client *client);
void target_publish(struct target *target);
/* One blob of it is in its stage, or will never be (the error is handed over). With the last one
 * it goes on to be published, or to fail. */
void target_blob_landed(struct target *target);
void target_blob_failed(struct target *target, struct error *err);
void target_free(struct target *target);

/* ---- fetch.c ---- */
/* Is somebody fetching it already? */
bool fetch_is_wanted(struct run *run, const struct digest *digest);
/* Let `target` wait for a blob; false: it has landed already, take it again. */
bool fetch_want(struct target *target, const struct descriptor *blob);
void fetch_blob(struct fetch *fetch, struct registry_client *client);
/* Nothing else to do: take over half of the largest transfer. false: none is worth it. */
bool fetch_split(struct run *run, struct registry_client *client);
/* After a failure: could another repository do better? */
bool fetch_is_sources_fault(enum error_kind kind);
void fetch_free(struct fetch *fetch);

/* ---- room.c ---- */
/* Prune as the options say, telling what goes; run->pruned sums it up. With run->pruning held, or
 * when the workers have left. */
int run_prune(struct run *run, struct error *err);
/* Does so much more fit? If not, and pruning is allowed, prune and look again. ERROR_NO_SPACE says
 * what is needed and what there is. */
int run_make_room(struct run *run, int64_t bytes, struct error *err);

/* ---- warm.c ---- */
/* Fill the queue with the list. Then run_stop() may be called, by any thread. */
void run_prepare(struct run *run, const struct wanted_list *list);
/*
 * Work through it; returns when everything has its result in run->report, or within a second of
 * run_stop(). false: it was stopped, and some workers may still be at it (then nothing may be
 * freed, and the process should leave).
 */
bool run_warm(struct run *run);
void run_stop(struct run *run);
/* After run_warm() said true, and when nobody calls run_stop() any more. */
void run_release(struct run *run);
