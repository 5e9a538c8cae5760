#include "layer.h"

#include "alloc.h"
#include "store.h"
#include "text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <string.h>
#define ZLIB_CONST /* next_in points to what is only read */
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define ROOM ((size_t)1 << 18)

const struct layer_limits layer_limits = {
    .ratio = 1000,
    .unpacked = INT64_C(1) << 40,
    .members = 10000000,
    .name = 64 << 10,
    .header = 4 << 20,
    .window = 27,
};

struct stream {
    int fd;
    int64_t start; /* of the layer in the file; WHOLE_FILE */
    int64_t size;  /* that it should have */
    const struct layer_limits *limits;
    const volatile bool *stop;
    struct layer *layer;
    struct error err; /* reading failed, or was interrupted */

    unsigned char *in, *out; /* ROOM each */
    int64_t offset;          /* in the layer: behind what is in `in` */
    const unsigned char *next;
    size_t left; /* of `in`, at `next`: not unpacked yet */
    bool end;    /* of the file */
    struct hasher *blob;

    int (*unpack)(struct stream *s); /* some of `in` into the rest of `out` */
    z_stream gzip;
    ZSTD_DStream *zstd;
    bool between;  /* gzip members or zstd frames: the only place where the file may end */
    bool starved;  /* the unpacker holds nothing back: it needs more of the file */
    size_t parts;  /* members or frames begun */
    size_t filled; /* of `out` */
    bool done;     /* nothing more comes: the end, or what layer and err say */
    int64_t most;  /* bytes that may come */
    int64_t header;
    struct hasher *diff;
};

/* Unpack no further. Returns -1. */
static int give_up(struct stream *s, char **why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int give_up(struct stream *s, char **why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!*why)
        *why = xvasprintf(format, args);
    va_end(args);
    s->done = true;
    return -1;
}

static bool gave_up(const struct stream *s)
{
    return s->err.kind != ERROR_NONE || (s->done && !digest_is_set(&s->layer->diff_id));
}

/* ---- the file ---- */

/* More of the file into `in`, hashed. Leaves left at 0 at its end. */
static int fill(struct stream *s)
{
    ssize_t n;
    if (s->end)
        return 0;
    if (s->stop && *s->stop) {
        s->done = true;
        return error_set(&s->err, ERROR_INTERRUPTED, "stopped");
    }
    const bool part = s->start != WHOLE_FILE;
    const size_t want =
        part && s->size - s->offset < (int64_t)ROOM ? (size_t)(s->size - s->offset) : ROOM;
    do
        n = pread(s->fd, s->in, want, (part ? s->start : 0) + s->offset);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        s->done = true;
        return error_errno(&s->err, errno, "cannot read");
    }
    hasher_update(s->blob, s->in, (size_t)n);
    s->offset += n;
    s->end = n == 0 || s->offset > s->size; /* one that grows is read no further: it is wrong */
    s->next = s->in;
    s->left = (size_t)n;
    return 0;
}

/* ---- unpacking ---- */

static int unpack_plain(struct stream *s)
{
    size_t n = s->left < ROOM - s->filled ? s->left : ROOM - s->filled;
    memcpy(s->out + s->filled, s->next, n);
    s->filled += n;
    s->next += n;
    s->left -= n;
    return 0;
}

static int unpack_gzip(struct stream *s)
{
    z_stream *z = &s->gzip;
    if (s->between && s->parts++ > 0)
        (void)inflateReset(z); /* fails only without a state */
    z->next_in = s->next;
    z->avail_in = (uInt)s->left;
    z->next_out = s->out + s->filled;
    z->avail_out = (uInt)(ROOM - s->filled);
    int r = inflate(z, Z_NO_FLUSH);
    s->next = z->next_in;
    s->left = z->avail_in;
    s->filled = ROOM - z->avail_out;
    s->between = r == Z_STREAM_END;
    if (r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR)
        return 0;
    return give_up(s, &s->layer->problem, "gzip member %zu is damaged: %s", s->parts,
                   z->msg ? z->msg : zError(r));
}

static int unpack_zstd(struct stream *s)
{
    ZSTD_inBuffer in = {s->next, s->left, 0};
    ZSTD_outBuffer out = {s->out, ROOM, s->filled};
    s->parts += s->between;
    size_t r = ZSTD_decompressStream(s->zstd, &out, &in);
    s->next += in.pos;
    s->left -= in.pos;
    s->filled = out.pos;
    s->between = r == 0;
    if (!ZSTD_isError(r))
        return 0;
    switch (ZSTD_getErrorCode(r)) {
    case ZSTD_error_frameParameter_windowTooLarge:
        return give_up(s, &s->layer->not_checked,
                       "zstd frame %zu wants more than %lld KiB of memory", s->parts,
                       (1LL << s->limits->window) >> 10);
    case ZSTD_error_memory_allocation:
        s->done = true;
        return error_errno(&s->err, ENOMEM, "cannot unpack");
    default:
        return give_up(s, &s->layer->problem, "zstd frame %zu is damaged: %s", s->parts,
                       ZSTD_getErrorName(r));
    }
}

