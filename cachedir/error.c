#include "error.h"

#include "alloc.h"

#include <errno.h>
#include <string.h>

#undef error_set /* the functions themselves, not what error.h makes of them */
#undef error_errno
#undef error_prefix

/* Everything that is fixed about a kind. `rank` orders several failures of one run, the highest
 * wins: 75, so that the caller tries again, then what an administrator has to mend, then what is
 * wrong with the images, then what was typed. */
static const struct {
    const char *name;
    int exit_code;
    int rank;
} kinds[] = {
    [ERROR_NONE] = {"none", 0, 0},
    [ERROR_USAGE] = {"usage", 64, 1},
    [ERROR_NOT_FOUND] = {"not-found", 66, 2},
    [ERROR_DIGEST] = {"digest", 65, 3},
    [ERROR_PROTOCOL] = {"protocol", 65, 3},
    [ERROR_REFUSED] = {"refused", 77, 4},
    [ERROR_CONFIG] = {"config", 78, 5},
    [ERROR_DIRECTORY] = {"directory", 73, 6},
    [ERROR_IO] = {"io", 74, 7},
    [ERROR_NO_SPACE] = {"no-space", 74, 7},
    [ERROR_TRANSIENT] = {"transient", 75, 8},
    [ERROR_LOCKED] = {"locked", 75, 8},
    [ERROR_INTERRUPTED] = {"interrupted", 75, 8},
};

/* Takes ownership of `message`. */
static void error_take(struct error *err, enum error_kind kind, char *message)
{
    free(err->message);
    err->message = message;
    err->kind = kind;
}

int error_set(struct error *err, enum error_kind kind, const char *format, ...)
{
    if (!err)
        return -1;
    va_list args;
    va_start(args, format);
    /* Format first: the arguments may well be err's old message. */
    error_take(err, kind, xvasprintf(format, args));
    va_end(args);
    return -1;
}

static enum error_kind kind_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERROR_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERROR_REFUSED;
    default:
        return ERROR_IO;
    }
}

int error_errno(struct error *err, int errnum, const char *format, ...)
{
    if (!err)
        return -1;
    va_list args;
    va_start(args, format);
    cleanup_free char *what = xvasprintf(format, args);
    va_end(args);
    /* Safe in threads, and in English whatever the locale, as the rest of the message. */
    const char *why = strerrordesc_np(errnum);
    error_take(err, kind_of_errno(errnum),
               why ? xasprintf("%s: %s", what, why) : xasprintf("%s: error %d", what, errnum));
    return -1;
}

int error_prefix(struct error *err, const char *format, ...)
{
    if (!err || err->kind == ERROR_NONE)
        return -1;
    va_list args;
    va_start(args, format);
    cleanup_free char *prefix = xvasprintf(format, args);
    va_end(args);
    error_take(err, err->kind, xasprintf("%s: %s", prefix, err->message ? err->message : ""));
    return -1;
}

void error_move(struct error *to, struct error *from)
{
    if (to == from)
        return;
    if (to)
        error_take(to, from->kind, take_ptr(from->message));
    error_clear(from);
}

void error_clear(struct error *err)
{
    if (err)
        error_take(err, ERROR_NONE, NULL);
}

int error_exit_code(enum error_kind kind)
{
    return kinds[kind].exit_code;
}

enum error_kind error_worse(enum error_kind a, enum error_kind b)
{
    return kinds[b].rank > kinds[a].rank ? b : a;
}

const char *error_kind_name(enum error_kind kind)
{
    return kinds[kind].name;
}
