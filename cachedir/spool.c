#include "spool.h"

#include "alloc.h"
#include "layer.h"
#include "text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <poll.h>
#include <search.h>
#include <string.h>

#define ROOM ((size_t)256 << 10)
#define POLL_MS 200
#define WRITE_FROM ((int64_t)1 << 20) /* what is smaller is wanted for reading, too */
#define LINKS_MAX 16
#define TAR_BLOCK_SIZE 512

/* ---- what was read ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct spooled *)a)->name, ((const struct spooled *)b)->name);
}

static int compare_digests(const void *a, const void *b)
{
    return strcmp(((const struct spooled *)a)->digest.text,
                  ((const struct spooled *)b)->digest.text);
}

const struct spooled *spool_find(const struct spool *s, const char *name)
{
    cleanup_free char *copy = xstrdup(name);
    const struct spooled key = {.name = copy};
    struct spooled *const *found = tfind(&key, &s->names, compare_names);
    for (int hops = 0; found && (*found)->link && hops < LINKS_MAX; hops++) {
        const struct spooled next = {.name = (*found)->link};
        found = tfind(&next, &s->names, compare_names);
    }
    return found && !(*found)->link ? *found : NULL;
}

struct spooled *spool_digest(const struct spool *s, const struct digest *digest)
{
    const struct spooled key = {.digest = *digest};
    struct spooled *const *found = tfind(&key, &s->digests, compare_digests);
    return found ? *found : NULL;
}

static int directory_of(const struct spool *s, const struct spooled *member)
{
    return member->is_here ? blobs_directory(&s->cd->pool, &member->digest) : s->dir;
}

int spool_open_member(const struct spool *s, const struct spooled *member)
{
    return fs_open(directory_of(s, member), digest_hex(&member->digest), O_RDONLY | O_NONBLOCK, 0);
}

int spool_bytes(const struct spool *s, const struct spooled *member, size_t max, char **ret,
                struct error *err)
{
    size_t len;
    cleanup_free char *shown = text_foreign_str(member->name);
    if ((uintmax_t)member->size > max)
        return error_set(err, ERROR_PROTOCOL, "%s has %" PRId64 " bytes, more than %zu", shown,
                         member->size, max);
    cleanup_free char *bytes = NULL;
    if (fs_read(directory_of(s, member), digest_hex(&member->digest), max, &bytes, &len) < 0)
        return error_errno(err, errno, "cannot read back %s", shown);
    if (digest_check(&member->digest, bytes, len, err) < 0) /* the pool's may have rotted */
        return error_prefix(err, "%s", shown);
    *ret = take_ptr(bytes);
    return 0;
}

int spool_give(const struct spool *s, struct cachedir_stage *stage, const struct descriptor *blob,
               struct error *err)
{
    const struct spooled *member = spool_digest(s, &blob->digest);
    if (!member || member->is_here || member->size != blob->size)
        return 0;
    cleanup_close int fd = spool_open_member(s, member);
    if (fd < 0)
        return error_errno(err, errno, "cannot read back %s", blob->digest.text);
    if (s->cd->format->is_file)
        return s->cd->format->stage_give(stage, blob, fd, WHOLE_FILE, err);
    if (fs_set_mode(fd, s->cd->file_mode) < 0 || fsync(fd) < 0)
        return error_errno(err, errno, "cannot sync %s", blob->digest.text);
    if (pool_put(s->cd, s->dir, digest_hex(&blob->digest), &blob->digest, false, err) < 0)
        return -1;
    return cachedir_stage_take(stage, blob, err);
}

static void free_member(struct spooled *member)
{
    free(member->name);
    free(member->link);
    free(member);
}

static void keep_node(void *node)
{
    (void)node; /* the list owns it */
}

