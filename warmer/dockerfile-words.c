/*
 * Words, as BuildKit's shell lexer reads them (frontend/dockerfile/shell): quotes, escapes, and
 * ${variable} with all its modifiers. The same lexer, which then leaves quotes, escapes and
 * variables as they are, finds the heredocs of a line.
 */
#include "dockerfile-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <stdarg.h>
#include <string.h>

#define END (-1)

struct output {
    char *text; /* NUL-terminated, NULL while empty */
    size_t len;
    bool splits;  /* into words, at spaces that are not quoted */
    char **words; /* those that are complete */
    size_t word_count;
    size_t begun; /* where in text the word at hand begins */
};

struct lexer {
    const struct expansion *how; /* NULL: leave everything as it is */
    char escape;
    const char *p; /* a NUL ends it */
    bool raw;      /* keep quotes, and variables as they are written */
    bool raw_escapes;
    unsigned depth;
    char *why; /* what is wrong */
};

static bool wrong(struct lexer *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(struct lexer *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!l->why)
        l->why = xvasprintf(format, args);
    va_end(args);
    return false;
}

/* ---- output ---- */

static void output_release(struct output *out)
{
    for (size_t i = 0; i < out->word_count; i++)
        free(out->words[i]);
    free(out->words);
    free(out->text);
}
#define cleanup_output __attribute__((cleanup(output_release)))

static bool put(struct lexer *l, struct output *out, const char *bytes, size_t len)
{
    if (l->how && (out->len + len > DOCKERFILE_VALUE_MAX || (*l->how->work -= (int64_t)len) < 0))
        return wrong(l, "a value of more than %d KiB", DOCKERFILE_VALUE_MAX >> 10);
    size_t room = 1;
    while (room < out->len + len + 1)
        room *= 2;
    if (!out->text || out->len + 1 <= room / 2)
        out->text = xreallocarray(out->text, room, 1);
    memcpy(out->text + out->len, bytes, len);
    out->len += len;
    out->text[out->len] = '\0';
    return true;
}

static void end_word(struct output *out)
{
    if (out->len > out->begun)
        *array_add(out->words, out->word_count) =
            xstrndup(out->text + out->begun, out->len - out->begun);
    out->begun = out->len;
}

/* Text in which spaces end words. */
static bool put_plain(struct lexer *l, struct output *out, const char *text, size_t len)
{
    if (!out->splits)
        return put(l, out, text, len);
    for (size_t n; len > 0; text += n, len -= n) {
        const size_t space = space_at(text);
        n = space > 0 ? space : 1;
        if (space > 0)
            end_word(out);
        else if (!put(l, out, text, 1))
            return false;
        if (n > len)
            n = len;
    }
    return true;
}

static const char *text_of(const struct output *out)
{
    return out->text ? out->text : "";
}

/* ---- the lexer ---- */

static bool lex(struct lexer *l, int stop, bool raw_escapes, struct output *out);
static bool lex_dollar(struct lexer *l, struct output *out);

/* To the quote that ends it; nothing in it means anything. */
static bool lex_single(struct lexer *l, struct output *out)
{
    const char *end = strchr(l->p + 1, '\'');
    if (!end)
        return wrong(l, "a single quote is not closed");
    const char *from = l->p + (l->raw ? 0 : 1), *to = end + (l->raw ? 1 : 0);
    l->p = end + 1;
    return put(l, out, from, (size_t)(to - from));
}

static bool lex_double(struct lexer *l, struct output *out)
{
    bool ok = !l->raw || put(l, out, "\"", 1);
    l->p++;
    while (ok && *l->p && *l->p != '"') {
        if (*l->p == '$') {
            cleanup_output struct output value = {0};
            ok = lex_dollar(l, &value) && put(l, out, text_of(&value), value.len);
            continue;
        }
        const char *c = l->p++;
        if (*c == l->escape) {
            if (l->raw_escapes)
                ok = put(l, out, c, 1);
            if (!*l->p)
                break;
            /* Before anything else it stands for itself. */
            if (*l->p == '"' || *l->p == '$' || *l->p == l->escape)
                c = l->p++;
        }
        ok = ok && put(l, out, c, 1);
    }
    if (!ok)
        return false;
    if (!*l->p)
        return wrong(l, "a double quote is not closed");
    l->p++;
    return !l->raw || put(l, out, "\"", 1);
}

/* "<<" holds together with the word behind it. */
static bool lex_less(struct lexer *l, struct output *out)
{
    size_t len = 1;
    if (l->p[1] == '<')
        len = 2 + strspn(l->p + 2, "\t\r ");
    const char *from = l->p;
    l->p += len;
    return put(l, out, from, len);
}

