/*
 * Errors: one kind, which alone decides about retry and exit code, and one message for people.
 *
 * A function that can fail takes `struct error *err` as its last parameter, leaves it untouched on
 * success, and returns -1 (or NULL) after filling it on failure. Each caller that knows more says
 * what it was doing, once, by error_prefix(): "debian:12: layer sha256:..: cannot write: No space".
 * A caller that does not care passes NULL.
 *
 *     struct error err = {0};
 *     if (cachedir_open(path, &options, &cd, &err) < 0) {
 *         log_error("%s", err.message);
 *         code = error_exit_code(err.kind);
 *         error_clear(&err);
 *     }
 *
 * Text that came from the network or from the volume goes into a message only through
 * text_foreign() (text.h).
 */
#pragma once

#include <stdarg.h>

enum error_kind {
    ERROR_NONE = 0,
    ERROR_USAGE,       /* what was typed is wrong (flag, reference, list)            exit 64 */
    ERROR_DIGEST,      /* bytes are not what their digest or size says                    65 */
    ERROR_PROTOCOL,    /* well-formed bytes that mean nothing here: not an image, ...     65 */
    ERROR_NOT_FOUND,   /* no such image, tag, platform's file, list file                  66 */
    ERROR_DIRECTORY,   /* the cache directory cannot be made or holds no such names       73 */
    ERROR_IO,          /* reading or writing failed                                       74 */
    ERROR_NO_SPACE,    /* ENOSPC, EDQUOT, EFBIG, or known beforehand not to fit           74 */
    ERROR_TRANSIENT,   /* worth another try: network, 429, 5xx, a timeout                 75 */
    ERROR_LOCKED,      /* somebody else holds a lock: come back later                     75 */
    ERROR_REFUSED,     /* 401, 403, EACCES, EPERM                                         77 */
    ERROR_CONFIG,      /* a configuration, credentials or CA file is unusable             78 */
    ERROR_INTERRUPTED, /* a signal or --timeout stopped it            75, or 128+n by main() */
};

struct error {
    enum error_kind kind;
    char *message; /* owned; NULL while kind is ERROR_NONE */
};

/* Replace what *err holds. Always returns -1, so that `return error_set(...)` reads well. */
int error_set(struct error *err, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: ": strerror(errnum)" is appended, and the kind follows from
 * errnum: ENOSPC EDQUOT EFBIG no space; EACCES EPERM EROFS refused; the rest I/O. */
int error_errno(struct error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "<text>: " before the message. Does nothing to an empty error. Always returns -1. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* So that compilers and analyzers, too, know what these return. */
static inline int error_minus_one_(int r)
{
    (void)r;
    return -1;
}
#define error_set(...) error_minus_one_(error_set(__VA_ARGS__))
#define error_errno(...) error_minus_one_(error_errno(__VA_ARGS__))
#define error_prefix(...) error_minus_one_(error_prefix(__VA_ARGS__))

/* Hand *from over to *to (which may be NULL: then it is dropped); *from is empty afterwards. */
void error_move(struct error *to, struct error *from);

/* Free the message and become ERROR_NONE. Safe on an empty or zeroed error. */
void error_clear(struct error *err);

/* sysexits(3), as warmer(1) and cachedir(1) document them. */
int error_exit_code(enum error_kind kind);

/* Several failures, one code: 75 while one is worth another try, else the first of
 * 74 73 78 77 65 66, else 64, else 0. Returns the kind of the two whose code wins. */
enum error_kind error_worse(enum error_kind a, enum error_kind b);

/* A fixed lower-case word for reports and JSON: "not-found", "transient", ... */
const char *error_kind_name(enum error_kind kind);

#define cleanup_error __attribute__((cleanup(error_clear)))
