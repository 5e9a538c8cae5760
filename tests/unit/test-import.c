/* Tars from strangers: what is refused, and that nothing of it is published then; what is taken. */
#include "import-tars.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/spool.h"
#include "cachedir/tar.h"
#include "cachedir/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* An OCI layout of image a, in this order; without its end. */
static void add_layout(struct bytes *tar, const struct fixture *f)
{
    cleanup_free char *index =
        layout_index(&f->a, "\"org.opencontainers.image.ref.name\":\"registry.example.org/a:1\"");
    tar_add_index(tar, index);
    tar_add_image(tar, &f->a);
}

/* ---- what is refused ---- */

struct hostile {
    const char *what, *name;
    char type;
    const char *link;
    const char *says;
};

/* A member that no tar of images has makes all of it suspect. */
static void test_members(void **state)
{
    static const struct hostile rows[] = {
        {"absolute", "/etc/passwd", '0', NULL, "leads out of the tar"},
        {"above", "../evil", '0', NULL, "leads out of the tar"},
        {"above, within", "a/../../evil", '0', NULL, "leads out of the tar"},
        {"above, a directory", "blobs/../../evil/", '5', NULL, "leads out of the tar"},
        {"character device", "console", '3', NULL, "no regular file"},
        {"block device", "disk", '4', NULL, "no regular file"},
        {"FIFO", "pipe", '6', NULL, "no regular file"},
        {"symlink, absolute", "link", '2', "/etc/passwd", "a link that leads out"},
        {"symlink, above", "a/link", '2', "../../etc", "a link that leads out"},
        {"hard link, above", "link", '1', "../etc", "a link that leads out"},
        {"hard link, absolute", "link", '1', "/etc/shadow", "a link that leads out"},
        {"twice", "index.json", '0', NULL, "stands there twice"},
        {"twice, a link", "index.json", '2', "oci-layout", "stands there twice"},
        {"twice, otherwise spelt", "./blobs/.././index.json", '0', NULL, "stands there twice"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0};
        add_layout(&tar, f);
        const size_t at = tar.len;
        tar_add_header(&tar, rows[i].name, rows[i].type, 0);
        if (rows[i].link) { /* its field, and the checksum anew */
            unsigned sum = 0;
            memcpy(tar.data + at + 157, rows[i].link, strlen(rows[i].link));
            memset(tar.data + at + 148, ' ', 8);
            for (size_t j = 0; j < TAR_BLOCK; j++)
                sum += (unsigned char)tar.data[at + j];
            (void)snprintf(tar.data + at + 148, 8, "%06o", sum);
        }
        tar_add_end(&tar);
        refuse(f, rows[i].what, &tar, ERROR_PROTOCOL, rows[i].says);
    }
}

static void test_cut(void **state)
{
    struct fixture *f = *state;
    cleanup_bytes struct bytes tar = {0};
    add_layout(&tar, f);
    const size_t whole = tar.len;
    tar_add_end(&tar);
    for (size_t len = 0; len <= whole; len += 256) { /* in headers, contents, and between them */
        const struct bytes cut = {tar.data, len};
        refuse(f, "cut", &cut, ERROR_PROTOCOL, "");
    }
    struct cachedir_import_result result;
    struct error err = {0};
    assert_ok(import_with(f, &tar, NULL, NULL, &result, &err));
    assert_int_equal(result.images, 1);
    assert_whole(f, &f->a);
}

/* ---- lies of a layout ---- */

