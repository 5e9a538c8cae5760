/* cachedir remove */
#include "alloc.h"
#include "command.h"
#include "text.h"

struct settings {
    struct common common;
};

static const struct option_spec options[] = {
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

    if (command_open(&settings->common, true, &cd, err) < 0)
        return -1;
    /* All are looked up before the first goes: a typo costs nothing. */
    for (; *operands; operands++)
        if (command_entries(cd, *operands, &list, &count, err) < 0)
            return -1;
    for (size_t i = 0; i < count; i++) {
        int64_t freed = 0;
        if (cachedir_remove(cd, &list[i], &freed, err) < 0)
            return -1;
        cleanup_free char *size = size_format(freed);
        printf("removed %s (%s)\n", list[i].text, size);
    }
    return 0;
}

const struct command command_remove = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
