/* cachedir list */
#include "alloc.h"
#include "cli/table.h"
#include "command.h"
#include "reference.h"
#include "text.h"

#include <string.h>

#define SCHEMA "basewarm.list/1"

struct settings {
    struct common common;
    bool json;
    bool quiet;
    bool words;
    int64_t cache_ttl_ns;
};

static const struct option_spec options[] = {
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "List",
     "one JSON object, schema \"" SCHEMA "\""},
    {"quiet", 'q', OPTION_BOOL, offsetof(struct settings, quiet), NULL, "List",
     "digests only, one a line"},
    {"cache-ttl", 0, OPTION_DURATION, offsetof(struct settings, cache_ttl_ns), "D", "List",
     "how long an entry lives: the executor's --cache-ttl", "336h"},
    /* For the completion scripts; not shown. */
    {"words", 0, OPTION_BOOL, offsetof(struct settings, words)},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir list",
    .usage = "[options]",
    .summary = "show the images: digest, platform, size, age, state",
    .options = options,
    .epilog = "SIZE is what the builder reads; OWN is the part that no other entry shares.\n"
              "STATE: ok, expired (the builder pulls it instead), broken (a build that uses it\n"
              "fails: warm it again); \"alias\" is an image once more, under its index's digest.\n",
};

struct row { /* one name of an entry, or an entry without a name */
    const struct cachedir_entry *entry;
    const struct cachedir_name *name; /* NULL: none */
};

static void defaults(void *userdata)
{
    struct settings *settings = userdata;
    settings->cache_ttl_ns = CACHE_TTL_DEFAULT_NS;
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (!x->name != !y->name)
        return x->name ? -1 : 1;
    int order = x->name ? strcmp(x->name->reference, y->name->reference) : 0;
    return order ? order : strcmp(x->entry->digest.text, y->entry->digest.text);
}

static int compare_entry(const void *key, const void *entry)
{
    return strcmp(((const struct digest *)key)->text,
                  ((const struct cachedir_entry *)entry)->digest.text);
}

/* An alias is called as its entry is. */
static const struct cachedir_name *name_of_alias(const struct cachedir_entry *alias,
                                                 const struct cachedir_name *names, size_t count)
{
    for (size_t i = 0; i < count && digest_is_set(&alias->alias_of); i++)
        if (digest_equal(&names[i].manifest, &alias->alias_of))
            return &names[i];
    return NULL;
}

/* A row a name whose entry stands, then a row an entry that no name leads to. */
static struct row *make_rows(const struct cachedir_entry *entries, size_t entry_count,
                             const struct cachedir_name *names, size_t name_count, size_t *ret)
{
    struct row *rows = NULL;
    size_t count = 0;
    cleanup_free bool *named = xcalloc(entry_count + 1, sizeof *named);
    for (size_t i = 0; i < name_count && entry_count > 0; i++) {
        const struct cachedir_entry *entry =
            bsearch(&names[i].manifest, entries, entry_count, sizeof *entries, compare_entry);
        if (!entry)
            continue;
        named[entry - entries] = true;
        *array_add(rows, count) = (struct row){entry, &names[i]};
    }
    for (size_t i = 0; i < entry_count; i++)
        if (!named[i])
            *array_add(rows, count) =
                (struct row){&entries[i], name_of_alias(&entries[i], names, name_count)};
    if (count > 0)
        qsort(rows, count, sizeof *rows, compare_rows);
    *ret = count;
    return rows;
}

static void print_table(const struct settings *settings, const struct row *rows, size_t count,
                        time_t now)
{
    static const char *const headings[] = {"IMAGE", "PLATFORM", "DIGEST",  "SIZE", "OWN",
                                           "AGE",   "EXPIRES",  "CHECKED", "STATE"};
    static const enum table_column kinds[] = {TABLE_SHRINK, TABLE_LEFT,  TABLE_LEFT,
                                              TABLE_RIGHT,  TABLE_RIGHT, TABLE_RIGHT,
                                              TABLE_RIGHT,  TABLE_RIGHT, TABLE_LEFT};
    struct table *table = table_new(sizeof headings / sizeof *headings, headings, kinds);
    const int64_t ttl = settings->cache_ttl_ns / NS_PER_S;
    for (size_t i = 0; i < count; i++) {
        const struct cachedir_entry *e = rows[i].entry;
        const struct cachedir_name *name = rows[i].name;
        const int64_t age = now - e->renewed.tv_sec;
        char brief[DIGEST_SHORT_SIZE];
        cleanup_free char *reference = name ? text_foreign_str(name->reference) : NULL;
        cleanup_free char *platform = e->platform.os ? platform_format(&e->platform) : NULL;
        cleanup_free char *size = size_format(e->size);
        cleanup_free char *own = size_format(e->size - e->shared_size);
        cleanup_free char *old = command_age(age);
        cleanup_free char *left = age < ttl ? command_age(ttl - age) : NULL;
        cleanup_free char *checked =
            name && name->checked ? command_age(now - name->checked) : NULL;
        table_cell(table, reference ? reference : "<none>");
        table_cell(table, platform);
        table_cell(table, digest_short(&e->digest, brief));
        table_cell(table, size);
        table_cell(table, own);
        table_cell(table, old);
        table_cell(table, left);
        table_cell(table, checked);
        cleanup_free char *state = xasprintf("%s%s", command_state(e, now, settings->cache_ttl_ns),
                                             digest_is_set(&e->alias_of) ? " alias" : "");
        table_cell(table, state);
    }
    table_print(table, stdout);
    table_free(table);
}

