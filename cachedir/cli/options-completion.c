/* Completion scripts, and the way to what else is made from the tables. */
#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "options-internal.h"

#include <string.h>

struct completion {
    const char *program;
    const struct command_spec *const *commands;
    size_t count;
    FILE *out;
};

/* "verify" of "cachedir verify", or all of "warmer". */
static const char *last_word(const struct command_spec *command)
{
    const char *space = strchr(command->name, ' ');
    return space ? space + 1 : command->name;
}

static bool is_subcommand(const struct command_spec *command)
{
    return strchr(command->name, ' ') != NULL;
}

static bool is_argument(const struct option_spec *s, const char *what)
{
    return s->argument && strcmp(s->argument, what) == 0;
}

static void put_choices(FILE *out, const struct option_spec *s)
{
    for (size_t i = 0; s->choices[i]; i++)
        fprintf(out, "%s%.*s", i ? " " : "", (int)strcspn(s->choices[i], "|"), s->choices[i]);
}

/* ---- bash ---- */

static void bash_words(FILE *out, const char *indent, const char *words_before)
{
    fprintf(out, "%smapfile -t COMPREPLY < <(compgen %s -- \"$cur\")\n", indent, words_before);
}

/* The values of the options that take one: a case on the word before. */
static void bash_values(FILE *out, const struct command_spec *command)
{
    fputs("        case $prev in\n", out);
    for (const struct option_spec *s = command->options; s->name; s++) {
        if (!option_takes_value(s))
            continue;
        fprintf(out, "        --%s", s->name);
        if (s->letter)
            fprintf(out, " | -%c", s->letter);
        fputs(")\n", out);
        if (s->choices) {
            fputs("            mapfile -t COMPREPLY < <(compgen -W \"", out);
            put_choices(out, s);
            fputs("\" -- \"$cur\")\n", out);
        } else if (is_argument(s, "FILE") || is_argument(s, "DIR")) {
            bash_words(out, "            ", is_argument(s, "DIR") ? "-d" : "-f");
        }
        fputs("            return\n            ;;\n", out);
    }
    fputs("        esac\n        mapfile -t COMPREPLY < <(compgen -W \"", out);
    for (const struct option_spec *s = command->options; s->name; s++)
        if (option_is_shown(s))
            fprintf(out, "%s--%s", s == command->options ? "" : " ", s->name);
    fputs("\" -- \"$cur\")\n", out);
}

static void bash(const struct completion *c)
{
    FILE *out = c->out;
    fprintf(
        out,
        "# bash completion for %s\n"
        "_%s() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=''\n"
        "    COMPREPLY=()\n"
        "    # --flag=value comes as three words\n"
        "    if [[ $cur == '=' ]]; then\n"
        "        cur=''\n"
        "    elif [[ $prev == '=' && $COMP_CWORD -ge 2 ]]; then\n"
        "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
        "    fi\n",
        c->program, c->program);
    if (is_subcommand(c->commands[0])) {
        fputs("    local word\n    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n        "
              "case $word in\n"
              "        ",
              out);
        for (size_t i = 0; i < c->count; i++)
            fprintf(out, "%s%s", i ? " | " : "", last_word(c->commands[i]));
        fputs(")\n            command=$word\n            break\n            ;;\n        esac\n"
              "    done\n",
              out);
    }
    fputs("    case $command in\n", out);
    for (size_t i = 0; i < c->count; i++) {
        const struct command_spec *command = c->commands[i];
        fprintf(out, "    %s)\n", is_subcommand(command) ? last_word(command) : "''");
        bash_values(out, c->commands[i]);
        fputs("        ;;\n", out);
    }
    if (is_subcommand(c->commands[0])) {
        fputs("    *)\n        case $prev in\n        -c | --cache-dir)\n    ", out);
        bash_words(out, "        ", "-d");
        fputs("            return\n            ;;\n        esac\n"
              "        mapfile -t COMPREPLY < <(compgen -W \"",
              out);
        for (size_t i = 0; i < c->count; i++)
            fprintf(out, "%s ", last_word(c->commands[i]));
        fputs("--cache-dir --help --version\" -- \"$cur\")\n        ;;\n", out);
    }
    fprintf(out, "    esac\n}\ncomplete -o filenames -F _%s %s\n", c->program, c->program);
}

/* ---- zsh ---- */

