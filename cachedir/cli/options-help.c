/* --help and the man page. */
#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "options-internal.h"

#include <string.h>

#define COLUMNS 80
#define HELP_COLUMN 30 /* where the sentences stand */

char *option_sentence(const struct option_spec *s)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    fputs(s->help, out);
    for (size_t i = 0; s->choices && s->choices[i]; i++)
        fprintf(out, "%s%.*s",
                i == 0              ? ": "
                : s->choices[i + 1] ? ", "
                                    : " or ",
                (int)strcspn(s->choices[i], "|"), s->choices[i]);
    if (s->shown)
        fprintf(out, " (default: %s)", s->shown);
    if (fclose(out) != 0)
        abort();
    return text;
}

static bool is_first_of_group(const struct option_spec *options, const struct option_spec *s)
{
    for (const struct option_spec *o = options; o < s; o++)
        if (option_is_shown(o) && strcmp(o->group, s->group) == 0)
            return false;
    return true;
}

void options_each(const struct command_spec *command, void (*group)(FILE *out, const char *name),
                  void (*print)(FILE *out, const struct option_spec *s), FILE *out)
{
    for (const struct option_spec *s = command->options; s->name; s++) {
        if (!option_is_shown(s) || !is_first_of_group(command->options, s))
            continue;
        group(out, s->group);
        for (const struct option_spec *o = s; o->name; o++)
            if (option_is_shown(o) && strcmp(o->group, s->group) == 0)
                print(out, o);
    }
}

/* Words from column `column` on, wrapped; what stands on the line already ends at `at`. */
static void wrap(FILE *out, const char *text, size_t at, size_t column)
{
    bool first = true;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (!first && at + 1 + len > COLUMNS) {
            fputc('\n', out);
            at = 0;
        } else if (!first) {
            fputc(' ', out);
            at++;
        }
        if (at < column) {
            fprintf(out, "%*s", (int)(column - at), "");
            at = column;
        }
        fprintf(out, "%.*s", (int)len, text);
        at += len;
        text += len;
        while (*text == ' ')
            text++;
        first = false;
    }
    fputc('\n', out);
}

static void help_group(FILE *out, const char *name)
{
    fprintf(out, "\n%s:\n", name);
}

static void help_option(FILE *out, const struct option_spec *s)
{
    const char letter[] = {s->letter, '\0'};
    cleanup_free char *sentence = option_sentence(s);
    cleanup_free char *left =
        xasprintf("  %s%s%s--%s%s%s", s->letter ? "-" : "  ", letter, s->letter ? ", " : "  ",
                  s->name, s->argument ? " " : "", s->argument ? s->argument : "");
    size_t at = strlen(left);
    fputs(left, out);
    if (at + 2 > HELP_COLUMN) {
        fputc('\n', out);
        at = 0;
    }
    wrap(out, sentence, at, HELP_COLUMN);
}

void options_help(const struct command_spec *command, FILE *out)
{
    fprintf(out, "Usage: %s %s\n\n", command->name, command->usage);
    wrap(out, command->summary, 0, 0);
    options_each(command, help_group, help_option, out);
    if (command->epilog)
        fprintf(out, "\n%s", command->epilog);
}

/* Text for roff(7): backslashes and hyphens are escaped, and a control character at the start of a
 * line would be a request. */
static void roff(FILE *out, const char *text)
{
    bool at_start = true;
    for (; *text; text++) {
        if (at_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        at_start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
    }
}

static void man_group(FILE *out, const char *name)
{
    fputs(".SS ", out);
    roff(out, name);
    fputc('\n', out);
}

static void man_option(FILE *out, const struct option_spec *s)
{
    cleanup_free char *sentence = option_sentence(s);
    fputs(".TP\n", out);
    if (s->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", s->letter);
    fputs("\\fB\\-\\-", out);
    roff(out, s->name);
    fputs("\\fR", out);
    if (s->argument) {
        fputs(" \\fI", out);
        roff(out, s->argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    roff(out, sentence);
    fputs(".\n", out);
}

static bool is_common(const struct option_spec *s)
{
    return strcmp(s->group, "Common") == 0;
}

/* One of several commands: its usage, its summary, its own options, its epilog. */
static void man_command(const struct command_spec *command, FILE *out)
{
    fputs(".SS \"", out);
    roff(out, command->name);
    fputc(' ', out);
    roff(out, command->usage);
    fputs("\"\n", out);
    roff(out, command->summary);
    fputs(".\n", out);
    for (const struct option_spec *s = command->options; s->name; s++)
        if (option_is_shown(s) && !is_common(s))
            man_option(out, s);
    if (command->epilog) {
        fputs(".PP\n.nf\n", out);
        roff(out, command->epilog);
        fputs(".fi\n", out);
    }
}

void options_man(const struct command_spec *const *commands, size_t count, FILE *out)
{
    if (count == 1) {
        options_each(commands[0], man_group, man_option, out);
        return;
    }
    for (size_t i = 0; i < count; i++)
        man_command(commands[i], out);
    fputs(".SS Common to all commands\n", out);
    for (const struct option_spec *s = commands[0]->options; s->name; s++)
        if (option_is_shown(s) && is_common(s))
            man_option(out, s);
}
