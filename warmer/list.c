#include "list.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>

static void tell(struct list_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void tell(struct list_reader *reader, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    reader->problem(reader->userdata, message);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void add(struct wanted_list *list, struct list_reader *reader, const struct reference *ref,
                const struct platform *platform, bool explicit, const char *origin)
{
    cleanup_free char *shown = platform_format(platform);
    cleanup_free char *key = xasprintf("%s %s", ref->name, shown);
    if (tfind(key, &list->seen, compare))
        return;
    if (list->count >= LIST_WANTED_MAX) {
        tell(reader, "%s: more than %d images", origin, LIST_WANTED_MAX);
        return;
    }
    if (!tsearch(take_ptr(key), &list->seen, compare))
        abort(); /* out of memory */
    struct wanted *w = array_add(list->items, list->count);
    reference_copy(&w->reference, ref);
    platform_copy(&w->platform, platform);
    w->explicit_platform = explicit;
    w->origin = xstrdup(origin);
}

/* A reference for these platforms, or for the usual ones. */
static void add_reference(struct wanted_list *list, struct list_reader *reader, const char *text,
                          const struct platform *platforms, size_t count, const char *origin)
{
    cleanup_reference struct reference ref = {0};
    cleanup_error struct error err = {0};
    if (!*text) {
        tell(reader, "%s: the reference is empty", origin);
        return;
    }
    if (reference_parse(text, &ref, &err) < 0) {
        tell(reader, "%s: %s", origin, err.message);
        return;
    }
    const bool own = count > 0;
    if (!own) {
        platforms = reader->platforms;
        count = reader->platform_count;
    }
    for (size_t i = 0; i < count; i++)
        add(list, reader, &ref, &platforms[i], own || count > 1, origin);
}

void list_add(struct wanted_list *list, struct list_reader *reader, const char *text,
              const char *origin)
{
    add_reference(list, reader, text, NULL, 0, origin);
}

struct platforms {
    struct platform list[LIST_PLATFORMS_MAX];
    size_t count;
};

static void platforms_release(struct platforms *p)
{
    for (size_t i = 0; i < p->count; i++)
        platform_release(&p->list[i]);
}

/* "linux/amd64,linux/arm64". false: told what is wrong. */
static bool parse_platforms(struct list_reader *reader, char *text, const char *origin,
                            struct platforms *ret)
{
    char *rest = text, *one;
    while ((one = strsep(&rest, ","))) {
        cleanup_error struct error err = {0};
        if (!*one) {
            tell(reader, "%s: an empty platform: platform=os/arch[/variant][,...]", origin);
            return false;
        }
        if (ret->count >= LIST_PLATFORMS_MAX) {
            tell(reader, "%s: more than %d platforms", origin, LIST_PLATFORMS_MAX);
            return false;
        }
        if (platform_parse(one, &ret->list[ret->count], &err) < 0) {
            tell(reader, "%s: %s", origin, err.message);
            return false;
        }
        ret->count++;
    }
    return true;
}

static const char blanks[] = " \t\r\v\f";

/* Cut the comment off. */
static void strip_comment(char *line)
{
    for (char *p = line; (p = strchr(p, '#')); p++)
        if (p == line || strchr(blanks, p[-1])) {
            *p = '\0';
            return;
        }
}

static void parse_line(struct wanted_list *list, struct list_reader *reader, char *line,
                       const char *origin)
{
    __attribute__((cleanup(platforms_release))) struct platforms own = {.count = 0};
    strip_comment(line);
    cleanup_free char *shown = text_foreign_str(line + strspn(line, blanks));
    char *rest = NULL, *reference = strtok_r(line, blanks, &rest), *word;
    if (!reference)
        return;
    while ((word = strtok_r(NULL, blanks, &rest))) {
        static const char option[] = "platform=";
        if (strncmp(word, option, strlen(option)) != 0 || own.count > 0) {
            cleanup_free char *culprit = text_foreign_str(word);
            tell(reader,
                 "%s: \"%s\": unexpected \"%s\": a line is a reference, and at most one "
                 "platform=os/arch[/variant][,...] after it",
                 origin, shown, culprit);
            return;
        }
        if (!parse_platforms(reader, word + strlen(option), origin, &own))
            return;
    }
    add_reference(list, reader, reference, own.list, own.count, origin);
}

void list_parse(struct wanted_list *list, struct list_reader *reader, const char *bytes, size_t len,
                const char *origin)
{
    static const char bom[] = "\xef\xbb\xbf";
    const char *end = bytes + len;
    if (len >= strlen(bom) && memcmp(bytes, bom, strlen(bom)) == 0)
        bytes += strlen(bom);
    for (size_t number = 1; bytes < end; number++) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        size_t size = (size_t)((newline ? newline : end) - bytes);
        cleanup_free char *where = xasprintf("%s:%zu", origin, number);
        if (memchr(bytes, '\0', size)) {
            tell(reader, "%s: a NUL byte: is this a text file?", where);
            return;
        }
        cleanup_free char *line = xstrndup(bytes, size);
        parse_line(list, reader, line, where);
        bytes += size + (newline != NULL);
    }
}

/* All of a file or pipe. Owned. */
static int read_all(FILE *in, const char *shown, char **ret, size_t *ret_len, struct error *err)
{
    size_t len = 0, size = 1 << 14;
    cleanup_free char *bytes = xmalloc(size);
    for (;;) {
        size_t got = fread(bytes + len, 1, size - len, in);
        len += got;
        if (ferror(in))
            return error_errno(err, errno, "list %s: cannot read", shown);
        if (got == 0)
            break;
        if (len > LIST_SIZE_MAX)
            return error_set(err, ERROR_USAGE, "list %s: more than %d MiB: not a list", shown,
                             LIST_SIZE_MAX >> 20);
        if (len == size) {
            size *= 2;
            bytes = xreallocarray(bytes, size, 1);
        }
    }
    *ret = take_ptr(bytes);
    *ret_len = len;
    return 0;
}

int list_read(struct wanted_list *list, struct list_reader *reader, const char *path,
              struct error *err)
{
    cleanup_free char *shown = text_foreign_str(path);
    cleanup_free char *bytes = NULL;
    size_t len;
    if (strcmp(path, "-") == 0) {
        if (read_all(stdin, "on stdin", &bytes, &len, err) < 0)
            return -1;
        list_parse(list, reader, bytes, len, "stdin");
        return 0;
    }
    cleanup_fclose FILE *in = fopen(path, "re");
    if (!in && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERROR_NOT_FOUND, "list %s: there is no such file", shown);
    if (!in)
        return error_errno(err, errno, "list %s: cannot open", shown);
    if (read_all(in, shown, &bytes, &len, err) < 0)
        return -1;
    list_parse(list, reader, bytes, len, shown);
    return 0;
}

struct told { /* what is wrong, until it is known whether it is one thing or several */
    char **messages;
    size_t count;
};

static void keep(void *userdata, const char *message)
{
    struct told *told = userdata;
    *array_add(told->messages, told->count) = xstrdup(message);
}

/* One thing wrong is the error itself; several are told, and the error sums them up. */
static int sum_up(struct told *told, void (*problem)(void *userdata, const char *message),
                  void *userdata, enum error_kind kind, struct error *err)
{
    if (told->count == 1)
        (void)error_set(err, kind, "%s", told->messages[0]);
    else if (told->count > 1)
        (void)error_set(err, kind,
                        "%zu mistakes in the list of images, and nothing was done: mend what is "
                        "named above",
                        told->count);
    for (size_t i = 0; i < told->count; i++) {
        if (told->count > 1)
            problem(userdata, told->messages[i]);
        free(told->messages[i]);
    }
    free(told->messages);
    return told->count == 0 ? 0 : -1;
}

int list_load(const struct settings *settings, void (*problem)(void *userdata, const char *message),
              void *userdata, struct wanted_list *ret, struct error *err)
{
    struct told told = {0};
    struct list_reader reader = {
        .platforms = settings->platforms,
        .platform_count = settings->platform_count,
        .problem = keep,
        .userdata = &told,
    };
    enum error_kind kind = ERROR_USAGE;
    for (char **image = settings->images; image && *image; image++)
        list_add(ret, &reader, *image, "--image");
    for (char **file = settings->images_files; file && *file; file++) {
        cleanup_error struct error why = {0};
        if (list_read(ret, &reader, *file, &why) < 0) {
            kind = error_worse(kind, why.kind);
            tell(&reader, "%s", why.message);
        }
    }
    return sum_up(&told, problem, userdata, kind, err);
}

void wanted_list_release(struct wanted_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        reference_release(&list->items[i].reference);
        platform_release(&list->items[i].platform);
        free(list->items[i].origin);
    }
    free(list->items);
    tdestroy(list->seen, free);
    *list = (struct wanted_list){0};
}
