/* Aliases: what proves one, what stands on the disk, and what befalls it with its entry. */
#include "archive-cache.h"

#include "cachedir/alias.h"
#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* An index that names these; owned. */
static char *index_of(const struct digest *const *children, size_t count, const char *media_type,
                      struct digest *ret)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:i}", "mediaType", media_type, "digest",
                                              children[i]->text, "size", 100 + (int)i));
    json_t *index = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_INDEX,
                              "manifests", list);
    char *text = json_dumps(index, JSON_COMPACT);
    json_decref(index);
    digest_of(text, strlen(text), ret);
    return text;
}

struct two { /* an index of both images of the fixture, and one around it */
    char *inner, *outer;
    struct digest inner_digest, outer_digest;
    struct cachedir_bytes chain[2]; /* from the outer one down */
};

static void make_two(const struct fixture *f, struct two *ret)
{
    const struct digest *const images[] = {&f->a.digest, &f->b.digest};
    ret->inner = index_of(images, 2, MEDIA_OCI_MANIFEST, &ret->inner_digest);
    const struct digest *const inner[] = {&ret->inner_digest};
    ret->outer = index_of(inner, 1, MEDIA_OCI_INDEX, &ret->outer_digest);
    ret->chain[0] = (struct cachedir_bytes){ret->outer, strlen(ret->outer)};
    ret->chain[1] = (struct cachedir_bytes){ret->inner, strlen(ret->inner)};
}

static void free_two(struct two *t)
{
    free(t->inner);
    free(t->outer);
}

