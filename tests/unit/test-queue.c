/* The queue: who goes first, who waits, and when it is over. */
#include "warmer/queue.h"

#include "cachedir/alloc.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int64_t blocked_until; /* for the registry "slow" */

static int64_t ready_at(void *userdata, const struct reference *ref)
{
    (void)userdata;
    return strcmp(ref->registry, "slow") == 0 ? blocked_until : 0;
}

static struct reference fast = {.registry = (char[]){"fast"}};
static struct reference slow = {.registry = (char[]){"slow"}};

static void push(struct queue *q, enum work_kind kind, const char *what,
                 const struct reference *ref, int64_t weight)
{
    queue_push(q,
               (struct work){
                   .kind = kind, .subject = (void *)(uintptr_t)what, .ref = ref, .weight = weight});
}

/* Take one that must be there now, finish it, and say which it was. */
static const char *next(struct queue *q)
{
    struct work work;
    if (queue_take(q, &work) != QUEUE_WORK)
        return "nothing";
    queue_finish(q, &work);
    return work.subject;
}

static void test_order(void **state)
{
    (void)state;
    struct queue *q = queue_new(0, ready_at, NULL);
    push(q, WORK_FETCH, "small", &fast, 10);
    push(q, WORK_RESOLVE, "first", &fast, 0);
    push(q, WORK_FETCH, "large", &fast, 1000);
    push(q, WORK_RESOLVE, "second", &fast, 0);
    push(q, WORK_PLAN, "plan", &fast, 0);
    push(q, WORK_PUBLISH, "publish", NULL, 0);
    static const char *const order[] = {"publish", "first", "second", "plan", "large", "small"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        assert_string_equal(next(q), order[i]);
    struct work work;
    assert_int_equal(queue_take(q, &work), QUEUE_OVER);
    queue_free(q);
}

static void test_a_blocked_host_holds_back_nobody_else(void **state)
{
    (void)state;
    struct queue *q = queue_new(0, ready_at, NULL);
    blocked_until = monotonic_now() + 200000000;
    push(q, WORK_RESOLVE, "slow", &slow, 0);
    push(q, WORK_FETCH, "fast", &fast, 0);
    assert_string_equal(next(q), "fast");
    assert_string_equal(next(q), "slow"); /* when its time has come */
    assert_true(monotonic_now() >= blocked_until);
    queue_free(q);
}

static void test_not_before(void **state)
{
    (void)state;
    struct queue *q = queue_new(0, ready_at, NULL);
    const int64_t later = monotonic_now() + 100000000;
    queue_push(
        q, (struct work){.kind = WORK_RESOLVE, .subject = (char[]){"late"}, .not_before = later});
    push(q, WORK_FETCH, "now", NULL, 0);
    assert_string_equal(next(q), "now");
    assert_string_equal(next(q), "late");
    assert_true(monotonic_now() >= later);
    queue_free(q);
}

static void test_no_more_than_so_many_talk_to_one_host(void **state)
{
    (void)state;
    struct queue *q = queue_new(1, ready_at, NULL);
    struct work first, work;
    blocked_until = 0;
    push(q, WORK_FETCH, "a", &fast, 2);
    push(q, WORK_FETCH, "b", &fast, 1);
    push(q, WORK_FETCH, "c", &slow, 0);
    assert_int_equal(queue_take(q, &first), QUEUE_WORK);
    assert_string_equal(first.subject, "a");
    assert_string_equal(next(q), "c"); /* b would be the second on its host */
    assert_int_equal(queue_take(q, &work), QUEUE_IDLE);
    assert_false(queue_claim(q, &(struct work){.ref = &fast}));
    queue_finish(q, &first);
    assert_true(queue_claim(q, &(struct work){.ref = &fast}));
    assert_int_equal(queue_take(q, &work), QUEUE_IDLE);
    queue_finish(q, &(struct work){.ref = &fast});
    assert_string_equal(next(q), "b");
    queue_free(q);
}

/* Threads that each turn an item into two smaller ones, until they are of size one. */
static void *divide(void *userdata)
{
    struct queue *q = userdata;
    struct work work;
    uintptr_t done = 0;
    enum queue_answer answer;
    while ((answer = queue_take(q, &work)) != QUEUE_OVER) {
        if (answer == QUEUE_IDLE)
            continue;
        if (work.weight > 1) {
            push(q, WORK_FETCH, NULL, NULL, work.weight / 2);
            push(q, WORK_FETCH, NULL, NULL, work.weight - work.weight / 2);
        } else {
            done++;
        }
        queue_finish(q, &work);
    }
    return (void *)done;
}

static void test_many_workers_see_the_end_together(void **state)
{
    (void)state;
    struct queue *q = queue_new(0, ready_at, NULL);
    pthread_t ids[8];
    uintptr_t total = 0;
    push(q, WORK_FETCH, NULL, NULL, 1000);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, divide, q), 0);
    for (size_t i = 0; i < 8; i++) {
        void *done;
        assert_int_equal(pthread_join(ids[i], &done), 0);
        total += (uintptr_t)done;
    }
    assert_int_equal(total, 1000);
    queue_free(q);
}

static void *take_one(void *userdata)
{
    struct work work;
    return (void *)(uintptr_t)(queue_take(userdata, &work) == QUEUE_OVER);
}

static void test_stop_wakes_who_waits(void **state)
{
    (void)state;
    struct queue *q = queue_new(0, ready_at, NULL);
    pthread_t id;
    void *over;
    queue_push(q, (struct work){.kind = WORK_RESOLVE, .not_before = INT64_MAX});
    assert_int_equal(pthread_create(&id, NULL, take_one, q), 0);
    queue_stop(q);
    assert_int_equal(pthread_join(id, &over), 0);
    assert_true(over);
    queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_a_blocked_host_holds_back_nobody_else),
        cmocka_unit_test(test_not_before),
        cmocka_unit_test(test_no_more_than_so_many_talk_to_one_host),
        cmocka_unit_test(test_many_workers_see_the_end_together),
        cmocka_unit_test(test_stop_wakes_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
