/* cachedir verify */
#include "alloc.h"
#include "command.h"
#include "text.h"

#include <signal.h>
#include <stdatomic.h>

struct settings {
    struct common common;
    bool quick;
};

static const struct option_spec options[] = {
    {"quick", 0, OPTION_BOOL, offsetof(struct settings, quick), NULL, "Verify",
     "structure, names and sizes only: no hashing"},
    COMMON_OPTIONS,
    {0},
};

static const struct command_spec spec = {
    .name = "cachedir verify",
    .usage = "[options] [REF|DIGEST]...",
    .summary = "check every blob's digest, every entry's structure, and the index",
    .options = options,
    .epilog = "Each file is hashed once, however many entries share it. Without REF or DIGEST\n"
              "everything is checked. Exit code: 0 all is well, 1 something is wrong.\n",
};

static volatile bool stop;

static void stop_now(int number)
{
    (void)number;
    stop = true;
}

static void show_problem(void *userdata, const char *where, const char *what)
{
    (void)userdata;
    printf("%s: %s\n", where, what);
}

static int run(void *userdata, char **operands, struct error *err)
{
    const struct settings *settings = userdata;
    cleanup_cachedir struct cachedir *cd = NULL;
    cleanup_free struct digest *only = NULL;
    struct cachedir_verify_options how = {.quick = settings->quick, .stop = &stop};
    struct cachedir_verify_result result;

    if (command_open(&settings->common, false, &cd, err) < 0)
        return -1;
    for (; *operands; operands++)
        if (command_entries(cd, *operands, &only, &how.only_count, err) < 0)
            return -1;
    how.only = only;
    (void)signal(SIGINT, stop_now);
    (void)signal(SIGTERM, stop_now);
    if (cachedir_verify(cd, &how, show_problem, NULL, &result, err) < 0)
        return -1;
    cleanup_free char *size = size_format(result.bytes);
    fprintf(stderr, "%zu %s, %zu %s%s%s%s: ", result.entries,
            result.entries == 1 ? "entry" : "entries", result.blobs,
            result.blobs == 1 ? "blob" : "blobs", settings->quick ? "" : ", ",
            settings->quick ? "" : size, settings->quick ? "" : " hashed");
    if (result.problems == 0)
        fputs("all is well\n", stderr);
    else
        fprintf(stderr, "%zu %s\n", result.problems, result.problems == 1 ? "problem" : "problems");
    return result.problems > 0;
}

const struct command command_verify = {
    .spec = &spec, .settings_size = sizeof(struct settings), .run = run};
