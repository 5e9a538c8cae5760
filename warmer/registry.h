/*
 * The registry client: manifests and blobs of a reference, from whichever place serves them
 * (OCI distribution-spec, pulling). Above it there are references and digests, below it (http.h)
 * there are URLs and bytes; here live schemes, mirrors, credentials, tokens and redirects.
 *
 * Each call makes one try: every place that may serve the reference is asked in the builder's
 * order (mapped registries as listed, then the original), each with its authorization dance and
 * its redirects. Nothing in here sleeps or retries for time: a failure that is worth another try
 * comes back as ERROR_TRANSIENT with a hint, and the queue decides when (retry.h). A host that
 * said 429 or 503 is remembered, and registries_ready_at() tells the queue to leave it alone.
 *
 * Shared by all workers: struct registries. One a worker: struct registry_client, which owns its
 * connections. Every call blocks its caller, and ends within a second of registries_stop().
 */
#pragma once

#include "cachedir/digest.h"
#include "cachedir/error.h"
#include "cachedir/manifest.h"
#include "cachedir/reference.h"

#include <stdbool.h>
#include <stdint.h>

struct registries;
struct registry_client;

struct registry_options { /* all pointers are borrowed for the lifetime of struct registries */
    bool insecure_pull;   /* plain HTTP for every registry */
    char **insecure_registries; /* plain HTTP for these; NULL-terminated lists, NULL if none */
    bool skip_tls_verify_pull;  /* no verification for every registry */
    char **skip_tls_verify;     /* for these */
    char **certificates;        /* "HOST=FILE": added to the system's roots for that registry */
    char **client_certificates; /* "HOST=CRT,KEY" */
    char **registry_maps;       /* "A=B;C=D" each */
    char **mirrors;             /* of docker.io */
    bool skip_default_fallback; /* an error when no mirror has it */
    char **authfiles;           /* before the usual places */
    char **credential_helpers;  /* "env", or a cloud's: those that may be used; NULL: all */
    bool anonymous_retry;       /* once, when a stored credential is refused */
    bool foreign_layers;        /* fetch layers with urls from there when no registry has them */
    bool http2;                 /* offer it to servers with TLS */
    int64_t stall_timeout_ns;   /* below 1 KiB/s for so long */
    /* Told one line at a time, from any thread: warnings (rare), and details for -v debug. */
    void (*warn)(void *userdata, const char *message);
    void (*debug)(void *userdata, const char *message);
    void *userdata;
};

/* Reads credentials and certificates. ERROR_CONFIG names file, line and column; ERROR_USAGE a
 * malformed option. */
int registries_new(const struct registry_options *options, struct registries **ret,
                   struct error *err);
/* Wake every client and fail every call from now on with ERROR_INTERRUPTED. Any thread. */
void registries_stop(struct registries *r);
void registries_free(struct registries *r); /* after all clients; takes NULL; wipes secrets */

/* When the first place for `ref` may be asked again, in ns of CLOCK_MONOTONIC; 0: now. */
int64_t registries_ready_at(struct registries *r, const struct reference *ref);

struct registry_client *registry_client_new(struct registries *r);
void registry_client_free(struct registry_client *c); /* takes NULL */

/* How a try went, beside its error: what retry.h decides by, and what the report counts. */
struct registry_try {
    int status;             /* the last HTTP status, 0 when there was none */
    int64_t retry_after_ns; /* what the server asked for; -1 when it did not */
};

/*
 * HEAD the reference. On success *ret is the digest that the registry names, or unset when it does
 * not say (no header, another algorithm than sha256/512, HEAD not allowed): then GET decides.
 */
int registry_head(struct registry_client *c, const struct reference *ref, struct digest *ret,
                  struct registry_try *ret_try, struct error *err);

struct registry_manifest {
    void *bytes; /* owned; len <= MANIFEST_SIZE_MAX */
    size_t len;
    struct digest digest; /* of the bytes: computed, never believed */
    char *content_type;   /* owned; foreign text; NULL when there was none */
};

/*
 * GET a manifest or index: by `digest` (the bytes are hashed against it), or, when that is NULL, by
 * what the reference says. `size`: the descriptor's, or -1; more bytes are ERROR_DIGEST.
 */
int registry_manifest(struct registry_client *c, const struct reference *ref,
                      const struct digest *digest, int64_t size, struct registry_manifest *ret,
                      struct registry_try *ret_try, struct error *err);
void registry_manifest_release(struct registry_manifest *m);
#define cleanup_registry_manifest __attribute__((cleanup(registry_manifest_release)))

/*
 * GET bytes [start, end) of a blob. The sink gets them with their offsets, in order; it returns 0,
 * or 1 for "enough, stop here" (success), or -1 with *err filled, which comes back unchanged.
 * Less than asked for is ERROR_TRANSIENT: what the sink got stays got, and the next try starts
 * behind it. Bytes are not hashed here: the store does that.
 *
 * `terms` (NULL: none of them) are for those who would rather fail than have it in any way.
 */
struct registry_terms {
    /* For a blob that came with wrong bytes: all of it from one place. `place` is the first that
     * may be asked, counted from 0 in the order of asking, and becomes the one that sent something,
     * which no other follows then. */
    bool one_place;
    unsigned place;
    /* For what somebody else is fetching, too: nothing is fetched from the blob's start for want of
     * ranges. Then registries_has_ranges() becomes false. */
    bool only_ranges;
};
typedef int (*registry_sink)(void *userdata, int64_t offset, const void *data, size_t len,
                             struct error *err);
int registry_blob(struct registry_client *c, const struct reference *ref,
                  const struct descriptor *blob, int64_t start, int64_t end,
                  struct registry_terms *terms, registry_sink sink, void *userdata,
                  struct registry_try *ret_try, struct error *err);
/* How many places there are for a reference. */
unsigned registries_places(struct registries *r, const struct reference *ref);

/* false when a place for this reference is known to ignore Range: no use splitting there. */
bool registries_has_ranges(struct registries *r, const struct reference *ref);

/* Requests sent so far, for the report: HEAD, GET of manifests, GET of blobs, tokens. */
struct registry_counters {
    unsigned heads, manifests, blobs, tokens;
};
void registries_counters(struct registries *r, struct registry_counters *ret);
