/* cachedir export */
#include "alloc.h"
#include "command.h"
#include "text.h"

#include <signal.h>
#include <unistd.h>

struct settings {
    struct common common;
    int format;
};

static const char *const format_choices[] = {"oci", "docker-archive", NULL};
static const enum cachedir_format formats[] = {CACHEDIR_FORMAT_OCI, CACHEDIR_FORMAT_DOCKER_ARCHIVE};

static const struct option_spec options[] = {
    {"format", 0, OPTION_CHOICE, offsetof(struct settings, format), "FORMAT", "Export",
     "of the tar: oci is an image layout, docker-archive what docker load takes", "oci",
     format_choices},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir export",
    .usage = "[options] REF|DIGEST... > FILE",
    .summary = "write images into a tar, for cachedir import and other tools",
    .options = options,
    .epilog = "All platforms of a REF go. Blobs that images share stand in the tar once, and the\n"
              "same images give the same bytes. Each is hashed on its way out. A read-only\n"
              "directory will do. To carry images to where no registry is:\n\n"
              "  cachedir -c /cache export debian:12 node:22 | ssh HOST cachedir -c /cache import\n"
              "\n"
              "Exit code: 0 done, 64 stdout is a terminal, 65 damaged, or none that the format\n"
              "can hold, 66 no such image, 74 the tar cannot be written.\n",
};

/* A reference selects its entries under its name, a digest under all that they have. */
static int select_operand(struct cachedir *cd, const char *operand,
                          struct cachedir_selection **list, size_t *count, char **ret_name,
                          struct error *err)
{
    cleanup_free struct digest *entries = NULL;
    size_t entry_count = 0;
    if (command_entries(cd, operand, &entries, &entry_count, ret_name, err) < 0)
        return -1;
    for (size_t i = 0; i < entry_count; i++)
        *array_add(*list, *count) = (struct cachedir_selection){entries[i], *ret_name};
    return 0;
}

static int export(struct cachedir *cd, const struct settings *settings,
                  const struct cachedir_selection *list, size_t count, struct error *err)
{
    const struct cachedir_export_options how = {
        .format = formats[settings->format], .list = list, .count = count, .stop = &command_stop};
    struct cachedir_export_result result;
    command_stop_on_signals();
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that went is an error, with a word */
    if (cachedir_export(cd, &how, STDOUT_FILENO, &result, err) < 0)
        return -1;
    cleanup_free char *size = size_format(result.bytes);
    fprintf(stderr, "%zu %s, %zu %s, %s written\n", result.images,
            result.images == 1 ? "image" : "images", result.blobs,
            result.blobs == 1 ? "blob" : "blobs", size);
    return 0;
}

static int check(const void *userdata, char **operands, struct error *err)
{
    (void)userdata;
    if (!*operands)
        return error_set(err, ERROR_USAGE, "export what? Name references or digests");
    return command_check_operands(operands, err);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_free struct cachedir_selection *list = NULL;
    char **names = NULL;
    size_t count = 0, name_count = 0;
    int r = 0;

    if (isatty(STDOUT_FILENO))
        return error_set(err, ERROR_USAGE,
                         "a tar is nothing for a terminal: say where it goes, as in > images.tar");
    if (command_open(&settings->common, false, &cd, err) < 0)
        return -1;
    for (; *operands && r == 0; operands++)
        r = select_operand(cd, *operands, &list, &count, array_add(names, name_count), err);
    if (r == 0)
        r = export(cd, settings, list, count, err);
    for (size_t i = 0; i < name_count; i++)
        free(names[i]);
    free(names);
    return r;
}

const struct command command_export = {
    .spec = &spec, .settings_size = sizeof(struct settings), .check = check, .run = run};
