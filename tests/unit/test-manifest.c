#include "cachedir/manifest.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define HEX_A "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define HEX_B "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
#define HEX_A_TAIL "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
#define OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"

#define TYPE(t) "\"mediaType\":\"" t "\","
#define DESCRIPTOR(type, hex, more)                                                                \
    "{\"mediaType\":\"" type "\",\"size\":7,\"digest\":\"sha256:" hex "\"" more "}"
#define CONFIG(type) "\"config\":" DESCRIPTOR(type, HEX_A, "")
#define LAYERS "\"layers\":[" DESCRIPTOR("x/y", HEX_B, "") "]"
#define IMAGE(type, config) "{\"schemaVersion\":2," type CONFIG(config) "," LAYERS "}"
#define INDEX(type, children) "{\"schemaVersion\":2," type "\"manifests\":[" children "]}"
#define CHILD(hex, more) DESCRIPTOR(MEDIA_OCI_MANIFEST, hex, more)
#define ON(os, arch, more) ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"" more "}"

static struct manifest parse(const char *text)
{
    struct manifest m = {0};
    struct error err = {0};
    if (manifest_parse(text, strlen(text), NULL, &m, NULL, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return m;
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *body, *header, *media_type; /* media_type NULL: refused */
        bool contradicts;
    } rows[] = {
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG), NULL, MEDIA_OCI_MANIFEST, false},
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG), MEDIA_OCI_MANIFEST, MEDIA_OCI_MANIFEST,
         false},
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG), "text/plain", MEDIA_OCI_MANIFEST, false},
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG), MEDIA_DOCKER_MANIFEST, MEDIA_OCI_MANIFEST,
         true},
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG), MEDIA_OCI_INDEX, MEDIA_OCI_MANIFEST, true},
        {IMAGE(TYPE(MEDIA_DOCKER_MANIFEST), DOCKER_CONFIG), NULL, MEDIA_DOCKER_MANIFEST, false},
        {IMAGE(TYPE(MEDIA_DOCKER_MANIFEST), OCI_CONFIG), NULL, MEDIA_DOCKER_MANIFEST, false},
        {IMAGE(TYPE(MEDIA_OCI_MANIFEST), DOCKER_CONFIG), NULL, MEDIA_OCI_MANIFEST, false},
        /* no type in the body: the header's, its parameters and case ignored */
        {IMAGE("", OCI_CONFIG), MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_MANIFEST, false},
        {IMAGE("", DOCKER_CONFIG), MEDIA_OCI_MANIFEST, MEDIA_OCI_MANIFEST, false},
        {IMAGE("", OCI_CONFIG), MEDIA_DOCKER_MANIFEST "; charset=utf-8", MEDIA_DOCKER_MANIFEST,
         false},
        {IMAGE("", OCI_CONFIG), " " MEDIA_DOCKER_MANIFEST " ;x", MEDIA_DOCKER_MANIFEST, false},
        {IMAGE("", OCI_CONFIG), "Application/VND.docker.distribution.manifest.V2+JSON",
         MEDIA_DOCKER_MANIFEST, false},
        {IMAGE(TYPE(""), OCI_CONFIG), MEDIA_DOCKER_MANIFEST, MEDIA_DOCKER_MANIFEST, false},
        {IMAGE("\"mediaType\":null,", OCI_CONFIG), MEDIA_OCI_MANIFEST, MEDIA_OCI_MANIFEST, false},
        /* nobody says: the shape's */
        {IMAGE("", OCI_CONFIG), NULL, MEDIA_OCI_MANIFEST, false},
        {IMAGE("", OCI_CONFIG), "application/json", MEDIA_OCI_MANIFEST, false},
        {IMAGE("", OCI_CONFIG), "", MEDIA_OCI_MANIFEST, false},
        {IMAGE("", DOCKER_CONFIG), "text/plain", MEDIA_DOCKER_MANIFEST, false},
        {INDEX("", ""), NULL, MEDIA_OCI_INDEX, false},
        {"{" CONFIG(OCI_CONFIG) "," LAYERS "}", NULL, MEDIA_OCI_MANIFEST, false},
        {INDEX(TYPE(MEDIA_OCI_INDEX), ""), NULL, MEDIA_OCI_INDEX, false},
        {INDEX(TYPE(MEDIA_DOCKER_LIST), ""), MEDIA_DOCKER_LIST, MEDIA_DOCKER_LIST, false},
        {INDEX("", ""), MEDIA_DOCKER_LIST, MEDIA_DOCKER_LIST, false},
        {INDEX(TYPE(MEDIA_DOCKER_LIST), ""), MEDIA_OCI_INDEX, MEDIA_DOCKER_LIST, true},
        /* said, and not so */
        {INDEX("", ""), MEDIA_OCI_MANIFEST, NULL, false},
        {IMAGE("", OCI_CONFIG), MEDIA_OCI_INDEX, NULL, false},
        {IMAGE("", OCI_CONFIG), "application/vnd.docker.distribution.manifest.v1+prettyjws", NULL,
         false},
        {IMAGE("", OCI_CONFIG), "application/vnd.docker.distribution.manifest.v1+json", NULL,
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct manifest m = {0};
        struct error err = {0};
        bool contradicts = !rows[i].contradicts;
        int r = manifest_parse(rows[i].body, strlen(rows[i].body), rows[i].header, &m, &contradicts,
                               &err);
        if (!rows[i].media_type) {
            assert_int_equal(r, -1);
            assert_int_equal(err.kind, ERROR_PROTOCOL);
            error_clear(&err);
            continue;
        }
        if (r < 0)
            fail_msg("row %zu: %s", i, err.message);
        if (strcmp(m.media_type, rows[i].media_type) != 0 || contradicts != rows[i].contradicts)
            fail_msg("row %zu: %s, contradicts %d", i, m.media_type, contradicts);
        assert_int_equal(m.kind,
                         media_type_is_index(m.media_type) ? MANIFEST_INDEX : MANIFEST_IMAGE);
        manifest_release(&m);
        manifest_release(&m);
    }
    manifest_release(NULL);
    assert_true(media_type_is_index(MEDIA_DOCKER_LIST) && media_type_is_index(MEDIA_OCI_INDEX));
    assert_true(media_type_is_image(MEDIA_DOCKER_MANIFEST));
    assert_true(media_type_is_image(MEDIA_OCI_MANIFEST));
    assert_false(media_type_is_index("") || media_type_is_image(""));
    assert_false(media_type_is_index(MEDIA_OCI_MANIFEST) || media_type_is_image(MEDIA_OCI_INDEX));
}

