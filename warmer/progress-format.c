/* The lines of the live view: pure, and right at any width. */
#include "progress.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/terminal.h"
#include "cachedir/text.h"

#include <string.h>

#define NAME_MAX_COLUMNS 28
#define NAME_MIN_COLUMNS 8
#define BAR_MIN_COLUMNS 10
#define BAR_MAX_COLUMNS 40
#define NUMBERS_COLUMNS 38 /* "1023.9 MiB of 1023.9 MiB, 1023.9 MiB/s" */

/* "[=====>    ]" in exactly `columns`. */
static void put_bar(FILE *out, int64_t done, int64_t size, size_t columns)
{
    const size_t inside = columns - 2;
    size_t filled = inside;
    if (size > 0 && done < size)
        filled = (size_t)((double)inside * (double)done / (double)size);
    fputc('[', out);
    for (size_t i = 0; i < inside; i++)
        fputc(i < filled ? '=' : i == filled ? '>' : ' ', out);
    fputc(']', out);
}

static void put_padded(FILE *out, const char *text, size_t columns, bool right)
{
    size_t width = text_columns(text), blank = width < columns ? columns - width : 0;
    fprintf(out, "%*s%s%*s", right ? (int)blank : 0, "", text, right ? 0 : (int)blank, "");
}

char *progress_format_transfer(const struct progress_line *line, size_t columns)
{
    cleanup_free char *done = size_format(line->done);
    cleanup_free char *size = size_format(line->size);
    cleanup_free char *rate = size_format(line->rate);
    cleanup_free char *numbers = xasprintf("%s of %s, %s/s", done, size, rate);
    const size_t fixed = strlen(line->digest) + 1 + NUMBERS_COLUMNS; /* and a blank */
    char *text;
    size_t len;

    /* What there is no room for goes: first the bar, then the name, then the middle of it all. */
    size_t rest = columns > fixed ? columns - fixed : 0, name_columns = 0, bar_columns = 0;
    if (rest >= NAME_MIN_COLUMNS + 1) {
        name_columns = rest - 1;
        if (rest >= NAME_MIN_COLUMNS + 1 + BAR_MIN_COLUMNS + 1) {
            name_columns = rest / 2 < NAME_MAX_COLUMNS ? rest / 2 : NAME_MAX_COLUMNS;
            bar_columns = rest - name_columns - 2;
            if (bar_columns > BAR_MAX_COLUMNS)
                bar_columns = BAR_MAX_COLUMNS;
        }
    }
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    fprintf(out, "%s ", line->digest);
    if (name_columns > 0) {
        cleanup_free char *name = terminal_shorten(line->name, name_columns);
        put_padded(out, name, name_columns, false);
        fputc(' ', out);
    }
    if (bar_columns > 0) {
        put_bar(out, line->done, line->size, bar_columns);
        fputc(' ', out);
    }
    put_padded(out, numbers, rest > 0 ? NUMBERS_COLUMNS : 0, true);
    if (fclose(out) != 0)
        abort();
    char *fitting = terminal_shorten(text, columns);
    free(text);
    return fitting;
}

char *progress_format_total(const struct progress_sum *sum)
{
    cleanup_free char *done = size_format(sum->done);
    cleanup_free char *wanted = size_format(sum->wanted);
    cleanup_free char *rate = size_format(sum->rate);
    cleanup_free char *failed =
        sum->images_failed ? xasprintf(" (%zu failed)", sum->images_failed) : xstrdup("");
    char *images = xasprintf("%zu of %zu %s%s", sum->images_done, sum->images,
                             sum->images == 1 ? "image" : "images", failed);
    if (sum->wanted == 0)
        return images;
    cleanup_free char *start = images;
    if (sum->rate <= 0 || sum->done >= sum->wanted)
        return xasprintf("%s, %s of %s", start, done, wanted);
    const double seconds = (double)(sum->wanted - sum->done) / (double)sum->rate;
    if (seconds > 100 * 3600)
        return xasprintf("%s, %s of %s, %s/s", start, done, wanted, rate);
    cleanup_free char *left = duration_format((int64_t)(seconds + 0.5) * NS_PER_S);
    return xasprintf("%s, %s of %s, %s/s, %s left", start, done, wanted, rate, left);
}