static void *allocate(void *userdata, uInt count, uInt size)
{
    (void)userdata;
    return xcalloc(count, size);
}

static void release(void *userdata, void *memory)
{
    (void)userdata;
    free(memory);
}

/* Look at the first bytes. */
static int begin(struct stream *s)
{
    if (fill(s) < 0)
        return -1;
    const unsigned char *b = s->next;
    bool frame = s->left >= 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
    bool skippable =
        s->left >= 4 && (b[0] & 0xf0) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18;
    s->between = true;
    s->unpack = unpack_plain;
    if (s->left >= 2 && b[0] == 0x1f && b[1] == 0x8b) {
        s->unpack = unpack_gzip;
        s->gzip = (z_stream){.zalloc = allocate, .zfree = release};
        if (inflateInit2(&s->gzip, 16 + MAX_WBITS) != Z_OK) /* 16: with gzip's header */
            return error_set(&s->err, ERROR_IO, "zlib: %s", s->gzip.msg ? s->gzip.msg : "failed");
    } else if (frame || skippable) {
        s->unpack = unpack_zstd;
        s->zstd = ZSTD_createDStream();
        if (!s->zstd ||
            ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, s->limits->window)))
            return error_errno(&s->err, ENOMEM, "zstd");
    }
    return 0;
}

/* Fill `out` as far as the file reaches. */
static int unpack_some(struct stream *s)
{
    s->filled = 0;
    while (s->filled < ROOM) {
        if (s->left == 0 && (s->between || s->starved)) {
            if (fill(s) < 0)
                return -1;
            if (s->left == 0 && !s->between)
                return give_up(s, &s->layer->problem, "it ends within %s %zu",
                               s->zstd ? "zstd frame" : "gzip member", s->parts);
            if (s->left == 0)
                return 0;
        }
        size_t before = s->filled;
        if (s->unpack(s) < 0)
            return -1;
        s->starved = s->filled == before;
    }
    return 0;
}

/* The next bytes of the tar, in `out`: how many; 0 at the end, -1 when it was given up. */
static ssize_t produce(struct stream *s)
{
    if (s->done)
        return gave_up(s) ? -1 : 0;
    if (unpack_some(s) < 0)
        return -1;
    if (s->filled == 0) {
        s->done = true;
        hasher_final(s->diff, &s->layer->diff_id);
        return 0;
    }
    hasher_update(s->diff, s->out, s->filled);
    s->layer->unpacked += (int64_t)s->filled;
    if (s->layer->unpacked <= s->most)
        return (ssize_t)s->filled;
    if (s->most < s->limits->unpacked)
        return give_up(s, &s->layer->problem,
                       "it unpacks to more than %" PRId64 " times its size, and is read no further",
                       s->limits->ratio);
    cleanup_free char *most = size_format(s->most);
    return give_up(s, &s->layer->problem, "it unpacks to more than %s, and is read no further",
                   most);
}

/* ---- the tar ---- */

static la_ssize_t feed(struct archive *archive, void *userdata, const void **ret)
{
    struct stream *s = userdata;
    ssize_t n = produce(s);
    *ret = s->out;
    s->header += n;
    if (n > 0 && s->header - (int64_t)ROOM > s->limits->header) /* part of a block was content */
        n = give_up(s, &s->layer->problem,
                    "member %" PRId64 " has a header of more than %" PRId64 " bytes",
                    s->layer->members + 1, s->limits->header);
    if (n < 0)
        archive_set_error(archive, EIO, "no more to read");
    return n < 0 ? ARCHIVE_FATAL : n;
}

/* What is behind the last member that was understood is not. The rest is unpacked all the same: its
 * diff ID is worth knowing. */
static void damaged(struct stream *s, struct archive *archive, const char *name)
{
    if (gave_up(s) || (s->done && s->layer->unpacked == 0)) /* nothing at all is fine */
        return;
    cleanup_free char *shown = text_foreign_str(name);
    cleanup_free char *why = text_foreign_str(archive_error_string(archive));
    const char *reason = *why ? why : "it ends too early";
    if (s->layer->members == 0)
        s->layer->problem = xasprintf("it is no tar: %s", reason);
    else
        s->layer->problem =
            xasprintf("its tar is damaged at or behind member %" PRId64 ", \"%s\": %s",
                      s->layer->members, shown, reason);
}

