/* verify --deep: layers of whole images in a directory, and what their configs say of them. */
#include "image.h"
#include "layers.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/layer.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool says(const char *text, const char *want)
{
    return want ? text && strstr(text, want) : !text;
}

/* ---- what configs say ---- */

static void test_diff_ids(void **state)
{
    (void)state;
#define D "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\""
    static const struct {
        const char *config;
        size_t count;
        const char *problem;
    } configs[] = {
        {"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" D "," D "]}}", 2, NULL},
        {"{\"rootfs\":{\"diff_ids\":[]}}", 0, NULL},
        {"{}", 0, "names no diff IDs"},
        {"{\"rootfs\":{\"diff_ids\":null}}", 0, "names no diff IDs"},
        {"{\"rootfs\":[" D "]}", 0, "names no diff IDs"},
        {"{\"rootfs\":{\"diff_ids\":[" D ",1]}}", 0, "diff ID 2: the digest is missing"},
        {"{\"rootfs\":{\"diff_ids\":[\"md5:\\u001b\"]}}", 0, "diff ID 1: bad digest \"md5:\\x1b\""},
        {"[]", 0, "not a JSON object"},
        {"", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        cleanup_error struct error err = {0};
        cleanup_free struct digest *ids = NULL;
        size_t count = 0;
        int r = config_diff_ids(configs[i].config, strlen(configs[i].config), &ids, &count, &err);
        if (r != (configs[i].problem ? -1 : 0) || !says(err.message, configs[i].problem) ||
            count != configs[i].count)
            fail_msg("%s: %zu, %s", configs[i].config, count, err.message);
    }
}

/* ---- whole images ---- */

#define OCI_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"

struct part {
    const struct bytes *file;
    const struct bytes *said; /* the config's diff ID is its digest; NULL: of another algorithm */
    const char *media_type;
};

static void add_blob(struct test_image *image, const char *media_type, const char *bytes,
                     size_t len)
{
    size_t blobs = image->count, sizes = image->count;
    *array_add(image->blobs, blobs) = memcpy(xmalloc(len + 1), bytes, len);
    *array_add(image->sizes, sizes) = len;
    struct descriptor *d = array_add(image->descriptors, image->count);
    d->media_type = xstrdup(media_type);
    d->size = (int64_t)len;
    digest_of(bytes, len, &d->digest);
}

static json_t *descriptor_json(const struct descriptor *d)
{
    return json_pack("{s:s, s:s, s:I}", "mediaType", d->media_type, "digest", d->digest.text,
                     "size", (json_int_t)d->size);
}

/* `config`: instead of the one that the parts make. */
static void make_image(struct test_image *image, const char *config, const struct part *parts,
                       size_t count)
{
    json_t *ids = json_array(), *layers = json_array();
    *image = (struct test_image){0};
    for (size_t i = 0; i < count; i++) {
        struct digest id;
        cleanup_free char *other = xasprintf("sha512:%0128d", 0);
        if (parts[i].said)
            digest_of(parts[i].said->data, parts[i].said->len, &id);
        json_array_append_new(ids, json_string(parts[i].said ? id.text : other));
    }
    json_t *made = json_pack("{s:s, s:s, s:{s:s, s:o}}", "os", "linux", "architecture", "amd64",
                             "rootfs", "type", "layers", "diff_ids", ids);
    char *text = config ? xstrdup(config) : json_dumps(made, JSON_COMPACT);
    add_blob(image, "application/vnd.oci.image.config.v1+json", text, strlen(text));
    for (size_t i = 0; i < count; i++) {
        add_blob(image, parts[i].media_type ? parts[i].media_type : OCI_GZIP, parts[i].file->data,
                 parts[i].file->len);
        json_array_append_new(layers, descriptor_json(&image->descriptors[i + 1]));
    }
    json_t *manifest =
        json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST,
                  "config", descriptor_json(&image->descriptors[0]), "layers", layers);
    image->manifest = json_dumps(manifest, JSON_COMPACT);
    image->manifest_len = strlen(image->manifest);
    digest_of(image->manifest, image->manifest_len, &image->digest);
    json_decref(manifest);
    json_decref(made);
    free(text);
}

static struct fixture {
    char *path, *told, *noted; /* "where: what\n"... */
    struct cachedir *cd;
    struct bytes tar[2], file[2]; /* two good layers */
} f;