static void test_layout(void **state)
{
    struct fixture *f = *state;
    const char *const a = f->a.digest.text, *const hex = digest_hex(&f->a.digest);
    const struct {
        const char *what;
        char *index; /* owned */
        enum error_kind kind;
        const char *says;
    } rows[] = {
        {"not JSON", xstrdup("{"), ERROR_PROTOCOL, "index.json: not valid JSON"},
        {"no list", xstrdup("{\"manifests\":{}}"), ERROR_PROTOCOL, "no list of manifests"},
        {"empty", xstrdup("{\"manifests\":[]}"), ERROR_PROTOCOL, "no image in it"},
        {"no object", xstrdup("{\"manifests\":[1]}"), ERROR_PROTOCOL, "no object"},
        {"no digest", xstrdup("{\"manifests\":[{\"size\":1}]}"), ERROR_PROTOCOL, "digest"},
        {"no size", xasprintf("{\"manifests\":[{\"digest\":\"%s\"}]}", a), ERROR_PROTOCOL,
         "no size"},
        {"a digest that is a path",
         xstrdup("{\"manifests\":[{\"size\":1,\"digest\":\"sha256:../../x\"}]}"), ERROR_PROTOCOL,
         "digest"},
        {"another size", xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":7}]}", a),
         ERROR_DIGEST, "is said to have 7"},
        {"another spelling", xasprintf("{\"manifests\":[{\"Digest\":\"%s\",\"size\":7}]}", a),
         ERROR_PROTOCOL, ""},
        {"not there", layout_index(&f->b, ""), ERROR_PROTOCOL, "is not in the tar"},
        {"a config for a manifest",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":%zu}]}",
                   f->a.descriptors[0].digest.text, f->a.sizes[0]),
         ERROR_PROTOCOL, "index.json: manifest 1"},
        {"nothing but an artifact",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":1,\"mediaType\":\"text/plain\"}]}",
                   a),
         ERROR_PROTOCOL, "no image in it"},
        {"an alias that nothing proves",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":%zu,\"annotations\":{"
                   "\"dev.basewarm.alias.%s\":\"%s\"}}]}",
                   a, f->a.manifest_len, digest_hex(&f->b.digest), a),
         ERROR_PROTOCOL, "does not prove"},
        {"an alias of itself",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":%zu,\"annotations\":{"
                   "\"dev.basewarm.alias.%s\":\"%s\"}}]}",
                   a, f->a.manifest_len, hex, a),
         ERROR_PROTOCOL, "does not prove"},
        {"an alias of something else",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":%zu,\"annotations\":{"
                   "\"dev.basewarm.alias.%s\":\"%s\"}}]}",
                   a, f->a.manifest_len, hex, f->b.digest.text),
         ERROR_PROTOCOL, "stands for nothing"},
        {"an alias that is no digest",
         xasprintf("{\"manifests\":[{\"digest\":\"%s\",\"size\":%zu,\"annotations\":{"
                   "\"dev.basewarm.alias.../x\":\"%s\"}}]}",
                   a, f->a.manifest_len, a),
         ERROR_PROTOCOL, "an alias"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0};
        tar_add_index(&tar, rows[i].index);
        tar_add_image(&tar, &f->a);
        tar_add_end(&tar);
        refuse(f, rows[i].what, &tar, rows[i].kind, rows[i].says);
        free(rows[i].index);
    }
}

static void test_blobs(void **state)
{
    struct fixture *f = *state;
    cleanup_free char *index = layout_index(&f->a, "");
    /* Each blob of it once missing, and once another than its name says. */
    for (size_t victim = 0; victim <= f->a.count; victim++)
        for (int lie = 0; lie < 2; lie++) {
            cleanup_bytes struct bytes tar = {0};
            tar_add_index(&tar, index);
            for (size_t i = 0; i <= f->a.count; i++) {
                const struct digest *digest =
                    i == f->a.count ? &f->a.digest : &f->a.descriptors[i].digest;
                const char *content = i == f->a.count ? f->a.manifest : f->a.blobs[i];
                if (i != victim)
                    tar_add_blob(&tar, digest, content);
                else if (lie)
                    tar_add_blob(&tar, digest, "something else");
            }
            tar_add_end(&tar);
            refuse(f, lie ? "a lie" : "a blob less", &tar, lie ? ERROR_DIGEST : ERROR_PROTOCOL,
                   lie ? "it holds sha256:" : "in the tar");
        }
    /* One that nobody asks for lies, too. */
    cleanup_bytes struct bytes tar = {0};
    add_layout(&tar, f);
    tar_add_blob(&tar, &f->b.digest, "something else");
    tar_add_end(&tar);
    refuse(f, "a lie beside", &tar, ERROR_DIGEST, "it holds sha256:");
}