/* Inside '...' and [...]: brackets and colons are _arguments' own, a quote would end the string. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void zsh_option(FILE *out, const struct option_spec *s, const char *dashes, const char *name)
{
    fprintf(out, " \\\n        '%s%s%s%s[", s->type == OPTION_LIST ? "*" : "", dashes, name,
            option_takes_value(s) && dashes[1] ? "=" : "");
    zsh_text(out, s->help);
    fputs("]", out);
    if (option_takes_value(s)) {
        fputs(":", out);
        zsh_text(out, s->argument);
        fputs(":", out);
        if (s->choices) {
            fputs("(", out);
            put_choices(out, s);
            fputs(")", out);
        } else if (is_argument(s, "FILE")) {
            fputs("_files", out);
        } else if (is_argument(s, "DIR")) {
            fputs("_files -/", out);
        }
    }
    fputs("'", out);
}

static void zsh_command(FILE *out, const struct command_spec *command)
{
    fputs("    _arguments -s", out);
    for (const struct option_spec *s = command->options; s->name; s++) {
        if (!option_is_shown(s))
            continue;
        const char letter[] = {s->letter, '\0'};
        if (s->letter)
            zsh_option(out, s, "-", letter);
        zsh_option(out, s, "--", s->name);
    }
    if (is_subcommand(command)) /* which is an operand, too */
        fputs(" \\\n        '*:operand:'", out);
    fputc('\n', out);
}

static void zsh(const struct completion *c)
{
    FILE *out = c->out;
    fprintf(out, "#compdef %s\n_%s() {\n", c->program, c->program);
    if (!is_subcommand(c->commands[0])) {
        zsh_command(out, c->commands[0]);
    } else {
        fputs("    local command='' word\n    for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
              "        case $word in\n        ",
              out);
        for (size_t i = 0; i < c->count; i++)
            fprintf(out, "%s%s", i ? "|" : "", last_word(c->commands[i]));
        fputs(") command=$word; break ;;\n        esac\n    done\n    case $command in\n", out);
        for (size_t i = 0; i < c->count; i++) {
            fprintf(out, "    %s)\n", last_word(c->commands[i]));
            zsh_command(out, c->commands[i]);
            fputs("    ;;\n", out);
        }
        fputs("    *)\n    _arguments '(-c --cache-dir)'{-c,--cache-dir=}'[the cache "
              "directory]:DIR:_files "
              "-/' '1:command:((",
              out);
        for (size_t i = 0; i < c->count; i++) {
            fprintf(out, "%s%s\\:\"", i ? " " : "", last_word(c->commands[i]));
            zsh_text(out, c->commands[i]->summary);
            fputs("\"", out);
        }
        fputs("))'\n    ;;\n    esac\n", out);
    }
    fprintf(out,
            "}\nif [ \"$funcstack[1]\" = _%s ]; then\n    _%s \"$@\"\nelse\n"
            "    compdef _%s %s\nfi\n",
            c->program, c->program, c->program, c->program);
}

/* ---- fish ---- */

static void fish_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void fish(const struct completion *c)
{
    FILE *out = c->out;
    fprintf(out, "# fish completion for %s\ncomplete -c %s -f\n", c->program, c->program);
    for (size_t i = 0; i < c->count; i++) {
        const struct command_spec *command = c->commands[i];
        const char *name = last_word(command);
        if (is_subcommand(command)) {
            fprintf(out, "complete -c %s -n __fish_use_subcommand -a %s -d ", c->program, name);
            fish_text(out, command->summary);
            fputc('\n', out);
        }
        for (const struct option_spec *s = command->options; s->name; s++) {
            if (!option_is_shown(s))
                continue;
            fprintf(out, "complete -c %s", c->program);
            if (is_subcommand(command))
                fprintf(out, " -n '__fish_seen_subcommand_from %s'", name);
            if (s->letter)
                fprintf(out, " -s %c", s->letter);
            fprintf(out, " -l %s", s->name);
            if (s->choices) {
                fputs(" -x -a '", out);
                put_choices(out, s);
                fputs("'", out);
            } else if (is_argument(s, "FILE")) {
                fputs(" -r -F", out);
            } else if (is_argument(s, "DIR")) {
                fputs(" -x -a '(__fish_complete_directories)'", out);
            } else if (option_takes_value(s)) {
                fputs(" -x", out);
            }
            fputs(" -d ", out);
            fish_text(out, s->help);
            fputc('\n', out);
        }
    }
}

static void man(const struct completion *c)
{
    options_man(c->commands, c->count, c->out);
}

int options_completion(const char *program, const struct command_spec *const *commands,
                       size_t count, const char *shell, FILE *out, struct error *err)
{
    static const struct {
        const char *name;
        void (*write)(const struct completion *c);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}, {"man", man}};
    const struct completion c = {program, commands, count, out};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shell, shells[i].name) == 0) {
            shells[i].write(&c);
            return 0;
        }
    cleanup_free char *shown = text_foreign_str(shell);
    return error_set(err, ERROR_USAGE, "no completion for \"%s\": bash, zsh or fish", shown);
}
