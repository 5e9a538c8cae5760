/*
 * Command lines: one table of options feeds the parser, --help, the man page and the completion.
 *
 * The spelling is Go's (pflag), since Pod specifications written for kaniko must keep working:
 * --flag value, --flag=value, -f value, -fvalue, -f=value, --bool, --bool=true|false, repeatable
 * flags, options after operands, "--" before operands that begin with a dash. Not getopt_long(3):
 * it takes abbreviations, knows no -f=value, and reads "-image" as "-i mage", which is refused here
 * with a hint at "--image".
 *
 *     static const struct option_spec specs[] = {
 *         {"image", 'i', OPTION_LIST, offsetof(struct settings, images), "REF", "Images",
 *          "warm this image; repeatable"},
 *         ...
 *         {0},
 *     };
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_type {
    OPTION_BOOL = 1, /* bool */
    OPTION_STRING,   /* const char *: points into argv */
    OPTION_LIST,     /* char **: NULL-terminated, grows; the strings point into argv */
    OPTION_DURATION, /* int64_t nanoseconds, as Go parses them */
    OPTION_SIZE,     /* int64_t bytes, more than 0 */
    OPTION_UNSIGNED, /* unsigned */
    OPTION_CHOICE,   /* int: index into `choices` */
};

struct option_spec {
    const char *name; /* without the dashes; NULL ends the table */
    char letter;      /* 0: none */
    enum option_type type;
    size_t offset;        /* of the member in the settings structure */
    const char *argument; /* "FILE", "DIR" (completed as such), "REF", ...; NULL for booleans */
    const char *group;    /* heading in --help; NULL: a synonym that works but is not shown */
    const char *help;     /* one sentence, without a full stop */
    const char *shown;    /* the default, as the help shows it; NULL: none */
    /* NULL-terminated, for OPTION_CHOICE; case does not count. "warn|warning": two spellings, of
     * which the help shows the first. */
    const char *const *choices;
    unsigned low, high; /* bounds for OPTION_UNSIGNED; high 0: none */
};

struct command_spec {
    const char *name;    /* "cachedir verify" */
    const char *usage;   /* "[options] [REF|DIGEST]..." */
    const char *summary; /* a line or a paragraph */
    const struct option_spec *options;
    const char *epilog; /* exit codes, examples; printed as it stands; may be NULL */
};

/*
 * Parse argv[1..]; members keep their value where the option is not given, and the last one counts
 * where a single value is given twice. Operands are left, in their order, at
 * argv[*ret_operand..argc-1] (options may stand between them). ERROR_USAGE quotes the culprit.
 */
int options_parse(const struct command_spec *command, int argc, char **argv, void *settings,
                  int *ret_operand, struct error *err);
void options_release(const struct command_spec *command, void *settings); /* the lists */

/* Append to a list member; the string is borrowed. */
void options_list_add(char ***list, char *value);

/* How many letters must be put in, left out, changed or exchanged with their neighbour to make one
 * word of the other; more than 2 is said to be 3. */
unsigned options_distance(const char *a, const char *b);

/* Booleans as Go's strconv.ParseBool reads them: 1 t T true TRUE True, 0 f F false FALSE False. */
bool options_bool(const char *text, bool *ret);

/* --help: at most 80 columns. */
void options_help(const struct command_spec *command, FILE *out);
/* The OPTIONS section of the manual page, roff(7). Of several commands, each has a part of its own,
 * and the group "Common", which is the same in all, stands once at the end. */
void options_man(const struct command_spec *const *commands, size_t count, FILE *out);
/*
 * A completion script for "bash", "zsh" or "fish"; ERROR_USAGE for another shell. One command whose
 * name is `program`, or several named "<program> <subcommand>". "man" is no shell: that is
 * options_man(), for the build, which runs the programs to get all that is made from their tables.
 */
int options_completion(const char *program, const struct command_spec *const *commands,
                       size_t count, const char *shell, FILE *out, struct error *err);