static void test_image(void **state)
{
    (void)state;
    struct manifest m =
        parse("{\"schemaVersion\":2," TYPE(MEDIA_OCI_MANIFEST)
                  CONFIG(OCI_CONFIG) ",\"layers\":[" DESCRIPTOR("a/b", HEX_B, "") "," DESCRIPTOR(
                      "", HEX_A, "") "," DESCRIPTOR("foreign", HEX_B,
                                                    ",\"urls\":[\"https://a/\",\"https://b/"
                                                    "\"]") ",{\"size\":4398046511104,"
                                                           "\"digest\":\"sha256:" HEX_A "\"}]}");
    assert_int_equal(m.kind, MANIFEST_IMAGE);
    assert_string_equal(m.config.media_type, OCI_CONFIG);
    assert_string_equal(m.config.digest.text, "sha256:" HEX_A);
    assert_int_equal(m.config.size, 7);
    assert_null(m.config.data);
    assert_int_equal(m.layer_count, 4);
    assert_string_equal(m.layers[0].media_type, "a/b");
    assert_string_equal(m.layers[1].media_type, "");
    assert_string_equal(m.layers[1].digest.text, "sha256:" HEX_A);
    assert_int_equal(m.layers[2].url_count, 2);
    assert_string_equal(m.layers[2].urls[1], "https://b/");
    assert_string_equal(m.layers[3].media_type, "");
    assert_int_equal(m.layers[3].size, DESCRIPTOR_SIZE_MAX);
    struct descriptor copy;
    descriptor_copy(&copy, &m.layers[2]);
    assert_int_equal(copy.url_count, 2);
    assert_string_equal(copy.urls[0], "https://a/");
    assert_true(digest_equal(&copy.digest, &m.layers[2].digest));
    descriptor_release(&copy);
    descriptor_release(&copy);
    descriptor_release(NULL);
    manifest_release(&m);

    /* No layers, in the three ways in which encoders say it. */
    static const char *const none[] = {"", ",\"layers\":null", ",\"layers\":[]"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        cleanup_free char *text = xasprintf("{\"schemaVersion\":2,%s%s%s}",
                                            TYPE(MEDIA_OCI_MANIFEST), CONFIG(OCI_CONFIG), none[i]);
        m = parse(text);
        assert_int_equal(m.layer_count, 0);
        manifest_release(&m);
    }
}

