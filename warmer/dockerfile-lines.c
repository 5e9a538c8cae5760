/* From bytes to instructions: lines, comments, directives, continuations, heredocs. */
#include "dockerfile-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <string.h>
#include <strings.h>

/* ---- spaces ---- */

size_t space_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    if (*u == ' ' || (*u >= '\t' && *u <= '\r'))
        return 1;
    if (u[0] == 0xC2 && (u[1] == 0x85 || u[1] == 0xA0))
        return 2;
    if (u[0] == 0xE1 && u[1] == 0x9A && u[2] == 0x80)
        return 3;
    if (u[0] == 0xE2 && u[1] == 0x80 &&
        ((u[2] >= 0x80 && u[2] <= 0x8A) || u[2] == 0xA8 || u[2] == 0xA9 || u[2] == 0xAF))
        return 3;
    if (u[0] == 0xE2 && u[1] == 0x81 && u[2] == 0x9F)
        return 3;
    return u[0] == 0xE3 && u[1] == 0x80 && u[2] == 0x80 ? 3 : 0;
}

bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

/* The length of the space that ends before `end`. */
static size_t space_before(const char *text, size_t start, size_t end)
{
    for (size_t n = 1; n <= 3 && start + n <= end; n++)
        if (space_at(text + end - n) == n)
            return n;
    return 0;
}

void trim_spaces(const char *text, size_t *start, size_t *end)
{
    size_t n;
    while (*start < *end && (n = space_at(text + *start)) > 0 && *start + n <= *end)
        *start += n;
    while (*start < *end && (n = space_before(text, *start, *end)) > 0)
        *end -= n;
}

/* ---- text that knows where it stands ---- */

void mapped_add(struct mapped *m, const char *bytes, size_t len, size_t at)
{
    /* Room is not remembered: it is the next power of two. */
    size_t room = 1;
    while (room < m->len + len + 1)
        room *= 2;
    if (!m->text || m->len + 1 <= room / 2) {
        m->text = xreallocarray(m->text, room, 1);
        m->at = xreallocarray(m->at, room, sizeof *m->at);
    }
    if (len > 0)
        memcpy(m->text + m->len, bytes, len);
    for (size_t i = 0; i < len; i++)
        m->at[m->len + i] = at + i;
    m->len += len;
    m->text[m->len] = '\0';
}

void mapped_release(struct mapped *m)
{
    free(m->text);
    free(m->at);
    *m = (struct mapped){0};
}

/* ---- lines ---- */

struct line { /* [start, end), without what ends it */
    size_t start, end;
};

/* 1, 0 at the end, -1 when it is too long. */
static int read_line(struct reader *r, struct line *ret)
{
    if (r->pos >= r->len)
        return 0;
    const char *newline = memchr(r->bytes + r->pos, '\n', r->len - r->pos);
    size_t end = newline ? (size_t)(newline - r->bytes) : r->len;
    *ret = (struct line){r->pos, end};
    r->pos = end + (newline != NULL);
    r->line++;
    if (ret->end - ret->start > DOCKERFILE_LINE_MAX)
        return -1;
    while (ret->end > ret->start && r->bytes[ret->end - 1] == '\r')
        ret->end--;
    return 1;
}

static void skip_spaces(const struct reader *r, struct line *line)
{
    size_t n;
    while (line->start < line->end && (n = space_at(r->bytes + line->start)) > 0 &&
           line->start + n <= line->end)
        line->start += n;
}

static bool is_comment(const struct reader *r, struct line line)
{
    skip_spaces(r, &line);
    return line.start < line.end && r->bytes[line.start] == '#';
}

/* Cut a continuation off: the escape and the blanks behind it, unless it is itself escaped. */
static bool cut_continuation(const struct reader *r, struct line *line)
{
    size_t end = line->end;
    while (end > line->start && (r->bytes[end - 1] == ' ' || r->bytes[end - 1] == '\t'))
        end--;
    if (end == line->start || r->bytes[end - 1] != r->escape)
        return false;
    end--;
    if (end > line->start && r->bytes[end - 1] == r->escape)
        return false;
    line->end = end;
    return true;
}

/* ---- directives ---- */

static const char *const directives[] = {"syntax", "escape", "check"};

