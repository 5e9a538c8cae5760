#include "metrics.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "output.h"
#include "report-internal.h"

#include <inttypes.h>
#include <string.h>

static void head(FILE *out, const char *name, const char *help)
{
    fprintf(out, "# HELP basewarm_%s %s\n# TYPE basewarm_%s gauge\n", name, help, name);
}

/* A label's value: a backslash, a quote and a line end are escaped. */
static void put_label(FILE *out, const char *name, const char *value)
{
    cleanup_free char *safe = text_foreign_str(value);
    fprintf(out, "%s=\"", name);
    for (const char *s = safe; *s; s++) {
        if (*s == '\\' || *s == '"')
            (void)fputc('\\', out);
        (void)fputc(*s, out);
    }
    (void)fputc('"', out);
}

static void put_count(FILE *out, const char *name, const char *label, const char *value,
                      int64_t count)
{
    fprintf(out, "basewarm_%s{", name);
    put_label(out, label, value);
    fprintf(out, "} %" PRId64 "\n", count);
}

/* "not-found" is not_found: dashes are for command lines. */
static void put_failures(FILE *out, const struct report *r)
{
    int64_t counts[ERROR_INTERRUPTED + 1] = {0};
    for (size_t i = 0; i < r->count; i++)
        if (r->entries[i].result == REPORT_FAILED)
            counts[r->entries[i].failed]++;
    head(out, "failures", "Images that failed, by what befell them.");
    for (size_t kind = 0; kind <= ERROR_INTERRUPTED; kind++) {
        if (counts[kind] == 0)
            continue;
        cleanup_free char *name = xstrdup(error_kind_name((enum error_kind)kind));
        for (char *dash; (dash = strchr(name, '-'));)
            *dash = '_';
        put_count(out, "failures", "error", name, counts[kind]);
    }
}

static void put_run(FILE *out, const struct report_run *run)
{
    head(out, "build_info", "The program that wrote this.");
    put_count(out, "build_info", "version", BASEWARM_VERSION, 1);
    head(out, "start_time_seconds", "When the run began, in Unix time.");
    fprintf(out, "basewarm_start_time_seconds %" PRId64 "\n", (int64_t)run->started);
    head(out, "duration_seconds", "How long the run took.");
    fprintf(out, "basewarm_duration_seconds %.3f\n", run->seconds);
    head(out, "exit_code", "What the run exits with.");
    fprintf(out, "basewarm_exit_code %d\n", run->exit_code);
    head(out, "requests", "Requests to registries.");
    put_count(out, "requests", "kind", "head", run->requests.heads);
    put_count(out, "requests", "kind", "manifest", run->requests.manifests);
    put_count(out, "requests", "kind", "blob", run->requests.blobs);
    put_count(out, "requests", "kind", "token", run->requests.tokens);
}

static void put_totals(FILE *out, const struct report *r)
{
    const struct report_totals t = report_count(r);
    head(out, "images", "Images, by how they fared.");
    for (int i = 0; i < REPORT_RESULTS; i++)
        put_count(out, "images", "result", report_result_name((enum report_result)i),
                  (int64_t)t.results[i]);
    put_failures(out, r);
    head(out, "fetched_bytes", "Bytes that came over the network.");
    fprintf(out, "basewarm_fetched_bytes %" PRId64 "\n", t.fetched);
    head(out, "reused_bytes", "Bytes that the directory had already.");
    fprintf(out, "basewarm_reused_bytes %" PRId64 "\n", t.reused);
}

/* Of one image, up to the value. */
static void put_image(FILE *out, const char *name, const struct report_entry *e)
{
    cleanup_free char *reference = text_foreign_str(e->reference);
    fprintf(out, "basewarm_%s{", name);
    if (strcmp(reference, e->reference ? e->reference : "") == 0) {
        put_label(out, "reference", reference);
    } else { /* cut short: two of them must not become one */
        cleanup_free char *numbered = xasprintf("#%zu %s", e->position, reference);
        put_label(out, "reference", numbered);
    }
    (void)fputc(',', out);
    put_label(out, "platform", e->platform);
    fputs("} ", out);
}

static void put_images(FILE *out, const struct report *r)
{
    if (r->count == 0)
        return;
    head(out, "image_warm", "Whether the builder finds the image: 1 warm, 0 not.");
    for (size_t i = 0; i < r->count; i++) {
        const struct report_entry *e = &r->entries[i];
        put_image(out, "image_warm", e);
        fprintf(out, "%d\n",
                e->result == REPORT_PULLED || e->result == REPORT_RENEWED ||
                    e->result == REPORT_FRESH);
    }
    head(out, "image_fetched_bytes", "Bytes of the image that came over the network.");
    for (size_t i = 0; i < r->count; i++) {
        put_image(out, "image_fetched_bytes", &r->entries[i]);
        fprintf(out, "%" PRId64 "\n", r->entries[i].fetched);
    }
    head(out, "image_duration_seconds", "How long the image took.");
    for (size_t i = 0; i < r->count; i++) {
        put_image(out, "image_duration_seconds", &r->entries[i]);
        fprintf(out, "%.3f\n", r->entries[i].seconds);
    }
}

static void put_pruned(FILE *out, const struct cachedir_prune_result *p)
{
    head(out, "pruned_entries", "Entries and files that were removed, by reason.");
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        put_count(out, "pruned_entries", "reason",
                  cachedir_prune_reason_name((enum cachedir_prune_reason)i),
                  (int64_t)p->removed[i]);
    head(out, "pruned_bytes", "Bytes that were freed by removing, by reason.");
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        put_count(out, "pruned_bytes", "reason",
                  cachedir_prune_reason_name((enum cachedir_prune_reason)i), p->freed[i]);
    head(out, "limits_met", "Whether the size and free space are within their limits.");
    fprintf(out, "basewarm_limits_met %d\n", p->limits_met);
}

int metrics_write(struct report *r, const struct report_run *run, const char *path,
                  struct error *err)
{
    cleanup_free char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort();
    pthread_mutex_lock(&r->mutex);
    put_run(out, run);
    put_totals(out, r);
    put_images(out, r);
    pthread_mutex_unlock(&r->mutex);
    if (run->has_pruned)
        put_pruned(out, &run->pruned);
    if (fclose(out) != 0)
        abort();
    return output_write("--metrics-file", path, text, len, err);
}