static bool lex_plain(struct lexer *l, struct output *out)
{
    if (*l->p != l->escape) {
        const size_t space = space_at(l->p);
        const char *from = l->p;
        l->p += space > 0 ? space : 1;
        return put_plain(l, out, from, (size_t)(l->p - from));
    }
    if (l->raw_escapes && !put(l, out, l->p, 1))
        return false;
    l->p++;
    return !*l->p || put(l, out, l->p++, 1);
}

static bool lex_next(struct lexer *l, struct output *out)
{
    switch (*l->p) {
    case '\'':
        return lex_single(l, out);
    case '"':
        return lex_double(l, out);
    case '<':
        return lex_less(l, out);
    case '$': {
        cleanup_output struct output value = {0};
        return lex_dollar(l, &value) && put_plain(l, out, text_of(&value), value.len);
    }
    default:
        return lex_plain(l, out);
    }
}

/* To `stop`, and behind it. */
static bool lex(struct lexer *l, int stop, bool raw_escapes, struct output *out)
{
    const bool before = l->raw_escapes;
    if (l->depth >= DOCKERFILE_NESTING_MAX)
        return wrong(l, "${...} within each other, more than %d deep", DOCKERFILE_NESTING_MAX);
    l->depth++;
    l->raw_escapes = raw_escapes;
    bool ok = true;
    while (ok && *l->p && (unsigned char)*l->p != stop)
        ok = lex_next(l, out);
    if (ok && stop != END) {
        if (!*l->p)
            ok = wrong(l, "\"%c\" is missing to end ${...}", stop);
        else
            l->p++;
    }
    l->raw_escapes = before;
    l->depth--;
    if (out->splits)
        end_word(out);
    return ok;
}

/* ---- variables ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A name, digits, or one of the shell's special parameters. Owned; may be empty. */
static char *lex_name(struct lexer *l)
{
    const char *from = l->p;
    if (is_digit(*l->p))
        while (is_digit(*l->p))
            l->p++;
    else if (*l->p && strchr("@*#?-$!", *l->p))
        l->p++;
    else
        while (is_letter(*l->p) || is_digit(*l->p))
            l->p++;
    return xstrndup(from, (size_t)(l->p - from));
}

static const char *value_of(const struct lexer *l, const char *name)
{
    return l->how ? l->how->value(l->how->userdata, name) : NULL;
}

/* A variable without a default beside it. */
static const char *plain_value_of(const struct lexer *l, const char *name)
{
    const char *value = value_of(l, name);
    if (!value && l->how)
        l->how->unset(l->how->userdata, name);
    return value ? value : "";
}

static bool put_string(struct lexer *l, struct output *out, const char *text)
{
    return put(l, out, text, strlen(text));
}

/* As it was written: only where nothing is resolved. */
static bool put_back(struct lexer *l, struct output *out, const char *name, const char *operator,
                     const char * word)
{
    return put(l, out, "${", 2) && put_string(l, out, name) && put_string(l, out, operator) &&
           put_string(l, out, word) && put(l, out, "}", 1);
}

static bool unsupported(struct lexer *l, const char *operator)
{
    cleanup_free char *shown = text_foreign_str(operator);
    return wrong(l, "\"%s\" is no modifier of ${...}", shown);
}

static bool apply(struct lexer *l, struct output *out, enum pattern_do what, const char *name,
                  const char *pattern, const char *replacement)
{
    const char *why;
    cleanup_free char *value =
        pattern_apply(what, plain_value_of(l, name), pattern, replacement, l->how->work, &why);
    return value ? put_string(l, out, value) : wrong(l, "${%s...}: %s", name, why);
}

/* ${name/pattern/replacement}, from behind the first slash. */
static bool lex_replacement(struct lexer *l, struct output *out, const char *name)
{
    cleanup_output struct output pattern = {0}, replacement = {0};
    const bool all = *l->p == '/';
    if (all)
        l->p++;
    if (!lex(l, '/', true, &pattern) || !lex(l, '}', true, &replacement))
        return false;
    if (!l->how) {
        cleanup_free char *word = xasprintf("%s/%s", text_of(&pattern), text_of(&replacement));
        return put_back(l, out, name, "/", word);
    }
    return apply(l, out, all ? PATTERN_REPLACE_ALL : PATTERN_REPLACE, name, text_of(&pattern),
                 text_of(&replacement));
}

/* ${name?message} */
static bool require(struct lexer *l, struct output *out, const char *name, bool nonempty,
                    const char *message)
{
    const char *value = value_of(l, name);
    if (value && (*value || !nonempty))
        return put_string(l, out, value);
    cleanup_free char *shown = text_foreign_str(message);
    cleanup_free char *shown_name = text_foreign_str(name);
    return wrong(l, "%s: %s", shown_name,
                 *shown   ? shown
                 : !value ? "it is not set, and must be"
                          : "it is empty, and must not be");
}

