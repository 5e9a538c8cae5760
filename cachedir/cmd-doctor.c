/* cachedir doctor */
#include "alloc.h"
#include "cli/table.h"
#include "command.h"

#define SCHEMA "basewarm.doctor/1"

struct settings {
    struct common common;
    bool json;
};

static const struct option_spec options[] = {
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Doctor",
     "one JSON object, schema \"" SCHEMA "\""},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir doctor",
    .usage = "[options]",
    .summary = "try what this volume can do, and say what we do about it",
    .options = options,
    .epilog = "Exit code: 0 it can be used, 1 it cannot as it is.\n",
};

struct output {
    struct table *table; /* or */
    json_t *findings;
    bool bad;
};

static const char *const verdicts[] = {"good", "weaker", "bad", "unknown"};

static void show(void *userdata, const struct cachedir_finding *finding)
{
    struct output *out = userdata;
    out->bad |= finding->verdict == CACHEDIR_BAD;
    if (out->findings) {
        (void)json_array_append_new(out->findings,
                                    json_pack("{s:s, s:s, s:s, s:s*}", "check", finding->check,
                                              "verdict", verdicts[finding->verdict], "detail",
                                              finding->detail, "then", finding->then));
        return;
    }
    table_cell(out->table, finding->check);
    table_cell(out->table, verdicts[finding->verdict]);
    table_cell(out->table, finding->detail);
    table_cell(out->table, finding->then);
}

static int check(const void *settings, char **operands, struct error *err)
{
    (void)settings;
    return command_no_operands("doctor", COMMAND_HINT_DIRECTORY, operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    static const char *const headings[] = {"CHECK", "VERDICT", "SEEN", "SO"};
    static const enum table_column kinds[] = {TABLE_LEFT, TABLE_LEFT, TABLE_LEFT, TABLE_SHRINK};
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    struct output out = {0};

    (void)operands;
    /* Of any directory: before the first warm it matters most. */
    const struct cachedir_options how = {.warn = command_warn};
    if (cachedir_open(settings->common.cache_dir, &how, &cd, err) < 0)
        return -1;
    cleanup_json json_t *findings = settings->json ? json_array() : NULL;
    out.findings = findings;
    out.table = settings->json ? NULL : table_new(4, headings, kinds);
    int r = cachedir_doctor(cd, show, &out, err);
    if (r == 0 && settings->json)
        command_print_json(json_pack("{s:s, s:b, s:O}", "schema", SCHEMA, "usable", !out.bad,
                                     "findings", findings));
    else if (r == 0)
        table_print(out.table, stdout);
    if (r == 0 && !settings->json)
        printf("\nThe builder reads it with:\n  --cache=true --cache-dir=%s "
               "--cache-repo=oci:/kcache\n",
               settings->common.cache_dir);
    table_free(out.table);
    return r < 0 ? -1 : out.bad;
}

const struct command command_doctor = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
