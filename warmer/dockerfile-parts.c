/* The parts of one instruction: its keyword, its flags, its words. */
#include "dockerfile-internal.h"

#include "cachedir/alloc.h"

#include <jansson.h>
#include <string.h>

void instruction_release(struct instruction *i)
{
    free(i->keyword);
    for (size_t k = 0; k < i->flag_count; k++)
        mapped_release(&i->flags[k]);
    free(i->flags);
}

/* One flag, from its "--" on; returns what is behind it. */
static size_t read_flag(const struct mapped *text, size_t pos, size_t end, char escape,
                        struct mapped *ret)
{
    char quote = '\0';
    mapped_add(ret, "", 0, 0);
    for (; pos < end; pos++) {
        const char c = text->text[pos];
        if (!quote && space_at(text->text + pos))
            break;
        if (quote ? c == quote : c == '\'' || c == '"') {
            quote = quote ? '\0' : c;
            continue;
        }
        if (c == escape && ++pos == end) /* one at the end is dropped */
            break;
        mapped_add(ret, text->text + pos, 1, text->at[pos]);
    }
    return pos;
}

static void read_flags(struct instruction *i, size_t pos, size_t end, char escape)
{
    for (;;) {
        size_t n;
        while (pos < end && (n = space_at(i->text->text + pos)) > 0)
            pos += n;
        if (pos + 1 >= end || strncmp(i->text->text + pos, "--", 2) != 0)
            break;
        struct mapped flag = {0};
        pos = read_flag(i->text, pos, end, escape, &flag);
        if (strcmp(flag.text, "--") == 0) {
            mapped_release(&flag);
            break;
        }
        *array_add(i->flags, i->flag_count) = flag;
    }
    i->rest = (struct span){pos < end ? pos : end, end};
    trim_spaces(i->text->text, &i->rest.start, &i->rest.end);
}

void instruction_read(const struct mapped *text, struct span span, char escape,
                      struct instruction *ret)
{
    trim_spaces(text->text, &span.start, &span.end);
    size_t end = span.start;
    while (end < span.end && !is_blank(text->text[end]))
        end++;
    ret->text = text;
    ret->keyword = xstrndup(text->text + span.start, end - span.start);
    for (char *c = ret->keyword; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    read_flags(ret, end, span.end, escape);
}

char *instruction_text(const struct instruction *i, struct span s)
{
    return xstrndup(i->text->text + s.start, s.end - s.start);
}

bool instruction_flag_is(const struct mapped *flag, const char *name, size_t *ret_value)
{
    const size_t len = strlen(name);
    if (strncmp(flag->text, "--", 2) != 0 || strncmp(flag->text + 2, name, len) != 0)
        return false;
    const char next = flag->text[2 + len];
    *ret_value = next == '=' ? 3 + len : 0;
    return next == '=' || !next;
}

char *instruction_word(const struct instruction *i, size_t *pos, char escape)
{
    const char *text = i->text->text;
    size_t n;
    while (*pos < i->rest.end && (n = space_at(text + *pos)) > 0)
        *pos += n;
    if (*pos >= i->rest.end)
        return NULL;
    const size_t start = *pos;
    char quote = '\0';
    for (; *pos < i->rest.end && (quote || !space_at(text + *pos)); (*pos)++) {
        const char c = text[*pos];
        if (c == escape && quote != '\'' && *pos + 1 < i->rest.end)
            (*pos)++;
        else if (c == quote)
            quote = '\0';
        else if (!quote && (c == '\'' || c == '"'))
            quote = c;
    }
    return xstrndup(text + start, *pos - start);
}

size_t instruction_words(const struct instruction *i, struct span words[INSTRUCTION_WORDS])
{
    size_t count = 0, pos = i->rest.start;
    while (pos < i->rest.end && count <= INSTRUCTION_WORDS) {
        struct span word = {pos, pos};
        while (word.end < i->rest.end && !is_blank(i->text->text[word.end]))
            word.end++;
        if (count < INSTRUCTION_WORDS)
            words[count] = word;
        count++;
        for (pos = word.end; pos < i->rest.end && is_blank(i->text->text[pos]); pos++)
            continue;
    }
    return count;
}

size_t csv_field(const struct mapped *flag, size_t pos, struct mapped *ret)
{
    const char *text = flag->text;
    const bool quoted = text[pos] == '"';
    mapped_add(ret, "", 0, 0);
    for (pos += quoted; text[pos]; pos++) {
        if (!quoted && text[pos] == ',')
            return pos;
        if (text[pos] == '"') {
            if (!quoted)
                return SIZE_MAX;
            if (text[pos + 1] == ',' || !text[pos + 1])
                return pos + 1;
            if (text[++pos] != '"')
                return SIZE_MAX;
        }
        mapped_add(ret, text + pos, 1, flag->at[pos]);
    }
    return quoted ? SIZE_MAX : pos;
}

bool instruction_is_json(const struct instruction *i)
{
    cleanup_free char *rest = instruction_text(i, i->rest);
    if (*rest != '[')
        return false;
    json_t *array = json_loads(rest, JSON_ALLOW_NUL, NULL), *element;
    bool strings = json_is_array(array);
    size_t k;
    json_array_foreach(array, k, element) strings &= json_is_string(element);
    json_decref(array);
    return strings;
}