/* Names: what the tar says, as far as it can be so. */
static void test_names(void **state)
{
    static const struct {
        const char *annotations, *name, *says;
    } rows[] = {
        {"\"org.opencontainers.image.ref.name\":\"one:1\"", "docker.io/library/one:1", NULL},
        {"\"org.opencontainers.image.ref.name\":\"latest\"", NULL, "no full name"},
        {"\"org.opencontainers.image.ref.name\":\"A b:\\u001b[1m\"", NULL, "a space in it"},
        {"\"org.opencontainers.image.ref.name\":\"1\",\"io.containerd.image.name\":\"r.example/"
         "two:1\"",
         "r.example/two:1", NULL},
        {"\"org.opencontainers.image.ref.name\":\"one@sha256:"
         "0000000000000000000000000000000000000000000000000000000000000000\"",
         NULL, "does not prove"},
        {"\"org.opencontainers.image.ref.name\":5", NULL, NULL},
        {"\"x\":\"y\"", NULL, NULL},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0};
        cleanup_free char *index = layout_index(&f->a, rows[i].annotations), *said = NULL;
        struct cachedir_import_result result;
        struct cachedir_name *names;
        size_t count;
        int64_t freed;
        struct error err = {0};
        tar_add_index(&tar, index);
        tar_add_image(&tar, &f->a);
        tar_add_end(&tar);
        assert_ok(import_with(f, &tar, NULL, &said, &result, &err));
        assert_ok(cachedir_names(f->cd, &names, &count, &err));
        if (count != (rows[i].name != NULL) ||
            (count > 0 && strcmp(names[0].reference, rows[i].name) != 0))
            fail_msg("row %zu: %zu names, %s", i, count, count ? names[0].reference : "");
        if (!said != !rows[i].says || (said && !strstr(said, rows[i].says)))
            fail_msg("row %zu: said \"%s\"", i, said ? said : "");
        cachedir_names_free(names, count);
        assert_ok(cachedir_remove(f->cd, &f->a.digest, &freed, &err));
        reopen(f);
    }
}

/* ---- docker-archives ---- */

static void test_docker(void **state)
{
    struct fixture *f = *state;
    struct docker_tar d;
    docker_tar_make(&d);
    const char *const id = d.digest.text;
    const struct {
        const char *what;
        char *json;
        enum error_kind kind;
        const char *says;
    } rows[] = {
        {"no list", xstrdup("{}"), ERROR_PROTOCOL, "not a JSON array"},
        {"no images", xstrdup("[]"), ERROR_PROTOCOL, "no image in it"},
        {"no config", xstrdup("[{\"Layers\":[]}]"), ERROR_PROTOCOL, "\"Config\" is missing"},
        {"a config that is not there", xstrdup("[{\"Config\":\"x\",\"Layers\":[\"l\"]}]"),
         ERROR_PROTOCOL, "the config \"x\" is not in the tar"},
        {"a config outside", xstrdup("[{\"Config\":\"../../etc/passwd\",\"Layers\":[\"l\"]}]"),
         ERROR_PROTOCOL, "is not in the tar"},
        {"a layer that is not there",
         xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"m\"]}]", d.config_name), ERROR_PROTOCOL,
         "the layer \"m\" is not in the tar"},
        {"a layer less", xasprintf("[{\"Config\":\"%s\",\"Layers\":[]}]", d.config_name),
         ERROR_PROTOCOL, "1 diff IDs for 0 layers"},
        {"a layer more", xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"l\",\"l\"]}]", d.config_name),
         ERROR_PROTOCOL, "1 diff IDs for 2 layers"},
        {"another layer",
         xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"manifest.json\"]}]", d.config_name),
         ERROR_PROTOCOL, "layer 1: it is no tar"},
        {"the layer for a config", xstrdup("[{\"Config\":\"l\",\"Layers\":[\"l\"]}]"),
         ERROR_PROTOCOL, "image 1"},
        {"LayerSources with another size",
         xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"l\"],\"LayerSources\":{\"%s\":{\"mediaType\":"
                   "\"x\",\"size\":1,\"digest\":\"%s\"}}}]",
                   d.config_name, id, id),
         ERROR_DIGEST, "LayerSources says"},
        {"LayerSources with another digest",
         xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"l\"],\"LayerSources\":{\"%s\":{\"mediaType\":"
                   "\"x\",\"size\":%zu,\"digest\":\"%s\"}}}]",
                   d.config_name, id, d.layer.len, f->a.digest.text),
         ERROR_DIGEST, "LayerSources says"},
        {"one good image, one bad",
         xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"l\"]},{\"Config\":\"x\"}]", d.config_name),
         ERROR_PROTOCOL, "image 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_bytes struct bytes tar = {0};
        tar_add_docker(&tar, &d, "l", rows[i].json);
        refuse(f, rows[i].what, &tar, rows[i].kind, rows[i].says);
        free(rows[i].json);
    }
    docker_tar_free(&d);
}

