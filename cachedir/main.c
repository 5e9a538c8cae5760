#include "alloc.h"
#include "command.h"
#include "reference.h"
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
    fputs("\n\"cachedir COMMAND --help\" says more.\n"
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
    struct cachedir_options options = {.create = write, .warn = command_warn};
    struct cachedir *cd;
    /* Looking after a directory makes none: a typo must neither leave a cache behind nor let what
     * is no cache be pruned. */
    if (write) {
        const struct cachedir_options look = {.warn = NULL};
        if (cachedir_open(common->cache_dir, &look, &cd, err) < 0)
            return -1;
        bool is_cache = cachedir_is_cache(cd);
        cachedir_close(cd);
        if (!is_cache)
            return error_set(err, ERROR_NOT_FOUND,
                             "%s is no cache directory: nothing was ever warmed there",
                             common->cache_dir);
    }
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

int command_no_operands(const char *name, char **operands, struct error *err)
{
    if (!*operands)
        return 0;
    cleanup_free char *shown = text_foreign_str(*operands);
    return error_set(err, ERROR_USAGE, "%s takes no operand: \"%s\"", name, shown);
}

int command_check_operands(char **operands, struct error *err)
{
    for (; *operands; operands++) {
        cleanup_reference struct reference ref = {0};
        struct digest digest;
        if (digest_parse(*operands, &digest, NULL) < 0 && reference_parse(*operands, &ref, err) < 0)
            return -1;
    }
    return 0;
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

static void add_digest(struct digest **list, size_t *count, const struct digest *digest)
{
    for (size_t i = 0; i < *count; i++)
        if (digest_equal(&(*list)[i], digest))
            return;
    *array_add(*list, *count) = *digest;
}

int command_entries(struct cachedir *cd, const char *operand, struct digest **list, size_t *count,
                    struct error *err)
{
    struct digest digest;
    if (digest_parse(operand, &digest, NULL) == 0) {
        cleanup_cachedir_entry struct cachedir_entry entry = {0};
        if (cachedir_look(cd, &digest, &entry, err) < 0)
            return -1;
        if (entry.state == CACHEDIR_ABSENT)
            return error_set(err, ERROR_NOT_FOUND, "no entry %s in %s", digest.text,
                             cachedir_path(cd));
        add_digest(list, count, &digest);
        return 0;
    }
    cleanup_reference struct reference ref = {0};
    struct cachedir_name *names;
    size_t name_count, before = *count;
    if (reference_parse(operand, &ref, err) < 0 || cachedir_names(cd, &names, &name_count, err) < 0)
        return -1;
    for (size_t i = 0; i < name_count; i++)
        if (strcmp(names[i].reference, ref.name) == 0)
            add_digest(list, count, &names[i].manifest);
    cachedir_names_free(names, name_count);
    if (*count == before)
        return error_set(err, ERROR_NOT_FOUND,
                         "no image %s in %s: \"cachedir list\" shows what is there", ref.name,
                         cachedir_path(cd));
    return 0;
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

static void unknown_command(const char *word)
{
    cleanup_free char *shown = text_foreign_str(word);
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
    if (best)
        log_error("unknown command \"%s\": did you mean \"cachedir %s\"?", shown, best);
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
        for (size_t i = 0; i < COMMAND_COUNT; i++) {
            const char *name = strchr(commands[i]->spec->name, ' ') + 1;
            if (strcmp(argv[at], name) != 0)
                continue;
            memmove(&argv[at], &argv[at + 1], (size_t)(argc - at) * sizeof *argv);
            return run(commands[i], argc - 1, argv);
        }
        unknown_command(argv[at]);
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
