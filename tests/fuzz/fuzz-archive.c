/* The first byte picks what the rest is: manifest.json of a docker-archive, a tar, or an archive in
 * a cache directory. */
#include "cachedir/cachedir.h"

#include "cachedir/alloc.h"
#include "cachedir/docker-archive.h"
#include "cachedir/fs.h"
#include "cachedir/manifest.h"
#include "cachedir/tar.h"
#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define ENTRY "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char path[] = "/tmp/fuzz-archive-XXXXXX";
static int root;

static void remove_directory(void)
{
    (void)fs_remove(root, ENTRY);
    (void)fs_remove(root, ".basewarm");
    (void)fs_remove(root, ".warmer-locks");
    (void)rmdir(path);
}

static struct cachedir *make_directory(void)
{
    struct cachedir_options options = {.create = true, .format = CACHEDIR_FORMAT_DOCKER_ARCHIVE};
    struct cachedir *cd;
    CHECK(mkdtemp(path) && atexit(remove_directory) == 0);
    CHECK(cachedir_open(path, &options, &cd, NULL) == 0);
    root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(root >= 0);
    return cd;
}

static void check_json(const uint8_t *data, size_t size)
{
    cleanup_docker_archive struct docker_archive a = {0};
    cleanup_error struct error err = {0};
    if (docker_archive_parse(data, size, &a, &err) < 0) {
        CHECK(err.kind == ERROR_PROTOCOL && err.message && *err.message);
        CHECK(!a.config && !a.layers && !a.sources && !a.tags);
        return;
    }
    CHECK(a.config && a.layer_count <= MANIFEST_LAYERS_MAX);
    for (size_t i = 0; i < a.source_count; i++) {
        CHECK(digest_is_set(&a.sources[i].digest) && a.sources[i].size >= 0);
        CHECK(docker_archive_source(&a, &a.sources[i].diff_id));
    }
    struct digest digest;
    for (size_t i = 0; i < a.layer_count; i++)
        if (docker_archive_digest(a.layers[i], &digest))
            CHECK(digest_is_sha256(&digest) && strstr(a.layers[i], digest_hex(&digest)));
}

static void check_tar(const uint8_t *data, size_t size)
{
    cleanup_close int fd = memfd_create("tar", MFD_CLOEXEC);
    cleanup_tar_members struct tar_members members = {0};
    cleanup_error struct error err = {0};
    CHECK(fd >= 0 && fs_write_all(fd, data, size) == 0);
    if (tar_scan(fd, &members, &err) < 0)
        CHECK(err.kind == ERROR_PROTOCOL && err.message && *err.message);
    CHECK(members.count <= TAR_MEMBERS_MAX);
    for (size_t i = 0; i < members.count; i++) {
        const struct tar_member *m = &members.list[i];
        CHECK(m->name && strlen(m->name) <= TAR_NAME_LENGTH_MAX);
        CHECK(m->offset == -1 ||
              (m->offset >= TAR_BLOCK && m->size >= 0 && m->offset + m->size <= (int64_t)size));
        CHECK(tar_find(&members, m->name) <= m);
    }
}

static void check_entry(const uint8_t *data, size_t size)
{
    static struct cachedir *cd;
    cleanup_cachedir_entry struct cachedir_entry e = {0};
    struct digest digest;
    if (!cd)
        cd = make_directory();
    cleanup_close int fd = openat(root, ENTRY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && fs_write_all(fd, data, size) == 0);
    CHECK(digest_parse(ENTRY, &digest, NULL) == 0);
    CHECK(cachedir_look(cd, &digest, &e, NULL) == 0);
    CHECK(e.state == CACHEDIR_COMPLETE || (e.state == CACHEDIR_BROKEN && e.problem));
    for (size_t i = 0; i < e.blob_count; i++)
        CHECK(!e.blobs[i].present || (e.blobs[i].offset >= TAR_BLOCK && e.blobs[i].size >= 0 &&
                                      e.blobs[i].offset + e.blobs[i].size <= (int64_t)size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const uint8_t *, size_t) = {check_json, check_tar, check_entry};
    if (size > 0)
        checks[*data % (sizeof checks / sizeof *checks)](data + 1, size - 1);
    return 0;
}