/* What Docker's own clients once called a config: an image in their manifests, nothing in OCI's. */
static void test_config_types(void **state)
{
    (void)state;
    static const char *const types[] = {"application/octet-stream", "application/json", "text/html",
                                        ""};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (int oci = 0; oci < 2; oci++) {
            for (int artifact = 0; artifact < 2; artifact++) {
                cleanup_free char *text = xasprintf(
                    "{%s%s\"config\":{\"mediaType\":\"%s\",\"size\":7,\"digest\":\"sha256:%s\"}}",
                    oci ? TYPE(MEDIA_OCI_MANIFEST) : TYPE(MEDIA_DOCKER_MANIFEST),
                    artifact ? "\"artifactType\":\"a/b\"," : "", types[i], HEX_A);
                struct manifest m = {0};
                struct error err = {0};
                int r = manifest_parse(text, strlen(text), NULL, &m, NULL, &err);
                assert_int_equal(r, oci || artifact ? -1 : 0);
                if (r < 0)
                    assert_non_null(strstr(err.message, artifact || types[i][0]
                                                            ? "artifact of type"
                                                            : "media type is missing"));
                error_clear(&err);
                manifest_release(&m);
            }
        }
    }
    /* An artifactType does not make an artifact of an image. */
    struct manifest m = parse(IMAGE("\"artifactType\":\"a/b\",", OCI_CONFIG));
    assert_int_equal(m.layer_count, 1);
    manifest_release(&m);
}

static void test_data(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        int size;
        const char *want; /* NULL: left out, because of its size */
    } rows[] = {
        {"", 0, ""},        {"YQ==", 1, "a"},        {"YWI=", 2, "ab"},
        {"YWJj", 3, "abc"}, {"YWJjZA==", 4, "abcd"}, {"YWJj", 2, NULL},
        {"YWJj", 4, NULL},  {"", 3, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *text =
            xasprintf("{%s\"manifests\":[{\"size\":%d,\"data\":\"%s\",\"digest\":\"sha256:%s\"}]}",
                      TYPE(MEDIA_OCI_INDEX), rows[i].size, rows[i].data, HEX_A);
        struct manifest m = parse(text);
        struct descriptor copy;
        descriptor_copy(&copy, &m.children[0]);
        if (rows[i].want) {
            assert_non_null(copy.data);
            assert_memory_equal(m.children[0].data, rows[i].want, (size_t)rows[i].size);
            assert_memory_equal(copy.data, rows[i].want, (size_t)rows[i].size);
        } else {
            assert_null(m.children[0].data);
            assert_null(copy.data);
        }
        descriptor_release(&copy);
        manifest_release(&m);
    }
}

