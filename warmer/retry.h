/*
 * Whether and when to try again: one pure function, decided by numbers, never by text.
 *
 * A try is fruitless when it moved less than RETRY_PROGRESS bytes and did not reach the end. What
 * is counted is fruitless tries in a row, and the time spent on them and waiting.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stdint.h>

#define RETRY_PROGRESS (1 << 20) /* bytes */

struct retry_limits {
    unsigned retries;    /* fruitless tries of one request beyond the first (--retries) */
    int64_t max_time_ns; /* of waiting and fruitless tries, in all (--retry-max-time) */
};

struct retry_state { /* of one request; zeroed at its start */
    unsigned fruitless;
    int64_t spent_ns;
};

struct retry_verdict {
    bool again;
    int64_t wait_ns; /* before the next try */
    /* not again, because the server's Retry-After lies beyond what is left of max_time */
    bool too_long;
};

/*
 * Only ERROR_TRANSIENT is tried again. `status` is the HTTP status or 0; `retry_after_ns` what the
 * server asked for, or -1: then exponential from 500 ms to 30 s, times 0.5 to 1.0 by `jitter`
 * (0 .. 65535). A try with progress resets the state and is repeated at once.
 */
struct retry_verdict retry_decide(struct retry_state *state, const struct retry_limits *limits,
                                  enum error_kind kind, int64_t retry_after_ns, int64_t progress,
                                  int64_t took_ns, uint16_t jitter);
