#include "warmer/retry.h"

#include "cachedir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MS (NS_PER_S / 1000)
#define MOST UINT16_MAX
#define MIB RETRY_PROGRESS

struct expected {
    bool again;
    int64_t wait_ns;
    bool too_long;
    unsigned fruitless;
    int64_t spent_ns;
};

static const struct row {
    const char *what;
    struct retry_state state;
    struct retry_limits limits;
    enum error_kind kind;
    int64_t retry_after_ns, progress, took_ns;
    uint16_t jitter;
    struct expected want;
} rows[] = {
    {"the first failure",
     {0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     MOST,
     {true, 500 * MS, false, 1, 500 * MS}},
    {"no luck with the jitter",
     {0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     0,
     {true, 250 * MS, false, 1, 250 * MS}},
    {"the second waits twice as long",
     {1, NS_PER_S},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     NS_PER_S,
     MOST,
     {true, NS_PER_S, false, 2, 3 * NS_PER_S}},
    {"the fifth",
     {4, 0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     MOST,
     {true, 8 * NS_PER_S, false, 5, 8 * NS_PER_S}},
    {"none is left",
     {5, 0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     MOST,
     {false, 0, false, 5, 0}},
    {"retries are off",
     {0},
     {0, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     MOST,
     {false, 0, false, 0, 0}},
    {"30 s at most",
     {20, 0},
     {50, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     MOST,
     {true, 30 * NS_PER_S, false, 21, 30 * NS_PER_S}},
    {"and at least half of it",
     {1000, 0},
     {5000, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     0,
     0,
     {true, 15 * NS_PER_S, false, 1001, 15 * NS_PER_S}},
    {"the server says when",
     {0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     7 * NS_PER_S,
     0,
     0,
     MOST,
     {true, 7 * NS_PER_S, false, 1, 7 * NS_PER_S}},
    {"at once, it says",
     {3, 0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     0,
     0,
     0,
     MOST,
     {true, 250 * MS, false, 4, 250 * MS}},
    {"too late, it says",
     {0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     301 * NS_PER_S,
     0,
     0,
     MOST,
     {false, 0, true, 1, 0}},
    {"too late for what is left",
     {1, 200 * NS_PER_S},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     60 * NS_PER_S,
     0,
     50 * NS_PER_S,
     MOST,
     {false, 0, true, 2, 250 * NS_PER_S}},
    {"just in time",
     {1, 200 * NS_PER_S},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     50 * NS_PER_S,
     0,
     50 * NS_PER_S,
     MOST,
     {true, 50 * NS_PER_S, false, 2, 300 * NS_PER_S}},
    {"time is up",
     {1, 0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     0,
     400 * NS_PER_S,
     0,
     {false, 0, false, 2, 400 * NS_PER_S}},
    {"the largest Retry-After",
     {1, 0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     INT64_MAX,
     0,
     1,
     0,
     {false, 0, true, 2, 1}},
    {"progress resets, and goes on at once",
     {5, 299 * NS_PER_S},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     MIB,
     900 * NS_PER_S,
     MOST,
     {true, 0, false, 0, 0}},
    {"progress, but the server says when",
     {5, 299 * NS_PER_S},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     9 * NS_PER_S,
     MIB,
     NS_PER_S,
     MOST,
     {true, 9 * NS_PER_S, false, 0, 9 * NS_PER_S}},
    {"not quite progress",
     {0},
     {5, 300 * NS_PER_S},
     ERROR_TRANSIENT,
     -1,
     MIB - 1,
     NS_PER_S,
     MOST,
     {true, 500 * MS, false, 1, 1500 * MS}},
};

static void decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct retry_state s = rows[i].state;
        struct retry_verdict got =
            retry_decide(&s, &rows[i].limits, rows[i].kind, rows[i].retry_after_ns,
                         rows[i].progress, rows[i].took_ns, rows[i].jitter);
        const struct expected *want = &rows[i].want;
        if (got.again != want->again || got.wait_ns != want->wait_ns ||
            got.too_long != want->too_long || s.fruitless != want->fruitless ||
            s.spent_ns != want->spent_ns)
            fail_msg("%s: again %d wait %lld too_long %d fruitless %u spent %lld", rows[i].what,
                     got.again, (long long)got.wait_ns, got.too_long, s.fruitless,
                     (long long)s.spent_ns);
    }
}

static void only_transient_is_tried_again(void **state)
{
    (void)state;
    const struct retry_limits limits = {5, 300 * NS_PER_S};
    for (int kind = ERROR_NONE; kind <= ERROR_INTERRUPTED; kind++) {
        struct retry_state s = {0};
        struct retry_verdict v =
            retry_decide(&s, &limits, (enum error_kind)kind, -1, 10 * MIB, 0, 0);
        assert_int_equal(v.again, kind == ERROR_TRANSIENT);
        assert_false(v.too_long);
    }
}

static void ends_in_bounded_time(void **state)
{
    (void)state;
    const struct retry_limits limits = {1000000, 300 * NS_PER_S};
    struct retry_state s = {0};
    int64_t waited = 0;
    unsigned tries = 0;
    for (;; tries++) {
        struct retry_verdict v =
            retry_decide(&s, &limits, ERROR_TRANSIENT, -1, 0, NS_PER_S, (uint16_t)(tries * 7919));
        if (!v.again)
            break;
        waited += v.wait_ns + NS_PER_S;
    }
    assert_true(tries > 5 && waited <= 300 * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides),
        cmocka_unit_test(only_transient_is_tried_again),
        cmocka_unit_test(ends_in_bounded_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