int spool_open(struct cachedir *cd, struct spool *ret, struct error *err)
{
    *ret = (struct spool){.cd = cd, .dir = -1};
    if (store_check_writable(cd, err) < 0)
        return -1;
    store_temporary(cd, ret->path, "import");
    ret->dir = fs_make_directory(cd->stage, ret->path, cd->directory_mode);
    if (ret->dir < 0)
        return store_error(cd, errno, cd->stage, ".", err, "cannot make a stage in %s/" STORE_OWN,
                           cd->path);
    ret->buffer = xmalloc(ROOM);
    return 0;
}

void spool_release(struct spool *s)
{
    if (s->dir >= 0) {
        close(s->dir);
        (void)fs_remove(s->cd->stage, s->path); /* else it is swept by age */
    }
    tdestroy(s->names, keep_node);
    tdestroy(s->digests, keep_node);
    for (size_t i = 0; i < s->count; i++)
        free_member(s->list[i]);
    free(s->list);
    free(s->buffer);
    *s = (struct spool){.dir = -1};
}

/* ---- names ---- */

char *spool_name(const char *base, const char *name)
{
    if (*name == '/')
        return NULL;
    cleanup_free char *whole = xasprintf("%s/%s", base, name);
    char *out = xcalloc(strlen(whole) + 1, 1), *rest = NULL;
    for (char *part = strtok_r(whole, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        char *slash = strrchr(out, '/');
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            if (!*out) {
                free(out);
                return NULL;
            }
            *(slash ? slash : out) = '\0';
            continue;
        }
        size_t len = strlen(out);
        (void)snprintf(out + len, strlen(part) + 2, "%s%s", len > 0 ? "/" : "", part);
    }
    return out;
}

static size_t depth(const char *name)
{
    size_t parts = 1;
    for (; *name; name++)
        parts += *name == '/';
    return parts;
}