static json_t *row_json(const struct settings *settings, const struct row *row, time_t now)
{
    const struct cachedir_entry *e = row->entry;
    const int64_t ttl = settings->cache_ttl_ns / NS_PER_S;
    cleanup_free char *renewed = time_format(e->renewed.tv_sec);
    cleanup_free char *expires = time_format(e->renewed.tv_sec + ttl);
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "digest", e->digest.text, "state",
                             command_state(e, now, settings->cache_ttl_ns), "size",
                             (json_int_t)e->size, "shared_size", (json_int_t)e->shared_size,
                             "renewed", renewed, "expires", expires);
    if (digest_is_set(&e->alias_of))
        (void)json_object_set_new(json, "alias_of", json_string(e->alias_of.text));
    if (e->problem)
        (void)json_object_set_new(json, "problem", json_string(e->problem));
    if (e->platform.os) {
        cleanup_free char *platform = platform_format(&e->platform);
        (void)json_object_set_new(json, "platform", json_string(platform));
    }
    if (row->name) {
        cleanup_free char *reference = text_foreign_str(row->name->reference);
        cleanup_free char *checked = time_format(row->name->checked);
        (void)json_object_set_new(json, "reference", json_string(reference));
        (void)json_object_set_new(json, "checked", json_string(checked));
        if (digest_is_set(&row->name->source))
            (void)json_object_set_new(json, "source", json_string(row->name->source.text));
    }
    return json;
}

static void print_json(const struct settings *settings, const struct row *rows, size_t count,
                       time_t now)
{
    cleanup_json json_t *images = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(images, row_json(settings, &rows[i], now));
    command_print_json(json_pack("{s:s, s:O}", "schema", SCHEMA, "images", images));
}

static int check(const void *settings, char **operands, struct error *err)
{
    (void)settings;
    return command_no_operands("list", COMMAND_HINT_DIRECTORY, operands, err);
}

/* What may be typed where an image is asked for: each reference once, then the digests. */
static void print_words(const struct cachedir_entry *entries, size_t entry_count,
                        const struct cachedir_name *names, size_t name_count)
{
    for (size_t i = 0; i < name_count; i++) { /* they are sorted */
        cleanup_reference struct reference ref = {0};
        if ((i == 0 || strcmp(names[i].reference, names[i - 1].reference) != 0) &&
            reference_parse(names[i].reference, &ref, NULL) == 0)
            puts(ref.familiar);
    }
    for (size_t i = 0; i < entry_count; i++)
        puts(entries[i].digest.text);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    struct cachedir_entry *entries = NULL;
    struct cachedir_name *names = NULL;
    size_t entry_count = 0, name_count = 0, count = 0;

    (void)operands;
    if (command_open(&settings->common, false, &cd, err) < 0)
        return -1;
    if (cachedir_list_named(cd, &entries, &entry_count, &names, &name_count, err) < 0)
        return -1;
    if (settings->words) {
        print_words(entries, entry_count, names, name_count);
    } else if (settings->quiet) {
        for (size_t i = 0; i < entry_count; i++)
            puts(entries[i].digest.text);
    } else {
        cleanup_free struct row *rows = make_rows(entries, entry_count, names, name_count, &count);
        if (settings->json)
            print_json(settings, rows, count, cachedir_now(cd));
        else
            print_table(settings, rows, count, cachedir_now(cd));
    }
    cachedir_entries_free(entries, entry_count);
    cachedir_names_free(names, name_count);
    return 0;
}

const struct command command_list = {.spec = &spec,
                                     .settings_size = sizeof(struct settings),
                                     .defaults = defaults,
                                     .check = check,
                                     .run = run};
