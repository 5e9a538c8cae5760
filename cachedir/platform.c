#include "platform.h"

#include "alloc.h"
#include "text.h"

#include <string.h>
#include <sys/utsname.h>

/* The architecture as Go spells it. Like GOARCH it is what the program was built for, not what the
 * kernel says: a 32-bit executor on a 64-bit kernel asks for 32-bit images. */
#if defined(__x86_64__)
#define HOST_ARCHITECTURE "amd64"
#elif defined(__i386__)
#define HOST_ARCHITECTURE "386"
#elif defined(__aarch64__)
#define HOST_ARCHITECTURE "arm64"
#elif defined(__arm__)
#define HOST_ARCHITECTURE "arm"
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST_ARCHITECTURE "ppc64le"
#elif defined(__powerpc64__)
#define HOST_ARCHITECTURE "ppc64"
#elif defined(__s390x__)
#define HOST_ARCHITECTURE "s390x"
#elif defined(__riscv) && __riscv_xlen == 64
#define HOST_ARCHITECTURE "riscv64"
#elif defined(__loongarch64)
#define HOST_ARCHITECTURE "loong64"
#elif defined(__mips64) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST_ARCHITECTURE "mips64le"
#elif defined(__mips64)
#define HOST_ARCHITECTURE "mips64"
#else
/* cppcheck-suppress preprocessorErrorDirective */
#error "add Go's name (GOARCH) for this architecture"
#endif

#define PLATFORM_MAX 256 /* bytes of a platform that is typed */

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static bool same(const char *a, const char *b)
{
    return strcmp(or_empty(a), or_empty(b)) == 0;
}

static char *copy_or_null(const char *s)
{
    return s && *s ? xstrdup(s) : NULL;
}

/* Names as Go and the image-spec use them; the underscore is for those that write x86_64, which
 * then matches nothing, as in the builder. */
static bool is_name(const char *s)
{
    return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] ==
           '\0';
}

/* Cuts `s` at `separator` and returns what is behind it, NULL when there is none. */
static char *cut(char *s, char separator)
{
    char *at = s ? strchr(s, separator) : NULL;
    if (!at)
        return NULL;
    *at = '\0';
    return at + 1;
}

/* Takes `text` apart; returns what is wrong, else NULL. */
static const char *platform_read(char *text, struct platform *ret)
{
    char *os = text;
    char *version = cut(os, ':');
    char *architecture = cut(os, '/');
    char *variant = cut(architecture, '/');
    if (version && strchr(version, ':'))
        return "more than one colon";
    if (variant && strchr(variant, '/'))
        return "more than two slashes";
    if (!*os || !architecture || !*architecture)
        return "write it like linux/amd64 or linux/arm/v7";
    if (!is_name(os) || !is_name(architecture) || !is_name(or_empty(variant)) ||
        !is_name(or_empty(version)))
        return "only letters, digits, '.', '_' and '-' make its names";
    *ret = (struct platform){
        .os = xstrdup(os),
        .architecture = xstrdup(architecture),
        .variant = copy_or_null(variant),
        .os_version = copy_or_null(version),
    };
    return NULL;
}

int platform_parse(const char *text, struct platform *ret, struct error *err)
{
    static const char blank[] = " \t\r\n";
    const char *start = text + strspn(text, blank);
    size_t len = strlen(start);
    while (len > 0 && strchr(blank, start[len - 1]))
        len--;

    const char *why = "too long";
    if (len <= PLATFORM_MAX) {
        cleanup_free char *copy = xstrndup(start, len);
        why = platform_read(copy, ret);
    }
    if (!why)
        return 0;
    cleanup_free char *shown = text_foreign_str(text);
    return error_set(err, ERROR_USAGE, "bad platform \"%s\": %s", shown, why);
}

void platform_host(struct platform *ret)
{
    *ret = (struct platform){
        .os = xstrdup("linux"),
        .architecture = xstrdup(HOST_ARCHITECTURE),
    };
    if (strcmp(HOST_ARCHITECTURE, "arm") == 0) {
        struct utsname name;
        const char *machine = uname(&name) == 0 ? name.machine : "";
        const char *variant = strncmp(machine, "armv6", 5) == 0   ? "v6"
                              : strncmp(machine, "armv5", 5) == 0 ? "v5"
                                                                  : "v7";
        ret->variant = xstrdup(variant);
    }
}

char *platform_format(const struct platform *p)
{
    const char *variant = or_empty(p->variant), *version = or_empty(p->os_version);
    return xasprintf("%s/%s%s%s%s%s", or_empty(p->os), or_empty(p->architecture),
                     *variant ? "/" : "", variant, *version ? ":" : "", version);
}

bool platform_matches(const struct platform *have, const struct platform *want)
{
    if (same(have->os, "unknown") && same(have->architecture, "unknown"))
        return false; /* attestations and the like: nothing that runs */
    if (!same(have->os, want->os) || !same(have->architecture, want->architecture))
        return false;
    if (*or_empty(want->os_version) && !same(have->os_version, want->os_version))
        return false;
    return !*or_empty(want->variant) || same(have->variant, want->variant);
}

bool platform_equal(const struct platform *a, const struct platform *b)
{
    return same(a->os, b->os) && same(a->architecture, b->architecture) &&
           same(a->variant, b->variant) && same(a->os_version, b->os_version);
}

void platform_copy(struct platform *to, const struct platform *from)
{
    *to = (struct platform){
        .os = from->os ? xstrdup(from->os) : NULL,
        .architecture = from->architecture ? xstrdup(from->architecture) : NULL,
        .variant = copy_or_null(from->variant),
        .os_version = copy_or_null(from->os_version),
    };
}

void platform_release(struct platform *p)
{
    if (!p)
        return;
    free(p->os);
    free(p->architecture);
    free(p->variant);
    free(p->os_version);
    *p = (struct platform){0};
}