static void test_select(void **state)
{
    (void)state;
    struct manifest m = parse(
        INDEX(TYPE(MEDIA_OCI_INDEX),                                                            //
              CHILD("00" HEX_A_TAIL, ON("unknown", "unknown", ""))                              //
              "," CHILD("01" HEX_A_TAIL, ON("linux", "arm", ",\"variant\":\"v6\""))             //
              "," CHILD("02" HEX_A_TAIL, ON("linux", "arm", ",\"variant\":\"v7\""))             //
              "," CHILD("03" HEX_A_TAIL, "")                                                    //
              "," CHILD("04" HEX_A_TAIL, ON("linux", "amd64", ""))                              //
              "," CHILD("05" HEX_A_TAIL, ON("windows", "amd64", ",\"os.version\":\"10.0.1\""))  //
              "," CHILD("06" HEX_A_TAIL, ON("windows", "amd64", ",\"os.version\":\"10.0.2\""))  //
              "," CHILD("07" HEX_A_TAIL, ON("linux", "arm64", ",\"variant\":\"v8\",\"x\":[1]")) //
              "," CHILD("08" HEX_A_TAIL, ",\"platform\":{}")                                    //
              "," CHILD("09" HEX_A_TAIL, ",\"platform\":null,\"data\":null,\"urls\":null")      //
              "," CHILD("10" HEX_A_TAIL, ON("linux", "arm64", ",\"variant\":\"v8\""))));
    static const struct {
        const char *platform;
        int child; /* -1: none */
    } rows[] = {
        {"linux/arm", 1},       {"linux/arm/v7", 2},         {"linux/arm/v5", -1},
        {"linux/amd64", 3}, /* without a platform, and the first */
        {"linux/amd64/v2", -1}, {"linux/arm64", 7},          {"linux/arm64/v8", 7},
        {"windows/amd64", 5},   {"windows/amd64:10.0.2", 6}, {"windows/amd64:10.0.3", -1},
        {"linux/s390x", -1},    {"unknown/unknown", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_platform struct platform want = {0};
        assert_int_equal(platform_parse(rows[i].platform, &want, NULL), 0);
        const struct descriptor *child = manifest_select(&m, &want);
        long at = child ? (long)(child - m.children) : -1;
        if (at != rows[i].child)
            fail_msg("%s: child %ld", rows[i].platform, at);
    }
    cleanup_free char *all = manifest_platforms(&m);
    assert_string_equal(all, "linux/arm/v6, linux/arm/v7, linux/amd64, windows/amd64:10.0.1, "
                             "windows/amd64:10.0.2, linux/arm64/v8");
    manifest_release(&m);
}

static void test_platforms(void **state)
{
    (void)state;
    struct manifest m = parse(INDEX("", CHILD(HEX_A, ON("unknown", "unknown", ""))));
    cleanup_free char *nothing = manifest_platforms(&m);
    assert_string_equal(nothing, "");
    manifest_release(&m);

    m = parse(INDEX("", CHILD(HEX_A, ON("\\u001b[2J", "\\u202e", ""))));
    cleanup_free char *escaped = manifest_platforms(&m);
    assert_string_equal(escaped, "\\x1b[2J/\\xe2\\x80\\xae");
    manifest_release(&m);

    cleanup_free char *children = xstrdup(CHILD(HEX_A, ""));
    for (int i = 0; i < 100; i++) {
        cleanup_free char *before = take_ptr(children);
        children = xasprintf("%s,%s%d%s", before,
                             "{\"size\":1,\"digest\":\"sha256:" HEX_A "\",\"platform\":{\"os\":\"o",
                             i, "\",\"architecture\":\"a\"}}");
    }
    cleanup_free char *text = xasprintf("{\"manifests\":[%s]}", children);
    m = parse(text);
    cleanup_free char *many = manifest_platforms(&m);
    assert_int_equal(strlen(many), TEXT_FOREIGN_MAX);
    assert_string_equal(many + TEXT_FOREIGN_MAX - 3, "...");
    manifest_release(&m);
}

/* The message names the culprit. */
static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
    } rows[] = {
        {"{", "not valid JSON"},
        {"{\"schemaVersion\":1}", "rebuild"},
        {IMAGE(TYPE("application/vnd.docker.distribution.manifest.v1+json"), OCI_CONFIG),
         "rebuild"},
        {IMAGE("\"artifactType\":\"application/x.sbom\",", "application/vnd.oci.empty.v1+json"),
         "an artifact of type \"application/x.sbom\", not an image"},
        {IMAGE("", "application/vnd.cncf.helm.config.v1+json"),
         "an artifact of type \"application/vnd.cncf.helm.config.v1+json\", not an image"},
        {IMAGE("", "\\u001b[2J"), "\\x1b[2J"},
        {IMAGE(TYPE("a\\nb"), OCI_CONFIG), "\"a b\""},
        {"{\"manifests\":[" CHILD(HEX_A, "") ",{}]}", "manifest 2: the digest is missing"},
        {"{" CONFIG(OCI_CONFIG) ",\"layers\":[{\"digest\":\"sha256:" HEX_A "\",\"size\":-1}]}",
         "layer 1: the size -1 is not between"},
        {"{\"config\":{\"digest\":\"x\"}}", "config: bad digest \"x\""},
        {"{" CONFIG(OCI_CONFIG) ",\"manifests\":[]}", "both"},
        {"{" CONFIG(OCI_CONFIG) ",\"Layers\":[]}", "\"layers\" is spelled \"Layers\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct manifest m = {0};
        struct error err = {0};
        if (manifest_parse(rows[i].body, strlen(rows[i].body), NULL, &m, NULL, &err) == 0)
            fail_msg("accepted: %s", rows[i].body);
        assert_int_equal(err.kind, ERROR_PROTOCOL);
        if (!strstr(err.message, rows[i].message))
            fail_msg("\"%s\" lacks \"%s\"", err.message, rows[i].message);
        assert_int_equal(m.kind, 0);
        error_clear(&err);
        assert_int_equal(manifest_parse(rows[i].body, strlen(rows[i].body), NULL, &m, NULL, NULL),
                         -1);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const char body[] = IMAGE(TYPE(MEDIA_OCI_MANIFEST), OCI_CONFIG);
    cleanup_free char *padded = xmalloc(MANIFEST_SIZE_MAX + 1);
    memset(padded, ' ', MANIFEST_SIZE_MAX + 1);
    memcpy(padded, body, sizeof body - 1);
    struct manifest m = {0};
    struct error err = {0};
    assert_int_equal(manifest_parse(padded, MANIFEST_SIZE_MAX, NULL, &m, NULL, &err), 0);
    manifest_release(&m);
    assert_int_equal(manifest_parse(padded, MANIFEST_SIZE_MAX + 1, NULL, &m, NULL, &err), -1);
    assert_non_null(strstr(err.message, "larger than 4194304"));
    error_clear(&err);
}

/* `count` descriptors in a row; the last one is accepted, one more is not. */
static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        size_t max;
        const char *message;
    } rows[] = {
        {"{" CONFIG(OCI_CONFIG) ",\"layers\":[", MANIFEST_LAYERS_MAX, "4097 layers are more"},
        {"{\"manifests\":[", INDEX_CHILDREN_MAX, "4097 manifests are more"},
    };
    static const char one[] = "{\"size\":1,\"digest\":\"sha256:" HEX_A "\"},";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t count = rows[i].max; count <= rows[i].max + 1; count++) {
            size_t head = strlen(rows[i].head), len = head + count * (sizeof one - 1);
            cleanup_free char *text = xmalloc(len + 2);
            memcpy(text, rows[i].head, head);
            for (size_t n = 0; n < count; n++)
                memcpy(text + head + n * (sizeof one - 1), one, sizeof one - 1);
            text[len - 1] = ']'; /* over the last comma */
            memcpy(text + len, "}", 2);
            struct manifest m = {0};
            cleanup_error struct error err = {0};
            int r = manifest_parse(text, len + 1, NULL, &m, NULL, &err);
            assert_int_equal(r, count > rows[i].max ? -1 : 0);
            if (r < 0)
                assert_non_null(strstr(err.message, rows[i].message));
            else
                assert_int_equal(m.layer_count + m.child_count, count);
            manifest_release(&m);
        }
    }
}

