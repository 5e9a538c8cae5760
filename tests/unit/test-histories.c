/*
 * Random histories of a directory against what the rules say: images are warmed, renewed, renamed,
 * grow old, rot, are repaired, removed, and pruned with every limit. After each step no visible
 * entry is broken, no limit is exceeded without being said, and nothing is gone that no rule names.
 *
 * The volume is the test's own: fstatvfs() below says that it holds VOLUME bytes, of which what
 * stands in the directory is taken. SEED=... repeats a history.
 */
#include "disk.h"
#include "image.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cmocka.h>

#define HOUR INT64_C(3600)
#define NS INT64_C(1000000000)
#define TTL (336 * HOUR)
#define GRACE (24 * HOUR)
#define IMAGES 6
#define STEPS 600
#define VOLUME 20000 /* bytes */
#define MOVING                                                                                     \
    "test/image:1" /* what all images are made under, so whichever has it last keeps it */
#define OWN "registry.example/image-" /* and a name of its own that an image may have */

static char *path;
static int root;
static struct cachedir *cd;
static struct test_image images[IMAGES];
static struct disk disk;

int fstatvfs(int fd, struct statvfs *ret)
{
    (void)fd;
    *ret = (struct statvfs){.f_bsize = 1, .f_frsize = 1, .f_blocks = VOLUME};
    ret->f_bavail = (fsblkcnt_t)(VOLUME - disk_size(path));
    return 0;
}

/* ---- the actors ---- */

static uint64_t seed;
static unsigned random_below(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((seed >> 33) % n);
}

