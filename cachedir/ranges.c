#include "ranges.h"

#include "alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void ranges_add(struct ranges *r, int64_t start, int64_t end)
{
    if (start >= end)
        return;
    size_t first = 0;
    while (first < r->count && r->list[first].end < start)
        first++;
    size_t past = first;
    while (past < r->count && r->list[past].start <= end) {
        if (r->list[past].start < start)
            start = r->list[past].start;
        if (r->list[past].end > end)
            end = r->list[past].end;
        past++;
    }
    if (past == first) {
        (void)array_add(r->list, r->count);
        memmove(&r->list[first + 1], &r->list[first], (r->count - 1 - first) * sizeof r->list[0]);
    } else if (past > first + 1) {
        memmove(&r->list[first + 1], &r->list[past], (r->count - past) * sizeof r->list[0]);
        r->count -= past - first - 1;
    }
    r->list[first] = (struct range){start, end};
}

void ranges_remove(struct ranges *r, int64_t start, int64_t end)
{
    struct ranges kept = {0};
    for (size_t i = 0; i < r->count; i++) {
        const struct range *old = &r->list[i];
        ranges_add(&kept, old->start, old->end < start ? old->end : start);
        ranges_add(&kept, old->start > end ? old->start : end, old->end);
    }
    ranges_clear(r);
    *r = kept;
}

bool ranges_gap(const struct ranges *r, int64_t from, int64_t size, int64_t *ret_start,
                int64_t *ret_end)
{
    int64_t start = ranges_reach(r, from);
    if (start >= size)
        return false;
    int64_t end = size;
    for (size_t i = 0; i < r->count; i++)
        if (r->list[i].start >= start && r->list[i].start < end)
            end = r->list[i].start;
    *ret_start = start;
    *ret_end = end;
    return true;
}

int64_t ranges_reach(const struct ranges *r, int64_t from)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->list[i].start <= from && from < r->list[i].end)
            return r->list[i].end;
    return from;
}

int64_t ranges_total(const struct ranges *r)
{
    int64_t total = 0;
    for (size_t i = 0; i < r->count; i++)
        total += r->list[i].end - r->list[i].start;
    return total;
}

void ranges_clear(struct ranges *r)
{
    free(r->list);
    *r = (struct ranges){0};
}

char *ranges_format(const struct ranges *r, int64_t size)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    fprintf(out, "basewarm-ranges 1 %" PRId64 "\n", size);
    for (size_t i = 0; i < r->count; i++)
        fprintf(out, "%" PRId64 " %" PRId64 "\n", r->list[i].start, r->list[i].end);
    if (fclose(out) != 0)
        abort();
    return text;
}

bool ranges_parse(struct ranges *ret, const char *text, int64_t size)
{
    struct ranges r = {0};
    int64_t written, previous = -1;
    int used = 0;

    if (sscanf(text, "basewarm-ranges 1 %" SCNd64 "%n", &written, &used) != 1 || used == 0 ||
        text[used] != '\n' || written != size)
        return false;
    for (const char *p = text + used + 1; *p; p += used) {
        int64_t start, end;
        used = 0;
        if (r.count >= RANGES_MAX ||
            sscanf(p, "%" SCNd64 " %" SCNd64 "%n", &start, &end, &used) != 2 || used == 0 ||
            p[used] != '\n' || start <= previous || end <= start || end > size) {
            ranges_clear(&r);
            return false;
        }
        used++;
        *array_add(r.list, r.count) = (struct range){start, end};
        previous = end;
    }
    *ret = r;
    return true;
}