static void test_config_platform(void **state)
{
    (void)state;
    static const struct {
        const char *body, *platform; /* NULL: refused */
    } rows[] = {
        {"{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{}}", "linux/amd64"},
        {"{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}", "linux/arm64/v8"},
        {"{\"os\":\"windows\",\"architecture\":\"amd64\",\"os.version\":\"10.0\",\"variant\":null}",
         "windows/amd64:10.0"},
        {"{}", NULL},
        {"{\"os\":\"linux\"}", NULL},
        {"{\"architecture\":\"amd64\"}", NULL},
        {"{\"os\":\"\",\"architecture\":\"amd64\"}", NULL},
        {"{\"os\":1,\"architecture\":\"amd64\"}", NULL},
        {"{\"os\":\"linux\",\"architecture\":\"amd64\",\"variant\":8}", NULL},
        {"[]", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_platform struct platform p = {0};
        cleanup_error struct error err = {0};
        int r = config_platform(rows[i].body, strlen(rows[i].body), &p, &err);
        if (!rows[i].platform) {
            assert_int_equal(r, -1);
            assert_int_equal(err.kind, ERROR_PROTOCOL);
            assert_non_null(strstr(err.message, "the image's config"));
            assert_null(p.os);
            continue;
        }
        if (r < 0)
            fail_msg("row %zu: %s", i, err.message);
        cleanup_free char *text = platform_format(&p);
        assert_string_equal(text, rows[i].platform);
    }
}

static void check_refused(const char *file, const char *bytes, size_t len)
{
    struct manifest m = {0};
    struct error err = {0};
    if (manifest_parse(bytes, len, NULL, &m, NULL, &err) == 0)
        fail_msg("%s was accepted", file);
    assert_int_equal(err.kind, ERROR_PROTOCOL);
    assert_true(strlen(err.message) > 0);
    error_clear(&err);
}

static void test_corpus(void **state)
{
    (void)state;
    corpus_each("manifest/refused", check_refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),        cmocka_unit_test(test_image),
        cmocka_unit_test(test_config_types), cmocka_unit_test(test_data),
        cmocka_unit_test(test_select),       cmocka_unit_test(test_platforms),
        cmocka_unit_test(test_messages),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_counts),       cmocka_unit_test(test_config_platform),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