static bool has(size_t image)
{
    return faccessat(root, images[image].digest.text, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int64_t age_of(const char *name)
{
    struct stat st;
    if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        fail_msg("%s is not there", name);
    return time(NULL) - st.st_mtime;
}

static void make_old(const char *name, int64_t seconds)
{
    const time_t t = time(NULL) - seconds;
    const struct timespec times[2] = {{t, 0}, {t, 0}};
    assert_int_equal(utimensat(root, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

static char *blob_path(size_t image, size_t blob, bool in_pool)
{
    return xasprintf("%s%sblobs/sha256/%s", in_pool ? "" : images[image].digest.text,
                     in_pool ? "" : "/", digest_hex(&images[image].descriptors[blob].digest));
}

static void name_it(const char *reference, size_t image)
{
    struct error err = {0};
    const struct cachedir_name n = {.platform = strdupa("linux/amd64"),
                                    .reference = strdupa(reference),
                                    .manifest = images[image].digest,
                                    .source = images[image].digest,
                                    .checked = 1};
    assert_int_equal(cachedir_name_set(cd, &n, &err), 0);
    assert_int_equal(cachedir_flush(cd, &err), 0);
}

static int warm(size_t image)
{
    struct error err = {0};
    int written = test_image_warm(cd, &images[image], false, &err);
    if (written < 0)
        fail_msg("warm: %s", err.message);
    assert_true(has(image) && age_of(images[image].digest.text) <= 2);
    return written;
}

static void warm_and_name(size_t image)
{
    warm(image);
    if (image % 2 == 0 && random_below(2)) {
        cleanup_free char *own = xasprintf(OWN "%zu:1", image);
        name_it(own, image);
    }
    if (random_below(2))
        name_it(MOVING, image);
}

static void grow_old(size_t image)
{
    const int64_t age = random_below(500) * HOUR + 60;
    cleanup_free char *index = xasprintf("%s/index.json", images[image].digest.text);
    make_old(images[image].digest.text, age);
    if (faccessat(root, index, F_OK, 0) == 0) /* it was published before its life began anew */
        make_old(index, age + random_below(200) * HOUR);
    for (size_t i = 0; i < images[image].count; i++) {
        cleanup_free char *blob = blob_path(image, i, true);
        if (faccessat(root, blob, F_OK, 0) == 0)
            make_old(blob, age);
    }
}

/* A day or less passes for all entries. */
static void let_time_pass(void)
{
    const int64_t passed = random_below(24) * HOUR;
    for (size_t i = 0; i < IMAGES; i++) {
        if (!has(i))
            continue;
        cleanup_free char *index = xasprintf("%s/index.json", images[i].digest.text);
        make_old(images[i].digest.text, age_of(images[i].digest.text) + passed);
        if (faccessat(root, index, F_OK, 0) == 0)
            make_old(index, age_of(index) + passed);
    }
}

/* What a killed run leaves. */
static void leave_behind(void)
{
    static const char *const places[] = {".basewarm/partial/", ".basewarm/trash/",
                                         ".basewarm/stage/"};
    const size_t place = random_below(3);
    cleanup_free char *name = xasprintf("%s%064x", places[place], random_below(4));
    cleanup_free char *inside = place ? xasprintf("%s/inside", name) : xstrdup(name);
    if (faccessat(root, name, F_OK, 0) == 0)
        return;
    if (place)
        assert_int_equal(mkdirat(root, name, 0755), 0);
    assert_int_equal(fs_create(root, inside, 0644, "0123456789", 10), 0);
    const int64_t age = random_below(500) * HOUR + 60;
    make_old(inside, age);
    make_old(name, age);
}

/* ---- verify and repair ---- */

struct problems {
    struct digest entries[IMAGES * 8], blobs[IMAGES * 8];
    size_t entry_count, blob_count;
    char *said;
};

static void note(void *userdata, const char *where, const char *what)
{
    struct problems *p = userdata;
    char *said = xasprintf("%s%s: %s\n", p->said ? p->said : "", where, what);
    free(p->said);
    p->said = said;
    cleanup_free char *text =
        strncmp(where, "blobs/sha256/", 13) == 0 ? xasprintf("sha256:%s", where + 13) : NULL;
    if (text && digest_parse(text, &p->blobs[p->blob_count], NULL) == 0)
        p->blob_count++;
    else if (digest_parse(where, &p->entries[p->entry_count], NULL) == 0)
        p->entry_count++;
    assert_true(p->entry_count < IMAGES * 8 && p->blob_count < IMAGES * 8);
}

static size_t verify(struct problems *p)
{
    struct cachedir_verify_result result;
    struct error err = {0};
    const struct cachedir_verify_options options = {.threads = 1};
    assert_int_equal(cachedir_verify(cd, &options, note, p, &result, &err), 0);
    return result.problems;
}

static void assert_healthy(void)
{
    struct problems p = {0};
    if (verify(&p) > 0)
        fail_msg("not healthy:\n%s", p.said);
    free(p.said);
}

static void repair(void)
{
    struct problems p = {0};
    struct error err = {0};
    verify(&p);
    for (size_t i = 0; i < p.entry_count; i++) {
        enum cachedir_repair how;
        if (cachedir_repair(cd, &p.entries[i], &how, &err) < 0 && err.kind != ERROR_NOT_FOUND)
            fail_msg("repair: %s", err.message);
        error_clear(&err);
    }
    for (size_t i = 0; i < p.blob_count; i++)
        assert_true(cachedir_repair_blob(cd, &p.blobs[i], &err) >= 0);
    assert_int_equal(cachedir_flush(cd, &err), 0);
    free(p.said);
}

static bool names_blob(size_t image, const struct digest *digest)
{
    for (size_t i = 0; i < images[image].count; i++)
        if (digest_equal(&images[image].descriptors[i].digest, digest))
            return true;
    return false;
}

static void flip_a_byte(const char *name)
{
    char byte;
    int fd = openat(root, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 7), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 7), 1);
    close(fd);
}

/* A name lost in the entry, its index.json or layout spoilt: mended from what is here, with its
 * clock. A blob rotten under all its names: who names it goes out of sight, and the next warm
 * writes just that. */
static void break_and_repair(size_t i)
{
    const size_t blob = random_below((unsigned)images[i].count);
    cleanup_free char *name = blob_path(i, blob, false);
    cleanup_free char *index = xasprintf("%s/index.json", images[i].digest.text);
    cleanup_free char *layout = xasprintf("%s/oci-layout", images[i].digest.text);
    const unsigned how = random_below(4);
    bool had[IMAGES];

    for (size_t k = 0; k < IMAGES; k++)
        had[k] = has(k);
    int fd = -1;
    if (how == 0)
        assert_int_equal(unlinkat(root, name, 0), 0);
    else if (how == 1)
        assert_int_equal(unlinkat(root, layout, 0), 0);
    else if (how == 2)
        assert_true((fd = openat(root, index, O_WRONLY | O_TRUNC | O_CLOEXEC)) >= 0);
    else
        flip_a_byte(name);
    if (fd >= 0)
        close(fd);
    const int64_t age = age_of(images[i].digest.text);
    repair();
    for (size_t k = 0; k < IMAGES; k++) {
        const bool lost = how == 3 && names_blob(k, &images[i].descriptors[blob].digest);
        if (has(k) != (had[k] && !lost))
            fail_msg("image %zu, broken by way %u of image %zu: %s", k, how, i,
                     has(k) ? "still in sight" : "gone");
    }
    if (how < 3)
        assert_in_range(age_of(images[i].digest.text), age, age + 5);
    else if (random_below(2))
        assert_int_equal(warm(i), 1);
}

/* ---- prune ---- */

struct removal {
    enum cachedir_prune_reason reason;
    char *path;
};

static struct removal *told;
static size_t told_count;

static void forget_told(void)
{
    for (size_t i = 0; i < told_count; i++)
        free(told[i].path);
    free(told);
    told = NULL;
    told_count = 0;
}

static void remember(void *userdata, const struct cachedir_removal *r)
{
    (void)userdata;
    *array_add(told, told_count) = (struct removal){r->reason, xstrdup(r->path)};
}

struct before { /* what the rules look at */
    bool here[IMAGES], kept[IMAGES], superseded[IMAGES];
    int64_t age[IMAGES], left[IMAGES]; /* left: how long ago the next of its tag was published */
};

static struct before look_before(const char *keep)
{
    struct before b = {0};
    struct cachedir_name *names;
    struct error err = {0};
    size_t count;
    bool moving = false;
    time_t published[IMAGES] = {0};
    assert_int_equal(cachedir_names(cd, &names, &count, &err), 0);
    for (size_t k = 0; k < count; k++)
        moving |= strcmp(names[k].reference, MOVING) == 0;
    for (size_t i = 0; i < IMAGES; i++) {
        bool named = false, own = false, has_moving = false;
        for (size_t k = 0; k < count; k++) {
            if (!digest_equal(&names[k].manifest, &images[i].digest))
                continue;
            named = true;
            own |= strncmp(names[k].reference, OWN, strlen(OWN)) == 0;
            has_moving |= strcmp(names[k].reference, MOVING) == 0;
        }
        b.here[i] = has(i);
        if (b.here[i])
            b.age[i] = age_of(images[i].digest.text);
        /* Repair cannot know what an entry was made under when its index.json was spoilt. */
        cleanup_cachedir_entry struct cachedir_entry entry = {0};
        assert_int_equal(cachedir_look(cd, &images[i].digest, &entry, &err), 0);
        b.superseded[i] = !named && entry.reference && moving;
        cleanup_free char *index = xasprintf("%s/index.json", images[i].digest.text);
        /* What is younger than its life was made again. */
        if (b.here[i] && entry.reference && faccessat(root, index, F_OK, 0) == 0 &&
            age_of(index) >= b.age[i])
            published[i] = time(NULL) - age_of(index);
        if (keep)
            b.kept[i] = *keep == 'r' ? own : has_moving || (!named && entry.reference);
    }
    cachedir_names_free(names, count);
    for (size_t i = 0; i < IMAGES; i++)
        for (size_t j = 0; j < IMAGES && b.here[i]; j++)
            if (i / 3 == j / 3 && /* of one platform */
                published[j] > time(NULL) - age_of(images[i].digest.text) &&
                time(NULL) - published[j] > b.left[i])
                b.left[i] = time(NULL) - published[j];
    return b;
}

static bool by_age(const struct before *b, const struct cachedir_prune_options *o, size_t i)
{
    return !b->kept[i] &&
           (b->age[i] > TTL + GRACE || (o->superseded && b->superseded[i] && b->left[i] > GRACE));
}

/* May an image with this fate be gone, or still be there? */
static void check_entries(const struct before *b, const struct cachedir_prune_options *o,
                          bool limited)
{
    for (size_t i = 0; i < IMAGES; i++) {
        if (!b->here[i] || by_age(b, o, i)) {
            if (has(i))
                fail_msg("image %zu should be gone", i);
            continue;
        }
        if (!has(i) && (b->kept[i] || !limited))
            fail_msg("image %zu is gone, and no rule takes it", i);
        /* Under a limit no entry goes while an older one that may go stays. */
        for (size_t j = 0; j < IMAGES && !has(i); j++)
            if (has(j) && !b->kept[j] && b->age[j] > b->age[i])
                fail_msg("image %zu went before %zu, which is older", i, j);
    }
}

/* Each file and entry that went was told, or went with an entry or a directory that was; and age
 * and use allowed it. */
static void check_told(const struct disk *before, bool limited)
{
    disk_look(&disk, path);
    for (size_t i = 0; i < before->count; i++) {
        const struct disk_file *f = &before->files[i];
        bool is_told = false;
        if (disk_find(&disk, f->name))
            continue;
        for (size_t k = 0; k < told_count && !is_told; k++) {
            const size_t len = strlen(told[k].path);
            is_told =
                strncmp(f->name, told[k].path, len) == 0 && (!f->name[len] || f->name[len] == '/');
            if (!is_told || f->name[len] == '/' || limited)
                continue;
            const enum cachedir_prune_reason reason = told[k].reason;
            if ((reason == CACHEDIR_PRUNE_UNUSED && f->age <= GRACE) ||
                (reason == CACHEDIR_PRUNE_PARTIAL && f->age <= TTL))
                fail_msg("%s went too early", f->name);
        }
        if (!is_told)
            fail_msg("%s is gone, and that was not told", f->name);
    }
    /* Pool and leftovers: what age takes is not left. */
    for (size_t i = 0; i < disk.count; i++)
        if (strncmp(disk.files[i].name, ".basewarm/trash/", 16) == 0 ||
            (strncmp(disk.files[i].name, ".basewarm/partial/", 18) == 0 && disk.files[i].age > TTL))
            fail_msg("%s is left", disk.files[i].name);
}

static bool is_met(const struct cachedir_limits *l)
{
    const int64_t size = disk_size(path), available = VOLUME - size;
    return (!l->max_size || size <= l->max_size) && available >= l->min_free &&
           (double)available >= l->min_free_percent / 100 * VOLUME;
}

static void check_limits(const struct before *b, const struct cachedir_prune_options *o,
                         const struct cachedir_prune_result *r)
{
    assert_int_equal(r->limits_met, is_met(&o->limits));
    for (size_t i = 0; i < IMAGES && !r->limits_met; i++)
        if (has(i) && !b->kept[i])
            fail_msg("a limit is not met, and image %zu is still there", i);
    int64_t freed = 0;
    for (size_t i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        freed += r->freed[i];
    assert_int_equal(r->size_before - freed, r->size_after);
    assert_int_equal(r->size_after, disk_size(path));
    assert_int_equal(r->free_after, VOLUME - r->size_after);
}

static void prune(void)
{
    static const char *const keeps[] = {NULL, NULL, "registry.example/*", "test/image:*"};
    const char *keep = keeps[random_below(4)];
    char *globs[] = {keep ? strdupa(keep) : NULL, NULL};
    struct cachedir_prune_options o = {.ttl_ns = TTL * NS,
                                       .grace_ns = GRACE * NS,
                                       .keep = globs,
                                       .superseded = random_below(2),
                                       .dry_run = true};
    struct cachedir_prune_result dry, r;
    struct error err = {0};
    const unsigned limits = random_below(8); /* each alone, together, none */
    if (limits & 1)
        o.limits.max_size = random_below(6000) + 1;
    if (limits & 2)
        o.limits.min_free = VOLUME - random_below(6000);
    if (limits & 4)
        o.limits.min_free_percent = 100 - random_below(30);

    const struct before b = look_before(keep);
    struct disk was = {0};
    size_t dry_count;
    disk_look(&was, path);
    assert_int_equal(cachedir_prune(cd, &o, remember, NULL, &dry, &err), 0);
    struct removal *dry_told = told;
    dry_count = told_count;
    told = NULL;
    told_count = 0;
    o.dry_run = false;
    if (cachedir_prune(cd, &o, remember, NULL, &r, &err) < 0)
        fail_msg("prune: %s", err.message);

    /* A dry run says exactly what the real one does. */
    assert_memory_equal(&dry, &r, sizeof r);
    assert_int_equal(dry_count, told_count);
    for (size_t i = 0; i < told_count; i++) {
        assert_int_equal(dry_told[i].reason, told[i].reason);
        assert_string_equal(dry_told[i].path, told[i].path);
        free(dry_told[i].path);
    }
    free(dry_told);
    check_entries(&b, &o, limits != 0);
    check_told(&was, limits != 0);
    check_limits(&b, &o, &r);
    disk_release(&was);
    forget_told();
}

/* ---- the histories ---- */

static void remove_one(size_t image)
{
    struct error err = {0};
    int64_t freed = 0, before = disk_size(path);
    bool had[IMAGES];
    for (size_t i = 0; i < IMAGES; i++)
        had[i] = has(i);
    int r = cachedir_remove(cd, &images[image].digest, &freed, &err);
    assert_int_equal(r, had[image] ? 0 : -1);
    if (!had[image])
        assert_int_equal(err.kind, ERROR_NOT_FOUND);
    error_clear(&err);
    for (size_t i = 0; i < IMAGES; i++)
        assert_int_equal(has(i), had[i] && i != image);
    assert_int_equal(before - disk_size(path), freed);
}

static void renew(size_t image)
{
    struct error err = {0};
    int r = cachedir_renew(cd, &images[image].digest, &err);
    assert_int_equal(r, has(image) ? 0 : -1);
    if (has(image))
        assert_true(age_of(images[image].digest.text) <= 2);
    error_clear(&err);
}

static void one_step(void)
{
    const size_t i = random_below(IMAGES);
    switch (random_below(13)) {
    case 0:
    case 1:
    case 2:
        warm_and_name(i);
        break;
    case 3:
        renew(i);
        break;
    case 4:
        remove_one(i);
        break;
    case 5:
        leave_behind();
        break;
    case 6:
    case 7:
        if (has(i))
            grow_old(i);
        break;
    case 8:
        if (has(i))
            break_and_repair(i);
        break;
    case 9:
    case 10:
    case 11:
        let_time_pass();
        break;
    default:
        prune();
    }
}

static void test_histories(void **state)
{
    struct error err = {0};
    const char *wanted = getenv("SEED");
    (void)state;
    seed = wanted ? strtoull(wanted, NULL, 10) : (uint64_t)time(NULL);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    assert_int_equal(cachedir_open(path, &(struct cachedir_options){.create = true}, &cd, &err), 0);
    assert_int_equal(fs_create(root, "notes.txt", 0644, "mine", 4), 0);
    make_old("notes.txt", 10 * TTL);
    for (int step = 0; step < STEPS; step++) {
        one_step();
        assert_healthy();
        assert_int_equal(faccessat(root, "notes.txt", F_OK, 0), 0);
    }
    cachedir_close(cd);
}

static int setup(void **state)
{
    static const char *const architectures[IMAGES] = {"amd64", "amd64", "amd64",
                                                      "arm64", "arm64", "arm64"};
    (void)state;
    path = test_directory_make();
    root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < IMAGES; i++) {
        /* Each has a layer of its own, and one that it shares with its neighbour. */
        cleanup_free char *own = xasprintf("%0*zu own layer", 100 * (int)(i + 1), i);
        cleanup_free char *shared = xasprintf("%0300zu shared layer", i / 2);
        const char *const layers[] = {own, shared};
        test_image_make(&images[i], architectures[i], layers, 2, false);
    }
    return root < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(root);
    test_directory_remove(path);
    for (size_t i = 0; i < IMAGES; i++)
        test_image_free(&images[i]);
    disk_release(&disk);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_histories, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