static int setup(void **state)
{
    (void)state;
    f = (struct fixture){.path = test_directory_make(), .told = xstrdup(""), .noted = xstrdup("")};
    tar_add_three(&f.tar[0]);
    gzip_add(&f.file[0], f.tar[0].data, f.tar[0].len);
    tar_add_large(&f.tar[1]);
    zstd_add(&f.file[1], f.tar[1].data, f.tar[1].len, 20);
    return cachedir_open(f.path, &(struct cachedir_options){.create = true}, &f.cd, NULL);
}

static int teardown(void **state)
{
    (void)state;
    cachedir_close(f.cd);
    test_directory_remove(f.path);
    for (size_t i = 0; i < 2; i++) {
        free(f.tar[i].data);
        free(f.file[i].data);
    }
    free(f.told);
    free(f.noted);
    return 0;
}

static struct digest warm(const char *config, const struct part *parts, size_t count)
{
    struct test_image image;
    struct error err = {0};
    make_image(&image, config, parts, count);
    if (test_image_warm(f.cd, &image, false, &err) < 0)
        fail_msg("warm: %s", err.message);
    struct digest digest = image.digest;
    test_image_free(&image);
    return digest;
}

static void append(char **text, const char *where, const char *what)
{
    char *longer = xasprintf("%s%s: %s\n", *text, where, what);
    free(*text);
    *text = longer;
}

static void remember(void *userdata, const char *where, const char *what)
{
    (void)userdata;
    append(&f.told, where, what);
}

static void remember_note(void *userdata, const char *where, const char *what)
{
    (void)userdata;
    append(&f.noted, where, what);
}

static struct cachedir_verify_result verify(bool deep)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    *f.told = *f.noted = '\0';
    if (cachedir_verify(f.cd,
                        &(struct cachedir_verify_options){.deep = deep, .note = remember_note},
                        remember, NULL, &result, &err) < 0)
        fail_msg("verify: %s", err.message);
    return result;
}

/* Only deep finds a problem: one, of this entry, that says this. */
static void expect_problem(const struct digest *entry, const char *what)
{
    assert_int_equal(verify(false).problems, 0);
    struct cachedir_verify_result result = verify(true);
    cleanup_free char *want = xasprintf("%s: %s", entry->text, what);
    if (result.problems != 1 || strncmp(f.told, want, strlen(want)) != 0)
        fail_msg("%zu problems, told:\n%s\nnot\n%s", result.problems, f.told, want);
}

static void test_good_images_pass(void **state)
{
    (void)state;
    const struct part both[] = {{&f.file[0], &f.tar[0]}, {&f.file[1], &f.tar[1]}};
    const struct part twice[] = {{&f.file[0], &f.tar[0]}, {&f.file[0], &f.tar[0]}};
    warm(NULL, both, 2);
    warm(NULL, both, 1);
    warm(NULL, twice, 2);
    struct cachedir_verify_result result = verify(true);
    assert_string_equal(f.told, "");
    assert_string_equal(f.noted, "");
    assert_int_equal(result.entries, 3);
    assert_int_equal(result.layers, 2); /* each once */
    assert_int_equal(result.unpacked, f.tar[0].len + f.tar[1].len);
    assert_int_equal(result.not_checked, 0);
    result = verify(false);
    assert_int_equal(result.layers, 0);
}

static void test_a_wrong_diff_id_is_the_entrys_problem(void **state)
{
    (void)state;
    const struct part good[] = {{&f.file[0], &f.tar[0]}, {&f.file[1], &f.tar[1]}};
    const struct part bad[] = {{&f.file[0], &f.tar[0]}, {&f.file[1], &f.tar[0]}};
    warm(NULL, good, 2);
    struct digest entry = warm(NULL, bad, 2);
    struct digest layer, is, said;
    char brief[DIGEST_SHORT_SIZE];
    digest_of(f.file[1].data, f.file[1].len, &layer);
    digest_of(f.tar[1].data, f.tar[1].len, &is);
    digest_of(f.tar[0].data, f.tar[0].len, &said);
    cleanup_free char *what = xasprintf("layer 2 (%s): it unpacks to %s, and the config says %s\n",
                                        digest_short(&layer, brief), is.text, said.text);
    expect_problem(&entry, what);
    assert_int_equal(verify(true).layers, 2);
}

static void test_the_same_layer_twice_with_two_diff_ids(void **state)
{
    (void)state;
    const struct part parts[] = {{&f.file[0], &f.tar[0]}, {&f.file[0], &f.tar[1]}};
    struct digest entry = warm(NULL, parts, 2);
    expect_problem(&entry, "layer 2 (");
}

