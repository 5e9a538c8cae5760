/* cachedir verify */
#include "alloc.h"
#include "command.h"
#include "text.h"

#include <string.h>

#define SCHEMA "basewarm.verify/1"

struct settings {
    struct common common;
    bool quick;
    bool deep;
    bool repair;
    bool json;
};

static const struct option_spec options[] = {
    {"quick", 0, OPTION_BOOL, offsetof(struct settings, quick), NULL, "Verify",
     "structure, names and sizes only: no hashing"},
    {"deep", 0, OPTION_BOOL, offsetof(struct settings, deep), NULL, "Verify",
     "unpack the layers, too: compare with the configs' diff IDs, and read the tars to their end"},
    {"repair", 0, OPTION_BOOL, offsetof(struct settings, repair), NULL, "Verify",
     "mend what can be mended from here, and take the rest out of the builder's sight"},
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Verify",
     "one JSON object, schema \"" SCHEMA "\""},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir verify",
    .usage = "[options] [REF|DIGEST]...",
    .summary = "check every blob's digest, every entry's structure, and the index",
    .options = options,
    .epilog = "Each file is hashed once, however many entries share it. Without REF or DIGEST\n"
              "everything is checked. After --repair, warm again: only what is missing is\n"
              "fetched. --deep finds images that were made wrong, too: no repair mends those.\n"
              "Exit code: 0 all is well, 1 something was wrong, mended or not.\n",
};

/* What has a problem: entries, and blobs of the pool; each once. And what is told of it. */
struct found {
    struct digest *entries, *blobs;
    size_t entry_count, blob_count;
    json_t *problems, *notes, *repaired; /* with --json; else NULL, and printed at once */
};

/* A line of the answer, or a member of `list` with this name beside "where". */
static void say(json_t *list, const char *where, const char *name, const char *what)
{
    if (list)
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "where", where, name, what));
    else
        printf("%s: %s\n", where, what);
}

static void note(struct digest **list, size_t *count, const char *text)
{
    struct digest digest;
    if (digest_parse(text, &digest, NULL) < 0)
        return; /* index.json, or a stray: nothing to repair */
    for (size_t i = 0; i < *count; i++)
        if (digest_equal(&(*list)[i], &digest))
            return;
    *array_add(*list, *count) = digest;
}

static void show_note(void *userdata, const char *where, const char *what)
{
    const struct found *found = userdata;
    if (found->notes)
        say(found->notes, where, "what", what);
    else
        log_info("%s: %s", where, what);
}

static void show_problem(void *userdata, const char *where, const char *what)
{
    struct found *found = userdata;
    say(found->problems, where, "what", what);
    if (strncmp(where, "blobs/", 6) != 0) {
        note(&found->entries, &found->entry_count, where);
        return;
    }
    /* "blobs/sha256/<hex>" */
    char *text = strdupa(where + 6), *slash = strchr(text, '/');
    if (slash)
        *slash = ':';
    note(&found->blobs, &found->blob_count, text);
}

/* One that cannot be read now holds up no other: *failed is the first such reason. -1: the rest
 * would fare no better. */
static int repair_entry(struct cachedir *cd, const struct found *found, const struct digest *digest,
                        struct error *failed, struct error *err)
{
    static const char *const names[] = {"nothing", "mended", "removed", "other-format"};
    static const char *const what[] = {
        "its bytes are what its digest says: nothing to mend",
        "mended from what is here",
        "taken out of the builder's sight; warm it again",
        "good, but in the other format: \"cachedir convert\" to this one goes on with it",
    };
    enum cachedir_repair how;
    cleanup_error struct error why = {0};
    if (cachedir_repair(cd, digest, &how, &why) == 0) {
        say(found->repaired, digest->text, "result", found->repaired ? names[how] : what[how]);
        return 0;
    }
    if (why.kind == ERROR_NOT_FOUND)
        return 0;
    if (why.kind != ERROR_IO && why.kind != ERROR_REFUSED) {
        error_move(err, &why);
        return -1;
    }
    log_error("%s", why.message);
    if (failed->kind == ERROR_NONE)
        error_move(failed, &why);
    return 0;
}

