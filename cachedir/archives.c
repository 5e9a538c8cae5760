#include "archives.h"

#include "alloc.h"
#include "docker-archive.h"
#include "partial.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>

struct place { /* of a blob */
    char *name;
    bool partial; /* `name` is below .basewarm/partial, else below the root */
    int64_t offset, size;
};

struct held { /* a blob, and where it is */
    struct digest blob;
    struct place *places;
    size_t count;
};

struct scanned {
    char *name;
    ino_t inode;
};

struct archives {
    void *held;                    /* tsearch(3) tree of struct held, by digest */
    void *scanned;                 /* the same of struct scanned, by name */
    struct timespec root, partial; /* mtimes of the directories when they were read */
};

static int compare_held(const void *a, const void *b)
{
    return strcmp(((const struct held *)a)->blob.text, ((const struct held *)b)->blob.text);
}

static int compare_scanned(const void *a, const void *b)
{
    return strcmp(((const struct scanned *)a)->name, ((const struct scanned *)b)->name);
}

static void *find_or_add(void **tree, const void *key, size_t size,
                         int (*compare)(const void *, const void *))
{
    void **node = tfind(key, tree, compare);
    if (!node) {
        void *new = xmalloc(size);
        memcpy(new, key, size);
        node = tsearch(new, tree, compare);
        if (!node)
            abort(); /* out of memory */
    }
    return *node;
}

/* With the mutex held. */
static void add_place(struct archives *a, const struct digest *blob, const char *name, bool partial,
                      int64_t offset, int64_t size)
{
    struct held *held =
        find_or_add(&a->held, &(struct held){.blob = *blob}, sizeof *held, compare_held);
    for (size_t i = 0; i < held->count; i++) {
        struct place *place = &held->places[i];
        if (place->partial == partial && strcmp(place->name, name) == 0) {
            place->offset = offset;
            place->size = size;
            return;
        }
    }
    *array_add(held->places, held->count) = (struct place){xstrdup(name), partial, offset, size};
}

