/* cachedir convert */
#include "alloc.h"
#include "command.h"
#include "text.h"

struct settings {
    struct common common;
    int to; /* -1: not given */
};

static const char *const format_choices[] = {"oci", "docker-archive", NULL};
static const enum cachedir_format formats[] = {CACHEDIR_FORMAT_OCI, CACHEDIR_FORMAT_DOCKER_ARCHIVE};

static const struct option_spec options[] = {
    {"to", 0, OPTION_CHOICE, offsetof(struct settings, to), "FORMAT", "Convert",
     "the format that the directory is to have", NULL, format_choices},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir convert",
    .usage = "--to oci|docker-archive [options]",
    .summary = "give the directory another format, without fetching",
    .options = options,
    .epilog = "oci is what osscontainertools/kaniko reads; docker-archive what archived kaniko,\n"
              "envbuilder, and the former with FF_KANIKO_OCI_WARMER false read. Each image keeps\n"
              "its age. What the format cannot hold, and what is broken, stays as it is and is\n"
              "named. Stopped in between, it goes on when it is called again. Builds that read\n"
              "the directory meanwhile may fail.\n\n"
              "Exit code: 0 done, 1 something stays, 75 a prune or another conversion is at\n"
              "work.\n",
};

static void defaults(void *userdata)
{
    struct settings *settings = userdata;
    settings->to = -1;
}

static void show(void *userdata, const struct cachedir_conversion *c)
{
    (void)userdata;
    cleanup_free char *size = size_format(c->bytes);
    const char *reference = c->reference ? c->reference : "<none>";
    if (c->kept)
        printf("kept %s (%s): %s\n", c->digest->text, reference, c->kept);
    else
        printf("converted %s (%s, %s)\n", c->digest->text, reference, size);
}

static int check(const void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    if (settings->to < 0)
        return error_set(err, ERROR_USAGE, "convert to what? --to oci, or --to docker-archive");
    return command_no_operands("convert", COMMAND_HINT_DIRECTORY, operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    struct cachedir_convert_result result;

    (void)operands;
    if (command_open(&settings->common, true, &cd, err) < 0)
        return -1;
    command_stop_on_signals();
    if (cachedir_convert(cd, formats[settings->to], &command_stop, show, NULL, &result, err) < 0)
        return -1;
    cleanup_free char *size = size_format(result.bytes);
    fprintf(stderr, "%zu converted (%s), %zu already %s, %zu kept\n", result.converted, size,
            result.already, format_choices[settings->to], result.kept);
    return result.kept > 0;
}

const struct command command_convert = {.spec = &spec,
                                        .settings_size = sizeof(struct settings),
                                        .defaults = defaults,
                                        .check = check,
                                        .run = run};
