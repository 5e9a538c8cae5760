#include "tar-out.h"

#include "alloc.h"
#include "tar.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define POLL_MS 200

struct tar_out {
    int fd;
    const volatile bool *stop;
    int64_t bytes;
    int64_t left; /* of the member's content */
    size_t pad;   /* behind it */
};

struct tar_out *tar_out_new(int fd, const volatile bool *stop)
{
    struct tar_out *t = xcalloc(1, sizeof *t);
    t->fd = fd;
    t->stop = stop;
    return t;
}

/* A pipe whose reader is slow is waited for without holding up a stop. */
static int write_all(struct tar_out *t, const char *bytes, size_t len, struct error *err)
{
    while (len > 0) {
        struct pollfd p = {.fd = t->fd, .events = POLLOUT};
        if (t->stop && *t->stop)
            return error_set(err, ERROR_INTERRUPTED, "stopped before the tar was written");
        int ready = poll(&p, 1, POLL_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        ssize_t n = write(t->fd, bytes, len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return error_errno(err, errno, "cannot write the tar");
        t->bytes += n;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int end_member(struct tar_out *t, struct error *err)
{
    static const char zeros[TAR_BLOCK];
    if (t->left > 0)
        return error_set(err, ERROR_IO, "a member of the tar lacks %lld bytes", (long long)t->left);
    if (write_all(t, zeros, t->pad, err) < 0)
        return -1;
    t->pad = 0;
    return 0;
}

int tar_out_begin(struct tar_out *t, const char *name, int64_t size, struct error *err)
{
    char header[TAR_HEADER_MAX];
    if (end_member(t, err) < 0 ||
        write_all(t, header, tar_long_header(header, name, size), err) < 0)
        return -1;
    t->left = size;
    t->pad = (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
    return 0;
}

int tar_out_write(struct tar_out *t, const void *bytes, size_t len, struct error *err)
{
    if ((int64_t)len > t->left)
        return error_set(err, ERROR_IO, "a member of the tar would have too many bytes");
    t->left -= (int64_t)len;
    return write_all(t, bytes, len, err);
}

int tar_out_put(struct tar_out *t, const char *name, const void *bytes, size_t len,
                struct error *err)
{
    if (tar_out_begin(t, name, (int64_t)len, err) < 0)
        return -1;
    return tar_out_write(t, bytes, len, err);
}

int tar_out_end(struct tar_out *t, struct error *err)
{
    static const char zeros[TAR_END];
    if (end_member(t, err) < 0)
        return -1;
    return write_all(t, zeros, sizeof zeros, err);
}

int64_t tar_out_bytes(const struct tar_out *t)
{
    return t->bytes;
}

void tar_out_free(struct tar_out *t)
{
    free(t);
}
