/* cachedir remove */
#include "alloc.h"
#include "command.h"
#include "text.h"

#define SCHEMA "basewarm.remove/1"

struct settings {
    struct common common;
    bool json;
};

static const struct option_spec options[] = {
    {"json", 0, OPTION_BOOL, offsetof(struct settings, json), NULL, "Remove",
     "one JSON object, schema \"" SCHEMA "\""},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir remove",
    .usage = "[options] REF|DIGEST...",
    .summary = "remove images now, whatever their age",
    .options = options,
    .epilog = "A build that uses one of them may fail. All platforms of a REF go.\n",
};

/* Told one by one, so that what went before a failure is known, too. */
static int remove_all(struct cachedir *cd, const struct digest *list, size_t count, json_t *removed,
                      int64_t *ret_freed, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int64_t freed = 0;
        cleanup_error struct error why = {0};
        if (cachedir_remove(cd, &list[i], &freed, &why) < 0) {
            if (why.kind == ERROR_NOT_FOUND)
                continue; /* it went with another, an alias with its entry */
            error_move(err, &why);
            return -1;
        }
        *ret_freed += freed;
        cleanup_free char *size = size_format(freed);
        if (removed)
            (void)json_array_append_new(removed, json_pack("{s:s, s:I}", "digest", list[i].text,
                                                           "freed", (json_int_t)freed));
        else
            printf("removed %s (%s)\n", list[i].text, size);
    }
    return 0;
}

static int check(const void *settings, char **operands, struct error *err)
{
    (void)settings;
    if (!*operands)
        return error_set(err, ERROR_USAGE, "remove what? Name references or digests");
    return command_check_operands(operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_free struct digest *list = NULL;
    size_t count = 0;
    int64_t freed = 0;

    if (command_open(&settings->common, true, &cd, err) < 0)
        return -1;
    /* All are looked up before the first goes: a typo costs nothing. */
    for (; *operands; operands++)
        if (command_entries(cd, *operands, &list, &count, NULL, err) < 0)
            return -1;
    cleanup_json json_t *removed = settings->json ? json_array() : NULL;
    int r = remove_all(cd, list, count, removed, &freed, err);
    if (removed)
        command_print_json(json_pack("{s:s, s:O, s:I}", "schema", SCHEMA, "removed", removed,
                                     "freed", (json_int_t)freed));
    return r;
}

const struct command command_remove = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
