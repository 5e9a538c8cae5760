/* cachedir inspect */
#include "alloc.h"
#include "command.h"
#include "text.h"

#include <string.h>

#define SCHEMA "basewarm.inspect/1"

struct settings {
    struct common common;
    bool json;
    int64_t cache_ttl_ns;
};

static const struct option_spec options[] = {
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Inspect",
     "one JSON object, schema \"" SCHEMA "\""},
    {"cache-ttl", 0, OPTION_DURATION, offsetof(struct settings, cache_ttl_ns), "D", "Inspect",
     "how long an entry lives: the executor's --cache-ttl", "336h"},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir inspect",
    .usage = "[options] REF|DIGEST",
    .summary = "show one image: the builder's key, hit or miss and why, its blobs",
    .options = options,
    .epilog = "Exit code: 0 a builder that asks for it now hits, 1 it misses.\n",
};

static void defaults(void *userdata)
{
    struct settings *settings = userdata;
    settings->cache_ttl_ns = CACHE_TTL_DEFAULT_NS;
}

/* What a builder that asks for the key now gets. */
static bool is_hit(const struct cachedir_entry *e, const char *state)
{
    return e->state == CACHEDIR_COMPLETE && strcmp(state, "ok") == 0;
}

static char *explain(const struct cachedir_entry *e, const char *state)
{
    if (strcmp(state, "ok") == 0)
        return xstrdup("hit");
    if (strcmp(state, "expired") == 0)
        return xstrdup("miss: expired; warm it again");
    return xasprintf("broken: %s; warm it again", e->problem);
}

struct shown { /* one entry, and what is known about it */
    struct cachedir_entry entry;
    struct digest *aliases;
    size_t alias_count;
    const struct cachedir_name *names; /* of all entries */
    size_t name_count;
};

static void shown_release(struct shown *s)
{
    cachedir_entry_release(&s->entry);
    free(s->aliases);
}

/* Does this name lead to it, or to what it is an alias of? */
static bool leads_here(const struct cachedir_name *name, const struct cachedir_entry *e)
{
    return digest_equal(&name->manifest, digest_is_set(&e->alias_of) ? &e->alias_of : &e->digest);
}

static void print_text(const struct shown *s, time_t now, int64_t ttl_ns)
{
    const struct cachedir_entry *e = &s->entry;
    const struct cachedir_name *names = s->names;
    const char *state = command_state(e, now, ttl_ns);
    cleanup_free char *answer = explain(e, state);
    cleanup_free char *platform = e->platform.os ? platform_format(&e->platform) : NULL;
    cleanup_free char *size = size_format(e->size);
    cleanup_free char *age = command_age(now - e->renewed.tv_sec);
    cleanup_free char *renewed = time_format(e->renewed.tv_sec);
    cleanup_free char *expires = time_format(e->renewed.tv_sec + ttl_ns / NS_PER_S);

    printf("Key:        %s\n", e->digest.text);
    printf("Builder:    %s\n", answer);
    if (digest_is_set(&e->alias_of))
        printf("Alias of:   %s\n", e->alias_of.text);
    for (size_t i = 0; i < s->alias_count; i++)
        printf("Alias:      %s\n", s->aliases[i].text);
    for (size_t i = 0; i < s->name_count; i++) {
        if (!leads_here(&names[i], e))
            continue;
        cleanup_free char *reference = text_foreign_str(names[i].reference);
        cleanup_free char *asked = text_foreign_str(names[i].platform);
        cleanup_free char *checked = time_format(names[i].checked);
        printf("Reference:  %s (%s, checked %s)\n", reference, asked, checked);
        if (!digest_equal(&names[i].source, &names[i].manifest))
            printf("Index:      %s\n", names[i].source.text);
    }
    printf("Platform:   %s\n", platform ? platform : "unknown");
    printf("Media type: %s\n", e->media_type ? e->media_type : "unknown");
    printf("Size:       %s\n", size);
    printf("Renewed:    %s (%s ago)\n", renewed, age);
    printf("Expires:    %s\n", expires);
    printf("Blobs:\n");
    for (size_t i = 0; i < e->blob_count; i++)
        printf("  %s  %lld  %s\n", e->blobs[i].digest.text, (long long)e->blobs[i].size,
               e->blobs[i].present ? "ok" : "missing or wrong");
}

