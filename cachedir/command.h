/*
 * The cachedir program: one command a file, cmd-NAME.c, each with its table of options.
 * main.c finds the command, opens nothing and prints nothing but errors; operands.c reads what it
 * is to work on.
 */
#pragma once

#include "cachedir.h"
#include "cli/log.h"
#include "cli/options.h"
#include "json.h"

#define CACHE_DIR_DEFAULT "/cache"
#define CACHE_TTL_DEFAULT_NS (INT64_C(336) * 3600 * INT64_C(1000000000))

struct common { /* the first member of every command's settings */
    const char *cache_dir;
    int verbosity;
    int log_format;
    bool timestamp;
    bool check_args;
    bool help;
};

/* The options that every command has, for its table. */
/* clang-format off */
#define COMMON_OPTIONS                                                                             \
    {"cache-dir", 'c', OPTION_STRING, offsetof(struct common, cache_dir), "DIR", "Common",         \
     "the cache directory", CACHE_DIR_DEFAULT},                                                    \
    {"verbosity", 'v', OPTION_CHOICE, offsetof(struct common, verbosity), "LEVEL", "Common",       \
     "how much is said on stderr", "info", log_levels},                                            \
    {"log-format", 0, OPTION_CHOICE, offsetof(struct common, log_format), "FORMAT", "Common",      \
     "how it is said", "color on a terminal, else text", log_formats},                             \
    {"log-timestamp", 0, OPTION_BOOL, offsetof(struct common, timestamp), NULL, "Common",          \
     "say when, too"},                                                                             \
    {"check-args", 0, OPTION_BOOL, offsetof(struct common, check_args), NULL, "Common",            \
     "check what was typed, and stop"},                                                            \
    {"help", 'h', OPTION_BOOL, offsetof(struct common, help), NULL, "Common", "show this help"}
/* clang-format on */

struct command {
    const struct command_spec *spec;
    size_t settings_size;
    void (*defaults)(void *settings); /* may be NULL */
    /* What can be said of settings and operands without a look at the directory; all that
     * --check-args does. ERROR_USAGE. NULL: everything that could be parsed will do. */
    int (*check)(const void *settings, char **operands, struct error *err);
    /* After that. The exit code; or -1 with *err filled. Operands are NULL-terminated. */
    int (*run)(void *settings, char **operands, struct error *err);
};

extern const struct command command_list;
extern const struct command command_inspect;
extern const struct command command_verify;
extern const struct command command_prune;
extern const struct command command_remove;
extern const struct command command_du;
extern const struct command command_convert;
extern const struct command command_export;
extern const struct command command_import;
extern const struct command command_doctor;

/* From now on SIGINT, SIGTERM and SIGHUP set command_stop, and the exit code of what it stopped is
 * 128 + the signal's number. */
void command_stop_on_signals(void);
extern volatile bool command_stop;

/* ERROR_USAGE when there are operands; `hint` says what was meant, perhaps. */
int command_no_operands(const char *name, const char *hint, char **operands, struct error *err);
#define COMMAND_HINT_DIRECTORY "the directory is given by --cache-dir"
/* ERROR_USAGE when one is neither a digest, or the beginning of one, nor a reference. */
int command_check_operands(char **operands, struct error *err);
/* "3d", "1h5m", "in the future"; owned. */
char *command_age(int64_t seconds);
/* "ok", "expired", "broken". */
const char *command_state(const struct cachedir_entry *entry, time_t now, int64_t ttl_ns);
/* Print a JSON object, and drop the reference. */
void command_print_json(json_t *json);

/* For struct cachedir_options: warnings go to the log. */
void command_warn(void *userdata, const char *message);
/* Open what is a cache directory, for reading or writing, with warnings going to the log;
 * ERROR_NOT_FOUND when nothing was ever warmed there. An empty one, a fresh volume, is warned of
 * and opened for reading. */
int command_open(const struct common *common, bool write, struct cachedir **ret, struct error *err);
/* REF|DIGEST: the entries that it means (a reference may have several platforms), appended to
 * *list. *ret_name (which may be NULL), owned, is the reference's full name; NULL: it was a digest.
 * ERROR_NOT_FOUND names it and says where to look, ERROR_USAGE which ones begin so. */
int command_entries(struct cachedir *cd, const char *operand, struct digest **list, size_t *count,
                    char **ret_name, struct error *err);
