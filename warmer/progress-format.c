/* The lines of the live view: pure, and right at any width. */
#include "progress.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/terminal.h"
#include "cachedir/text.h"

#include <string.h>

#define NAME_MAX_COLUMNS 28
#define NAME_MIN_COLUMNS 8
#define NAME_FIT_COLUMNS 14 /* less of it is not worth the numbers' room */
#define BAR_MIN_COLUMNS 10
#define BAR_MAX_COLUMNS 40
#define PERCENT_COLUMNS 4
#define RATE_COLUMNS 13    /* " 1023.9 MiB/s" */
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

/* "29%", "100%" */
static void put_percent(FILE *out, int64_t done, int64_t size)
{
    double part = size > 0 && done < size ? (double)done / (double)size : 1;
    fprintf(out, "%3d%%", (int)(100 * part));
}

/* Where the numbers have no room: "0123456789ab debian:12      29% 282.5 KiB/s", of which the
 * name goes first, then the rate. */
static void put_brief(FILE *out, const struct progress_line *line, const char *rate, size_t columns)
{
    const size_t fixed = strlen(line->digest) + 1 + PERCENT_COLUMNS;
    const bool has_rate = columns >= fixed + RATE_COLUMNS;
    const size_t rest = has_rate ? columns - fixed - RATE_COLUMNS : 0;
    fprintf(out, "%s ", line->digest);
    if (rest >= NAME_MIN_COLUMNS + 1) {
        size_t width = rest - 1 < NAME_MAX_COLUMNS ? rest - 1 : NAME_MAX_COLUMNS;
        cleanup_free char *name = terminal_shorten(line->name, width);
        put_padded(out, name, width, false);
        fputc(' ', out);
    }
    put_percent(out, line->done, line->size);
    if (has_rate) {
        cleanup_free char *speed = xasprintf("%s/s", rate);
        put_padded(out, speed, RATE_COLUMNS, true);
    }
}

char *progress_format_transfer(const struct progress_line *line, size_t columns)
{
    cleanup_free char *done = size_format(line->done);
    cleanup_free char *size = size_format(line->size);
    cleanup_free char *rate = size_format(line->rate);
    cleanup_free char *numbers = xasprintf("%s of %s, %s/s", done, size, rate);
    const size_t fixed = strlen(line->digest) + 1 + NUMBERS_COLUMNS; /* and a blank */
    const size_t rest = columns > fixed ? columns - fixed : 0;
    char *text;
    size_t len;

    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    /* What there is no room for goes: first the bar, then the numbers, then more of it. */
    if (rest >= NAME_FIT_COLUMNS + 1) {
        size_t name_columns = rest - 1, bar_columns = 0;
        if (rest >= NAME_MIN_COLUMNS + 1 + BAR_MIN_COLUMNS + 1) {
            name_columns = rest / 2 < NAME_MAX_COLUMNS ? rest / 2 : NAME_MAX_COLUMNS;
            bar_columns = rest - name_columns - 2;
            if (bar_columns > BAR_MAX_COLUMNS)
                bar_columns = BAR_MAX_COLUMNS;
        }
        cleanup_free char *name = terminal_shorten(line->name, name_columns);
        fprintf(out, "%s ", line->digest);
        put_padded(out, name, name_columns, false);
        fputc(' ', out);
        if (bar_columns > 0) {
            put_bar(out, line->done, line->size, bar_columns);
            fputc(' ', out);
        }
        put_padded(out, numbers, NUMBERS_COLUMNS, true);
    } else {
        put_brief(out, line, rate, columns);
    }
    if (fclose(out) != 0)
        abort();
    char *fitting = terminal_shorten(text, columns);
    free(text);
    return fitting;
}

/* How long it will take; NULL: nobody knows. Owned. */
static char *time_left(const struct progress_sum *sum)
{
    if (sum->rate <= 0 || sum->done >= sum->wanted)
        return NULL;
    const double seconds = (double)(sum->wanted - sum->done) / (double)sum->rate;
    return seconds > 100 * 3600 ? NULL : duration_format((int64_t)(seconds + 0.5) * NS_PER_S);
}

/* The total with less and less in it: 0 all of it, 4 next to nothing. Owned. */
static char *total(const struct progress_sum *sum, int brevity)
{
    cleanup_free char *done = size_format(sum->done);
    cleanup_free char *wanted = size_format(sum->wanted);
    cleanup_free char *rate = size_format(sum->rate);
    cleanup_free char *left = time_left(sum);
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    if (brevity < 4) {
        fprintf(out, "%zu of %zu", sum->images_done, sum->images);
        if (brevity < 2)
            fputs(sum->images == 1 ? " image" : " images", out);
        if (sum->images_failed)
            fprintf(out, " (%zu failed)", sum->images_failed);
    }
    if (sum->wanted > 0) {
        if (brevity < 4)
            fputs(", ", out);
        if (brevity < 3)
            fprintf(out, "%s of %s", done, wanted);
        else
            put_percent(out, sum->done, sum->wanted);
        if (brevity == 0 && sum->rate > 0 && sum->done < sum->wanted)
            fprintf(out, ", %s/s", rate);
        if (left)
            fprintf(out, ", %s left", left);
    }
    if (fclose(out) != 0)
        abort();
    return text;
}

char *progress_format_total(const struct progress_sum *sum, size_t columns)
{
    char *text = total(sum, 0);
    for (int brevity = 1; brevity <= 4 && text_columns(text) > columns; brevity++) {
        free(text);
        text = total(sum, brevity);
    }
    char *fitting = terminal_shorten(text, columns);
    free(text);
    return fitting;
}