static json_t *entry_json(const struct shown *s, time_t now, int64_t ttl_ns)
{
    const struct cachedir_entry *e = &s->entry;
    const struct cachedir_name *names = s->names;
    const char *state = command_state(e, now, ttl_ns);
    cleanup_free char *answer = explain(e, state);
    cleanup_free char *platform = e->platform.os ? platform_format(&e->platform) : NULL;
    cleanup_free char *renewed = time_format(e->renewed.tv_sec);
    cleanup_free char *expires = time_format(e->renewed.tv_sec + ttl_ns / NS_PER_S);
    cleanup_json json_t *references = json_array();
    cleanup_json json_t *blobs = json_array();
    cleanup_json json_t *aliases = json_array();
    for (size_t i = 0; i < s->alias_count; i++)
        (void)json_array_append_new(aliases, json_string(s->aliases[i].text));
    for (size_t i = 0; i < s->name_count; i++) {
        if (!leads_here(&names[i], e))
            continue;
        cleanup_free char *reference = text_foreign_str(names[i].reference);
        cleanup_free char *asked = text_foreign_str(names[i].platform);
        cleanup_free char *checked = time_format(names[i].checked);
        (void)json_array_append_new(
            references, json_pack("{s:s, s:s, s:s, s:s}", "reference", reference, "platform", asked,
                                  "source", names[i].source.text, "checked", checked));
    }
    for (size_t i = 0; i < e->blob_count; i++)
        (void)json_array_append_new(
            blobs, json_pack("{s:s, s:I, s:b}", "digest", e->blobs[i].digest.text, "size",
                             (json_int_t)e->blobs[i].size, "present", e->blobs[i].present));
    return json_pack(
        "{s:s, s:s*, s:O, s:s, s:b, s:s, s:s*, s:s*, s:s*, s:I, s:s, s:s, s:O, s:O}", "key",
        e->digest.text, "alias_of", digest_is_set(&e->alias_of) ? e->alias_of.text : NULL,
        "aliases", aliases, "state", state, "hit", is_hit(e, state), "answer", answer, "problem",
        e->problem, "platform", platform, "media_type", e->media_type, "size", (json_int_t)e->size,
        "renewed", renewed, "expires", expires, "references", references, "blobs", blobs);
}

static int inspect(struct cachedir *cd, const struct settings *settings, const struct digest *list,
                   size_t count, json_t *images, struct error *err)
{
    struct cachedir_name *names;
    size_t name_count;
    const time_t now = cachedir_now(cd);
    int misses = 0;

    if (cachedir_names(cd, &names, &name_count, err) < 0)
        return -1;
    for (size_t i = 0; i < count && misses >= 0; i++) {
        __attribute__((cleanup(shown_release))) struct shown s = {.names = names,
                                                                  .name_count = name_count};
        if (cachedir_look(cd, &list[i], &s.entry, err) < 0 ||
            cachedir_aliases(cd, &list[i], &s.aliases, &s.alias_count, err) < 0) {
            misses = -1;
            break;
        }
        if (!is_hit(&s.entry, command_state(&s.entry, now, settings->cache_ttl_ns)))
            misses = 1;
        if (images)
            (void)json_array_append_new(images, entry_json(&s, now, settings->cache_ttl_ns));
        else
            print_text(&s, now, settings->cache_ttl_ns);
        if (!images && i + 1 < count)
            putchar('\n');
    }
    cachedir_names_free(names, name_count);
    return misses;
}

static int check(const void *settings, char **operands, struct error *err)
{
    (void)settings;
    if (!operands[0] || operands[1])
        return error_set(err, ERROR_USAGE, "inspect takes one reference or digest");
    return command_check_operands(operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_free struct digest *list = NULL;
    size_t count = 0;

    if (command_open(&settings->common, false, &cd, err) < 0 ||
        command_entries(cd, operands[0], &list, &count, NULL, err) < 0)
        return -1;
    cleanup_json json_t *images = settings->json ? json_array() : NULL;
    int misses = inspect(cd, settings, list, count, images, err);
    if (misses >= 0 && images)
        command_print_json(json_pack("{s:s, s:O}", "schema", SCHEMA, "images", images));
    return misses;
}

const struct command command_inspect = {.spec = &spec,
                                        .settings_size = sizeof(struct settings),
                                        .defaults = defaults,
                                        .check = check,
                                        .run = run};