static bool trim(struct lexer *l, struct output *out, char operator, const char * name,
                 const char *pattern)
{
    const bool longest = *pattern == operator;
    enum pattern_do what = operator== '#' ? (longest ? PATTERN_PREFIX_LONG : PATTERN_PREFIX_SHORT)
                                          : (longest ? PATTERN_SUFFIX_LONG : PATTERN_SUFFIX_SHORT);
    return apply(l, out, what, name, pattern + longest, "");
}

/* ${name<operator>word}, from behind the operator: one of - + ? # %, or one of the first three
 * behind a colon, which counts an empty value as none. */
static bool lex_modifier(struct lexer *l, struct output *out, const char *name, char operator,
                         bool colon)
{
    cleanup_output struct output word = {0};
    const char shown[] = {colon ? ':' : operator, colon ? operator: '\0', '\0' };
    const bool pattern = operator== '#' || operator== '%';
    if (!operator)
        return wrong(l, "\"}\" is missing to end ${...}");
    if (!strchr(colon ? "-+?" : "-+?#%", operator))
        return unsupported(l, shown);
    if (!lex(l, '}', pattern, &word))
        return false;
    if (!l->how)
        return put_back(l, out, name, shown, text_of(&word));
    const char *value = value_of(l, name);
    const bool there = value && (*value || !colon);
    switch (operator) {
    case '-':
        return put_string(l, out, there ? value : text_of(&word));
    case '+':
        return put_string(l, out, there ? text_of(&word) : "");
    case '?':
        return require(l, out, name, colon, text_of(&word));
    default:
        return trim(l, out, operator, name, text_of(&word));
    }
}

static bool lex_dollar(struct lexer *l, struct output *out)
{
    l->p++;
    const bool braces = *l->p == '{';
    if (braces && (!l->p[1] || strchr("{}:", l->p[1])))
        return wrong(l, "${ without a name");
    l->p += braces;
    cleanup_free char *name = lex_name(l);
    if (!braces && !l->how)
        return put(l, out, "$", 1) && put_string(l, out, name);
    if (!braces)
        return *name ? put_string(l, out, plain_value_of(l, name)) : put(l, out, "$", 1);
    const char operator= * l->p;
    if (operator)
        l->p++;
    switch (operator) {
    case '}':
        return l->how ? put_string(l, out, plain_value_of(l, name))
                      : put_back(l, out, name, "", "");
    case '/':
        return lex_replacement(l, out, name);
    case ':': {
        const char second = *l->p;
        if (second)
            l->p++;
        return lex_modifier(l, out, name, second, true);
    }
    default:
        return lex_modifier(l, out, name, operator, false);
    }
}

char *dockerfile_expand(const struct expansion *how, const char *text, char **ret_why)
{
    struct lexer l = {.how = how, .escape = how->escape, .p = text};
    cleanup_output struct output out = {0};
    if (!lex(&l, END, false, &out)) {
        *ret_why = l.why;
        return NULL;
    }
    return xstrdup(text_of(&out));
}

/* ---- heredocs ---- */

void heredocs_free(struct heredoc *heredocs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(heredocs[i].name);
    free(heredocs);
}

/* "<<EOF", "<<-EOF", "3<<'EOF'". 1 with *ret, 0 it is none, -1 with *ret_why. */
static int heredoc_of(const char *word, struct heredoc *ret, char **ret_why)
{
    const char *p = word + strspn(word, "0123456789");
    if (p[0] != '<' || p[1] != '<')
        return 0;
    p += 2;
    const bool chomp = *p == '-';
    p += chomp;
    p += strspn(p, "\t\n\f\r ");
    if (!*p || strchr(p, '<'))
        return 0;
    struct lexer l = {.escape = '\\', .p = p};
    cleanup_output struct output out = {.splits = true};
    if (!lex(&l, END, false, &out)) {
        *ret_why = l.why;
        return -1;
    }
    if (out.word_count != 1)
        return 0;
    *ret = (struct heredoc){xstrdup(out.words[0]), chomp};
    return 1;
}

int dockerfile_heredocs(const char *line, struct heredoc **ret, size_t *ret_count, char **ret_why)
{
    struct lexer l = {.escape = '\\', .p = line, .raw = true};
    cleanup_output struct output out = {.splits = true};
    *ret = NULL;
    *ret_count = 0;
    /* What cannot be lexed is the shell's to understand: it has no heredocs for us. */
    if (!lex(&l, END, true, &out)) {
        free(l.why);
        return 0;
    }
    for (size_t i = 0; i < out.word_count; i++) {
        struct heredoc one;
        int found = heredoc_of(out.words[i], &one, ret_why);
        if (found < 0) {
            heredocs_free(*ret, *ret_count);
            return -1;
        }
        if (found > 0)
            *array_add(*ret, *ret_count) = one;
    }
    return 0;
}