/* The digest that a blob's name in a layout promises. */
static bool promised(const char *name, struct digest *ret)
{
    static const char *const algorithms[] = {"sha256", "sha512"};
    for (size_t i = 0; i < 2; i++) {
        cleanup_free char *prefix = xasprintf("blobs/%s/", algorithms[i]);
        if (strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        cleanup_free char *text = xasprintf("%s:%s", algorithms[i], name + strlen(prefix));
        return digest_parse(text, ret, NULL) == 0;
    }
    return false;
}

/* Consumes `member`. What stands there twice must be the same. */
static int add_member(struct spool *s, struct spooled *member, struct error *err)
{
    s->name_bytes += strlen(member->name) + (member->link ? strlen(member->link) : 0);
    if (s->name_bytes > SPOOL_NAMES_MAX) {
        free_member(member);
        return error_set(err, ERROR_PROTOCOL, "a tar with more than %d MiB of names",
                         SPOOL_NAMES_MAX >> 20);
    }
    struct spooled **node = tsearch(member, &s->names, compare_names);
    if (!node)
        abort(); /* out of memory */
    struct spooled *first = *node;
    if (first != member) {
        const bool same =
            (first->link && member->link && strcmp(first->link, member->link) == 0) ||
            (!first->link && !member->link && digest_equal(&first->digest, &member->digest));
        cleanup_free char *shown = text_foreign_str(member->name);
        free_member(member);
        return same ? 0
                    : error_set(err, ERROR_PROTOCOL, "\"%s\" stands there twice, and differs",
                                shown);
    }
    *array_add(s->list, s->count) = member;
    if (!member->link && !tsearch(member, &s->digests, compare_digests))
        abort(); /* out of memory */
    return 0;
}

/* ---- reading ---- */

struct reading {
    struct spool *spool;
    struct archive *archive;
    int fd;
    const volatile bool *stop;
    struct error err; /* of the pipe */
    int64_t header;   /* bytes that came since the last content */
    int64_t end;      /* where the last member ended, in the tar */
    size_t members;
};

static int go_on(const volatile bool *stop, struct error *err)
{
    if (stop && *stop)
        return error_set(err, ERROR_INTERRUPTED, "stopped before all was read");
    return 0;
}

static ssize_t read_pipe(struct spool *s, int fd, const volatile bool *stop, struct error *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (go_on(stop, err) < 0)
            return -1;
        int ready = poll(&p, 1, POLL_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        ssize_t n = read(fd, s->buffer, ROOM);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot read the tar");
        s->bytes += n;
        return n;
    }
}

static la_ssize_t feed(struct archive *archive, void *userdata, const void **ret)
{
    struct reading *r = userdata;
    ssize_t n = read_pipe(r->spool, r->fd, r->stop, &r->err);
    *ret = r->spool->buffer;
    r->header += n;
    if (n > 0 && r->header - (int64_t)ROOM > layer_limits.header)
        n = error_set(&r->err, ERROR_PROTOCOL, "a header of more than %" PRId64 " bytes",
                      layer_limits.header);
    if (n < 0)
        archive_set_error(archive, EIO, "no more to read");
    return n < 0 ? ARCHIVE_FATAL : n;
}

/* Why libarchive gave up. */
static int gave_up(struct reading *r, struct error *err)
{
    if (r->err.kind != ERROR_NONE) {
        error_move(err, &r->err);
        return -1;
    }
    if (r->spool->bytes == 0)
        return error_set(err, ERROR_PROTOCOL, "no tar: the input is empty");
    cleanup_free char *why = text_foreign_str(archive_error_string(r->archive));
    return error_set(err, ERROR_PROTOCOL, "not a whole tar: %s", *why ? why : "it ends too early");
}

/* More came out of it than a tar of images has. */
static int check_amount(struct reading *r, struct error *err)
{
    const int64_t out = archive_filter_bytes(r->archive, 0);
    if (out > layer_limits.unpacked)
        return error_set(err, ERROR_PROTOCOL, "a tar of more than %" PRId64 " GiB",
                         layer_limits.unpacked >> 30);
    if (out / layer_limits.ratio > r->spool->bytes)
        return error_set(err, ERROR_PROTOCOL,
                         "a tar that unpacks to more than %" PRId64 " times its size",
                         layer_limits.ratio);
    return 0;
}

/* The content of a member, hashed, and into `out` unless that is -1. */
static int copy_content(struct reading *r, struct spooled *member, int out, struct hasher *hasher,
                        struct error *err)
{
    const int64_t size = member->size;
    const void *block;
    size_t len;
    la_int64_t offset;
    int64_t done = 0;
    int next;
    while ((next = archive_read_data_block(r->archive, &block, &len, &offset)) == ARCHIVE_OK) {
        r->header = 0;
        if (offset != done || (int64_t)len > size - done)
            return error_set(err, ERROR_PROTOCOL, "a sparse file");
        if (done == 0 && len > 0)
            member->is_object = *(const char *)block == '{';
        hasher_update(hasher, block, len);
        if (out >= 0 && fs_write_all(out, block, len) < 0)
            return error_errno(err, errno, "cannot write into %s", r->spool->cd->path);
        done += (int64_t)len;
        if (check_amount(r, err) < 0 || go_on(r->stop, err) < 0)
            return -1;
    }
    r->header = 0;
    if (next != ARCHIVE_EOF)
        return gave_up(r, err);
    return done == size ? 0 : error_set(err, ERROR_PROTOCOL, "it is cut short");
}

/* A member's bytes into a file that has their digest for a name. */
static int spool_content(struct reading *r, struct spooled *member, struct error *err)
{
    struct spool *s = r->spool;
    static const struct digest sha256 = {.text = "sha256:"};
    struct digest promise = {0};
    const bool has_promise = promised(member->name, &promise);
    cleanup_hasher struct hasher *hasher = hasher_new(has_promise ? &promise : &sha256);
    const struct descriptor blob = {.digest = promise, .size = member->size};

    /* An archive in the making would have to copy it anyway. */
    member->is_here = has_promise && member->size >= WRITE_FROM && !s->cd->format->is_file &&
                      cachedir_has_blob(s->cd, &blob);
    cleanup_close int out =
        member->is_here ? -1
                        : fs_open(s->dir, "new", O_WRONLY | O_CREAT | O_TRUNC, s->cd->file_mode);
    if (out < 0 && !member->is_here)
        return error_errno(err, errno, "cannot write into %s", s->cd->path);
    if (copy_content(r, member, out, hasher, err) < 0)
        return -1;
    hasher_final(hasher, &member->digest);
    if (has_promise && !digest_equal(&promise, &member->digest))
        return error_set(err, ERROR_DIGEST, "it holds %s", member->digest.text);
    if (out >= 0 && fs_rename(s->dir, "new", s->dir, digest_hex(&member->digest), 0) < 0)
        return error_errno(err, errno, "cannot write into %s", s->cd->path);
    return 0;
}

/* The name of what a link leads to; NULL: out of the tar. */
static char *link_target(struct archive_entry *entry, const char *name)
{
    const char *hard = archive_entry_hardlink(entry), *soft = archive_entry_symlink(entry);
    if (hard)
        return spool_name("", hard);
    const char *slash = strrchr(name, '/');
    cleanup_free char *base = xstrndup(name, slash ? (size_t)(slash - name) : 0);
    return soft ? spool_name(base, soft) : NULL;
}

static int read_file(struct reading *r, struct archive_entry *entry, struct spooled *member,
                     struct error *err)
{
    const bool is_link = archive_entry_hardlink(entry) || archive_entry_filetype(entry) == AE_IFLNK;
    if (is_link) {
        member->link = link_target(entry, member->name);
        return member->link ? 0
                            : error_set(err, ERROR_PROTOCOL, "a link that leads out of the tar");
    }
    if (archive_entry_filetype(entry) != AE_IFREG)
        return error_set(err, ERROR_PROTOCOL, "no regular file, directory or link");
    if (archive_entry_sparse_count(entry) > 0)
        return error_set(err, ERROR_PROTOCOL, "a sparse file");
    member->size = archive_entry_size(entry);
    if (member->size < 0 || member->size > layer_limits.unpacked)
        return error_set(err, ERROR_PROTOCOL, "an impossible size");
    return spool_content(r, member, err);
}

static int read_member(struct reading *r, struct archive_entry *entry, struct error *err)
{
    const char *name = archive_entry_pathname(entry);
    cleanup_free char *shown = text_foreign_str(name);
    struct error why = {0};
    if (++r->members > SPOOL_MEMBERS_MAX)
        return error_set(err, ERROR_PROTOCOL, "a tar with more than %d members", SPOOL_MEMBERS_MAX);
    if (!name || strlen(name) > (size_t)layer_limits.name)
        return error_set(err, ERROR_PROTOCOL, "member %zu has a name that cannot be read: \"%s\"",
                         r->members, shown);
    cleanup_free char *simple = spool_name("", name);
    if (!simple)
        return error_set(err, ERROR_PROTOCOL, "\"%s\" leads out of the tar", shown);
    if (archive_entry_filetype(entry) == AE_IFDIR || !*simple || depth(simple) > SPOOL_DEPTH_MAX)
        return 0;
    struct spooled *member = xcalloc(1, sizeof *member);
    member->name = take_ptr(simple);
    if (read_file(r, entry, member, &why) < 0) {
        free_member(member);
        if (why.kind != ERROR_INTERRUPTED)
            (void)error_prefix(&why, "\"%s\"", shown);
        error_move(err, &why);
        return -1;
    }
    return add_member(r->spool, member, err);
}

static int read_members(struct reading *r, struct error *err)
{
    struct archive_entry *entry;
    int next;
    while ((next = archive_read_next_header(r->archive, &entry)) == ARCHIVE_OK ||
           next == ARCHIVE_WARN) {
        if (go_on(r->stop, err) < 0 || read_member(r, entry, err) < 0)
            return -1;
        if (archive_read_data_skip(r->archive) != ARCHIVE_OK)
            return gave_up(r, err);
        r->header = 0;
        r->end = archive_filter_bytes(r->archive, 0);
        if (check_amount(r, err) < 0)
            return -1;
    }
    if (next != ARCHIVE_EOF)
        return gave_up(r, err);
    /* libarchive takes the end of the file for the end of the tar. */
    if (archive_filter_bytes(r->archive, 0) < r->end + TAR_BLOCK_SIZE)
        return error_set(err, ERROR_PROTOCOL,
                         "not a whole tar: it ends without the mark of its end");
    /* Whoever fills the pipe is not to find it closed before he is through. */
    for (ssize_t n = 1; n > 0;) {
        n = read_pipe(r->spool, r->fd, r->stop, err);
        if (n < 0)
            return -1;
    }
    return 0;
}

int spool_tar(struct spool *s, int fd, const volatile bool *stop, struct error *err)
{
    struct reading r = {.spool = s, .fd = fd, .stop = stop, .archive = archive_read_new()};
    int result = -1;
    if (!r.archive || archive_read_support_format_tar(r.archive) != ARCHIVE_OK ||
        archive_read_support_filter_gzip(r.archive) < ARCHIVE_WARN ||
        archive_read_support_filter_zstd(r.archive) < ARCHIVE_WARN)
        abort(); /* out of memory */
    /* libarchive converts names to the thread's locale, whatever the program's is. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = uselocale(utf8); /* 0 changes nothing */
    if (archive_read_open(r.archive, &r, NULL, feed, NULL) != ARCHIVE_OK)
        (void)gave_up(&r, err);
    else
        result = read_members(&r, err);
    archive_read_free(r.archive);
    (void)uselocale(before);
    if (utf8)
        freelocale(utf8);
    error_clear(&r.err);
    return result;
}

int spool_file(struct spool *s, int fd, const volatile bool *stop, struct spooled **ret,
               struct error *err)
{
    static const struct digest sha256 = {.text = "sha256:"};
    cleanup_hasher struct hasher *hasher = hasher_new(&sha256);
    cleanup_close int out = fs_open(s->dir, "new", O_WRONLY | O_CREAT | O_EXCL, s->cd->file_mode);
    if (out < 0)
        return error_errno(err, errno, "cannot write into %s", s->cd->path);
    for (ssize_t n = 1; n > 0;) {
        n = read_pipe(s, fd, stop, err);
        if (n < 0)
            return -1;
        if (s->bytes > layer_limits.unpacked)
            return error_set(err, ERROR_PROTOCOL, "a layer of more than %" PRId64 " GiB",
                             layer_limits.unpacked >> 30);
        hasher_update(hasher, s->buffer, (size_t)n);
        if (fs_write_all(out, s->buffer, (size_t)n) < 0)
            return error_errno(err, errno, "cannot write into %s", s->cd->path);
    }
    struct spooled *member = xcalloc(1, sizeof *member);
    member->name = xstrdup("layer");
    member->size = s->bytes;
    hasher_final(hasher, &member->digest);
    if (fs_rename(s->dir, "new", s->dir, digest_hex(&member->digest), 0) < 0) {
        free_member(member);
        return error_errno(err, errno, "cannot write into %s", s->cd->path);
    }
    *ret = member;
    return add_member(s, member, err);
}

int spool_put(struct spool *s, const char *name, const void *bytes, size_t len,
              struct spooled **ret, struct error *err)
{
    struct digest digest;
    digest_of(bytes, len, &digest);
    *ret = spool_digest(s, &digest);
    if (*ret)
        return 0;
    struct spooled *member = xcalloc(1, sizeof *member);
    *member = (struct spooled){.name = xstrdup(name), .digest = digest, .size = (int64_t)len};
    if (fs_create(s->dir, digest_hex(&digest), s->cd->file_mode, bytes, len) < 0) {
        free_member(member);
        return error_errno(err, errno, "cannot write into %s", s->cd->path);
    }
    *ret = member;
    return add_member(s, member, err);
}