/* Entries first, so that each has lost its name before it loses a blob. */
static int repair(struct cachedir *cd, const struct found *found, struct error *err)
{
    cleanup_error struct error failed = {0};
    for (size_t i = 0; i < found->entry_count; i++)
        if (repair_entry(cd, found, &found->entries[i], &failed, err) < 0)
            return -1;
    for (size_t i = 0; i < found->blob_count; i++) {
        int gone = cachedir_repair_blob(cd, &found->blobs[i], err);
        if (gone < 0)
            return -1;
        if (gone)
            say(found->repaired, found->blobs[i].text, "result",
                found->repaired ? "removed-from-pool" : "removed from the pool");
    }
    if (cachedir_flush(cd, err) < 0)
        return -1;
    if (failed.kind == ERROR_NONE)
        return 0;
    error_move(err, &failed);
    return -1;
}

static void release_found(struct found *found)
{
    free(found->entries);
    free(found->blobs);
    json_decref(found->problems);
    json_decref(found->notes);
    json_decref(found->repaired);
}

static void print_summary(const struct settings *settings,
                          const struct cachedir_verify_result *result)
{
    cleanup_free char *size = size_format(result->bytes);
    cleanup_free char *unpacked = size_format(result->unpacked);
    fprintf(stderr, "%zu %s, %zu %s", result->entries, result->entries == 1 ? "entry" : "entries",
            result->blobs, result->blobs == 1 ? "blob" : "blobs");
    if (!settings->quick)
        fprintf(stderr, ", %s hashed", size);
    if (settings->deep)
        fprintf(stderr, ", %zu %s unpacked to %s", result->layers,
                result->layers == 1 ? "layer" : "layers", unpacked);
    if (result->not_checked > 0)
        fprintf(stderr, ", %zu not", result->not_checked);
    fputs(": ", stderr);
    if (result->problems == 0)
        fputs("all is well\n", stderr);
    else
        fprintf(stderr, "%zu %s\n", result->problems,
                result->problems == 1 ? "problem" : "problems");
}

static void print_json(const struct settings *settings, const struct found *found,
                       const struct cachedir_verify_result *result)
{
    const char *mode = settings->quick ? "quick" : settings->deep ? "deep" : "hash";
    command_print_json(
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:O, s:O, s:O}", "schema", SCHEMA, "mode",
                  mode, "entries", (json_int_t)result->entries, "blobs", (json_int_t)result->blobs,
                  "bytes_hashed", (json_int_t)result->bytes, "layers_unpacked",
                  (json_int_t)result->layers, "bytes_unpacked", (json_int_t)result->unpacked,
                  "problems", found->problems, "notes", found->notes, "repaired", found->repaired));
}

static int check(const void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    if (settings->quick && settings->deep)
        return error_set(err, ERROR_USAGE, "--quick and --deep exclude each other");
    return command_check_operands(operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_free struct digest *only = NULL;
    __attribute__((cleanup(release_found))) struct found found = {0};
    struct cachedir_verify_options how = {
        .quick = settings->quick, .deep = settings->deep, .note = show_note, .stop = &command_stop};
    struct cachedir_verify_result result;

    if (command_open(&settings->common, settings->repair, &cd, err) < 0)
        return -1;
    for (; *operands; operands++)
        if (command_entries(cd, *operands, &only, &how.only_count, NULL, err) < 0)
            return -1;
    how.only = only;
    if (settings->json) {
        found.problems = json_array();
        found.notes = json_array();
        found.repaired = json_array();
    }
    command_stop_on_signals();
    if (cachedir_verify(cd, &how, show_problem, &found, &result, err) < 0)
        return -1;
    if (!settings->json)
        print_summary(settings, &result);
    int r = settings->repair && cachedir_is_cache(cd) ? repair(cd, &found, err) : 0;
    if (settings->json)
        print_json(settings, &found, &result);
    return r < 0 ? -1 : result.problems > 0;
}

const struct command command_verify = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
