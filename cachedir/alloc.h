/*
 * Memory. Allocation failure aborts with one line on stderr: nothing here returns NULL, so that
 * error paths are about the world and not about malloc. Sizes that come from outside must have met
 * a named ceiling before they reach these.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xreallocarray(void *old, size_t count, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull, nonnull));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull, nonnull));
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *xvasprintf(const char *format, va_list args)
    __attribute__((format(printf, 1, 0), returns_nonnull));

/* Grow an array by one: `struct x *e = array_add(list, count);` (count is an lvalue, evaluated
 * more than once). The new element is zeroed. Capacity doubles at powers of two; nothing remembers
 * it, so an array that grows this way is NULL at first and only ever grows this way. */
#define array_add(array, count)                                                                    \
    ((array) = array_grow_((array), (count), sizeof *(array)), &(array)[(count)++])
void *array_grow_(void *array, size_t count, size_t size) __attribute__((returns_nonnull));

/* Clean-up attributes: the variable's destructor runs when it leaves the scope. */
static inline void free_p_(void *p)
{
    free(*(void **)p);
}
static inline void close_p_(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void fclose_p_(FILE **file)
{
    if (*file)
        fclose(*file);
}
#define cleanup_free __attribute__((cleanup(free_p_)))
#define cleanup_close __attribute__((cleanup(close_p_)))
#define cleanup_fclose __attribute__((cleanup(fclose_p_)))

/* Take a pointer or descriptor out of a variable that has a clean-up, e.g. to return it. */
#define take_ptr(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
