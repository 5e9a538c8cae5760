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

/* Completed from what the directory holds: "REF", and globs of them, and operands. */
static bool is_image(const struct option_spec *s)
{
    return is_argument(s, "REF") || is_argument(s, "GLOB");
}
static bool takes_images(const struct command_spec *command)
{
    return strstr(command->usage, "REF|DIGEST") != NULL;
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

/* References hold colons, at which readline ends words; it wants what stands behind the last one.
 */
static const char bash_images[] =
    "__basewarm_images() {\n"
    "    local line=${COMP_LINE:0:COMP_POINT} dir=/cache words i image before=''\n"
    "    local typed=${line##*[[:space:]=]}\n"
    "    read -ra words <<<\"$line\"\n"
    "    for ((i = 1; i < ${#words[@]}; i++)); do\n"
    "        case ${words[i]} in\n"
    "        -c | --cache-dir) dir=${words[i + 1]-} ;;\n"
    "        --cache-dir=*) dir=${words[i]#*=} ;;\n"
    "        -c?*) dir=${words[i]#-c} dir=${dir#=} ;;\n"
    "        esac\n"
    "    done\n"
    "    [[ $COMP_WORDBREAKS != *:* ]] || before=${typed%\"${typed##*:}\"}\n"
    "    compopt +o filenames 2>/dev/null # which would quote the colons\n"
    "    while IFS= read -r image; do\n"
    "        [[ $image != \"$typed\"* ]] || COMPREPLY+=(\"${image#\"$before\"}\")\n"
    "    done < <(cachedir -c \"${dir/#\\~\\//$HOME/}\" list --words 2>/dev/null)\n"
    "}\n";

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
        } else if (is_image(s)) {
            fputs("            __basewarm_images\n", out);
        }
        fputs("            return\n            ;;\n", out);
    }
    fputs("        esac\n", out);
    if (takes_images(command))
        fputs(
            "        if [[ $cur != -* ]]; then\n            __basewarm_images\n            return\n"
            "        fi\n",
            out);
    fputs("        mapfile -t COMPREPLY < <(compgen -W \"", out);
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
        "%s"
        "_%s() {\n"
        "    local i=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev command=''\n"
        "    COMPREPLY=()\n"
        "    # a:b comes as three words, and so does --flag=value\n"
        "    while ((i > 1)) && [[ ${COMP_WORDS[i]} == ':' || ${COMP_WORDS[i - 1]} == ':' ]]; do\n"
        "        ((i--))\n"
        "    done\n"
        "    prev=${COMP_WORDS[i - 1]}\n"
        "    if [[ $cur == '=' ]]; then\n"
        "        cur=''\n"
        "    elif [[ $prev == '=' && $i -ge 2 ]]; then\n"
        "        prev=${COMP_WORDS[i - 2]}\n"
        "    fi\n",
        c->program, bash_images, c->program);
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

static const char zsh_images[] =
    "(( $+functions[__basewarm_images] )) || __basewarm_images() {\n"
    "    local dir=/cache i\n"
    "    local -a images\n"
    "    for ((i = 2; i <= $#words; i++)); do\n"
    "        case $words[i] in\n"
    "        -c|--cache-dir) dir=$words[i+1] ;;\n"
    "        --cache-dir=*) dir=${words[i]#*=} ;;\n"
    "        -c?*) dir=${${words[i]#-c}#=} ;;\n"
    "        esac\n"
    "    done\n"
    "    images=(${(f)\"$(cachedir -c ${~dir} list --words 2>/dev/null)\"})\n"
    "    compadd -a images\n"
    "}\n";

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
        } else if (is_image(s)) {
            fputs("__basewarm_images", out);
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
        fprintf(out, " \\\n        '*:operand:%s'",
                takes_images(command) ? "__basewarm_images" : "");
    fputc('\n', out);
}

static void zsh(const struct completion *c)
{
    FILE *out = c->out;
    fprintf(out, "#compdef %s\n%s_%s() {\n", c->program, zsh_images, c->program);
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

static const char fish_images[] =
    "function __basewarm_images\n"
    "    set -l dir /cache\n"
    "    set -l words (commandline -opc)\n"
    "    for i in (seq 2 (count $words))\n"
    "        switch $words[$i]\n"
    "            case -c --cache-dir\n"
    "                set -l next (math $i + 1)\n"
    "                test $next -gt (count $words); or set dir $words[$next]\n"
    "            case '--cache-dir=*'\n"
    "                set dir (string replace -- --cache-dir= '' $words[$i])\n"
    "            case '-c?*'\n"
    "                set dir (string replace -r -- '^-c=?' '' $words[$i])\n"
    "        end\n"
    "    end\n"
    "    cachedir -c (string replace -r '^~/' $HOME/ $dir) list --words 2>/dev/null\n"
    "end\n";

/* The subcommand, wherever it stands: options, and their arguments, may come first. */
static void fish_find_command(const struct completion *c)
{
    fprintf(c->out,
            "function __%s_command\n    for word in (commandline -opc)[2..-1]\n"
            "        switch $word\n            case",
            c->program);
    for (size_t i = 0; i < c->count; i++)
        fprintf(c->out, " %s", last_word(c->commands[i]));
    fputs("\n                echo $word\n                return\n        end\n    end\n"
          "    return 1\nend\n",
          c->out);
}

static void fish_option(const struct completion *c, const struct command_spec *command,
                        const struct option_spec *s)
{
    FILE *out = c->out;
    fprintf(out, "complete -c %s", c->program);
    if (is_subcommand(command))
        fprintf(out, " -n 'contains -- %s (__%s_command)'", last_word(command), c->program);
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
    } else if (is_image(s)) {
        fputs(" -x -a '(__basewarm_images)'", out);
    } else if (option_takes_value(s)) {
        fputs(" -x", out);
    }
    fputs(" -d ", out);
    fish_text(out, s->help);
    fputc('\n', out);
}

static void fish(const struct completion *c)
{
    FILE *out = c->out;
    const bool several = is_subcommand(c->commands[0]);
    fprintf(out, "# fish completion for %s\n%s", c->program, fish_images);
    if (several)
        fish_find_command(c);
    fprintf(out, "complete -c %s -f\n", c->program);
    if (several)
        fprintf(out,
                "complete -c %s -n 'not __%s_command >/dev/null' -s c -l cache-dir -x -a "
                "'(__fish_complete_directories)' -d 'the cache directory'\n",
                c->program, c->program);
    for (size_t i = 0; i < c->count; i++) {
        const struct command_spec *command = c->commands[i];
        const char *name = last_word(command);
        if (several) {
            fprintf(out, "complete -c %s -n 'not __%s_command >/dev/null' -a %s -d ", c->program,
                    c->program, name);
            fish_text(out, command->summary);
            fputc('\n', out);
        }
        if (several && takes_images(command))
            fprintf(out,
                    "complete -c %s -n 'contains -- %s (__%s_command)' -a "
                    "'(__basewarm_images)'\n",
                    c->program, name, c->program);
        for (const struct option_spec *s = command->options; s->name; s++)
            if (option_is_shown(s))
                fish_option(c, command, s);
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
