/*
 * What a run tells while it works: a live view on a terminal, lines elsewhere.
 *
 *     bar     a line an active transfer and one for the total, at the bottom of the terminal,
 *             redrawn in place five times a second; the log scrolls above; gone at the end
 *     plain   a line in the log at the start and the end of each image, a summary every 10 s
 *     none    nothing but failures
 *
 *     progress_new() --> any thread: progress_image_*, progress_transfer_*, progress_add()
 *                    --> progress_stop() --> progress_free(), when no worker is left
 *
 * Locks: the log's, then the progress's own; nothing is logged while the latter is held.
 */
#pragma once

#include "report.h"
#include "settings.h"

#include "cachedir/digest.h"

#include <stdint.h>

struct progress;
struct progress_transfer;

struct progress_options {
    int mode;           /* enum progress_mode; bar becomes plain where the terminal cannot */
    bool log_is_json;   /* then auto is plain */
    size_t images;      /* how many will be reported */
    int64_t redraw_ns;  /* 0: a fifth of a second */
    int64_t summary_ns; /* 0: ten seconds */
};

/* Starts a thread, which progress_stop() stops at once. Signals should be blocked. */
struct progress *progress_new(const struct progress_options *options);
/* Take the view off the screen, for good. The other functions may still be called. */
void progress_stop(struct progress *p);
void progress_free(struct progress *p); /* takes NULL; stops it */

void progress_image_started(struct progress *p, const char *name);
void progress_image_done(struct progress *p, const struct report_entry *entry);

/* So many bytes will have to be fetched: known before their transfer starts. */
void progress_want(struct progress *p, int64_t bytes);

/* A blob of `size` bytes, of which `already` are there from an earlier run. */
struct progress_transfer *progress_transfer_started(struct progress *p, const struct digest *digest,
                                                    const char *name, int64_t size,
                                                    int64_t already);
/* Cheap: an atomic addition. Many threads may add to one transfer. */
void progress_add(struct progress_transfer *t, int64_t bytes);
/* The handle is gone afterwards. */
void progress_transfer_ended(struct progress *p, struct progress_transfer *t);

/* The pure part, for progress.c and its test. */
struct progress_line {
    char digest[13]; /* the first 12 hex digits */
    const char *name;
    int64_t done, size, rate; /* bytes, and bytes a second */
};
/* At most `columns` wide, whatever they are. Owned. */
char *progress_format_transfer(const struct progress_line *line, size_t columns);

struct progress_sum {
    size_t images, images_done, images_failed;
    int64_t done, wanted, rate;
};
/* The same: what there is no room for goes, the time left last. */
char *progress_format_total(const struct progress_sum *sum, size_t columns);
