/* A blob on terms: from one place alone, and by ranges alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "scripted-blob.h"

static struct got got;

static int fetch_on(struct scripted *s, int64_t start, int64_t end, struct registry_terms *terms)
{
    struct descriptor blob = descriptor();
    memset(got.bytes, '.', SIZE);
    got.next = start;
    error_clear(&failed);
    return registry_blob(s->client, &s->ref, &blob, start, end, terms, sink, &got, &how, &failed);
}

/* Server two is a mirror of server one. */
static void start_with_mirror(struct scripted *s, const struct rule *one, const struct rule *two)
{
    scripted_start(s, one, two);
    cleanup_free char *map = xasprintf("127.0.0.1:%u=127.0.0.1:%u", s->one.port, s->two.port);
    scripted_open(s, (struct registry_options){.registry_maps = (char *[]){map, NULL}});
    assert_int_equal(registries_places(s->registries, &s->ref), 2);
}

static void test_one_place_sends_all_of_it(void **state)
{
    (void)state;
    const struct rule good[] = {{"GET ", NULL, 200, NULL, BYTES}, {NULL}};
    const struct rule cut[] = {{"GET ", NULL, 200, NULL, BYTES, .cut = 10}, {NULL}};
    struct scripted s = {0};
    start_with_mirror(&s, good, cut);

    /* Without terms the next place goes on. */
    assert_int_equal(fetch_on(&s, 0, SIZE, NULL), 0);
    assert_string_equal(got.bytes, BYTES);

    struct registry_terms terms = {.one_place = true};
    assert_int_equal(fetch_on(&s, 0, SIZE, &terms), -1);
    assert_int_equal(failed.kind, ERROR_TRANSIENT);
    assert_int_equal(terms.place, 0);
    assert_int_equal(got.next, 10);

    terms.place = 1;
    unsigned before = tiny_requests(&s.two);
    assert_int_equal(fetch_on(&s, 0, SIZE, &terms), 0);
    assert_string_equal(got.bytes, BYTES);
    assert_int_equal(terms.place, 1);
    assert_int_equal(tiny_requests(&s.two), before);
    scripted_stop(&s);
}

static void test_a_place_without_it_is_passed_over(void **state)
{
    (void)state;
    const struct rule good[] = {{"GET ", NULL, 200, NULL, BYTES}, {NULL}};
    const struct rule lacks[] = {{"GET ", NULL, 404}, {NULL}};
    struct scripted s = {0};
    start_with_mirror(&s, good, lacks);
    struct registry_terms terms = {.one_place = true};
    assert_int_equal(fetch_on(&s, 0, SIZE, &terms), 0);
    assert_int_equal(terms.place, 1); /* so that the one after it is tried next */
    scripted_stop(&s);
}

/* Gzip is said, and there is no length that shows whether it is true. */
static void test_encoding_is_doubted(void **state)
{
    (void)state;
    const struct rule said[] = {
        {"GET ", NULL, 200, "Content-Encoding: gzip\r\n", BYTES, .chunked = true}, {NULL}};
    struct scripted s = {0};
    struct registry_terms terms = {.one_place = true};
    scripted_start(&s, said, NULL);
    scripted_open(&s, NO_OPTIONS);
    assert_int_equal(fetch_on(&s, 0, SIZE, NULL), 0); /* no gzip: once more, as it comes */
    assert_string_equal(got.bytes, BYTES);
    assert_int_equal(scripted_count(&s.one, "GET " BLOB), 2);
    assert_int_equal(fetch_on(&s, 0, SIZE, &terms), 0); /* after wrong bytes: as it comes */
    assert_string_equal(got.bytes, BYTES);
    assert_int_equal(scripted_count(&s.one, "GET " BLOB), 3);
    scripted_stop(&s);
}

static void test_only_ranges(void **state)
{
    (void)state;
    const struct rule ranges[] = {
        {"GET ", "bytes=4-15", 206, "Content-Range: bytes 4-15/16\r\n", "456789abcdef"}, {NULL}};
    const struct rule whole[] = {{"GET ", NULL, 200, NULL, BYTES}, {NULL}};
    struct registry_terms terms = {.only_ranges = true};
    struct scripted s = {0};
    scripted_start(&s, ranges, NULL);
    scripted_open(&s, NO_OPTIONS);
    assert_int_equal(fetch_on(&s, 4, SIZE, &terms), 0);
    assert_true(registries_has_ranges(s.registries, &s.ref));
    scripted_stop(&s);

    s = (struct scripted){0};
    scripted_start(&s, whole, NULL);
    scripted_open(&s, NO_OPTIONS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch_on(&s, 4, SIZE, &terms), -1);
        assert_int_equal(failed.kind, ERROR_PROTOCOL);
        assert_non_null(strstr(failed.message, "no ranges"));
        assert_int_equal(got.next, 4);
        assert_false(registries_has_ranges(s.registries, &s.ref));
        assert_int_equal(scripted_count(&s.one, "GET " BLOB), 1); /* not asked again */
    }
    assert_int_equal(fetch_on(&s, 4, SIZE, NULL), 0); /* who does not mind gets it */
    scripted_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_place_sends_all_of_it),
        cmocka_unit_test(test_a_place_without_it_is_passed_over),
        cmocka_unit_test(test_encoding_is_doubted),
        cmocka_unit_test(test_only_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, scripted_blob_teardown);
}
