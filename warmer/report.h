/*
 * How each image fared: collected while the workers run, then told as the closing table, as JSON,
 * as the termination log, and as the exit code.
 *
 *     report_new() --> report_add() by any thread --> report_code(), report_print(),
 *     report_write(), report_terminate() --> report_free()
 *
 * The JSON of --report, schema "basewarm.report/1" (members are only ever added to it):
 *
 *     {"schema": "basewarm.report/1", "program": "warmer 0.1.0", "cache_dir": "/cache",
 *      "started": "2026-11-24T23:49:06Z", "seconds": 3.2, "exit_code": 66, "error": null,
 *      "totals": {"images": 2, "pulled": 1, "renewed": 0, "fresh": 0, "stale": 0, "planned": 0,
 *                 "failed": 1, "bytes_fetched": 29149000, "bytes_reused": 0},
 *      "requests": {"heads": 2, "manifests": 2, "blobs": 3, "tokens": 1},
 *      "pruned": {"expired": {"count": 1, "bytes": 4096}, ..., "limits_met": true} or null,
 *      "images": [{"reference": "docker.io/library/debian:12", "platform": "linux/amd64",
 *                  "digest": "sha256:...", "previous": null, "result": "pulled",
 *                  "bytes_fetched": 29149000, "bytes_reused": 0, "seconds": 3.1,
 *                  "error": null, "reason": null}, ...]}
 *
 * The termination log, schema "basewarm.termination/1", is the same without "requests" and with
 * "failures" (image, error, reason) instead of "images"; "failures_left_out" counts those for which
 * REPORT_TERMINATION_MAX left no room.
 */
#pragma once

#include "registry.h"

#include "cachedir/cachedir.h"
#include "cachedir/digest.h"
#include "cachedir/error.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum report_result {
    REPORT_PULLED,  /* made or mended: bytes moved, or an entry was put together */
    REPORT_RENEWED, /* complete, and the registry says that it is current */
    REPORT_FRESH,   /* complete, and the registry was not asked */
    REPORT_STALE,   /* --check: missing, broken or not current */
    REPORT_PLANNED, /* --dry-run: would be pulled; bytes are what would move */
    REPORT_FAILED,
};
#define REPORT_RESULTS (REPORT_FAILED + 1)
const char *report_result_name(enum report_result result);

struct report_entry {      /* all text is safe to print, and copied */
    size_t position;       /* in the list of wanted images: orders the table */
    const char *reference; /* full name */
    const char *name;      /* for people */
    const char *platform;
    struct digest digest;   /* unset when it is not known */
    struct digest previous; /* what the reference led to before, where that is another */
    enum report_result result;
    int64_t fetched, reused; /* bytes */
    double seconds;
    enum error_kind failed; /* of REPORT_FAILED */
    const char *reason;     /* of REPORT_FAILED: the error's message */
};

struct report_run { /* what the report says of the run as a whole; all is borrowed */
    const char *cache_dir;
    time_t started;
    double seconds;
    int exit_code;
    const char *error; /* what ended it beside its images; NULL: nothing */
    struct registry_counters requests;
    bool has_pruned; /* ... and what it removed: */
    struct cachedir_prune_result pruned;
};

struct report;

struct report *report_new(void);
void report_free(struct report *r); /* takes NULL */
void report_add(struct report *r, const struct report_entry *entry);
/* The digest of the warm entry that a reference (its full name) led to on a platform. false: there
 * is none; *ret_failed is then the kind of its failure, if it failed. */
bool report_find(struct report *r, const char *reference, const char *platform, struct digest *ret,
                 enum error_kind *ret_failed);
/* What was warm and does not stand any more, because pruning made room: failed. */
void report_evicted(struct report *r, bool (*stands)(void *userdata, const struct digest *digest),
                    void *userdata);
/* "debian:12: pulled, 27.8 MiB fetched, 3.1 s": one entry in one line. Owned. */
char *report_sentence(const struct report_entry *entry);

/*
 * The exit code, by `policy` (--fail, enum fail_policy): of the failures the worst (error.h), if
 * any, if all, or never; else 1 when something is stale (not with never); else 0.
 */
int report_code(struct report *r, int policy);

/* The closing table and a line of totals; nothing where there are no images. */
void report_print(struct report *r, FILE *out);
/*
 * What to read if one reads but one line: the failure that decides about the exit code, or what
 * --check found; NULL when there is neither. Owned.
 */
char *report_last_word(struct report *r);
/* Write the JSON, by a rename; into a device or pipe as it stands. */
int report_write(struct report *r, const struct report_run *run, const char *path,
                 struct error *err);

#define REPORT_TERMINATION_LOG "/dev/termination-log"
#define REPORT_TERMINATION_MAX 2048 /* bytes: half of what Kubernetes keeps */
/* Write the termination log, where that file exists: Kubernetes makes it. `r` may be NULL: no
 * image was looked at. */
int report_terminate(struct report *r, const struct report_run *run, const char *path,
                     struct error *err);