static void scan(struct cachedir *cd, struct archives *a, const char *name, bool partial)
{
    const int dir = partial ? cd->partial : cd->root;
    cleanup_tar_members struct tar_members members = {0};
    struct stat st;
    cleanup_free char *key = xasprintf("%s%s", partial ? "partial/" : "", name);
    struct scanned wanted = {.name = key};
    struct scanned **known = tfind(&wanted, &a->scanned, compare_scanned);
    if (known && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (*known)->inode == st.st_ino)
        return;
    cleanup_close int fd = fs_open(dir, name, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return; /* gone, or not to be read: no help, which is all that is asked here */
    (void)tar_scan(fd, &members, NULL); /* of a damaged one, what is before the damage */
    for (size_t i = 0; i < members.count; i++) {
        struct digest blob;
        if (members.list[i].offset >= 0 && docker_archive_digest(members.list[i].name, &blob))
            add_place(a, &blob, name, partial, members.list[i].offset, members.list[i].size);
    }
    if (members.count == 0)
        return; /* somebody may have just begun it */
    struct scanned *done = find_or_add(&a->scanned, &wanted, sizeof *done, compare_scanned);
    if (done->name == key)
        (void)take_ptr(key);
    done->inode = st.st_ino;
}

/* Did the directory change since it was read? */
static bool changed(int dir, struct timespec *seen)
{
    struct stat st;
    if (dir < 0 || fstat(dir, &st) < 0 ||
        (st.st_mtim.tv_sec == seen->tv_sec && st.st_mtim.tv_nsec == seen->tv_nsec))
        return false;
    *seen = st.st_mtim;
    return true;
}

static void scan_directory(struct cachedir *cd, struct archives *a, bool partial)
{
    cleanup_names char **names = NULL;
    size_t count;
    if (fs_names(partial ? cd->partial : cd->root, &names, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct digest digest;
        const char *suffix = strrchr(names[i], '.');
        const bool list =
            suffix && (strcmp(suffix, PARTIAL_RANGES) == 0 || strcmp(suffix, ".new") == 0);
        if (partial ? !list : entry_name(names[i], &digest))
            scan(cd, a, names[i], partial);
    }
}

void archives_refresh(struct cachedir *cd)
{
    pthread_mutex_lock(&cd->mutex);
    if (!cd->archives)
        cd->archives = xcalloc(1, sizeof *cd->archives);
    struct archives *a = cd->archives;
    if (changed(cd->root, &a->root))
        scan_directory(cd, a, false);
    if (changed(cd->partial, &a->partial))
        scan_directory(cd, a, true);
    pthread_mutex_unlock(&cd->mutex);
}

bool archives_all_seen(struct cachedir *cd)
{
    struct stat st;
    pthread_mutex_lock(&cd->mutex);
    const struct archives *a = cd->archives;
    bool all = a && fstat(cd->root, &st) == 0 && st.st_mtim.tv_sec == a->root.tv_sec &&
               st.st_mtim.tv_nsec == a->root.tv_nsec;
    pthread_mutex_unlock(&cd->mutex);
    return all;
}

void archives_published(struct cachedir *cd)
{
    pthread_mutex_lock(&cd->mutex);
    if (cd->archives)
        (void)changed(cd->root, &cd->archives->root);
    pthread_mutex_unlock(&cd->mutex);
}

static void free_held(void *node)
{
    struct held *held = node;
    for (size_t i = 0; i < held->count; i++)
        free(held->places[i].name);
    free(held->places);
    free(held);
}

static void free_scanned(void *node)
{
    free(((struct scanned *)node)->name);
    free(node);
}

void archives_release(struct cachedir *cd)
{
    if (!cd->archives)
        return;
    tdestroy(cd->archives->held, free_held);
    tdestroy(cd->archives->scanned, free_scanned);
    free(cd->archives);
    cd->archives = NULL;
}

void archives_add(struct cachedir *cd, const struct digest *blob, const char *name, int64_t offset,
                  int64_t size)
{
    pthread_mutex_lock(&cd->mutex);
    if (cd->archives)
        add_place(cd->archives, blob, name, true, offset, size);
    pthread_mutex_unlock(&cd->mutex);
}

static int open_archive(struct cachedir *cd, const char *name)
{
    struct stat st;
    cleanup_close int fd = fs_open(cd->root, name, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? take_fd(&fd) : -1;
}

/* One in the making has a blob when its list says so; or it was published meanwhile, and may be in
 * the making once more, to be mended. */
static int open_place(struct cachedir *cd, const struct place *place)
{
    struct stat st;
    if (!place->partial)
        return open_archive(cd, place->name);
    cleanup_close int fd = fs_open(cd->partial, place->name, O_RDONLY | O_NONBLOCK, 0);
    if (fd >= 0 && fstat(fd, &st) == 0 &&
        partial_bytes(cd, place->name, st.st_size, place->offset, place->offset + place->size) >=
            place->size)
        return take_fd(&fd);
    cleanup_free char *entry = xasprintf("sha256:%.64s", place->name);
    return open_archive(cd, entry);
}

/* A copy of the nth place; false: there are no more. */
static bool get_place(struct cachedir *cd, const struct digest *blob, size_t n, struct place *ret)
{
    struct held key = {.blob = *blob};
    pthread_mutex_lock(&cd->mutex);
    const bool known = cd->archives != NULL;
    pthread_mutex_unlock(&cd->mutex);
    if (!known)
        archives_refresh(cd);
    pthread_mutex_lock(&cd->mutex);
    struct held **held = tfind(&key, &cd->archives->held, compare_held);
    const bool found = held && n < (*held)->count;
    if (found) {
        *ret = (*held)->places[n];
        ret->name = xstrdup(ret->name);
    }
    pthread_mutex_unlock(&cd->mutex);
    return found;
}

int archives_open(struct cachedir *cd, const struct digest *blob, int64_t size, size_t n,
                  int *ret_fd, int64_t *ret_offset)
{
    struct place place;
    if (!get_place(cd, blob, n, &place))
        return -1;
    *ret_fd = place.size == size ? open_place(cd, &place) : -1;
    *ret_offset = place.offset;
    free(place.name);
    return *ret_fd >= 0;
}

int64_t archives_partial(struct cachedir *cd, const struct digest *blob, int64_t size)
{
    struct place place;
    struct stat st;
    int64_t most = 0;
    for (size_t n = 0; get_place(cd, blob, n, &place); n++) {
        if (place.partial && place.size == size &&
            fstatat(cd->partial, place.name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            const int64_t there =
                partial_bytes(cd, place.name, st.st_size, place.offset, place.offset + place.size);
            if (there > most)
                most = there;
        }
        free(place.name);
    }
    return most;
}
