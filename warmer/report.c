#include "report.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/table.h"
#include "cachedir/text.h"
#include "report-internal.h"
#include "settings.h"

#include <string.h>

static const char *const result_names[] = {
    [REPORT_PULLED] = "pulled", [REPORT_RENEWED] = "renewed", [REPORT_FRESH] = "fresh",
    [REPORT_STALE] = "stale",   [REPORT_PLANNED] = "planned", [REPORT_FAILED] = "failed",
};

const char *report_result_name(enum report_result result)
{
    return result_names[result];
}

struct report *report_new(void)
{
    struct report *r = xcalloc(1, sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

/* The text of an entry is ours. */
static void release_entry(struct report_entry *e)
{
    const char *const texts[] = {e->reference, e->name, e->platform, e->reason};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        union {
            const char *borrowed;
            char *owned;
        } text = {.borrowed = texts[i]};
        free(text.owned);
    }
}

void report_free(struct report *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        release_entry(&r->entries[i]);
    free(r->entries);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static const char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

void report_add(struct report *r, const struct report_entry *entry)
{
    pthread_mutex_lock(&r->mutex);
    (void)array_add(r->entries, r->count);
    /* By position; those of one position as they came. */
    size_t at = r->count - 1;
    for (; at > 0 && r->entries[at - 1].position > entry->position; at--)
        r->entries[at] = r->entries[at - 1];
    struct report_entry *e = &r->entries[at];
    *e = *entry;
    e->reference = copy(entry->reference);
    e->name = copy(entry->name);
    e->platform = copy(entry->platform);
    e->reason = copy(entry->reason);
    pthread_mutex_unlock(&r->mutex);
}

static bool is_warm(const struct report_entry *e)
{
    return e->result == REPORT_PULLED || e->result == REPORT_RENEWED || e->result == REPORT_FRESH;
}

void report_evicted(struct report *r, bool (*stands)(void *userdata, const struct digest *digest),
                    void *userdata)
{
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->count; i++) {
        struct report_entry *e = &r->entries[i];
        if (!is_warm(e) || stands(userdata, &e->digest))
            continue;
        e->result = REPORT_FAILED;
        e->failed = ERROR_NO_SPACE;
        e->reason = copy("evicted again: --max-size or --min-free leave no room for all images of "
                         "this run");
    }
    pthread_mutex_unlock(&r->mutex);
}

bool report_find(struct report *r, const char *reference, const char *platform, struct digest *ret,
                 enum error_kind *ret_failed)
{
    bool found = false;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; i < r->count && !found; i++) {
        const struct report_entry *e = &r->entries[i];
        if (strcmp(e->reference, reference) != 0 || strcmp(e->platform, platform) != 0)
            continue;
        found = is_warm(e);
        if (found)
            *ret = e->digest;
        else if (e->result == REPORT_FAILED)
            *ret_failed = e->failed;
    }
    pthread_mutex_unlock(&r->mutex);
    return found;
}

struct report_totals report_count(const struct report *r)
{
    struct report_totals t = {.worst = ERROR_NONE};
    for (size_t i = 0; i < r->count; i++) {
        const struct report_entry *e = &r->entries[i];
        t.images++;
        t.results[e->result]++;
        t.fetched += e->fetched;
        t.reused += e->reused;
        if (e->result == REPORT_FAILED)
            t.worst = error_worse(t.worst, e->failed);
    }
    return t;
}

int report_code(struct report *r, int policy)
{
    pthread_mutex_lock(&r->mutex);
    const struct report_totals t = report_count(r);
    pthread_mutex_unlock(&r->mutex);
    const size_t failed = t.results[REPORT_FAILED];
    if (policy == FAIL_NEVER)
        return 0;
    if (failed > 0 && (policy == FAIL_ANY || failed == t.images))
        return error_exit_code(t.worst);
    return t.results[REPORT_STALE] > 0 ? 1 : 0;
}

/* "moved from sha256:.. to sha256:..", or why it failed. Owned. */
static char *remark(const struct report_entry *e)
{
    const char *reason = e->reason ? e->reason : "";
    if (!digest_is_set(&e->previous) || !digest_is_set(&e->digest))
        return xstrdup(reason);
    return xasprintf("moved from %s to %s%s%s", e->previous.text, e->digest.text,
                     e->reason ? "; " : "", reason);
}

