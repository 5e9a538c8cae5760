#include "alloc.h"

#include <stdint.h>
#include <string.h>

/* No clean-up, no unwinding: whoever started the program sees one line and SIGABRT. Nothing that
 * is published can be harmed, since publishing is a rename. */
static void __attribute__((noreturn)) out_of_memory(void)
{
    fputs("out of memory\n", stderr);
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1); /* malloc(0) may return NULL */
    if (!p)
        out_of_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = count && size ? calloc(count, size) : calloc(1, 1);
    if (!p)
        out_of_memory();
    return p;
}

void *xreallocarray(void *old, size_t count, size_t size)
{
    /* realloc(p, 0) frees p on some C libraries and not on others. */
    void *p = count && size ? reallocarray(old, count, size) : realloc(old, 1);
    if (!p)
        out_of_memory();
    return p;
}

char *xstrdup(const char *s)
{
    char *p = strdup(s);
    if (!p)
        out_of_memory();
    return p;
}

char *xstrndup(const char *s, size_t n)
{
    char *p = strndup(s, n);
    if (!p)
        out_of_memory();
    return p;
}

char *xvasprintf(const char *format, va_list args)
{
    char *p;
    if (vasprintf(&p, format, args) < 0)
        out_of_memory();
    return p;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *p = xvasprintf(format, args);
    va_end(args);
    return p;
}

void *array_grow_(void *array, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0) { /* full: 0 or a power of two */
        if (count > SIZE_MAX / 2)
            out_of_memory();
        array = xreallocarray(array, count ? 2 * count : 1, size);
    }
    memset((char *)array + count * size, 0, size);
    return array;
}
