/* Sets of byte ranges: against a plain array of bits, and as text from a hostile disk. */
#include "cachedir/alloc.h"
#include "cachedir/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 200

static void check(const struct ranges *r, const bool *bits)
{
    int64_t total = 0, start, end;
    for (size_t i = 0; i < r->count; i++) {
        assert_true(r->list[i].start < r->list[i].end);
        if (i > 0)
            assert_true(r->list[i - 1].end < r->list[i].start);
        total += r->list[i].end - r->list[i].start;
    }
    assert_int_equal(total, ranges_total(r));
    for (int64_t i = 0; i < SIZE; i++) {
        assert_int_equal(ranges_reach(r, i) > i, bits[i]);
        total -= bits[i];
    }
    assert_int_equal(total, 0);
    for (int64_t from = 0; from < SIZE; from++) {
        int64_t first = from;
        while (first < SIZE && bits[first])
            first++;
        bool found = ranges_gap(r, from, SIZE, &start, &end);
        assert_int_equal(found, first < SIZE);
        if (!found)
            continue;
        int64_t past = first;
        while (past < SIZE && !bits[past])
            past++;
        assert_int_equal(start, first);
        assert_int_equal(end, past);
    }
}

static void test_like_an_array_of_bits(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < 200; round++) {
        struct ranges r = {0};
        bool bits[SIZE] = {0};
        for (int step = 0; step < 12; step++) {
            random = random * UINT64_C(6364136223846793005) + 1;
            int64_t start = (int64_t)(random >> 33) % SIZE;
            random = random * UINT64_C(6364136223846793005) + 1;
            int64_t end = start + (int64_t)(random >> 33) % 40;
            if (end > SIZE)
                end = SIZE;
            const bool add = step % 4 != 3;
            if (add)
                ranges_add(&r, start, end);
            else
                ranges_remove(&r, start, end);
            for (int64_t i = start; i < end; i++)
                bits[i] = add;
            check(&r, bits);
        }
        struct ranges again = {0};
        cleanup_free char *text = ranges_format(&r, SIZE);
        assert_true(ranges_parse(&again, text, SIZE));
        check(&again, bits);
        ranges_clear(&again);
        ranges_clear(&r);
    }
}

static void test_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "",
        "basewarm-ranges",
        "basewarm-ranges 1",
        "basewarm-ranges 2 200\n",
        "basewarm-ranges 1 201\n",
        "basewarm-ranges 1 200\n5 5\n",
        "basewarm-ranges 1 200\n5 4\n",
        "basewarm-ranges 1 200\n-1 4\n",
        "basewarm-ranges 1 200\n0 201\n",
        "basewarm-ranges 1 200\n0 10\n5 20\n",
        "basewarm-ranges 1 200\n0 10\n10 20\n",
        "basewarm-ranges 1 200\n20 30\n0 10\n",
        "basewarm-ranges 1 200\n0 10",
        "basewarm-ranges 1 200\n0 10x\n",
        "basewarm-ranges 1 200\n0 99999999999999999999999\n",
        "basewarm-ranges 1 200\n\n0 10 \n",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct ranges r = {0};
        if (ranges_parse(&r, refused[i], SIZE))
            fail_msg("accepted: %s", refused[i]);
        assert_int_equal(r.count, 0);
    }
    struct ranges r = {0};
    assert_true(ranges_parse(&r, "basewarm-ranges 1 200\n", SIZE));
    assert_int_equal(r.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_an_array_of_bits),
        cmocka_unit_test(test_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