/* Behind those of `set` that stand at `pos`. */
static size_t behind(const struct reader *r, size_t pos, size_t end, const char *set)
{
    while (pos < end && strchr(set, r->bytes[pos]))
        pos++;
    return pos;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* The name and the value of "# name = value". */
static bool split_directive(const struct reader *r, struct line line, struct line *ret_name,
                            struct line *ret_value)
{
    static const char spaces[] = "\t\f\r ";
    if (line.start == line.end || r->bytes[line.start] != '#')
        return false;
    line.start++;
    skip_spaces(r, &line);
    size_t pos = behind(r, line.start, line.end, LETTERS);
    if (pos > line.start)
        pos = behind(r, pos, line.end, LETTERS "0123456789");
    *ret_name = (struct line){line.start, pos};
    pos = behind(r, pos, line.end, spaces);
    if (ret_name->start == ret_name->end || pos == line.end || r->bytes[pos] != '=')
        return false;
    *ret_value = (struct line){behind(r, pos + 1, line.end, spaces), line.end};
    while (ret_value->end > ret_value->start && strchr(spaces, r->bytes[ret_value->end - 1]))
        ret_value->end--;
    return ret_value->end > ret_value->start;
}

/* -1: wrong, with *ret_why. */
static int look_for_directive(struct reader *r, struct line line, char **ret_why)
{
    struct line name, value;
    if (r->directives_over)
        return 0;
    r->directives_over = true;
    if (!split_directive(r, line, &name, &value))
        return 0;
    for (size_t i = 0; i < sizeof directives / sizeof *directives; i++) {
        if (name.end - name.start != strlen(directives[i]) ||
            strncasecmp(r->bytes + name.start, directives[i], name.end - name.start) != 0)
            continue;
        if (r->directives_seen & 1U << i) {
            *ret_why = xasprintf("the directive \"%s\" stands here twice", directives[i]);
            return -1;
        }
        r->directives_seen |= 1U << i;
        r->directives_over = false;
        if (strcmp(directives[i], "escape") != 0)
            return 0;
        const char c = r->bytes[value.start];
        if (value.end - value.start != 1 || (c != '\\' && c != '`')) {
            cleanup_free char *shown =
                text_foreign(r->bytes + value.start, value.end - value.start);
            *ret_why = xasprintf("escape=%s: must be \\ or `", shown);
            return -1;
        }
        r->escape = c;
        return 0;
    }
    return 0;
}

/* ---- instructions ---- */

static int too_long(char **ret_why)
{
    *ret_why = xasprintf("a line of more than %d bytes", DOCKERFILE_LINE_MAX);
    return -1;
}

/* The lines that continue it, comments and empty ones left out. */
static int read_continuations(struct reader *r, struct mapped *ret, char **ret_why)
{
    struct line line;
    int got;
    while ((got = read_line(r, &line)) > 0) {
        struct line content = line;
        skip_spaces(r, &content);
        if (is_comment(r, line) || content.start == content.end)
            continue;
        const bool more = cut_continuation(r, &line);
        mapped_add(ret, r->bytes + line.start, line.end - line.start, line.start);
        if (!more)
            return 0;
    }
    return got < 0 ? too_long(ret_why) : 0;
}

int reader_instruction(struct reader *r, struct mapped *ret, size_t *ret_line, char **ret_why)
{
    static const char bom[] = "\xef\xbb\xbf";
    struct line line;
    int got;
    if (r->pos == 0 && r->len >= strlen(bom) && memcmp(r->bytes, bom, strlen(bom)) == 0)
        r->pos = strlen(bom);
    while ((got = read_line(r, &line)) > 0) {
        *ret_line = r->line;
        skip_spaces(r, &line);
        if (look_for_directive(r, line, ret_why) < 0)
            return -1;
        if (line.start == line.end || is_comment(r, line))
            continue;
        const bool more = cut_continuation(r, &line);
        mapped_add(ret, r->bytes + line.start, line.end - line.start, line.start);
        if (more && read_continuations(r, ret, ret_why) < 0)
            return -1;
        return 1;
    }
    *ret_line = r->line;
    return got < 0 ? too_long(ret_why) : 0;
}

bool reader_skip_heredoc(struct reader *r, const char *name, bool chomp)
{
    const size_t len = strlen(name);
    struct line line;
    while (read_line(r, &line) > 0) {
        while (chomp && line.start < line.end && r->bytes[line.start] == '\t')
            line.start++;
        if (line.end - line.start == len && memcmp(r->bytes + line.start, name, len) == 0)
            return true;
    }
    return false;
}
