/* Tars that say much in few bytes: each thing is looked at once, and there is an end to all of it.
 */
#include "import-tars.h"

#include "cachedir/alloc.h"
#include "cachedir/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Grows without being copied each time, as struct bytes is. */
struct text {
    char *data;
    size_t len;
    FILE *file;
};

static FILE *text_open(struct text *t)
{
    t->file = open_memstream(&t->data, &t->len);
    assert_non_null(t->file);
    return t->file;
}

/* An index of `count` children, all this one, and its digest. Owned. */
static char *index_above(const char *media_type, const struct digest *digest, size_t size,
                         size_t count, struct digest *ret)
{
    struct text t;
    FILE *f = text_open(&t);
    (void)fprintf(f, "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":[");
    for (size_t i = 0; i < count; i++)
        (void)fprintf(f, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}",
                      i > 0 ? "," : "", media_type, digest->text, size);
    (void)fprintf(f, "]}");
    (void)fclose(f);
    digest_of(t.data, t.len, ret);
    return t.data;
}

/* Indexes above image a, each with 1000 times the one below; the last is *ret. */
static size_t add_indexes(struct bytes *tar, const struct test_image *image, int levels,
                          struct digest *ret)
{
    size_t size = image->manifest_len;
    *ret = image->digest;
    for (int i = 0; i < levels; i++) {
        struct digest above;
        cleanup_free char *text =
            index_above(i == 0 ? MEDIA_OCI_MANIFEST : MEDIA_OCI_INDEX, ret, size, 1000, &above);
        tar_add_blob(tar, &above, text);
        size = strlen(text);
        *ret = above;
    }
    return size;
}

/* 1000 ways at each of four levels: each index is looked at once. One more level is too deep. */
static void test_indexes(void **state)
{
    struct fixture *f = *state;
    for (int levels = INDEX_DEPTH_MAX; levels <= INDEX_DEPTH_MAX + 1; levels++) {
        cleanup_bytes struct bytes tar = {0};
        cleanup_error struct error err = {0};
        struct cachedir_import_result result;
        struct digest top;
        const size_t size = add_indexes(&tar, &f->a, levels, &top);
        cleanup_free char *index =
            xasprintf("{\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"digest\":\"%s\","
                      "\"size\":%zu,\"annotations\":{\"dev.basewarm.alias.%s\":\"%s\","
                      "\"io.containerd.image.name\":\"r.example/one@%s\"}}]}",
                      top.text, size, digest_hex(&top), f->a.digest.text, top.text);
        tar_add_index(&tar, index);
        tar_add_image(&tar, &f->a);
        tar_add_end(&tar);
        if (levels > INDEX_DEPTH_MAX) {
            reopen(f);
            refuse(f, "too deep", &tar, ERROR_PROTOCOL, "more than 4 deep");
            continue;
        }
        assert_ok(import_with(f, &tar, NULL, NULL, &result, &err));
        assert_int_equal(result.images, 1);
        assert_true(exists(f, top.text));
        int64_t freed;
        assert_ok(cachedir_remove(f->cd, &top, &freed, &err));
        assert_ok(cachedir_remove(f->cd, &f->a.digest, &freed, &err));
    }
}

/* What is named for ever so many platforms, and for what is none. */
static void test_platforms(void **state)
{
    static const struct {
        const char *what;
        int count;
        const char *platform; /* of a number */
        const char *says;     /* NULL: taken */
    } rows[] = {
        {"some", IMPORT_PLATFORMS_MAX, "linux/a%d", NULL},
        {"one more", IMPORT_PLATFORMS_MAX + 1, "linux/a%d", "for more than 64 platforms"},
        {"none", 1, "linux", "write it like linux/amd64"},
        {"no name", 1, "linux/a %d", "make its names"},
        {"a number", 1, "%d", "bad platform"},
        {"very long", 1, "linux/%0300d", "too long"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0}, all = {0};
        cleanup_error struct error err = {0};
        struct cachedir_import_result result;
        static const char name[] = "\"org.opencontainers.image.ref.name\":\"r.example/one:1\"";
        bytes_add(&all, name, strlen(name));
        for (int j = 0; j < rows[i].count; j++) {
            char platform[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            (void)snprintf(platform, sizeof platform, rows[i].platform, j);
#pragma GCC diagnostic pop
            cleanup_free char *one =
                xasprintf(",\"dev.basewarm.manifest.%s\":\"%s\"", platform, f->a.digest.text);
            bytes_add(&all, one, strlen(one));
        }
        bytes_add(&all, "", 1);
        cleanup_free char *index = layout_index(&f->a, all.data);
        tar_add_index(&tar, index);
        tar_add_image(&tar, &f->a);
        tar_add_end(&tar);
        if (rows[i].says) {
            refuse(f, rows[i].what, &tar, ERROR_PROTOCOL, rows[i].says);
            continue;
        }
        struct cachedir_name *names;
        size_t count;
        int64_t freed;
        assert_ok(import_with(f, &tar, NULL, NULL, &result, &err));
        assert_ok(cachedir_names(f->cd, &names, &count, &err));
        cachedir_names_free(names, count);
        assert_int_equal(count, rows[i].count);
        assert_ok(cachedir_remove(f->cd, &f->a.digest, &freed, &err));
    }
}

/* More names than index.json holds are refused, before one of them is written. */
static void test_too_many_names(void **state)
{
    struct fixture *f = *state;
    struct docker_tar d;
    docker_tar_make(&d);
    cleanup_bytes struct bytes tar = {0};
    struct text t;
    FILE *json = text_open(&t);
    for (int i = 0; i <= INDEX_SIZE_MAX / IMPORT_NAME_ROOM; i++) {
        if (i % 60000 == 0) /* of one image there are not so many */
            (void)fprintf(json, "%s{\"Config\":\"%s\",\"Layers\":[\"l\"],\"RepoTags\":[\"one:1\"",
                          i == 0 ? "[" : "]},", d.config_name);
        (void)fprintf(json, ",\"one:n%d\"", i);
    }
    (void)fprintf(json, "]}]");
    (void)fclose(json);
    tar_add_docker(&tar, &d, "l", t.data);
    free(t.data);
    refuse(f, "too many names", &tar, ERROR_PROTOCOL, "more names than an index.json of 64 MiB");
    docker_tar_free(&d);
}

/* One layer in 1000 places, under two names: unpacked once, and right in each. */
static void test_repeated_layer(void **state)
{
    enum { COUNT = 1000 };
    struct fixture *f = *state;
    cleanup_bytes struct bytes tar = {0}, layer = {0}, config = {0}, json = {0};
    cleanup_error struct error err = {0};
    struct cachedir_import_result result;
    struct digest diff_id;
    tar_add_large(&layer);
    digest_of(layer.data, layer.len, &diff_id);
    static const char head[] = "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":"
                               "\"layers\",\"diff_ids\":[";
    bytes_add(&config, head, strlen(head));
    static const char start[] = "[{\"Config\":\"config\",\"Layers\":[";
    bytes_add(&json, start, strlen(start));
    for (int i = 0; i < COUNT; i++) {
        cleanup_free char *id = xasprintf("%s\"%s\"", i > 0 ? "," : "", diff_id.text);
        bytes_add(&config, id, strlen(id));
        cleanup_free char *one = xasprintf("%s\"%s\"", i > 0 ? "," : "", i % 2 ? "l" : "m");
        bytes_add(&json, one, strlen(one));
    }
    bytes_add(&config, "]}}", 4);
    bytes_add(&json, "]}]", 4);
    tar_add_file(&tar, "config", config.data);
    tar_add_member(&tar, "l", '0', layer.data, layer.len);
    tar_add_member(&tar, "m", '0', layer.data, layer.len);
    tar_add_file(&tar, "manifest.json", json.data);
    tar_add_end(&tar);
    assert_ok(import_with(f, &tar, NULL, NULL, &result, &err));
    assert_int_equal(result.images, 1);
    assert_int_equal(result.made_up, 1);
    assert_int_equal(count_problems(f), 0);
}

/* Somebody wants it to stop as soon as it says anything. */
static volatile bool stop;

static void stop_at_note(void *userdata, const char *line)
{
    (void)userdata;
    (void)line;
    stop = true;
}

static void stop_at_image(void *userdata, const struct cachedir_imported *imported)
{
    (void)userdata;
    (void)imported;
    stop = true;
}

/* Whatever it is doing: it stops, and nothing of it is left but what stands whole. */
static void test_stop(void **state)
{
    static const struct {
        const char *what, *annotations;
        size_t images;
    } rows[] = {
        {"among what it reads", "\"org.opencontainers.image.ref.name\":\"bad\"", 0},
        {"among what it publishes", "\"x\":\"y\"", 1},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0};
        cleanup_error struct error err = {0};
        struct cachedir_import_result result;
        cleanup_free char *a = layout_index(&f->a, rows[i].annotations),
                          *b = layout_index(&f->b, "");
        a[strlen(a) - 2] = '\0'; /* the end of its list */
        cleanup_free char *both = xasprintf("%s,%s", a, strchr(b, '[') + 1);
        const struct cachedir_import_options options = {
            .note = stop_at_note, .told = stop_at_image, .stop = &stop};
        tar_add_index(&tar, both);
        tar_add_image(&tar, &f->a);
        tar_add_image(&tar, &f->b);
        tar_add_end(&tar);
        cleanup_close int fd = import_tar_fd(tar.data, tar.len);
        stop = false;
        int r = cachedir_import(f->cd, &options, fd, &result, &err);
        if (r == 0 || err.kind != ERROR_INTERRUPTED || result.images != rows[i].images)
            fail_msg("%s: %d, %zu images: %s", rows[i].what, r, result.images,
                     err.message ? err.message : "");
        assert_int_equal(count_names(f, ".basewarm/stage"), 0);
        assert_int_equal(count_problems(f), 0);
    }
}

#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, archives_setup, archives_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CACHE(test_indexes),        WITH_CACHE(test_platforms),
        WITH_CACHE(test_too_many_names), WITH_CACHE(test_repeated_layer),
        WITH_CACHE(test_stop),
    };
    return cmocka_run_group_tests_name("import-amount", tests, NULL, NULL);
}
