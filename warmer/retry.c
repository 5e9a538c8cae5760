#include "retry.h"

#include "cachedir/text.h"

#define FIRST_WAIT (NS_PER_S / 2)
#define LONGEST_WAIT (30 * NS_PER_S)

/* 500 ms, doubled for every further fruitless try, times 0.5 to 1.0. */
static int64_t backoff(unsigned fruitless, uint16_t jitter)
{
    int64_t wait = FIRST_WAIT;
    for (unsigned i = 1; i < fruitless && wait < LONGEST_WAIT; i++)
        wait *= 2;
    if (wait > LONGEST_WAIT)
        wait = LONGEST_WAIT;
    return wait / 2 + wait / 2 * jitter / UINT16_MAX;
}

struct retry_verdict retry_decide(struct retry_state *state, const struct retry_limits *limits,
                                  enum error_kind kind, int64_t retry_after_ns, int64_t progress,
                                  int64_t took_ns, uint16_t jitter)
{
    const struct retry_verdict no = {0};
    const bool asked = retry_after_ns >= 0;
    if (kind != ERROR_TRANSIENT)
        return no;

    int64_t wait = 0;
    if (progress >= RETRY_PROGRESS) {
        *state = (struct retry_state){0};
        wait = asked ? retry_after_ns : 0;
    } else {
        if (state->fruitless >= limits->retries)
            return no;
        state->fruitless++;
        state->spent_ns += took_ns;
        int64_t own = backoff(state->fruitless, jitter);
        /* "Retry-After: 0" is no leave to burn all tries within a millisecond. */
        wait = !asked ? own : retry_after_ns < FIRST_WAIT / 2 ? FIRST_WAIT / 2 : retry_after_ns;
    }
    if (wait > limits->max_time_ns - state->spent_ns)
        return (struct retry_verdict){.too_long = asked};
    state->spent_ns += wait;
    return (struct retry_verdict){.again = true, .wait_ns = wait};
}