static void test_a_damaged_tar(void **state)
{
    (void)state;
    cleanup_bytes struct bytes tar = {0}, file = {0};
    tar_add_three(&tar);
    bytes_add_noise(&tar, 1024);
    gzip_add(&file, tar.data, tar.len);
    struct digest entry = warm(NULL, &(struct part){&file, &tar}, 1);
    expect_problem(&entry, "layer 1 (");
    assert_non_null(strstr(f.told, "its tar is damaged"));
}

static void test_configs_that_say_nothing(void **state)
{
    (void)state;
    const struct part part = {&f.file[0], &f.tar[0]};
    const struct part other = {&f.file[0], NULL};
    struct digest entry = warm("{\"os\":\"linux\",\"architecture\":\"amd64\"}", &part, 1);
    expect_problem(&entry, "the image's config names no diff IDs");
    assert_int_equal(cachedir_remove(f.cd, &entry, &(int64_t){0}, NULL), 0);
    entry = warm("{\"os\":\"linux\",\"architecture\":\"arm64\",\"rootfs\":{\"diff_ids\":[]}}",
                 &part, 1);
    expect_problem(&entry, "the config names 0 diff IDs for 1 layers");
    assert_int_equal(verify(true).layers, 1); /* read all the same */
    assert_int_equal(cachedir_remove(f.cd, &entry, &(int64_t){0}, NULL), 0);

    warm(NULL, &other, 1);
    assert_int_equal(verify(true).problems, 0);
    assert_non_null(strstr(f.noted, "was not compared: the config's diff ID is no sha256"));
    assert_int_equal(verify(true).not_checked, 1);
}

static void test_what_cannot_be_unpacked(void **state)
{
    (void)state;
    cleanup_bytes struct bytes tar = {0}, file = {0};
    tar_add_three(&tar);
    zstd_add(&file, tar.data, tar.len, 28);
    const struct part large = {&file, &tar};
    const struct part foreign = {&f.file[0], &f.tar[1],
                                 "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\033"};
    warm(NULL, &large, 1);
    warm(NULL, &foreign, 1);
    warm("{\"made by\":\"another tool\"}", &foreign, 1); /* an artifact */
    struct cachedir_verify_result result = verify(true);
    assert_string_equal(f.told, "");
    assert_int_equal(result.layers, 0);
    assert_int_equal(result.not_checked, 2);
    assert_non_null(strstr(f.noted, "was not unpacked: zstd frame 1 wants more than 131072 KiB"));
    assert_non_null(strstr(f.noted, "its media type is \"application/vnd.docker.image.rootfs"
                                    ".foreign.diff.tar.gzip\\x1b\""));
    /* To another entry the same file is an ordinary layer. */
    warm(NULL, &(struct part){&f.file[0], &f.tar[0]}, 1);
    result = verify(true);
    assert_int_equal(result.layers, 1);
    assert_int_equal(result.not_checked, 1);
    assert_int_equal(result.problems, 0);
}

static void rot(const struct digest *digest)
{
    cleanup_free char *path = xasprintf("%s/blobs/sha256/%s", f.path, digest_hex(digest));
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(fs_pwrite_all(fd, "~", 1, 20), 0);
}

/* Rotten bytes are told as such, and not by what they cause further on. */
static void test_rot_is_told_once(void **state)
{
    (void)state;
    const struct part part = {&f.file[0], &f.tar[0]};
    struct test_image image;
    struct error err = {0};
    make_image(&image, NULL, &part, 1);
    for (size_t i = 0; i < 2; i++) { /* config, layer */
        assert_true(test_image_warm(f.cd, &image, true, &err) >= 0);
        assert_int_equal(verify(true).problems, 0);
        rot(&image.descriptors[i].digest);
        assert_int_equal(verify(true).problems, 2); /* the pool's name, and the entry's */
        assert_null(strstr(f.told, "layer"));
        assert_non_null(strstr(f.told, "is damaged: its bytes hash to"));
        cachedir_close(f.cd); /* it remembers what was good */
        assert_int_equal(
            cachedir_open(f.path, &(struct cachedir_options){.create = true}, &f.cd, NULL), 0);
    }
    test_image_free(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diff_ids),
        cmocka_unit_test_setup_teardown(test_good_images_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_wrong_diff_id_is_the_entrys_problem, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_same_layer_twice_with_two_diff_ids, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_tar, setup, teardown),
        cmocka_unit_test_setup_teardown(test_configs_that_say_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_unpacked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rot_is_told_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
