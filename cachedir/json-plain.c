#include "json.h"

#include <string.h>

#define DEPTH_MAX 32
#define KEY_MAX 128

struct reader {
    const char *at, *end;
    unsigned depth;
};

static json_t *read_value(struct reader *r);

static char next(const struct reader *r)
{
    return r->at < r->end ? *r->at : '\0';
}

static char skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
    return next(r);
}

static bool take(struct reader *r, char c)
{
    if (skip_blanks(r) != c)
        return false;
    r->at++;
    return true;
}

/* What is between two quotes, if it means itself: ASCII without escapes. */
static bool read_text(struct reader *r, const char **ret, size_t *ret_len)
{
    if (!take(r, '"'))
        return false;
    const char *p = r->at;
    while (p < r->end && *p != '"' && *p != '\\' && *p >= 0x20 && *p < 0x7f)
        p++;
    if (p == r->end || *p != '"')
        return false;
    *ret = r->at;
    *ret_len = (size_t)(p - r->at);
    r->at = p + 1;
    return true;
}

static json_t *read_string(struct reader *r)
{
    const char *text;
    size_t len;
    return read_text(r, &text, &len) ? json_stringn_nocheck(text, len) : NULL;
}

/* Whole, not negative, and far from overflow. */
static json_t *read_number(struct reader *r)
{
    const char *const first = r->at;
    json_int_t number = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (r->at - first >= 18)
            return NULL;
        number = number * 10 + (*r->at - '0');
    }
    const char c = next(r);
    if ((*first == '0' && r->at - first > 1) || c == '.' || c == 'e' || c == 'E')
        return NULL;
    return json_integer(number);
}

static json_t *read_word(struct reader *r)
{
    static const struct {
        const char *text;
        json_t *(*make)(void);
    } words[] = {{"true", json_true}, {"false", json_false}, {"null", json_null}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t len = strlen(words[i].text);
        if ((size_t)(r->end - r->at) >= len && memcmp(r->at, words[i].text, len) == 0) {
            r->at += len;
            return words[i].make();
        }
    }
    return NULL;
}

static bool read_members(struct reader *r, json_t *object)
{
    if (take(r, '}'))
        return true;
    do {
        const char *text;
        char key[KEY_MAX];
        size_t len;
        if (!read_text(r, &text, &len) || len >= sizeof key || !take(r, ':'))
            return false;
        memcpy(key, text, len);
        key[len] = '\0';
        json_t *value = json_object_get(object, key) ? NULL : read_value(r);
        if (!value || json_object_set_new_nocheck(object, key, value) < 0)
            return false;
    } while (take(r, ','));
    return take(r, '}');
}

static bool read_elements(struct reader *r, json_t *array)
{
    if (take(r, ']'))
        return true;
    do {
        json_t *value = read_value(r);
        if (!value || json_array_append_new(array, value) < 0)
            return false;
    } while (take(r, ','));
    return take(r, ']');
}

static json_t *read_container(struct reader *r, bool is_object)
{
    if (r->depth == DEPTH_MAX)
        return NULL;
    r->depth++;
    r->at++;
    json_t *container = is_object ? json_object() : json_array();
    if (!(is_object ? read_members(r, container) : read_elements(r, container))) {
        json_decref(container);
        return NULL;
    }
    r->depth--;
    return container;
}

static json_t *read_value(struct reader *r)
{
    const char c = skip_blanks(r);
    if (c == '{' || c == '[')
        return read_container(r, c == '{');
    if (c == '"')
        return read_string(r);
    return c >= '0' && c <= '9' ? read_number(r) : read_word(r);
}

json_t *json_plain_parse(const void *bytes, size_t len)
{
    struct reader r = {.at = bytes, .end = (const char *)bytes + len};
    const char c = skip_blanks(&r);
    if (c != '{' && c != '[')
        return NULL;
    json_t *value = read_value(&r);
    skip_blanks(&r);
    if (value && r.at == r.end)
        return value;
    json_decref(value);
    return NULL;
}