char *report_sentence(const struct report_entry *e)
{
    cleanup_free char *said = remark(e);
    cleanup_free char *fetched = size_format(e->fetched);
    cleanup_free char *reused = size_format(e->reused);
    if (e->result == REPORT_FAILED)
        return xasprintf("%s: %s", e->name, said);
    const bool moved = *said != '\0';
    if (e->result == REPORT_PULLED || e->result == REPORT_PLANNED)
        return xasprintf("%s: %s: %s fetched, %s reused, %.1f s%s%s", e->name,
                         result_names[e->result], fetched, reused, e->seconds, moved ? ", " : "",
                         said);
    return xasprintf("%s: %s, %.1f s%s%s", e->name, result_names[e->result], e->seconds,
                     moved ? ", " : "", said);
}

char *report_last_word(struct report *r)
{
    char *said = NULL;
    pthread_mutex_lock(&r->mutex);
    const struct report_totals t = report_count(r);
    const size_t failed = t.results[REPORT_FAILED], stale = t.results[REPORT_STALE];
    for (size_t i = 0; i < r->count && !said; i++) {
        const struct report_entry *e = &r->entries[i];
        if (e->result != REPORT_FAILED || e->failed != t.worst)
            continue;
        cleanup_free char *sentence = report_sentence(e);
        said = xasprintf("%zu of %zu %s failed%s: %s", failed, t.images,
                         t.images == 1 ? "image" : "images", failed == 1 ? "" : ", one of them",
                         sentence);
    }
    if (!said && stale > 0)
        said = xasprintf("%zu of %zu %s not warm, or not current: run it without --check", stale,
                         t.images, t.images == 1 ? "image is" : "images are");
    pthread_mutex_unlock(&r->mutex);
    return said;
}

static void print_totals(const struct report *r, FILE *out)
{
    const struct report_totals t = report_count(r);
    cleanup_free char *fetched = size_format(t.fetched);
    cleanup_free char *reused = size_format(t.reused);
    fprintf(out, "%zu %s:", t.images, t.images == 1 ? "image" : "images");
    const char *join = " ";
    for (size_t i = 0; i < REPORT_RESULTS; i++)
        if (t.results[i] > 0) {
            fprintf(out, "%s%zu %s", join, t.results[i], result_names[i]);
            join = ", ";
        }
    fprintf(out, "; %s %s, %s reused\n", fetched,
            t.results[REPORT_PLANNED] > 0 ? "to fetch" : "fetched", reused);
}

void report_print(struct report *r, FILE *out)
{
    static const char *const headings[] = {"IMAGE",   "PLATFORM", "DIGEST",  "RESULT",
                                           "FETCHED", "REUSED",   "SECONDS", "REASON"};
    static const enum table_column kinds[] = {TABLE_SHRINK, TABLE_LEFT,  TABLE_SHRINK, TABLE_LEFT,
                                              TABLE_RIGHT,  TABLE_RIGHT, TABLE_RIGHT,  TABLE_REST};
    pthread_mutex_lock(&r->mutex);
    struct table *table = table_new(sizeof headings / sizeof *headings, headings, kinds);
    for (size_t i = 0; i < r->count; i++) {
        const struct report_entry *e = &r->entries[i];
        cleanup_free char *fetched = size_format(e->fetched);
        cleanup_free char *reused = size_format(e->reused);
        cleanup_free char *said = remark(e);
        table_cell(table, e->reference);
        table_cell(table, e->platform);
        table_cell(table, digest_is_set(&e->digest) ? e->digest.text : NULL);
        table_cell(table, result_names[e->result]);
        table_cell(table, fetched);
        table_cell(table, reused);
        table_cellf(table, "%.1f", e->seconds);
        table_cell(table, said);
    }
    if (r->count > 0) {
        table_print(table, out);
        print_totals(r, out);
    }
    table_free(table);
    pthread_mutex_unlock(&r->mutex);
}