static int check_name(struct stream *s, const char *name)
{
    if (!name || strlen(name) <= (size_t)s->limits->name)
        return 0;
    cleanup_free char *shown = text_foreign_str(name);
    return give_up(s, &s->layer->problem,
                   "member %" PRId64 " has a name of %zu bytes, more than %" PRId64 ": \"%s\"",
                   s->layer->members, strlen(name), s->limits->name, shown);
}

static void read_members(struct stream *s, struct archive *archive)
{
    char last[2 * TEXT_FOREIGN_MAX] = "";
    struct archive_entry *entry;
    for (;;) {
        s->header = 0;
        int r = archive_read_next_header(archive, &entry);
        if (r == ARCHIVE_EOF)
            return;
        if (r != ARCHIVE_OK && r != ARCHIVE_WARN) { /* warned of: what it cannot map, e.g. names */
            damaged(s, archive, last);
            return;
        }
        if (++s->layer->members > s->limits->members) {
            (void)give_up(s, &s->layer->problem, "it has more than %" PRId64 " members",
                          s->limits->members);
            return;
        }
        const char *name = archive_entry_pathname(entry);
        if (check_name(s, name) < 0 || check_name(s, archive_entry_hardlink(entry)) < 0 ||
            check_name(s, archive_entry_symlink(entry)) < 0)
            return;
        snprintf(last, sizeof last, "%s", name ? name : "");
        s->header = INT64_MIN / 2; /* content has no limit of its own */
        if (archive_read_data_skip(archive) < ARCHIVE_WARN) {
            damaged(s, archive, last);
            return;
        }
    }
}

/* libarchive converts names to the thread's locale, whatever the program's is: it must know UTF-8.
 * Made once, and kept as long as the process; (locale_t)0 on a system without it: then names that
 * are not ASCII go unchecked. */
static locale_t utf8;
static pthread_once_t utf8_once = PTHREAD_ONCE_INIT;

static void make_utf8(void)
{
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static void read_tar(struct stream *s)
{
    struct archive *archive = archive_read_new();
    if (!archive || archive_read_support_format_tar(archive) != ARCHIVE_OK) {
        archive_read_free(archive);
        (void)error_errno(&s->err, ENOMEM, "libarchive");
        return;
    }
    pthread_once(&utf8_once, make_utf8);
    locale_t before = uselocale(utf8); /* 0 changes nothing */
    if (archive_read_open(archive, s, NULL, feed, NULL) == ARCHIVE_OK)
        read_members(s, archive);
    else
        damaged(s, archive, "");
    archive_read_free(archive);
    (void)uselocale(before);
}

/* ---- */

bool layer_media_type(const char *media_type)
{
    static const char *const known[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], media_type) == 0)
            return true;
    return false;
}

void layer_release(struct layer *layer)
{
    free(layer->problem);
    free(layer->not_checked);
    *layer = (struct layer){0};
}

/* All of the file is hashed, whatever comes of its content. */
static int read_all(struct stream *s, const struct digest *digest)
{
    if (begin(s) == 0)
        read_tar(s);
    while (s->err.kind == ERROR_NONE && produce(s) > 0)
        continue;
    while (s->err.kind == ERROR_NONE && !s->end)
        (void)fill(s);
    if (s->err.kind != ERROR_NONE)
        return error_prefix(&s->err, "%s", digest->text);
    struct digest got;
    hasher_final(s->blob, &got);
    return pool_judge(digest, s->size, &got, s->offset, &s->err);
}

int layer_check(int fd, int64_t start, const struct digest *digest, int64_t size,
                const struct layer_limits *limits, const volatile bool *stop, struct layer *ret,
                struct error *err)
{
    static const struct digest sha256 = {.text = "sha256:"};
    struct layer layer = {0};
    struct stream s = {.fd = fd,
                       .start = start,
                       .size = size,
                       .limits = limits,
                       .stop = stop,
                       .layer = &layer,
                       .in = xmalloc(ROOM),
                       .out = xmalloc(ROOM),
                       .blob = hasher_new(digest),
                       .diff = hasher_new(&sha256),
                       .most = limits->unpacked};
    if (size < limits->unpacked / limits->ratio)
        s.most = size * limits->ratio;

    if (start == WHOLE_FILE)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    int r = read_all(&s, digest);
    if (s.unpack == unpack_gzip)
        (void)inflateEnd(&s.gzip);
    ZSTD_freeDStream(s.zstd);
    hasher_free(s.blob);
    hasher_free(s.diff);
    free(s.in);
    free(s.out);
    if (r < 0) {
        layer_release(&layer);
        error_move(err, &s.err);
        return -1;
    }
    *ret = layer;
    return 0;
}
