/*
 * Tables on stdout, fit for a narrow terminal: columns are as wide as their widest cell; when that
 * is more than the terminal has, the columns marked TABLE_SHRINK lose their middle ("docker.io/l..
 * r:bookworm"); where even that does not fit, each cell that says something has a line of its own.
 * Not a terminal: full width. Cells must be safe text already.
 */
#pragma once

#include <stdio.h>

struct table;

enum table_column {
    TABLE_LEFT = 0,
    TABLE_RIGHT = 1,
    TABLE_SHRINK = 2,
    TABLE_REST = 3, /* the last one, free text: takes no part in the fitting, and may be empty */
};

/* `headings` and `kinds` are borrowed, and have a member for each column. */
struct table *table_new(size_t columns, const char *const *headings,
                        const enum table_column *kinds);
/* One cell after another, row by row; the text is copied. NULL is "-". */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(struct table *t, FILE *out);
void table_free(struct table *t);
