#include "list.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "pin.h"
#include "settings.h"
#include "source.h"

#include <search.h>
#include <stdarg.h>
#include <string.h>

static const char from_option[] = "--image"; /* an origin */

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

/* Who types a comma means several. */
static const char *hint(const char *text, const char *origin)
{
    if (!strchr(text, ','))
        return "";
    return strcmp(origin, from_option) == 0 ? ": repeat --image for each" : ": one in a line";
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
        tell(reader, "%s: %s%s", origin, err.message, hint(text, origin));
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

int list_read(struct wanted_list *list, struct list_reader *reader, const char *path,
              struct error *err)
{
    const struct source_options options = {.what = "list", .max = LIST_SIZE_MAX};
    cleanup_free char *shown = source_name(path, false);
    cleanup_free char *bytes = NULL;
    size_t len;
    if (source_read(&options, path, &bytes, &len, err) < 0)
        return -1;
    list_parse(list, reader, bytes, len, shown);
    return 0;
}

/* ---- Dockerfiles ---- */

/* "--build-arg NAME" is its value in the environment, as kaniko's executor has it. Owned, as are
 * its strings. */
static char **build_args(char *const *given)
{
    char **list = NULL;
    size_t count = 0;
    for (; given && *given; given++) {
        const char *value = strchr(*given, '=') ? NULL : getenv(*given);
        *array_add(list, count) =
            strchr(*given, '=') ? xstrdup(*given) : xasprintf("%s=%s", *given, value ? value : "");
    }
    *array_add(list, count) = NULL;
    return list;
}

static void free_strings(char ***list)
{
    for (char **s = *list; s && *s; s++)
        free(*s);
    free(*list);
}

struct loading { /* of the Dockerfiles */
    const struct settings *settings;
    const struct list_listener *listener;
    struct list_reader *reader;
    struct wanted_list *list;
};

static void warn(const struct loading *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void warn(const struct loading *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    l->listener->warning(l->listener->userdata, message);
}

/* "Dockerfile:12". Owned. */
static char *place(const char *origin, size_t line)
{
    return line > 0 ? xasprintf("%s:%zu", origin, line) : xstrdup(origin);
}

static void tell_messages(const struct loading *l, const struct dockerfile *d, const char *origin)
{
    for (size_t i = 0; i < d->message_count; i++) {
        const struct dockerfile_message *m = &d->messages[i];
        cleanup_free char *where = place(origin, m->line);
        if (m->error)
            tell(l->reader, "%s: %s", where, m->text);
        else
            warn(l, "%s: %s", where, m->text);
    }
}

static void add_images(const struct loading *l, const struct dockerfile *d, const char *origin)
{
    const bool pinned = l->settings->pinned_dockerfile != NULL;
    for (size_t i = 0; i < d->count; i++) {
        const struct dockerfile_image *image = &d->images[i];
        cleanup_free char *where = place(origin, image->line);
        if (image->use != DOCKERFILE_FROM && !pinned)
            continue; /* kaniko pulls it in any case */
        if (image->use != DOCKERFILE_FROM)
            warn(l,
                 "%s: %s%s: kaniko never looks in its --cache-dir for this: it is warmed for its "
                 "digest alone",
                 where, dockerfile_use_name(image->use), image->text);
        if (pinned && image->end == 0)
            tell(l->reader, "%s: %s%s: it cannot be pinned: write it without quotes and escapes",
                 where, dockerfile_use_name(image->use), image->text);
        list_add(l->list, l->reader, image->text, where);
    }
}

static void told_waiting(void *userdata, const char *message)
{
    const struct loading *l = userdata;
    l->listener->warning(l->listener->userdata, message);
}

static int load_dockerfile(struct loading *l, const char *where, struct error *err)
{
    const struct settings *s = l->settings;
    const struct source_options source = {
        .what = "Dockerfile",
        .max = DOCKERFILE_SIZE_MAX,
        .urls = true,
        .stall_timeout_ns = s->stall_timeout_ns,
        .limits = {s->retries, s->retry_max_time_ns},
        .waiting = told_waiting,
        .userdata = l,
    };
    cleanup_free char *bytes = NULL;
    size_t len;
    if (source_read(&source, where, &bytes, &len, err) < 0)
        return -1;
    __attribute__((cleanup(free_strings))) char **args = build_args(s->build_args);
    const struct dockerfile_options options = {.build_args = args, .target = s->target};
    struct pin *pin = xcalloc(1, sizeof *pin);
    pin->origin = source_name(where, true);
    pin->platform = platform_format(&s->platforms[0]);
    dockerfile_parse(bytes, len, &options, &pin->parsed);
    pin->bytes = take_ptr(bytes);
    pin->len = len;
    tell_messages(l, &pin->parsed, pin->origin);
    add_images(l, &pin->parsed, pin->origin);
    if (s->pinned_dockerfile && !l->list->pin)
        l->list->pin = take_ptr(pin);
    pin_free(pin);
    return 0;
}

/* ---- all of it ---- */

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
static int sum_up(struct told *told, const struct list_listener *listener, enum error_kind kind,
                  struct error *err)
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
            listener->problem(listener->userdata, told->messages[i]);
        free(told->messages[i]);
    }
    free(told->messages);
    return told->count == 0 ? 0 : -1;
}

int list_load(const struct settings *settings, const struct list_listener *listener,
              struct wanted_list *ret, struct error *err)
{
    struct told told = {0};
    struct list_reader reader = {
        .platforms = settings->platforms,
        .platform_count = settings->platform_count,
        .problem = keep,
        .userdata = &told,
    };
    struct loading loading = {settings, listener, &reader, ret};
    enum error_kind kind = ERROR_USAGE;
    for (char **image = settings->images; image && *image; image++)
        list_add(ret, &reader, *image, from_option);
    for (char **file = settings->images_files; file && *file; file++) {
        cleanup_error struct error why = {0};
        if (list_read(ret, &reader, *file, &why) < 0) {
            kind = error_worse(kind, why.kind);
            tell(&reader, "%s", why.message);
        }
    }
    for (char **file = settings->dockerfiles; file && *file; file++) {
        cleanup_error struct error why = {0};
        if (load_dockerfile(&loading, *file, &why) < 0) {
            kind = error_worse(kind, why.kind);
            tell(&reader, "%s", why.message);
        }
    }
    return sum_up(&told, listener, kind, err);
}

static void release(struct wanted *w)
{
    reference_release(&w->reference);
    platform_release(&w->platform);
    free(w->origin);
}

void list_shard(struct wanted_list *list, unsigned index, unsigned count)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct wanted *w = &list->items[i];
        struct digest digest;
        digest_of(w->reference.name, strlen(w->reference.name), &digest);
        cleanup_free char *first = xstrndup(digest_hex(&digest), 15); /* 60 bits */
        if (strtoull(first, NULL, 16) % count == index)
            list->items[kept++] = *w;
        else
            release(w);
    }
    list->count = kept;
}

void wanted_list_release(struct wanted_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        release(&list->items[i]);
    free(list->items);
    pin_free(list->pin);
    tdestroy(list->seen, free);
    *list = (struct wanted_list){0};
}
