#include "output.h"

#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/text.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>

struct output { /* what is written, and its name as messages say it */
    const char *path, *bytes;
    size_t len;
    const char *shown;
};

static int write_out(int fd, const struct output *o, struct error *err)
{
    if (fs_write_all(fd, o->bytes, o->len) < 0)
        return error_errno(err, errno, "%s: cannot write", o->shown);
    return 0;
}

/* A device or a pipe cannot be replaced, and what a dangling symlink names is made. */
static int write_into(const struct output *o, struct error *err)
{
    cleanup_close int fd = open(o->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot open", o->shown);
    return write_out(fd, o, err);
}

/* `old`: what stands there, whose mode the new file keeps; or NULL. */
static int replace(const struct output *o, const char *path, const struct stat *old,
                   struct error *err)
{
    cleanup_free char *copy = xstrdup(path);
    char random[FS_NAME_MAX];
    fs_random_name(random, ".warmer-output.");
    cleanup_free char *temporary = xasprintf("%s/%s", dirname(copy), random);
    cleanup_close int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_errno(err, errno, "%s: cannot create", o->shown);
    int r = write_out(fd, o, err);
    if (r == 0 && old && fchmod(fd, old->st_mode & 0777) < 0)
        r = error_errno(err, errno, "%s: cannot set the mode", o->shown);
    if (r == 0 && fsync(fd) < 0)
        r = error_errno(err, errno, "%s: cannot sync", o->shown);
    if (r == 0 && rename(temporary, path) < 0)
        r = error_errno(err, errno, "%s: cannot rename", o->shown);
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

static bool is_link(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

int output_write(const char *what, const char *path, const char *bytes, size_t len,
                 struct error *err)
{
    cleanup_free char *shown_path = text_foreign_str(path);
    cleanup_free char *shown = xasprintf("%s %s", what, shown_path);
    const struct output o = {path, bytes, len, shown};
    struct stat st;
    const bool there = stat(path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return error_errno(err, EISDIR, "%s", shown);
    if (there ? !S_ISREG(st.st_mode) : is_link(path))
        return write_into(&o, err);
    cleanup_free char *real = realpath(path, NULL); /* through a symlink, not over it */
    return replace(&o, real ? real : path, there ? &st : NULL, err);
}

int output_check(const char *what, const char *path, struct error *err)
{
    cleanup_free char *shown = text_foreign_str(path);
    struct stat st;
    const bool there = stat(path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return error_errno(err, EISDIR, "%s %s", what, shown);
    cleanup_free char *real = realpath(path, NULL);
    cleanup_free char *copy = xstrdup(real ? real : path);
    const char *must = there && !S_ISREG(st.st_mode) ? path : dirname(copy);
    if (faccessat(AT_FDCWD, must, W_OK, AT_EACCESS) < 0)
        return error_errno(err, errno, "%s %s: cannot be written there", what, shown);
    return 0;
}
