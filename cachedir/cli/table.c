#include "table.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "terminal.h"

#include <stdbool.h>
#include <string.h>

#define GAP 2 /* columns between columns */
#define NOTHING "-"
#define SHRUNK_MIN 8 /* nothing is recognised in less */

struct table {
    size_t columns;
    const enum table_column *kinds;
    char **cells; /* row by row; the headings are the first row */
    size_t count;
};

struct table *table_new(size_t columns, const char *const *headings, const enum table_column *kinds)
{
    struct table *t = xcalloc(1, sizeof *t);
    t->columns = columns;
    t->kinds = kinds;
    for (size_t i = 0; i < columns; i++)
        table_cell(t, headings[i]);
    return t;
}

void table_cell(struct table *t, const char *text)
{
    *array_add(t->cells, t->count) = xstrdup(text ? text : NOTHING);
}

void table_cellf(struct table *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *array_add(t->cells, t->count) = xvasprintf(format, args);
    va_end(args);
}

static size_t sum(const size_t *widths, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += widths[i] + (i ? GAP : 0);
    return total;
}

/* Narrow the widest column that may shrink, again and again. */
static void shrink(const struct table *t, size_t *widths, size_t count, size_t room)
{
    while (sum(widths, count) > room) {
        size_t *widest = NULL;
        for (size_t i = 0; i < count; i++)
            if (t->kinds[i] == TABLE_SHRINK && widths[i] > SHRUNK_MIN &&
                (!widest || widths[i] > *widest))
                widest = &widths[i];
        if (!widest)
            return;
        (*widest)--;
    }
}

static void pad(FILE *out, size_t columns)
{
    fprintf(out, "%*s", (int)columns, "");
}

static void print_row(const struct table *t, char *const *row, const size_t *widths, FILE *out)
{
    size_t owed = 0; /* spaces: not written where nothing follows */
    for (size_t i = 0; i < t->columns; i++) {
        cleanup_free char *text =
            t->kinds[i] == TABLE_REST ? xstrdup(row[i]) : terminal_shorten(row[i], widths[i]);
        size_t width = text_columns(text), blank = widths[i] > width ? widths[i] - width : 0;
        if (t->kinds[i] == TABLE_RIGHT) {
            owed += blank;
            blank = 0;
        }
        if (*text) {
            pad(out, owed);
            fputs(text, out);
            owed = 0;
        } else {
            blank = widths[i];
        }
        owed += blank + GAP;
    }
    fputc('\n', out);
}

static bool is_empty(const struct table *t, size_t column)
{
    for (size_t i = t->columns; i + t->columns <= t->count; i += t->columns)
        if (*t->cells[i + column])
            return false;
    return true;
}

/* Where not even the narrowest columns have room: a cell a line. */
static void print_blocks(const struct table *t, FILE *out)
{
    const size_t n = t->columns;
    for (size_t i = n; i + n <= t->count; i += n) {
        fprintf(out, "%s\n", t->cells[i]);
        for (size_t column = 1; column < n; column++)
            if (*t->cells[i + column] && strcmp(t->cells[i + column], NOTHING) != 0)
                fprintf(out, "  %s: %s\n", t->cells[column], t->cells[i + column]);
    }
}

void table_print(struct table *t, FILE *out)
{
    const size_t n = t->columns;
    cleanup_free size_t *widths = xcalloc(n, sizeof *widths);
    for (size_t i = 0; i < t->count; i++) {
        size_t width = text_columns(t->cells[i]);
        if (t->kinds[i % n] != TABLE_REST && width > widths[i % n])
            widths[i % n] = width;
    }
    if (t->kinds[n - 1] == TABLE_REST && is_empty(t, n - 1))
        t->cells[n - 1][0] = '\0'; /* a heading of nothing */
    unsigned columns, rows;
    if (terminal_size(fileno(out), &columns, &rows)) {
        const size_t fitted = t->kinds[n - 1] == TABLE_REST ? n - 1 : n;
        shrink(t, widths, fitted, columns);
        if (sum(widths, fitted) > columns) {
            print_blocks(t, out);
            return;
        }
    }
    for (size_t i = 0; i + n <= t->count; i += n)
        print_row(t, &t->cells[i], widths, out);
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}
