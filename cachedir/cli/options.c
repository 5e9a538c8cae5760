#include "options.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

void options_list_add(char ***list, char *value)
{
    size_t count = 0;
    while (*list && (*list)[count])
        count++;
    *list = xreallocarray(*list, count + 2, sizeof **list);
    (*list)[count] = value;
    (*list)[count + 1] = NULL;
}

bool options_bool(const char *text, bool *ret)
{
    static const char *const spellings[2][6] = {{"0", "f", "F", "false", "FALSE", "False"},
                                                {"1", "t", "T", "true", "TRUE", "True"}};
    for (int value = 0; value < 2; value++)
        for (size_t i = 0; i < 6; i++)
            if (strcmp(text, spellings[value][i]) == 0) {
                *ret = value;
                return true;
            }
    return false;
}

static bool choice_is(const char *choice, const char *text)
{
    size_t len = strlen(text);
    for (;;) {
        size_t one = strcspn(choice, "|");
        if (one == len && strncasecmp(choice, text, len) == 0)
            return true;
        if (!choice[one])
            return false;
        choice += one + 1;
    }
}

/* "any, all or never" */
static char *choices_text(const char *const *choices)
{
    char *text = xstrdup("");
    for (size_t i = 0; choices[i]; i++) {
        const char *join = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
        char *longer = xasprintf("%s%s%.*s", text, join, (int)strcspn(choices[i], "|"), choices[i]);
        free(text);
        text = longer;
    }
    return text;
}

static int set_choice(const struct option_spec *spec, const char *value, int *member,
                      struct error *err)
{
    for (int i = 0; spec->choices[i]; i++)
        if (choice_is(spec->choices[i], value)) {
            *member = i;
            return 0;
        }
    cleanup_free char *valid = choices_text(spec->choices);
    return error_set(err, ERROR_USAGE, "must be %s", valid);
}

static int set_unsigned(const struct option_spec *spec, const char *value, unsigned *member,
                        struct error *err)
{
    const unsigned high = spec->high ? spec->high : UINT_MAX;
    errno = 0;
    char *end;
    unsigned long long number = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno || number < spec->low || number > high) {
        return spec->high
                   ? error_set(err, ERROR_USAGE, "must be a number from %u to %u", spec->low, high)
                   : error_set(err, ERROR_USAGE, "must be a number, at least %u", spec->low);
    }
    *member = (unsigned)number;
    return 0;
}

/* An absent limit is 0 to those who look: typed, it must not mean the opposite of what it says. */
static int set_size(const char *value, int64_t *member, struct error *err)
{
    int64_t size;
    if (size_parse(value, &size, err) < 0)
        return -1;
    if (size == 0) {
        cleanup_free char *shown = text_foreign_str(value);
        return error_set(err, ERROR_USAGE,
                         "bad size \"%s\": it must be more than 0; without the option there is no "
                         "limit",
                         shown);
    }
    *member = size;
    return 0;
}

static int set_member(const struct option_spec *spec, char *value, void *settings,
                      struct error *err)
{
    void *member = (char *)settings + spec->offset;
    switch (spec->type) {
    case OPTION_BOOL:
        return options_bool(value, member) ? 0
                                           : error_set(err, ERROR_USAGE, "must be true or false");
    case OPTION_STRING:
        *(const char **)member = value;
        return 0;
    case OPTION_LIST:
        options_list_add(member, value);
        return 0;
    case OPTION_DURATION:
        return duration_parse(value, member, err);
    case OPTION_SIZE:
        return set_size(value, member, err);
    case OPTION_UNSIGNED:
        return set_unsigned(spec, value, member, err);
    case OPTION_CHOICE:
        return set_choice(spec, value, member, err);
    }
    return error_set(err, ERROR_USAGE, "has no type");
}

/* `shown` is the option as it was typed: "--jobs" or "-j". */
static int set(const struct option_spec *spec, const char *shown, char *value, void *settings,
               struct error *err)
{
    struct error why = {0};
    if (set_member(spec, value, settings, &why) == 0)
        return 0;
    cleanup_free char *quoted = text_foreign_str(value);
    if (spec->type == OPTION_DURATION || spec->type == OPTION_SIZE) /* quoted already */
        (void)error_prefix(&why, "%s", shown);
    else
        (void)error_prefix(&why, "%s \"%s\"", shown, quoted);
    error_move(err, &why);
    return -1;
}

static const struct option_spec *find_long(const struct command_spec *command, const char *name,
                                           size_t len)
{
    for (const struct option_spec *s = command->options; s->name; s++)
        if (strlen(s->name) == len && strncmp(s->name, name, len) == 0)
            return s;
    return NULL;
}

static const struct option_spec *find_letter(const struct command_spec *command, char letter)
{
    for (const struct option_spec *s = command->options; s->name; s++)
        if (letter && s->letter == letter)
            return s;
    return NULL;
}

struct scan {
    const struct command_spec *command;
    void *settings;
    int argc, at; /* argv[at] is looked at */
    char **argv;
};

