/* Entries of format docker-archive that others wrote: what is seen of them, and what is done. */
#include "tarball.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

static const char *const layers[] = {"\x1f\x8b the first", "\x1f\x8b two2"};

struct fixture {
    char *path;
    int root;
    struct cachedir *cd;
    struct test_image image;
    char *tar; /* as kaniko's warmer writes it */
    size_t tar_len;
    char *beside; /* its name with .json */
    unsigned warnings;
};

static void put(const struct fixture *f, const char *name, const void *bytes, size_t len)
{
    (void)fs_remove(f->root, name);
    assert_int_equal(fs_create(f->root, name, 0600, bytes, len), 0);
}

/* What archived kaniko's warmer leaves. */
static void put_kanikos(const struct fixture *f)
{
    put(f, f->image.digest.text, f->tar, f->tar_len);
    put(f, f->beside, f->image.manifest, f->image.manifest_len);
}

static void count_warning(void *userdata, const char *message)
{
    (void)message;
    (*(unsigned *)userdata)++;
}

static int try_open(struct fixture *f, enum cachedir_format format, bool create, struct error *err)
{
    struct cachedir_options options = {
        .create = create, .format = format, .warn = count_warning, .userdata = &f->warnings};
    cachedir_close(f->cd);
    f->cd = NULL;
    return cachedir_open(f->path, &options, &f->cd, err);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct error err = {0};
    f->path = test_directory_make();
    f->root = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    test_image_make(&f->image, "amd64", layers, 2, false);
    f->tar = test_tar_of_image(&f->image, &f->tar_len);
    f->beside = xasprintf("%s.json", f->image.digest.text);
    put_kanikos(f);
    assert_ok(try_open(f, CACHEDIR_FORMAT_ANY, true, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cachedir_close(f->cd);
    close(f->root);
    test_directory_remove(f->path);
    test_image_free(&f->image);
    free(f->tar);
    free(f->beside);
    free(f);
    return 0;
}

static bool exists(const struct fixture *f, const char *name)
{
    struct stat st;
    return fstatat(f->root, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static size_t count_problems(struct fixture *f)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    assert_ok(
        cachedir_verify(f->cd, &(struct cachedir_verify_options){0}, NULL, NULL, &result, &err));
    return result.problems;
}

static void assert_state(struct fixture *f, enum cachedir_state state, const char *why)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    struct error err = {0};
    assert_ok(cachedir_look(f->cd, &f->image.digest, &entry, &err));
    if (entry.state != state)
        fail_msg("state %d, not %d: %s", entry.state, state, entry.problem ? entry.problem : "");
    if (why && (!entry.problem || !strstr(entry.problem, why)))
        fail_msg("problem \"%s\" does not say \"%s\"", entry.problem, why);
    if (state == CACHEDIR_BROKEN)
        assert_int_equal(count_problems(f), 1);
}

/* ---- */

static void test_what_kaniko_left_is_an_entry(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_entry *list;
    size_t count;
    assert_int_equal(cachedir_format(f->cd), CACHEDIR_FORMAT_DOCKER_ARCHIVE);
    assert_ok(cachedir_list(f->cd, &list, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(list[0].state, CACHEDIR_COMPLETE);
    assert_string_equal(list[0].platform.architecture, "amd64");
    assert_string_equal(list[0].reference, "registry.example.org/test/image:1");
    assert_string_equal(list[0].media_type, MEDIA_OCI_MANIFEST);
    assert_int_equal(list[0].shared_size, 0);
    assert_int_equal(list[0].blob_count, 4);
    int64_t size = 0;
    for (size_t i = 0; i < 4; i++) {
        const struct digest *want = i == 0 ? &f->image.digest : &f->image.descriptors[i - 1].digest;
        assert_string_equal(list[0].blobs[i].digest.text, want->text);
        assert_true(list[0].blobs[i].present);
        size += list[0].blobs[i].size;
    }
    assert_int_equal(list[0].size, size);
    cachedir_entries_free(list, count);
    assert_int_equal(count_problems(f), 0);

    char *bytes;
    size_t len;
    assert_int_equal(cachedir_manifest(f->cd, &f->image.digest, &bytes, &len, &err), 1);
    assert_int_equal(len, f->image.manifest_len);
    assert_memory_equal(bytes, f->image.manifest, len);
    free(bytes);
}

/* The builder reads it without, too. */
static void test_the_manifest_beside_it_may_be_lost(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char *bytes;
    size_t len;
    assert_int_equal(unlinkat(f->root, f->beside, 0), 0);
    assert_state(f, CACHEDIR_COMPLETE, NULL);
    assert_int_equal(count_problems(f), 0);
    assert_int_equal(cachedir_manifest(f->cd, &f->image.digest, &bytes, &len, &err), 0);
    /* By the members' names the layers are known all the same. */
    f->tar[512 + 512 + 512 + 3] ^= 1;
    put(f, f->image.digest.text, f->tar, f->tar_len);
    assert_state(f, CACHEDIR_COMPLETE, NULL);
    assert_int_equal(count_problems(f), 1);
}

static void test_a_tar_cut_anywhere_is_broken(void **state)
{
    struct fixture *f = *state;
    const size_t whole = f->tar_len - 2 * TAR_BLOCK; /* readers do without the end's blocks */
    for (size_t len = 0; len < whole; len += 64) {
        put(f, f->image.digest.text, f->tar, len);
        assert_state(f, CACHEDIR_BROKEN, NULL);
    }
}

static void test_a_wrong_byte_in_a_blob_is_found(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    assert_ok(cachedir_look(f->cd, &f->image.digest, &entry, &err));
    for (size_t i = 1; i < entry.blob_count; i++)
        for (int64_t j = 0; j < entry.blobs[i].size; j++) {
            f->tar[entry.blobs[i].offset + j] ^= 0x40;
            put(f, f->image.digest.text, f->tar, f->tar_len);
            if (count_problems(f) == 0)
                fail_msg("blob %zu, byte %d", i, (int)j);
            f->tar[entry.blobs[i].offset + j] ^= 0x40;
        }
}

/* ---- archives that are wrong in themselves; $0 is the config, $1 and $2 the layers ---- */

static const struct {
    const char *json, *why; /* NULL: it is good */
} documents[] = {
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"]}]", NULL},
    {"[{\"Config\":\"$0\",\"RepoTags\":null,\"Layers\":[\"$1\",\"$2\"],\"More\":1}]   \n", NULL},
    {"", "manifest.json: not valid JSON"},
    {"{}", "not a JSON array"},
    {"[]", "0 images"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\"]},{\"Config\":\"$0\",\"Layers\":[\"$2\"]}]",
     "2 images"},
    {"[3]", "image 1 is no object"},
    {"[{\"Layers\":[\"$1\",\"$2\"]}]", "\"Config\" is missing"},
    {"[{\"Config\":7,\"Layers\":[\"$1\",\"$2\"]}]", "\"Config\" is missing"},
    {"[{\"Config\":\"$0\",\"layers\":[\"$1\",\"$2\"]}]", "spelled \"layers\""},
    {"[{\"Config\":\"$0\",\"Layers\":{}}]", "\"Layers\" is no list"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",2]}]", "layer 2 is not a string"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\"]}]", "names 1 layers, the config 2"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\",\"$2\"]}]", "names 3 layers, the config 2"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"nowhere\"]}]", "layer 2 is missing"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"link\"]}]", "layer 2 is no regular file"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$2\",\"$1\"]}]", "layer 1 has"},
    {"[{\"Config\":\"nowhere\",\"Layers\":[\"$1\",\"$2\"]}]", "the config is missing"},
    {"[{\"Config\":\"$1\",\"Layers\":[\"$1\",\"$2\"]}]", "the config is damaged"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":[]}]", "is no object"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":{\"x\":{}}}]",
     "LayerSources"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":{\"#2\":{}}}]",
     "the digest is missing"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":{\"#2\":"
     "{\"digest\":\"#2\",\"size\":-1}}}]",
     "a size is missing or impossible"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":{\"#2\":"
     "{\"digest\":\"#2\",\"size\":99}}}]",
     "layer 2 has 7 bytes instead of 99"},
    {"[{\"Config\":\"$0\",\"Layers\":[\"$1\",\"$2\"],\"LayerSources\":{\"#2\":"
     "{\"digest\":\"#2\",\"size\":7}}}]",
     NULL},
};

/* "$N" becomes the name of a blob, "#N" its digest. */
static char *fill_in(const struct test_image *image, const char *text)
{
    char *out = xstrdup("");
    for (; *text; text++) {
        char *before = out;
        if ((*text == '$' || *text == '#') && text[1] >= '0' && text[1] <= '2') {
            const struct digest *digest = &image->descriptors[text[1] - '0'].digest;
            out = *text == '#' ? xasprintf("%s%s", before, digest->text)
                               : xasprintf("%sblob-%c", before, text[1]);
            text++;
        } else {
            out = xasprintf("%s%c", before, *text);
        }
        free(before);
    }
    return out;
}

static char *make_tar(const struct test_image *image, const char *format, const char *document,
                      size_t *ret_len)
{
    struct test_tar *t = test_tar_new(format);
    cleanup_free char *json = fill_in(image, document);
    test_tar_add(t, "manifest.json", json, strlen(json));
    test_tar_add_link(t, "link", "blob-2");
    for (size_t i = 0; i < image->count; i++) {
        cleanup_free char *name = xasprintf("blob-%zu", i);
        test_tar_add(t, name, image->blobs[i], image->sizes[i]);
    }
    test_tar_add(t, "manifest.json", "[]", 2); /* readers take the first */
    return test_tar_end(t, ret_len);
}

static void test_what_manifest_json_says_is_checked(void **state)
{
    struct fixture *f = *state;
    static const char *const formats[] = {"ustar", "gnutar", "pax"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        size_t len;
        cleanup_free char *tar = make_tar(&f->image, formats[i % 3], documents[i].json, &len);
        print_message("%s\n", documents[i].json);
        put(f, f->image.digest.text, tar, len);
        assert_state(f, documents[i].why ? CACHEDIR_BROKEN : CACHEDIR_COMPLETE, documents[i].why);
    }
}

static void test_the_first_layer_decides_about_the_encoding(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *layers[2];
        bool good;
    } cases[] = {
        {{"plain", "plain too"}, true},
        {{"\x1f\x8b gzip", "plain"}, true},
        {{"\x1f\x8b gzip", "\x28\xb5\x2f\xfd zstd"}, true},
        {{"plain", "\x1f\x8b gzip"}, false},
        {{"plain", "\x28\xb5\x2f\xfd zstd"}, false},
        {{"", "\x1f\x8b gzip"}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len;
        assert_int_equal(fs_remove(f->root, f->image.digest.text), 0);
        test_image_free(&f->image);
        test_image_make(&f->image, "amd64", cases[i].layers, 2, false);
        cleanup_free char *tar = test_tar_of_image(&f->image, &len);
        put(f, f->image.digest.text, tar, len);
        assert_state(f, cases[i].good ? CACHEDIR_COMPLETE : CACHEDIR_BROKEN,
                     cases[i].good ? NULL : "compressed and the first is not");
    }
}

static void test_the_manifest_beside_it_must_be_its_own(void **state)
{
    struct fixture *f = *state;
    put(f, f->beside, "{}", 2);
    assert_state(f, CACHEDIR_BROKEN, "the .json beside it is not its manifest");
    assert_int_equal(unlinkat(f->root, f->beside, 0), 0);
    assert_int_equal(mkdirat(f->root, f->beside, 0755), 0);
    assert_state(f, CACHEDIR_BROKEN, "the manifest beside it");
    assert_int_equal(unlinkat(f->root, f->beside, AT_REMOVEDIR), 0);

    /* In the archive, where ours have it. */
    cleanup_free char *name = xasprintf("blobs/sha256/%s", digest_hex(&f->image.digest));
    for (int good = 0; good < 2; good++) {
        struct test_tar *t = test_tar_new("pax");
        size_t len;
        cleanup_free char *json =
            fill_in(&f->image, "[{\"Config\":\"#0\",\"Layers\":[\"#1\",\"#2\"]}]");
        test_tar_add(t, "manifest.json", json, strlen(json));
        for (size_t i = 0; i < f->image.count; i++)
            test_tar_add(t, f->image.descriptors[i].digest.text, f->image.blobs[i],
                         f->image.sizes[i]);
        test_tar_add(t, name, f->image.manifest, f->image.manifest_len - !good);
        cleanup_free char *tar = test_tar_end(t, &len);
        put(f, f->image.digest.text, tar, len);
        assert_state(f, good ? CACHEDIR_COMPLETE : CACHEDIR_BROKEN,
                     good ? NULL : "the manifest is damaged");
    }
}

static void test_what_is_no_archive_is_broken(void **state)
{
    struct fixture *f = *state;
    const char *name = f->image.digest.text;
    assert_int_equal(unlinkat(f->root, f->beside, 0), 0);
    put(f, name, "", 0);
    assert_state(f, CACHEDIR_BROKEN, "not a whole tar");
    put(f, name, "some text that is not a tar at all", 34);
    assert_state(f, CACHEDIR_BROKEN, "not a whole tar");
    assert_int_equal(unlinkat(f->root, name, 0), 0);
    assert_state(f, CACHEDIR_ABSENT, NULL);
    assert_int_equal(symlinkat("/etc/hostname", f->root, name), 0);
    assert_state(f, CACHEDIR_BROKEN, "not a regular file");
    assert_int_equal(unlinkat(f->root, name, 0), 0);
    assert_int_equal(mkfifoat(f->root, name, 0600), 0);
    assert_state(f, CACHEDIR_BROKEN, "not a regular file");
    assert_int_equal(unlinkat(f->root, name, 0), 0);
    assert_int_equal(mkdirat(f->root, name, 0755), 0);
    assert_state(f, CACHEDIR_BROKEN, "is a directory");
}

/* ---- keeping ---- */

static void set_age(const struct fixture *f, const char *name, time_t seconds)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = cachedir_now(f->cd) - seconds}};
    assert_int_equal(utimensat(f->root, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void test_adopting_hashes_and_renewing_moves_the_clock(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct stat st;
    set_age(f, f->image.digest.text, 1000);
    assert_ok(cachedir_adopt(f->cd, &f->image.digest, &err));
    assert_int_equal(f->warnings, 1); /* of the OCI types that stand beside it */
    assert_ok(cachedir_renew(f->cd, &f->image.digest, &err));
    assert_int_equal(fstatat(f->root, f->image.digest.text, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_true(cachedir_now(f->cd) - st.st_mtime < 100);
    assert_int_equal(fstatat(f->root, f->beside, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);

    f->tar[512 + 512 + 512 + 3] ^= 1;
    put(f, f->image.digest.text, f->tar, f->tar_len);
    assert_int_equal(cachedir_adopt(f->cd, &f->image.digest, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
    put(f, f->image.digest.text, f->tar, 512);
    assert_int_equal(cachedir_adopt(f->cd, &f->image.digest, &err), -1);
    assert_int_equal(err.kind, ERROR_DIGEST);
    error_clear(&err);
    assert_int_equal(unlinkat(f->root, f->image.digest.text, 0), 0);
    assert_int_equal(cachedir_renew(f->cd, &f->image.digest, &err), -1);
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
}

static void test_usage_counts_each_file_once(void **state)
{
    struct fixture *f = *state;
    struct cachedir_usage usage;
    struct error err = {0};
    put(f, "warmingImage.123", "half", 4);
    assert_ok(cachedir_usage(f->cd, &usage, &err));
    assert_int_equal(usage.entries, 1);
    assert_int_equal(usage.entry_bytes, f->tar_len + f->image.manifest_len);
    assert_int_equal(usage.leftovers, 1);
    assert_int_equal(usage.total_bytes, f->tar_len + f->image.manifest_len + 4);
}

#define DAY (INT64_C(86400) * 1000000000)

static struct cachedir_prune_result prune(struct fixture *f, bool dry_run, int64_t max_size)
{
    struct cachedir_prune_result result;
    struct cachedir_prune_options options = {
        .ttl_ns = 14 * DAY, .grace_ns = DAY, .dry_run = dry_run, .limits = {.max_size = max_size}};
    struct error err = {0};
    assert_ok(cachedir_prune(f->cd, &options, NULL, NULL, &result, &err));
    return result;
}

static void test_pruning_takes_the_manifest_with_the_archive(void **state)
{
    struct fixture *f = *state;
    const char *name = f->image.digest.text;
    const int64_t size = (int64_t)(f->tar_len + f->image.manifest_len);
    set_age(f, name, 14 * 86400);
    prune(f, false, 0);
    assert_true(exists(f, name) && exists(f, f->beside));
    set_age(f, name, 16 * 86400);
    assert_int_equal(prune(f, true, 0).freed[CACHEDIR_PRUNE_EXPIRED], size);
    assert_true(exists(f, name) && exists(f, f->beside));
    assert_int_equal(prune(f, false, 0).freed[CACHEDIR_PRUNE_EXPIRED], size);
    assert_false(exists(f, name) || exists(f, f->beside));

    put_kanikos(f);
    assert_int_equal(prune(f, false, 1).freed[CACHEDIR_PRUNE_EVICTED], size);
    assert_false(exists(f, name) || exists(f, f->beside));

    /* Without its archive it is a leftover, by its own age. */
    put(f, f->beside, f->image.manifest, f->image.manifest_len);
    put(f, "sha256:abc.json", "unknown", 7);
    prune(f, false, 0);
    assert_true(exists(f, f->beside));
    set_age(f, f->beside, 2 * 86400);
    set_age(f, "sha256:abc.json", 2 * 86400);
    assert_int_equal(prune(f, false, 0).removed[CACHEDIR_PRUNE_LEFTOVER], 1);
    assert_false(exists(f, f->beside));
    assert_true(exists(f, "sha256:abc.json"));

    put_kanikos(f);
    int64_t freed = 0;
    struct error err = {0};
    assert_ok(cachedir_remove(f->cd, &f->image.digest, &freed, &err));
    assert_int_equal(freed, size);
    assert_false(exists(f, name) || exists(f, f->beside));
}

static void test_names_stand_beside_the_archives(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct cachedir_name name = {.reference = (char[]){"docker.io/library/a:1"},
                                 .platform = (char[]){"linux/amd64"},
                                 .manifest = f->image.digest,
                                 .source = f->image.digest,
                                 .checked = 1000};
    cleanup_cachedir_name struct cachedir_name found = {0};
    assert_ok(cachedir_name_set(f->cd, &name, &err));
    assert_ok(cachedir_flush(f->cd, &err));
    assert_ok(try_open(f, CACHEDIR_FORMAT_ANY, true, &err));
    assert_true(exists(f, ".basewarm/index.json"));
    assert_false(exists(f, "index.json") || exists(f, "oci-layout") || exists(f, "blobs"));
    assert_int_equal(cachedir_name_find(f->cd, name.reference, name.platform, &found, &err), 1);
    assert_string_equal(found.manifest.text, name.manifest.text);
    assert_int_equal(count_problems(f), 0);
    /* The name goes with its entry. */
    int64_t freed;
    assert_ok(cachedir_remove(f->cd, &f->image.digest, &freed, &err));
    assert_ok(try_open(f, CACHEDIR_FORMAT_ANY, true, &err));
    cachedir_name_release(&found);
    assert_int_equal(cachedir_name_find(f->cd, name.reference, name.platform, &found, &err), 0);
}

static void test_a_directory_has_one_format(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    assert_ok(try_open(f, CACHEDIR_FORMAT_DOCKER_ARCHIVE, false, &err));
    assert_int_equal(try_open(f, CACHEDIR_FORMAT_OCI, true, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.message, "cachedir convert --to oci"));
    error_clear(&err);

    /* Not yet ours: by what is there, and a refusal leaves no trace. */
    assert_int_equal(fs_remove(f->root, ".basewarm"), 0);
    assert_int_equal(try_open(f, CACHEDIR_FORMAT_OCI, true, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    error_clear(&err);
    assert_false(exists(f, ".basewarm"));

    /* Empty, and nothing recorded: as wanted, oci by default. */
    assert_int_equal(unlinkat(f->root, f->image.digest.text, 0), 0);
    assert_ok(try_open(f, CACHEDIR_FORMAT_ANY, false, &err));
    assert_int_equal(cachedir_format(f->cd), CACHEDIR_FORMAT_OCI);
    assert_ok(try_open(f, CACHEDIR_FORMAT_DOCKER_ARCHIVE, true, &err));
    assert_ok(try_open(f, CACHEDIR_FORMAT_ANY, true, &err));
    assert_int_equal(cachedir_format(f->cd), CACHEDIR_FORMAT_DOCKER_ARCHIVE);
    assert_int_equal(try_open(f, CACHEDIR_FORMAT_OCI, true, &err), -1);
    error_clear(&err);

    put(f, ".basewarm/format", "squashfs\n", 9);
    assert_int_equal(try_open(f, CACHEDIR_FORMAT_ANY, true, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.message, "squashfs"));
    error_clear(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_what_kaniko_left_is_an_entry),
        TEST(test_the_manifest_beside_it_may_be_lost),
        TEST(test_a_tar_cut_anywhere_is_broken),
        TEST(test_a_wrong_byte_in_a_blob_is_found),
        TEST(test_what_manifest_json_says_is_checked),
        TEST(test_the_first_layer_decides_about_the_encoding),
        TEST(test_the_manifest_beside_it_must_be_its_own),
        TEST(test_what_is_no_archive_is_broken),
        TEST(test_adopting_hashes_and_renewing_moves_the_clock),
        TEST(test_usage_counts_each_file_once),
        TEST(test_pruning_takes_the_manifest_with_the_archive),
        TEST(test_names_stand_beside_the_archives),
        TEST(test_a_directory_has_one_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