static void test_proof(void **state)
{
    struct fixture *f = *state;
    struct two t;
    make_two(f, &t);
    struct digest nothing;
    digest_of("", 0, &nothing);
    const struct cachedir_bytes image = {f->a.manifest, f->a.manifest_len};
    const struct cachedir_bytes turned[] = {t.chain[1], t.chain[0]}, beyond[] = {t.chain[1], image};
    const struct cachedir_bytes not_json = {"", 0};
    const struct {
        const char *what;
        const struct digest *index, *manifest;
        const struct cachedir_bytes *indexes;
        size_t count;
        enum error_kind kind;
    } rows[] = {
        {"one", &t.inner_digest, &f->a.digest, &t.chain[1], 1, ERROR_NONE},
        {"its other", &t.inner_digest, &f->b.digest, &t.chain[1], 1, ERROR_NONE},
        {"nested", &t.outer_digest, &f->b.digest, t.chain, 2, ERROR_NONE},
        {"no index at all", &t.inner_digest, &f->a.digest, t.chain, 0, ERROR_PROTOCOL},
        {"too many", &t.outer_digest, &f->a.digest, t.chain, 6, ERROR_PROTOCOL},
        {"the inner one is missing", &t.outer_digest, &f->a.digest, t.chain, 1, ERROR_PROTOCOL},
        {"the outer one is another", &t.inner_digest, &f->a.digest, t.chain, 2, ERROR_DIGEST},
        {"the wrong way round", &t.outer_digest, &f->a.digest, turned, 2, ERROR_DIGEST},
        {"of another image", &t.inner_digest, &nothing, &t.chain[1], 1, ERROR_PROTOCOL},
        {"the image itself", &f->a.digest, &f->a.digest, &image, 1, ERROR_PROTOCOL},
        {"an image within", &t.inner_digest, &f->b.digest, beyond, 2, ERROR_PROTOCOL},
        {"nothing", &nothing, &f->a.digest, &not_json, 1, ERROR_PROTOCOL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        const int r =
            alias_prove(rows[i].index, rows[i].manifest, rows[i].indexes, rows[i].count, &err);
        if (r != (rows[i].kind ? -1 : 0) || err.kind != rows[i].kind)
            fail_msg("%s: %d, kind %d: %s", rows[i].what, r, err.kind,
                     err.message ? err.message : "");
    }
    free_two(&t);
}

static enum cachedir_state state_of(struct cachedir *cd, const struct digest *digest,
                                    const struct digest *alias_of)
{
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    struct error err = {0};
    assert_ok(cachedir_look(cd, digest, &e, &err));
    if (e.state == CACHEDIR_COMPLETE)
        assert_string_equal(e.alias_of.text, alias_of->text);
    return e.state;
}

static size_t count_aliases(struct fixture *f, const struct test_image *image)
{
    cleanup_free struct digest *list = NULL;
    size_t count;
    struct error err = {0};
    assert_ok(cachedir_aliases(f->cd, &image->digest, &list, &count, &err));
    return count;
}

static void check_life(struct fixture *f)
{
    struct two t;
    struct error err = {0};
    int64_t freed;
    enum cachedir_alias_state alias;
    enum cachedir_repair repaired;
    make_two(f, &t);

    /* Not before its entry. */
    assert_int_equal(cachedir_alias(f->cd, &t.outer_digest, &f->a.digest, t.chain, 2, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
    assert_int_equal(state_of(f->cd, &t.outer_digest, NULL), CACHEDIR_ABSENT);

    warm(f, &f->a, false);
    warm(f, &f->b, false);
    assert_ok(cachedir_alias(f->cd, &t.outer_digest, &f->a.digest, t.chain, 2, &err));
    assert_ok(cachedir_alias(f->cd, &t.inner_digest, &f->b.digest, &t.chain[1], 1, &err));
    assert_int_equal(state_of(f->cd, &t.outer_digest, &f->a.digest), CACHEDIR_COMPLETE);
    assert_int_equal(state_of(f->cd, &t.inner_digest, &f->b.digest), CACHEDIR_COMPLETE);
    assert_int_equal(count_problems(f), 0);
    assert_int_equal(count_names(f, ".basewarm/stage"), 0);

    /* One index, one platform. */
    assert_int_equal(cachedir_alias(f->cd, &t.outer_digest, &f->b.digest, t.chain, 2, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    error_clear(&err);
    assert_ok(cachedir_alias_state(f->cd, &t.outer_digest, &f->a.digest, &alias, &err));
    assert_int_equal(alias, CACHEDIR_ALIAS_STANDS);

    /* Renewed with its entry, and seen by a process that comes later. */
    const struct timespec old[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(f->root, t.outer_digest.text, old, 0), 0);
    assert_int_equal(utimensat(f->root, f->a.digest.text, old, 0), 0);
    reopen(f);
    assert_ok(cachedir_renew(f->cd, &f->a.digest, &err));
    assert_true(stat_of(f, t.outer_digest.text).st_mtime > 1000);
    assert_true(stat_of(f, f->a.digest.text).st_mtime > 1000);

    /* What is kept of it suffices to make it again. */
    assert_int_equal(fs_remove(f->root, t.outer_digest.text), 0);
    assert_int_equal(count_aliases(f, &f->a), 0);
    assert_ok(cachedir_alias_state(f->cd, &t.outer_digest, &f->a.digest, &alias, &err));
    assert_int_equal(alias, CACHEDIR_ALIAS_PROVEN);
    assert_ok(cachedir_alias(f->cd, &t.outer_digest, &f->a.digest, NULL, 0, &err));
    assert_int_equal(count_aliases(f, &f->a), 1);
    assert_ok(cachedir_repair(f->cd, &t.outer_digest, &repaired, &err));
    assert_int_equal(repaired, CACHEDIR_REPAIR_NOTHING);

    /* An entry takes its aliases with it, and no other's. */
    assert_ok(cachedir_remove(f->cd, &f->a.digest, &freed, &err));
    assert_true(freed > 0);
    assert_int_equal(state_of(f->cd, &t.outer_digest, NULL), CACHEDIR_ABSENT);
    assert_int_equal(state_of(f->cd, &t.inner_digest, &f->b.digest), CACHEDIR_COMPLETE);
    assert_int_equal(count_names(f, ".basewarm/aliases"), 1);
    assert_ok(cachedir_remove(f->cd, &f->b.digest, &freed, &err));
    assert_int_equal(count_names(f, ".basewarm/aliases"), 0);
    free_two(&t);
}

static void test_life(void **state)
{
    struct fixture *f = *state;
    check_life(f);
    struct cachedir_convert_result result;
    struct error err = {0};
    assert_ok(cachedir_convert(f->cd, CACHEDIR_FORMAT_OCI, NULL, NULL, NULL, &result, &err));
    reopen(f);
    check_life(f);
}

/* Where the volume can less, the archive is copied, and keeps its time. */
static void test_without_links(void **state)
{
    struct fixture *f = *state;
    struct two t;
    struct error err = {0};
    make_two(f, &t);
    warm(f, &f->a, false);
    const struct timespec old[2] = {{1000, 5}, {1000, 5}};
    assert_int_equal(utimensat(f->root, f->a.digest.text, old, 0), 0);
    cachedir_close(f->cd);
    f->cd = open_cache_without(f, CACHEDIR_HARD_LINKS | CACHEDIR_REFLINKS);
    assert_ok(cachedir_alias(f->cd, &t.outer_digest, &f->a.digest, t.chain, 2, &err));
    const struct stat alias = stat_of(f, t.outer_digest.text), entry = stat_of(f, f->a.digest.text);
    assert_true(alias.st_ino != entry.st_ino);
    assert_int_equal(alias.st_mtim.tv_nsec, 5);
    assert_int_equal(alias.st_mtime, 1000);
    assert_int_equal(count_problems(f), 0);
    /* Mended with its entry: the bytes of both were wrong. */
    cleanup_close int fd = openat(f->root, t.outer_digest.text, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "#", 1, alias.st_size - 3 * 512), 1);
    rot(f, &f->a, 1);
    assert_true(count_problems(f) > 0);
    assert_int_equal(warm(f, &f->a, true), 0); /* the copy holds what the entry lost */
    assert_int_equal(count_problems(f), 0);
    free_two(&t);
}

/* Nothing but a proof lets an entry hold another manifest than its name says. */
static void test_unproven(void **state)
{
    struct fixture *f = *state;
    struct two t;
    struct error err = {0};
    make_two(f, &t);
    warm(f, &f->a, false);
    assert_ok(cachedir_alias(f->cd, &t.inner_digest, &f->a.digest, &t.chain[1], 1, &err));
    cleanup_free char *record = xasprintf(".basewarm/aliases/%s", digest_hex(&t.inner_digest));
    cleanup_free char *other =
        xasprintf("{\"manifest\": \"%s\", \"indexes\": []}", f->a.digest.text);
    cleanup_free char *wrong =
        xasprintf("{\"manifest\": \"%s\", \"indexes\": [\"%s\"]}", f->b.digest.text, "{}");
    const char *const records[] = {"",
                                   "{",
                                   "{}",
                                   "[]",
                                   "{\"manifest\": 1}",
                                   other,
                                   wrong,
                                   "{\"manifest\": \"sha256:1\", \"indexes\": [1]}"};
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        put(f, record, records[i], strlen(records[i]));
        if (state_of(f->cd, &t.inner_digest, NULL) != CACHEDIR_BROKEN)
            fail_msg("record %zu: %s", i, records[i]);
        assert_int_equal(count_aliases(f, &f->a), 0);
    }
    enum cachedir_repair repaired;
    assert_ok(cachedir_repair(f->cd, &t.inner_digest, &repaired, &err));
    assert_int_equal(repaired, CACHEDIR_REPAIR_REMOVED);
    assert_whole(f, &f->a);
    free_two(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_proof, archives_setup, archives_teardown),
        cmocka_unit_test_setup_teardown(test_life, archives_setup, archives_teardown),
        cmocka_unit_test_setup_teardown(test_without_links, archives_setup, archives_teardown),
        cmocka_unit_test_setup_teardown(test_unproven, archives_setup, archives_teardown),
    };
    return cmocka_run_group_tests_name("alias", tests, NULL, NULL);
}
