/* cachedir du */
#include "alloc.h"
#include "cli/table.h"
#include "command.h"
#include "text.h"

#define SCHEMA "basewarm.du/1"

struct settings {
    struct common common;
    bool json;
};

static const struct option_spec options[] = {
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Du",
     "one JSON object, schema \"" SCHEMA "\""},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir du",
    .usage = "[options]",
    .summary = "show how much space it takes",
    .options = options,
    .epilog = "Each file counts once, however many names it has.\n",
};

static void print_table(const struct cachedir_usage *u)
{
    static const char *const headings[] = {"WHAT", "COUNT", "SIZE"};
    static const enum table_column kinds[] = {TABLE_LEFT, TABLE_RIGHT, TABLE_RIGHT};
    const struct {
        const char *what;
        size_t count;
        int64_t bytes;
    } rows[] = {
        {"entries", u->entries, u->entry_bytes},
        {"blobs that no entry names", 0, u->unused_bytes},
        {"partial files", u->partials, u->partial_bytes},
        {"leftovers of killed runs", u->leftovers, u->leftover_bytes},
        {"all of it", 0, u->total_bytes},
        {"free on the volume", 0, u->free_bytes},
    };
    struct table *table = table_new(3, headings, kinds);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_free char *size = size_format(rows[i].bytes);
        table_cell(table, rows[i].what);
        if (rows[i].count)
            table_cellf(table, "%zu", rows[i].count);
        else
            table_cell(table, NULL);
        table_cell(table, size);
    }
    table_print(table, stdout);
    table_free(table);
}

static int check(const void *settings, char **operands, struct error *err)
{
    (void)settings;
    return command_no_operands("du", COMMAND_HINT_DIRECTORY, operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    struct cachedir_usage u;

    (void)operands;
    if (command_open(&settings->common, false, &cd, err) < 0 || cachedir_usage(cd, &u, err) < 0)
        return -1;
    if (!settings->json) {
        print_table(&u);
        return 0;
    }
    command_print_json(json_pack(
        "{s:s, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:{s:I, s:I}}",
        "schema", SCHEMA, "entries", "count", (json_int_t)u.entries, "bytes",
        (json_int_t)u.entry_bytes, "blobs", "count", (json_int_t)u.blobs, "unused_bytes",
        (json_int_t)u.unused_bytes, "partials", "count", (json_int_t)u.partials, "bytes",
        (json_int_t)u.partial_bytes, "leftovers", "count", (json_int_t)u.leftovers, "bytes",
        (json_int_t)u.leftover_bytes, "total_bytes", (json_int_t)u.total_bytes, "volume", "bytes",
        (json_int_t)u.volume_bytes, "free", (json_int_t)u.free_bytes));
    return 0;
}

const struct command command_du = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
