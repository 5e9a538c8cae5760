/* cachedir prune */
#include "alloc.h"
#include "command.h"
#include "text.h"

#include <string.h>

#define SCHEMA "basewarm.prune/1"

struct settings {
    struct common common;
    int64_t cache_ttl_ns, grace_ns;
    int64_t max_size;
    const char *min_free;
    char **keep;
    bool superseded, dry_run, json;
};

static const struct option_spec options[] = {
    {"cache-ttl", 0, OPTION_DURATION, offsetof(struct settings, cache_ttl_ns), "D", "Prune",
     "how long an entry lives: not below the executors' --cache-ttl", "336h"},
    {"grace", 0, OPTION_DURATION, offsetof(struct settings, grace_ns), "D", "Prune",
     "how much longer it stays: not below the longest build", "24h"},
    {"max-size", 0, OPTION_SIZE, offsetof(struct settings, max_size), "S", "Prune",
     "evict the oldest while all of it is larger than this"},
    {"min-free", 0, OPTION_STRING, offsetof(struct settings, min_free), "S|P%", "Prune",
     "evict the oldest while less than this is free on the volume"},
    {"keep", 0, OPTION_LIST, offsetof(struct settings, keep), "GLOB", "Prune",
     "never remove images whose reference matches; repeatable"},
    {"superseded", 0, OPTION_BOOL, offsetof(struct settings, superseded), NULL, "Prune",
     "also remove what its tag has left, a grace after what came next was made"},
    {"dry-run", 0, OPTION_BOOL, offsetof(struct settings, dry_run), NULL, "Prune",
     "print what would be removed, and remove nothing"},
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Prune",
     "one JSON object, schema \"" SCHEMA "\""},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir prune",
    .usage = "[options]",
    .summary = "remove what is over: by age, by size, by free space",
    .options = options,
    .epilog = "Removed, in this order: what killed runs left; partial files older than the\n"
              "TTL; entries expired for longer than the grace; with --superseded, what its tag\n"
              "has left for as long (docker-archive: where the volume knows when a file was\n"
              "made); blobs that nothing names. Under --max-size and --min-free then also the\n"
              "oldest entries, however young: that may cost a running build its base, and is\n"
              "called \"evicted\".\n\n"
              "Exit code: 0 done, 1 the limits cannot be met, 75 another prune is at work.\n",
};

static void defaults(void *userdata)
{
    struct settings *settings = userdata;
    settings->cache_ttl_ns = CACHE_TTL_DEFAULT_NS;
    settings->grace_ns = INT64_C(24) * 3600 * NS_PER_S;
}

struct output {
    const struct settings *settings;
    json_t *removed; /* NULL unless --json */
};

static void show(void *userdata, const struct cachedir_removal *r)
{
    const struct output *out = userdata;
    const char *reason = cachedir_prune_reason_name(r->reason);
    if (r->reason == CACHEDIR_PRUNE_EVICTED) {
        cleanup_free char *age = command_age(r->age_s);
        log_warn(
            "%s: %sevicted to meet the limits, %s after its last renewal: a running build that "
            "uses it may fail",
            r->reference ? r->reference : r->path, out->settings->dry_run ? "would be " : "", age);
    }
    if (out->removed) {
        (void)json_array_append_new(
            out->removed, json_pack("{s:s, s:s, s:s*, s:I, s:I}", "reason", reason, "path", r->path,
                                    "reference", r->reference, "age_seconds", (json_int_t)r->age_s,
                                    "freed", (json_int_t)r->freed));
        return;
    }
    cleanup_free char *age = command_age(r->age_s);
    cleanup_free char *freed = size_format(r->freed);
    printf("%s %s%s%s (age %s, %s)\n", reason, r->path, r->reference ? " " : "",
           r->reference ? r->reference : "", age, freed);
}

/* ---- the end ---- */

static json_t *counts_json(const struct cachedir_prune_result *result)
{
    json_t *counts = json_object();
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        (void)json_object_set_new(counts, cachedir_prune_reason_name((enum cachedir_prune_reason)i),
                                  json_pack("{s:I, s:I}", "count", (json_int_t)result->removed[i],
                                            "freed", (json_int_t)result->freed[i]));
    return counts;
}

static void print_json(const struct output *out, const struct cachedir_prune_result *result)
{
    command_print_json(json_pack("{s:s, s:b, s:O, s:o, s:I, s:I, s:I, s:b}", "schema", SCHEMA,
                                 "dry_run", out->settings->dry_run, "removed", out->removed,
                                 "reasons", counts_json(result), "size_before",
                                 (json_int_t)result->size_before, "size_after",
                                 (json_int_t)result->size_after, "free_after",
                                 (json_int_t)result->free_after, "limits_met", result->limits_met));
}

static void print_summary(const struct settings *settings,
                          const struct cachedir_prune_result *result)
{
    cleanup_free char *before = size_format(result->size_before);
    cleanup_free char *after = size_format(result->size_after);
    cleanup_free char *free_now = size_format(result->free_after);
    fprintf(stderr, "%s%s before, %s %s, %s free on the volume\n",
            settings->dry_run ? "dry run: " : "", before, after,
            settings->dry_run ? "after a real one" : "after", free_now);
}

static int check(const void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    struct cachedir_limits limits = {0};
    if (settings->min_free && cachedir_limits_min_free(&limits, settings->min_free, err) < 0)
        return -1;
    return command_no_operands("prune", COMMAND_HINT_DIRECTORY, operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    struct cachedir_prune_options how = {
        .ttl_ns = settings->cache_ttl_ns,
        .grace_ns = settings->grace_ns,
        .limits.max_size = settings->max_size,
        .keep = settings->keep,
        .superseded = settings->superseded,
        .dry_run = settings->dry_run,
        .stop = &command_stop,
    };
    struct cachedir_prune_result result;

    (void)operands;
    if ((settings->min_free &&
         cachedir_limits_min_free(&how.limits, settings->min_free, err) < 0) ||
        command_open(&settings->common, !settings->dry_run, &cd, err) < 0)
        return -1;
    cleanup_json json_t *removed = settings->json ? json_array() : NULL;
    struct output out = {settings, removed};
    command_stop_on_signals();
    if (cachedir_prune(cd, &how, show, &out, &result, err) < 0)
        return -1;
    if (settings->json)
        print_json(&out, &result);
    else
        print_summary(settings, &result);
    if (!result.limits_met)
        log_error("the limits cannot be met: %s",
                  settings->keep ? "what --keep names, and what is in use, is too much"
                                 : "what is in use is too much, or others fill the volume");
    if (result.limits_met && result.refused > 0)
        return error_exit_code(ERROR_REFUSED);
    return result.limits_met ? 0 : 1;
}

const struct command command_prune = {.spec = &spec,
                                      .settings_size = sizeof(struct settings),
                                      .defaults = defaults,
                                      .check = check,
                                      .run = run};
