/*
 * What is to be done, in one queue for all images. Workers take from it and put back what cannot be
 * done yet: nobody sleeps on a host, a lock or another's work.
 *
 * Order: publishing first (it only costs disk), then resolving, planning, and fetching with the
 * largest first. An item waits while its time has not come, while its host asked to be left alone,
 * or while as many as are allowed talk to its host.
 *
 * The queue is done when nothing is in it and nobody works on anything that was. One mutex; no
 * function of this file calls out while it holds it, but for `ready_at`.
 */
#pragma once

#include "cachedir/reference.h"

#include <stdbool.h>
#include <stdint.h>

enum work_kind { WORK_PUBLISH, WORK_RESOLVE, WORK_PLAN, WORK_FETCH, WORK_KINDS };

struct work {
    enum work_kind kind;
    void *subject;               /* an image, a target or a fetch */
    const struct reference *ref; /* whose registry it talks to; NULL: to none */
    int64_t weight;              /* bytes; the heaviest of a kind goes first */
    int64_t not_before;          /* ns of CLOCK_MONOTONIC; 0: now */
    uint64_t sequence;           /* the queue's: first come, first served among equals */
};

struct queue;

/* `ready_at` says when the registry of a reference may be asked (registries_ready_at). */
struct queue *queue_new(unsigned jobs_per_host,
                        int64_t (*ready_at)(void *userdata, const struct reference *ref),
                        void *userdata);
void queue_free(struct queue *q); /* takes NULL */

void queue_push(struct queue *q, struct work work);
enum queue_answer { QUEUE_OVER, QUEUE_WORK, QUEUE_IDLE };

/*
 * Wait for something to do. QUEUE_OVER: everything is done, or queue_stop() was called.
 * QUEUE_IDLE: nothing to do for now, while others are at work: help them, or ask again. Only said
 * after a wait of half a second without anything, so that asking in a loop is cheap.
 */
enum queue_answer queue_take(struct queue *q, struct work *ret);
/* Count as being at work on something that was not taken. false: its host has enough already. */
bool queue_claim(struct queue *q, const struct work *work);
/*
 * A plan that was taken stays open, with descriptors and a lock, until it is closed; no more than
 * QUEUE_PLANS_MAX are open at once, so that thousands of new images need no thousands of them.
 */
#define QUEUE_PLANS_MAX 64
void queue_close_plan(struct queue *q);
/* What was taken or claimed is finished, or was pushed again. Call after the pushes that follow
 * from it. */
void queue_finish(struct queue *q, const struct work *work);
void queue_stop(struct queue *q);

int64_t monotonic_now(void); /* ns of CLOCK_MONOTONIC */
