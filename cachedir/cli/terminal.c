#include "terminal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

bool terminal_is_capable(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

bool terminal_wants_color(int fd, bool always)
{
    const char *no_color = getenv("NO_COLOR");
    return !(no_color && *no_color) && (always || terminal_is_capable(fd));
}

bool terminal_size(int fd, unsigned *ret_columns, unsigned *ret_rows)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return false;
    *ret_columns = size.ws_col;
    *ret_rows = size.ws_row ? size.ws_row : 24;
    return true;
}

/* The next character: a lead byte and what continues it. Invalid bytes stand alone. */
static size_t character(const char *s)
{
    size_t len = 1;
    if ((unsigned char)*s >= 0xc0)
        while (len < 4 && ((unsigned char)s[len] & 0xc0) == 0x80)
            len++;
    return len;
}

/* How many bytes from the start of `text` fit into `columns`. */
static size_t fits(const char *text, size_t columns)
{
    size_t at = 0;
    while (text[at]) {
        size_t len = character(text + at);
        cleanup_free char *one = xstrndup(text + at, len);
        size_t width = text_columns(one);
        if (width > columns)
            break;
        columns -= width;
        at += len;
    }
    return at;
}

char *terminal_shorten(const char *text, size_t columns)
{
    static const char gap[] = "..";
    size_t width = text_columns(text);
    if (width <= columns)
        return xstrdup(text);
    if (columns <= strlen(gap))
        return xstrndup(gap, columns);
    size_t keep = columns - strlen(gap), head = fits(text, keep - keep / 2);
    size_t tail = head;
    while (text[tail] && text_columns(text + tail) > keep / 2)
        tail += character(text + tail);
    return xasprintf("%.*s%s%s", (int)head, text, gap, text + tail);
}
