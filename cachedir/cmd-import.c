/* cachedir import */
#include "alloc.h"
#include "command.h"
#include "reference.h"
#include "text.h"

#include <string.h>
#include <unistd.h>

struct settings {
    struct common common;
    int format; /* -1: as the directory has it */
    const char *name;
    bool layer;
    const char *platform;
};

static const char *const format_choices[] = {"oci", "docker-archive", NULL};
static const enum cachedir_format formats[] = {CACHEDIR_FORMAT_OCI, CACHEDIR_FORMAT_DOCKER_ARCHIVE};

static const struct option_spec options[] = {
    {"format", 0, OPTION_CHOICE, offsetof(struct settings, format), "FORMAT", "Import",
     "of the directory, if it has none yet", "as the directory has it, else oci", format_choices},
    {"name", 0, OPTION_STRING, offsetof(struct settings, name), "REF", "Import",
     "call the one image in it so, whatever it says"},
    {"layer", 0, OPTION_BOOL, offsetof(struct settings, layer), NULL, "Import",
     "stdin is one layer, as crane export writes it: make an image of it; needs --name"},
    {"platform", 0, OPTION_STRING, offsetof(struct settings, platform), "OS/ARCH", "Import",
     "with --layer: what the image is for", "this machine's"},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir import",
    .usage = "[options] < FILE",
    .summary = "take images out of a tar of export, skopeo, docker save and others",
    .options = options,
    .epilog = "The tar is an OCI image layout or a docker-archive, packed by gzip or zstd or not.\n"
              "It is verified like a pull: nothing is published unless all of it is right. The\n"
              "registry's digests are kept where the tar holds the registry's manifests; where it\n"
              "does not, as in docker-archives, that is said: a builder then finds the image only\n"
              "by the digest that it has here.\n\n"
              "Exit code: 0 done, 65 cut short, wrong, or no images, 74 I/O error, no space.\n",
};

static void defaults(void *userdata)
{
    struct settings *settings = userdata;
    settings->format = -1;
}

static void note(void *userdata, const char *line)
{
    (void)userdata;
    log_warn("%s", line);
}

static void told(void *userdata, const struct cachedir_imported *i)
{
    (void)userdata;
    printf("%s %s (%s%s%s)\n", i->known ? "renewed" : "imported", i->digest->text,
           i->reference ? i->reference : "<none>", i->platform ? ", " : "",
           i->platform ? i->platform : "");
    if (i->made_up)
        log_warn("%s: the tar does not hold the registry's manifest: %s is no registry's digest, "
                 "and a FROM by tag does not find it",
                 i->reference ? i->reference : "<none>", i->digest->text);
}

static int import(struct cachedir *cd, const struct settings *settings, const char *name,
                  const struct platform *platform, struct error *err)
{
    const struct cachedir_import_options how = {.layer = settings->layer,
                                                .platform = platform,
                                                .name = name,
                                                .told = told,
                                                .note = note,
                                                .stop = &command_stop};
    struct cachedir_import_result result;
    command_stop_on_signals();
    if (cachedir_import(cd, &how, STDIN_FILENO, &result, err) < 0)
        return -1;
    cleanup_free char *size = size_format(result.bytes);
    fprintf(stderr, "%zu image%s (%zu %s here), %s read\n", result.images,
            result.images == 1 ? "" : "s", result.known, result.known == 1 ? "was" : "were", size);
    return 0;
}

static int check(const void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_reference struct reference ref = {0};
    cleanup_platform struct platform platform = {0};
    if (command_no_operands("import", operands, err) < 0)
        return -1;
    if (settings->layer && !settings->name)
        return error_set(err, ERROR_USAGE, "a layer has no name: give --name REF");
    if (settings->platform && !settings->layer)
        return error_set(err, ERROR_USAGE, "--platform goes with --layer: images know their own");
    if (settings->platform && platform_parse(settings->platform, &platform, err) < 0)
        return -1;
    if (settings->name && reference_parse(settings->name, &ref, err) < 0)
        return -1;
    if (settings->name && reference_is_pinned(&ref))
        return error_set(err, ERROR_USAGE, "--name: a tag, and no digest, can be given");
    return 0;
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_reference struct reference ref = {0};
    cleanup_platform struct platform platform = {0};
    /* The first use of a directory where no registry is: it is made, as warmer makes it. */
    const struct cachedir_options open = {
        .create = true,
        .format = settings->format < 0 ? CACHEDIR_FORMAT_ANY : formats[settings->format],
        .warn = command_warn};

    (void)operands;
    if (isatty(STDIN_FILENO))
        return error_set(err, ERROR_USAGE, "a tar is expected on stdin, as in < images.tar");
    if (settings->name && reference_parse(settings->name, &ref, err) < 0)
        return -1;
    if (!settings->platform)
        platform_host(&platform);
    else if (platform_parse(settings->platform, &platform, err) < 0)
        return -1;
    if (cachedir_open(settings->common.cache_dir, &open, &cd, err) < 0)
        return -1;
    return import(cd, settings, ref.name, &platform, err);
}

const struct command command_import = {.spec = &spec,
                                       .settings_size = sizeof(struct settings),
                                       .defaults = defaults,
                                       .check = check,
                                       .run = run};