unsigned options_distance(const char *a, const char *b)
{
    enum { FAR = 3 };
    while (*a && *a == *b) {
        a++;
        b++;
    }
    if (!*a && !*b)
        return 0;
    const size_t left_a = strlen(a), left_b = strlen(b);
    if (left_a > left_b + FAR || left_b > left_a + FAR)
        return FAR;
    /* The shortest of the ways on from here. Each costs one, so that the depth is bounded. */
    static _Thread_local unsigned depth;
    if (depth == FAR - 1)
        return FAR;
    depth++;
    unsigned best = FAR - 1, way;
    if (*a && (way = options_distance(a + 1, b)) < best)
        best = way;
    if (*b && (way = options_distance(a, b + 1)) < best)
        best = way;
    if (*a && *b && (way = options_distance(a + 1, b + 1)) < best)
        best = way;
    if (*a && a[1] && *a == b[1] && a[1] == *b && (way = options_distance(a + 2, b + 2)) < best)
        best = way;
    depth--;
    return best + 1;
}

/* "--images-file" for "--imagefile=x"; NULL: nothing looks like it. */
static const struct option_spec *nearest(const struct command_spec *command, const char *arg)
{
    const struct option_spec *best = NULL;
    unsigned least = 3;
    cleanup_free char *name = xstrndup(arg, strcspn(arg, "="));
    for (const struct option_spec *s = command->options; s->name; s++) {
        unsigned distance = strlen(s->name) > 3 ? options_distance(name, s->name) : 3;
        if (distance < least) {
            least = distance;
            best = s;
        }
    }
    return best;
}

static int unknown(const struct scan *scan, const char *arg, struct error *err)
{
    cleanup_free char *shown = text_foreign_str(arg);
    const struct option_spec *meant =
        strncmp(arg, "--", 2) == 0 ? nearest(scan->command, arg + 2) : NULL;
    if (meant)
        return error_set(err, ERROR_USAGE, "unknown option %s: did you mean --%s?", shown,
                         meant->name);
    return error_set(err, ERROR_USAGE, "unknown option %s: \"%s --help\" lists them", shown,
                     scan->command->name);
}

/* The value of an option that needs one and has none attached: the next argument. */
static int next_value(struct scan *scan, const struct option_spec *spec, const char *shown,
                      char **ret, struct error *err)
{
    if (scan->at + 1 >= scan->argc)
        return error_set(err, ERROR_USAGE, "%s needs a value: %s %s", shown, shown, spec->argument);
    *ret = scan->argv[++scan->at];
    return 0;
}

static int parse_long(struct scan *scan, struct error *err)
{
    char *arg = scan->argv[scan->at], *name = arg + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_spec *spec = find_long(scan->command, name, len);
    if (!spec)
        return unknown(scan, arg, err);
    cleanup_free char *shown = xasprintf("--%s", spec->name);
    static char yes[] = "true";
    char *value = equals ? equals + 1 : yes;
    if (!equals && spec->type != OPTION_BOOL && next_value(scan, spec, shown, &value, err) < 0)
        return -1;
    return set(spec, shown, value, scan->settings, err);
}

/* "-f", "-fc DIR", "-cDIR", "-c=DIR", "-f=false" */
static int parse_letters(struct scan *scan, struct error *err)
{
    char *arg = scan->argv[scan->at];
    size_t len = strcspn(arg + 1, "=");
    if (len > 1 && find_long(scan->command, arg + 1, len)) {
        cleanup_free char *shown = text_foreign_str(arg);
        return error_set(err, ERROR_USAGE, "%s: long options have two dashes: -%s", shown, shown);
    }
    for (char *p = arg + 1; *p; p++) {
        const struct option_spec *spec = find_letter(scan->command, *p);
        if (!spec)
            return unknown(scan, arg, err);
        const char shown[] = {'-', *p, '\0'};
        static char yes[] = "true";
        char *value = yes;
        bool attached = p[1] == '=' || (spec->type != OPTION_BOOL && p[1]);
        if (attached)
            value = p[1] == '=' ? p + 2 : p + 1;
        else if (spec->type != OPTION_BOOL && next_value(scan, spec, shown, &value, err) < 0)
            return -1;
        if (set(spec, shown, value, scan->settings, err) < 0)
            return -1;
        if (attached || spec->type != OPTION_BOOL)
            break;
    }
    return 0;
}

int options_parse(const struct command_spec *command, int argc, char **argv, void *settings,
                  int *ret_operand, struct error *err)
{
    struct scan scan = {command, settings, argc, 1, argv};
    cleanup_free char **operands = xcalloc((size_t)argc + 1, sizeof *operands);
    int count = 0;
    for (; scan.at < argc; scan.at++) {
        char *arg = argv[scan.at];
        if (strcmp(arg, "--") == 0) {
            while (++scan.at < argc)
                operands[count++] = argv[scan.at];
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') /* "-" is stdin */
            operands[count++] = arg;
        else if ((arg[1] == '-' ? parse_long(&scan, err) : parse_letters(&scan, err)) < 0)
            return -1;
    }
    /* What the options leave at the front is never read again. */
    *ret_operand = argc - count;
    for (int i = 0; i < count; i++)
        argv[argc - count + i] = operands[i];
    return 0;
}

void options_release(const struct command_spec *command, void *settings)
{
    for (const struct option_spec *s = command->options; s->name; s++) {
        if (s->type != OPTION_LIST)
            continue;
        char ***list = (char ***)(void *)((char *)settings + s->offset);
        free(*list);
        *list = NULL;
    }
}
