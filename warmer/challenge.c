#include "challenge.h"

#include "cachedir/alloc.h"

#include <string.h>
#include <strings.h>

/* RFC 9110's tchar. */
static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

static const char *skip_token(const char *p)
{
    while (is_token(*p))
        p++;
    return p;
}

static int malformed(const char *why, struct error *err)
{
    return error_set(err, ERROR_PROTOCOL, "WWW-Authenticate: %s", why);
}

/* What follows "name=". Moves *p behind it. */
static int read_value(const char **p, char **ret, struct error *err)
{
    const char *at = *p;
    if (*at != '"') {
        while (*at && *at != ',' && *at != '"' && !is_blank(*at))
            at++;
        if (at == *p || *at == '"')
            return malformed("a parameter's value is malformed", err);
        *ret = xstrndup(*p, (size_t)(at - *p));
        *p = at;
        return 0;
    }
    char *text = xmalloc(strlen(at) + 1);
    size_t len = 0;
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1])
            at++;
        text[len++] = *at;
    }
    text[len] = '\0';
    if (*at != '"') {
        free(text);
        return malformed("a quoted string does not end", err);
    }
    *ret = text;
    *p = at + 1;
    return 0;
}

static int keep(struct challenge *c, const char *name, size_t len, char *value, struct error *err)
{
    const struct {
        const char *name;
        char **to;
    } known[] = {
        {"realm", &c->realm}, {"service", &c->service}, {"scope", &c->scope}, {"error", &c->error}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) != len || strncasecmp(name, known[i].name, len) != 0)
            continue;
        if (*known[i].to) {
            free(value);
            return malformed("a parameter stands there twice", err);
        }
        *known[i].to = value;
        return 0;
    }
    free(value);
    return 0;
}

/* "name = value", if that is what stands at *p: 1; something else: 0. */
static int read_parameter(const char **p, struct challenge *c, struct error *err)
{
    const char *name = *p, *past = skip_token(name), *at = skip_blanks(past);
    if (past == name || *at != '=')
        return 0;
    at = skip_blanks(at + 1);
    /* "abc=" and "abc==" alone are a token68. */
    if (!*at || *at == ',' || *at == '=')
        return 0;
    char *value = NULL;
    if (read_value(&at, &value, err) < 0 || keep(c, name, (size_t)(past - name), value, err) < 0)
        return -1;
    *p = at;
    return 1;
}

/* A scheme, and a token68 if there is one. Parameters are left. */
static int read_scheme(const char **p, struct challenge *c, struct error *err)
{
    const char *name = *p, *past = skip_token(name);
    if (past == name || (*past && *past != ',' && !is_blank(*past)))
        return malformed("an authentication scheme was expected", err);
    size_t len = (size_t)(past - name);
    if (len == 5 && strncasecmp(name, "Basic", len) == 0)
        c->scheme = CHALLENGE_BASIC;
    else if (len == 6 && strncasecmp(name, "Bearer", len) == 0)
        c->scheme = CHALLENGE_BEARER;

    const char *at = skip_blanks(past), *first = at;
    while (is_token(*at) || *at == '/')
        at++;
    const char *word = at;
    while (*at == '=')
        at++;
    const char *behind = skip_blanks(at);
    if (word > first && (!*behind || *behind == ','))
        *p = behind; /* a token68 */
    else
        *p = first;
    return 0;
}

static int read_list(const char *p, struct challenges *list, struct error *err)
{
    struct challenge *current = NULL;
    for (;;) {
        while (is_blank(*p) || *p == ',')
            p++;
        if (!*p)
            return 0;
        int parameter = current ? read_parameter(&p, current, err) : 0;
        if (parameter < 0)
            return -1;
        if (!parameter) {
            if (list->count == CHALLENGES_MAX)
                return malformed("too many challenges", err);
            current = array_add(list->items, list->count);
            if (read_scheme(&p, current, err) < 0)
                return -1;
            if (*p && *p != ',') {
                parameter = read_parameter(&p, current, err);
                if (parameter <= 0)
                    return parameter < 0 ? -1 : malformed("a parameter was expected", err);
            }
        }
        p = skip_blanks(p);
        /* Some separate parameters by blanks alone. */
        if (*p && *p != ',' && !is_token(*p))
            return malformed("a comma was expected", err);
    }
}

int challenges_add(struct challenges *list, const char *line, struct error *err)
{
    size_t len = strlen(line);
    if (len > CHALLENGE_BYTES_MAX)
        return malformed("too long", err);
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return malformed("a control character", err);

    size_t before = list->count;
    if (read_list(line, list, err) < 0) {
        while (list->count > before)
            challenge_release(&list->items[--list->count]);
        return -1;
    }
    return list->count > before ? 0 : malformed("no challenge in it", err);
}

const struct challenge *challenges_pick(const struct challenges *list)
{
    const struct challenge *basic = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const struct challenge *c = &list->items[i];
        if (c->scheme == CHALLENGE_BEARER && c->realm && *c->realm)
            return c;
        if (c->scheme == CHALLENGE_BASIC && !basic)
            basic = c;
    }
    return basic;
}

void challenge_copy(struct challenge *to, const struct challenge *from)
{
    *to = (struct challenge){
        .scheme = from->scheme,
        .realm = from->realm ? xstrdup(from->realm) : NULL,
        .service = from->service ? xstrdup(from->service) : NULL,
        .scope = from->scope ? xstrdup(from->scope) : NULL,
        .error = from->error ? xstrdup(from->error) : NULL,
    };
}

void challenge_release(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    *c = (struct challenge){0};
}

void challenges_release(struct challenges *list)
{
    for (size_t i = 0; i < list->count; i++)
        challenge_release(&list->items[i]);
    free(list->items);
    *list = (struct challenges){0};
}