/* The config's own name, and its diff ID, are promises, too. */
static void test_docker_promises(void **state)
{
    struct fixture *f = *state;
    struct docker_tar d;
    docker_tar_make(&d);
    cleanup_bytes struct bytes tar = {0}, other = {0};
    cleanup_free char *json = xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"l\"]}]", d.config_name);
    cleanup_free char *config = xasprintf("%s ", d.config);
    free(d.config);
    d.config = take_ptr(config);
    tar_add_docker(&tar, &d, "l", json);
    refuse(f, "another config", &tar, ERROR_DIGEST, "and its name says");
    docker_tar_free(&d);
    docker_tar_make(&d);
    d.layer.data[0] = 'x'; /* of the first member's name: a tar no more, or another */
    tar_add_docker(&other, &d, "l", json);
    refuse(f, "another layer", &other, ERROR_PROTOCOL, "layer 1");
    docker_tar_free(&d);
}

/* Links lead to what they name, and nowhere else. */
static void test_links(void **state)
{
    static const struct {
        const char *name, *target, *layer;
        bool taken;
    } rows[] = {
        {"id/layer.tar", "../l", "id/layer.tar", true},
        {"id/layer.tar", "../x/../l", "id/layer.tar", true},
        {"again", "l", "./again", true},
        {"round", "round", "round", false},
        {"nowhere", "m", "nowhere", false},
    };
    struct fixture *f = *state;
    struct docker_tar d;
    docker_tar_make(&d);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct test_tar *t = test_tar_new("pax");
        cleanup_bytes struct bytes tar = {0};
        cleanup_error struct error err = {0};
        struct cachedir_import_result result;
        cleanup_free char *json =
            xasprintf("[{\"Config\":\"%s\",\"Layers\":[\"%s\"]}]", d.config_name, rows[i].layer);
        test_tar_add_link(t, rows[i].name, rows[i].target);
        test_tar_add(t, "l", d.layer.data, d.layer.len);
        test_tar_add(t, d.config_name, d.config, strlen(d.config));
        test_tar_add(t, "manifest.json", json, strlen(json));
        tar.data = test_tar_end(t, &tar.len);
        int r = import_with(f, &tar, NULL, NULL, &result, &err);
        if ((r == 0) != rows[i].taken)
            fail_msg("row %zu: %d: %s", i, r, err.message ? err.message : "");
        assert_int_equal(count_problems(f), 0);
    }
    docker_tar_free(&d);
}

/* ---- limits ---- */

