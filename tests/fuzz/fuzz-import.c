/* A tar that cachedir import is given, in both formats: refused as a whole, or everything that was
 * published is whole. The first byte picks the format, and whether it is a bare layer. */
#include "cachedir/cachedir.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

struct cache {
    char path[32];
    int root;
    struct cachedir *cd;
};

static struct cache caches[2] = {{.path = "/tmp/fuzz-import-XXXXXX"},
                                 {.path = "/tmp/fuzz-import-XXXXXX"}};

static void empty(const struct cache *c)
{
    cleanup_names char **names = NULL;
    size_t count;
    CHECK(fs_names(c->root, &names, &count) == 0);
    for (size_t i = 0; i < count; i++)
        CHECK(fs_remove(c->root, names[i]) == 0);
}

static void remove_directories(void)
{
    for (size_t i = 0; i < 2; i++)
        if (caches[i].root > 0) {
            cachedir_close(caches[i].cd);
            empty(&caches[i]);
            (void)rmdir(caches[i].path);
        }
}

/* Empty, or what one input left would decide about the next. */
static struct cache *open_cache(size_t which)
{
    struct cache *c = &caches[which];
    struct cachedir_options options = {
        .create = true, .format = which ? CACHEDIR_FORMAT_DOCKER_ARCHIVE : CACHEDIR_FORMAT_OCI};
    if (!c->root) {
        CHECK(mkdtemp(c->path) && (caches[!which].root || atexit(remove_directories) == 0));
        c->root = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(c->root > 0);
    }
    if (c->cd)
        return c;
    empty(c);
    CHECK(cachedir_open(c->path, &options, &c->cd, NULL) == 0);
    return c;
}

static void told(void *userdata, const struct cachedir_imported *imported)
{
    size_t *count = userdata;
    CHECK(digest_is_set(imported->digest) && !imported->known);
    ++*count;
}

static void note(void *userdata, const char *line)
{
    (void)userdata;
    CHECK(*line && !strchr(line, '\n'));
}

static void check_cache(const struct cache *c, size_t images)
{
    struct cachedir_verify_result verified;
    struct cachedir_entry *list;
    size_t count, aliases = 0;
    cleanup_close int stage = openat(c->root, ".basewarm/stage", O_RDONLY | O_CLOEXEC);
    cleanup_names char **names = NULL;
    size_t left;
    CHECK(fs_names(stage, &names, &left) == 0 && left == 0);
    CHECK(cachedir_list(c->cd, &list, &count, NULL) == 0);
    for (size_t i = 0; i < count; i++)
        aliases += digest_is_set(&list[i].alias_of);
    CHECK(count - aliases == images);
    cachedir_entries_free(list, count);
    CHECK(cachedir_verify(c->cd, &(struct cachedir_verify_options){.threads = 1}, NULL, NULL,
                          &verified, NULL) == 0);
    CHECK(verified.problems == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t images = 0;
    struct cachedir_import_result result;
    cleanup_error struct error err = {0};
    struct platform platform = {.os = (char[]){"linux"}, .architecture = (char[]){"amd64"}};
    if (size == 0)
        return 0;
    struct cachedir_import_options options = {.layer = *data & 2,
                                              .platform = &platform,
                                              .name = *data & 4 ? "docker.io/library/one:1" : NULL,
                                              .told = told,
                                              .note = note,
                                              .userdata = &images};
    struct cache *c = open_cache(*data & 1);
    cleanup_close int fd = memfd_create("tar", MFD_CLOEXEC);
    CHECK(fd >= 0 && fs_write_all(fd, data + 1, size - 1) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    if (cachedir_import(c->cd, &options, fd, &result, &err) < 0)
        CHECK(err.kind != ERROR_NONE && err.message && *err.message);
    else
        CHECK(images > 0 && result.images == images);
    check_cache(c, images);
    if (images > 0) {
        cachedir_close(c->cd);
        c->cd = NULL;
    }
    return 0;
}
