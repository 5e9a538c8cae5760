/* The patterns of ${variable#pattern}: * is any text, ? one character, \ escapes. */
#include "dockerfile-internal.h"

#include "cachedir/alloc.h"

#include <string.h>

struct pattern {
    struct element {
        enum { LITERAL, ONE, MANY } kind;
        char c;
    } * elements;
    size_t count;
};

static void pattern_release(struct pattern *p)
{
    free(p->elements);
}

static bool parse(const char *text, struct pattern *ret)
{
    for (const char *p = text; *p; p++) {
        struct element *e = array_add(ret->elements, ret->count);
        *e = (struct element){*p == '*' ? MANY : *p == '?' ? ONE : LITERAL, *p};
        if (*p != '\\')
            continue;
        /* Before } and / it was for the sake of ${...}. */
        p++;
        if (!*p || !strchr("}/*?\\", *p))
            return false;
        e->c = *p;
    }
    return true;
}

static void reverse(const struct pattern *p, char *text, size_t len)
{
    for (size_t i = 0; i < len / 2; i++) {
        char c = text[i];
        text[i] = text[len - 1 - i];
        text[len - 1 - i] = c;
    }
    for (size_t i = 0; i < p->count / 2; i++) {
        struct element e = p->elements[i];
        p->elements[i] = p->elements[p->count - 1 - i];
        p->elements[p->count - 1 - i] = e;
    }
}

#define NO_MATCH SIZE_MAX

/* How much of the text's beginning the pattern matches, at most or at least. One pass, with all
 * the places in the pattern where one may be: no pattern makes it slow. */
static size_t match(const struct pattern *p, const char *text, bool longest, int64_t *work)
{
    cleanup_free bool *at = xcalloc(p->count + 1, sizeof *at);
    size_t found = NO_MATCH;
    at[0] = true;
    for (size_t pos = 0;; pos++) {
        bool any = false;
        for (size_t i = 0; i < p->count; i++)
            if (at[i] && p->elements[i].kind == MANY)
                at[i + 1] = true;
        if (at[p->count])
            found = pos;
        if ((found == pos && !longest) || !text[pos])
            return found;
        *work -= (int64_t)p->count + 1;
        for (size_t i = p->count + 1; i-- > 0;) {
            const struct element *from = i > 0 ? &p->elements[i - 1] : NULL;
            const bool stays = i < p->count && at[i] && p->elements[i].kind == MANY;
            at[i] =
                stays || (from && at[i - 1] &&
                          (from->kind == ONE || (from->kind == LITERAL && from->c == text[pos])));
            any |= at[i];
        }
        if (!any || *work < 0)
            return found;
    }
}

static char *replace(const struct pattern *p, const char *value, const char *replacement, bool all,
                     int64_t *work)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort();
    size_t pos = 0, behind = NO_MATCH; /* the last match */
    while (*work >= 0) {
        size_t matched = behind != NO_MATCH && !all ? NO_MATCH : match(p, value + pos, true, work);
        if (matched == 0 && pos == behind)
            matched = NO_MATCH;
        if (matched != NO_MATCH) {
            (void)fputs(replacement, out);
            *work -= (int64_t)strlen(replacement) << 8; /* memory, not only time */
            pos += matched;
            behind = pos;
            if (matched > 0)
                continue;
        }
        if (!value[pos])
            break;
        (void)fputc(value[pos++], out);
    }
    if (fclose(out) != 0)
        abort();
    return text;
}

static char *trim(const struct pattern *p, const char *value, bool suffix, bool longest,
                  int64_t *work)
{
    cleanup_free char *text = xstrdup(value);
    const size_t len = strlen(text);
    if (suffix)
        reverse(p, text, len);
    size_t matched = match(p, text, longest, work);
    if (matched == NO_MATCH)
        matched = 0;
    return suffix ? xstrndup(value, len - matched) : xstrdup(value + matched);
}

char *pattern_apply(enum pattern_do what, const char *value, const char *pattern,
                    const char *replacement, int64_t *work, const char **ret_why)
{
    __attribute__((cleanup(pattern_release))) struct pattern p = {0};
    cleanup_free char *done = NULL;
    if (!parse(pattern, &p)) {
        *ret_why = "in the pattern, \\ stands before something else than * ? \\ } or /";
        return NULL;
    }
    if (what == PATTERN_REPLACE || what == PATTERN_REPLACE_ALL)
        done = replace(&p, value, replacement, what == PATTERN_REPLACE_ALL, work);
    else
        done = trim(&p, value, what == PATTERN_SUFFIX_SHORT || what == PATTERN_SUFFIX_LONG,
                    what == PATTERN_PREFIX_LONG || what == PATTERN_SUFFIX_LONG, work);
    if (*work < 0) {
        *ret_why = "too much work";
        return NULL;
    }
    return take_ptr(done);
}
