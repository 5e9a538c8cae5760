#include "alloc.h"
#include "command.h"
#include "text.h"

#include <locale.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_list, &command_inspect, &command_verify, &command_prune,  &command_remove,
    &command_du,   &command_convert, &command_export, &command_import, &command_doctor,
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void usage(FILE *out)
{
    fputs("Usage: cachedir [-c DIR] COMMAND [options]\n\n"
          "Look after the directory that kaniko's executor reads with --cache-dir.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *name = strchr(commands[i]->spec->name, ' ') + 1;
        fprintf(out, "  %-10s %s\n", name, commands[i]->spec->summary);
    }
    fputs("\nREF is an image as it was warmed, DIGEST its digest or its first 12 digits.\n"
          "\"cachedir COMMAND --help\" says more.\n"
          "  --version     show the version\n"
          "  --completion  bash, zsh or fish: print a completion script\n",
          out);
}

void command_warn(void *userdata, const char *message)
{
    (void)userdata;
    log_warn("%s", message);
}

int command_open(const struct common *common, bool write, struct cachedir **ret, struct error *err)
{
    struct cachedir_options options = {.warn = write ? NULL : command_warn};
    cleanup_cachedir struct cachedir *cd = NULL;
    if (cachedir_open(common->cache_dir, &options, &cd, err) < 0)
        return -1;
    const bool is_cache = cachedir_is_cache(cd);
    if (!is_cache && !cachedir_is_empty(cd))
        return error_set(err, ERROR_NOT_FOUND,
                         "%s is no cache directory: nothing was ever warmed there: is --cache-dir "
                         "right?",
                         common->cache_dir);
    if (!is_cache)
        log_warn("%s is empty: nothing was warmed there yet", common->cache_dir);
    /* Looking after a directory makes none: a typo must not leave a cache behind. */
    if (!is_cache || !write) {
        *ret = take_ptr(cd);
        return 0;
    }
    options = (struct cachedir_options){.create = true, .warn = command_warn};
    return cachedir_open(common->cache_dir, &options, ret, err);
}

volatile bool command_stop;
static volatile sig_atomic_t caught;

/* The first asks for an orderly end; what does not come within a second, or at a second signal, is
 * not waited for: the disk is safe at any instant. */
static void stop_now(int number)
{
    if (caught)
        _exit(128 + caught);
    caught = number;
    command_stop = true;
    (void)alarm(1);
}

static void leave(int number)
{
    (void)number;
    _exit(128 + caught);
}

void command_stop_on_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    (void)signal(SIGALRM, leave);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        (void)signal(signals[i], stop_now);
}

char *command_age(int64_t seconds)
{
    if (seconds < 0)
        return xstrdup("in the future");
    if (seconds >= INT64_C(48) * 3600)
        return xasprintf("%lldd", (long long)(seconds / 86400));
    return duration_format(seconds * NS_PER_S);
}

const char *command_state(const struct cachedir_entry *entry, time_t now, int64_t ttl_ns)
{
    if (entry->state == CACHEDIR_BROKEN)
        return "broken";
    return now - entry->renewed.tv_sec >= ttl_ns / NS_PER_S ? "expired" : "ok";
}

void command_print_json(json_t *json)
{
    if (!json)
        abort(); /* out of memory: every string in it passed text_foreign() */
    (void)json_dumpf(json, stdout, JSON_INDENT(2)); /* main() looks at stdout's state */
    putchar('\n');
    json_decref(json);
}

/* The command's place in argv: the first word that is neither an option nor -c's argument. */
static int find_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--cache-dir") == 0)
            i++;
        else if (argv[i][0] != '-')
            return i;
    }
    return 0;
}

static int run(const struct command *command, int argc, char **argv)
{
    cleanup_error struct error err = {0};
    struct common *settings = xcalloc(1, command->settings_size);
    int operand, code = -1;

    settings->cache_dir = CACHE_DIR_DEFAULT;
    settings->verbosity = LOG_INFO;
    settings->log_format = log_default_format();
    if (command->defaults)
        command->defaults(settings);
    if (options_parse(command->spec, argc, argv, settings, &operand, &err) == 0) {
        log_init(&(struct log_options){.level = (enum log_level)settings->verbosity,
                                       .format = (enum log_format)settings->log_format,
                                       .timestamp = settings->timestamp});
        if (settings->help) {
            options_help(command->spec, stdout);
            code = 0;
        } else if (!command->check || command->check(settings, argv + operand, &err) == 0) {
            code = settings->check_args ? 0 : command->run(settings, argv + operand, &err);
        }
    }
    if (code < 0) {
        log_error("%s", err.message);
        code = caught && err.kind == ERROR_INTERRUPTED ? 128 + caught : error_exit_code(err.kind);
    } else if (fflush(stdout) != 0 || ferror(stdout)) {
        log_error("cannot write to stdout");
        code = error_exit_code(ERROR_IO);
    }
    options_release(command->spec, settings);
    free(settings);
    return code;
}

static int complete(const char *shell)
{
    const struct command_spec *specs[COMMAND_COUNT];
    cleanup_error struct error err = {0};
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        specs[i] = commands[i]->spec;
    if (options_completion("cachedir", specs, COMMAND_COUNT, shell, stdout, &err) == 0)
        return 0;
    log_error("%s", err.message);
    return error_exit_code(err.kind);
}

static const struct command *command_named(const char *word)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(strchr(commands[i]->spec->name, ' ') + 1, word) == 0)
            return commands[i];
    return NULL;
}

/* What other tools call a command of ours, or the one that it looks like; NULL: none. */
static const char *meant_by(const char *word)
{
    static const struct {
        const char *word, *meant;
    } others[] = {{"rm", "remove"},    {"delete", "remove"}, {"gc", "prune"},
                  {"show", "inspect"}, {"load", "import"},   {"save", "export"},
                  {"images", "list"},  {"check", "verify"},  {"help", "--help"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(word, others[i].word) == 0)
            return others[i].meant;
    const char *best = NULL;
    unsigned least = 3;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *name = strchr(commands[i]->spec->name, ' ') + 1;
        unsigned distance = strlen(name) > 2 ? options_distance(word, name) : least;
        if (distance < least) {
            least = distance;
            best = name;
        }
    }
    return best;
}

/* `next` is what follows it; NULL: nothing. */
static void unknown_command(const char *word, const char *next)
{
    cleanup_free char *shown = text_foreign_str(word);
    const char *meant = meant_by(word);
    if (strcmp(word, "help") == 0 && next && command_named(next))
        log_error("unknown command \"%s\": did you mean \"cachedir %s --help\"?", shown, next);
    else if (meant)
        log_error("unknown command \"%s\": did you mean \"cachedir %s\"?", shown, meant);
    else
        log_error("unknown command \"%s\": \"cachedir --help\" lists them", shown);
}

int main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* for the width of what is printed */
    log_init(&(struct log_options){.level = LOG_INFO, .format = log_default_format()});
    if (argc == 3 && strcmp(argv[1], "--completion") == 0)
        return complete(argv[2]);
    int at = find_command(argc, argv);
    if (at > 0) {
        const struct command *command = command_named(argv[at]);
        if (command) {
            memmove(&argv[at], &argv[at + 1], (size_t)(argc - at) * sizeof *argv);
            return run(command, argc - 1, argv);
        }
        unknown_command(argv[at], argv[at + 1]);
        return error_exit_code(ERROR_USAGE);
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("cachedir " BASEWARM_VERSION);
        return 0;
    }
    usage(stderr);
    return error_exit_code(ERROR_USAGE);
}