static void test_limits(void **state)
{
    struct fixture *f = *state;
    cleanup_bytes struct bytes one = {0}, many = {0}, zeros = {0}, bomb = {0}, packed = {0},
                               comment = {0};
    tar_add_header(&one, "d/", '5', 0);
    many.len = one.len * (SPOOL_MEMBERS_MAX + 1);
    many.data = xmalloc(many.len);
    for (size_t i = 0; i <= SPOOL_MEMBERS_MAX; i++)
        memcpy(many.data + i * one.len, one.data, one.len);
    refuse(f, "too many members", &many, ERROR_PROTOCOL, "a tar with more than");

    bytes_add_zeros(&zeros, (size_t)64 << 20);
    tar_add_member(&bomb, "zeros", '0', zeros.data, zeros.len);
    tar_add_end(&bomb);
    zstd_add(&packed, bomb.data, bomb.len, 20);
    refuse(f, "a bomb", &packed, ERROR_PROTOCOL, "more than 1000 times its size");

    /* A comment of 6 MB before a member. */
    tar_add_header(&comment, "c", 'x', (size_t)6 << 20);
    cleanup_free char *record = xasprintf("%d comment=", 6 << 20);
    bytes_add(&comment, record, strlen(record));
    bytes_add_zeros(&comment, ((size_t)6 << 20) - strlen(record) - 1);
    bytes_add(&comment, "\n", 1);
    tar_add_file(&comment, "index.json", "{}");
    tar_add_end(&comment);
    refuse(f, "a long header", &comment, ERROR_PROTOCOL, "");

    const struct bytes none = {0};
    refuse(f, "nothing", &none, ERROR_PROTOCOL, "the input is empty");
}

static void test_not_for_the_format(void **state)
{
    struct fixture *f = *state;
    static const char *const layers[] = {"plain", "\x1f\x8b packed"};
    struct test_image mixed;
    test_image_make(&mixed, "amd64", layers, 2, false);
    /* As its media types say it: the first layer is plain. */
    char *type = strstr(mixed.manifest, "layer.v1.tar+gzip");
    assert_non_null(type);
    memmove(type + strlen("layer.v1.tar"), type + strlen("layer.v1.tar+gzip"),
            strlen(type + strlen("layer.v1.tar+gzip")) + 1);
    mixed.manifest_len = strlen(mixed.manifest);
    digest_of(mixed.manifest, mixed.manifest_len, &mixed.digest);
    cleanup_bytes struct bytes tar = {0};
    cleanup_free char *index = layout_index(&mixed, "");
    tar_add_index(&tar, index);
    tar_add_image(&tar, &mixed);
    tar_add_end(&tar);
    refuse(f, "mixed", &tar, ERROR_PROTOCOL, "only format oci can hold it");
    test_image_free(&mixed);
}

/* ---- names of members ---- */

static void test_member_names(void **state)
{
    static const struct {
        const char *base, *name, *want;
    } rows[] = {
        {"", "a", "a"},         {"", "./a//b/./c/", "a/b/c"},
        {"", "", ""},           {"", ".", ""},
        {"", "a/../b", "b"},    {"", "..", NULL},
        {"", "a/../..", NULL},  {"", "/a", NULL},
        {"a", "../b", "b"},     {"a/b", "../../c", "c"},
        {"a", "../../b", NULL}, {"a", "/b", NULL},
        {"", "...", "..."},     {"", "a/..b", "a/..b"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *got = spool_name(rows[i].base, rows[i].name);
        if (!got != !rows[i].want || (got && strcmp(got, rows[i].want) != 0))
            fail_msg("\"%s\" from \"%s\": %s", rows[i].name, rows[i].base, got ? got : "NULL");
    }
}

#define WITH_CACHE(test) cmocka_unit_test_setup_teardown(test, archives_setup, archives_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CACHE(test_members),
        WITH_CACHE(test_cut),
        WITH_CACHE(test_layout),
        WITH_CACHE(test_blobs),
        WITH_CACHE(test_names),
        WITH_CACHE(test_docker),
        WITH_CACHE(test_docker_promises),
        WITH_CACHE(test_links),
        WITH_CACHE(test_limits),
        WITH_CACHE(test_not_for_the_format),
        cmocka_unit_test(test_member_names),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
