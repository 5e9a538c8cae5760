/* The report for machines: --report and the termination log. */
#include "cachedir/alloc.h"
#include "cachedir/fs.h"
#include "cachedir/text.h"
#include "output.h"
#include "report-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

/* Text that is not UTF-8 has missed text_foreign(); the report must stay JSON all the same. */
static json_t *text(const char *s)
{
    if (!s)
        return json_null();
    json_t *j = json_string(s);
    if (j)
        return j;
    cleanup_free char *safe = text_foreign_str(s);
    return json_string(safe);
}

static json_t *digest(const struct digest *d)
{
    return digest_is_set(d) ? json_string(d->text) : json_null();
}

static json_t *seconds(double s)
{
    return json_real((double)(int64_t)(s * 1000 + 0.5) / 1000);
}

/* Any of these fails only for want of memory. */
static json_t *made(json_t *j)
{
    if (!j)
        abort();
    return j;
}

static json_t *totals(const struct report *r)
{
    const struct report_totals t = report_count(r);
    json_t *j = made(json_pack("{s:I}", "images", (json_int_t)t.images));
    for (int i = 0; i < REPORT_RESULTS; i++)
        (void)json_object_set_new(j, report_result_name((enum report_result)i),
                                  made(json_integer((json_int_t)t.results[i])));
    (void)json_object_set_new(j, "bytes_fetched", made(json_integer(t.fetched)));
    (void)json_object_set_new(j, "bytes_reused", made(json_integer(t.reused)));
    return j;
}

static json_t *head(json_t *counted, const struct report_run *run, const char *schema)
{
    cleanup_free char *started = time_format(run->started);
    return made(json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "schema", schema, "program",
                          "warmer " BASEWARM_VERSION, "cache_dir", text(run->cache_dir), "started",
                          started, "seconds", seconds(run->seconds), "exit_code",
                          json_integer(run->exit_code), "error", text(run->error), "totals",
                          counted));
}

static const char *error_of(const struct report_entry *e)
{
    return e->result == REPORT_FAILED ? error_kind_name(e->failed) : NULL;
}

static json_t *image(const struct report_entry *e)
{
    return made(json_pack("{s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:o, s:o, s:o}", "reference",
                          text(e->reference), "platform", text(e->platform), "digest",
                          digest(&e->digest), "previous", digest(&e->previous), "result",
                          report_result_name(e->result), "bytes_fetched", (json_int_t)e->fetched,
                          "bytes_reused", (json_int_t)e->reused, "seconds", seconds(e->seconds),
                          "error", text(error_of(e)), "reason", text(e->reason)));
}

static json_t *requests(const struct registry_counters *c)
{
    return made(json_pack("{s:I, s:I, s:I, s:I}", "heads", (json_int_t)c->heads, "manifests",
                          (json_int_t)c->manifests, "blobs", (json_int_t)c->blobs, "tokens",
                          (json_int_t)c->tokens));
}

static json_t *pruned(const struct report_run *run)
{
    if (!run->has_pruned)
        return json_null();
    json_t *j = made(json_pack("{s:b}", "limits_met", run->pruned.limits_met));
    for (int i = 0; i < CACHEDIR_PRUNE_REASONS; i++)
        (void)json_object_set_new(
            j, cachedir_prune_reason_name((enum cachedir_prune_reason)i),
            made(json_pack("{s:I, s:I}", "count", (json_int_t)run->pruned.removed[i], "bytes",
                           (json_int_t)run->pruned.freed[i])));
    return j;
}

static char *report_text(struct report *r, const struct report_run *run)
{
    pthread_mutex_lock(&r->mutex);
    json_t *j = head(totals(r), run, "basewarm.report/1");
    (void)json_object_set_new(j, "requests", requests(&run->requests));
    (void)json_object_set_new(j, "pruned", pruned(run));
    json_t *images = made(json_array());
    for (size_t i = 0; i < r->count; i++)
        (void)json_array_append_new(images, image(&r->entries[i]));
    (void)json_object_set_new(j, "images", images);
    pthread_mutex_unlock(&r->mutex);
    cleanup_free char *dumped = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(j);
    if (!dumped)
        abort();
    return xasprintf("%s\n", dumped);
}

int report_write(struct report *r, const struct report_run *run, const char *path,
                 struct error *err)
{
    cleanup_free char *bytes = report_text(r, run);
    return output_write("--report", path, bytes, strlen(bytes), err);
}

/* ---- the termination log ---- */

static char *compact(const json_t *j)
{
    char *dumped = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (!dumped)
        abort();
    return dumped;
}

static bool fits(const json_t *j)
{
    cleanup_free char *dumped = compact(j);
    return strlen(dumped) + 1 <= REPORT_TERMINATION_MAX; /* and a line end */
}

static void add_failures(json_t *j, const struct report *r)
{
    json_t *failures = json_object_get(j, "failures");
    json_int_t left_out = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct report_entry *e = &r->entries[i];
        if (e->result != REPORT_FAILED)
            continue;
        (void)json_array_append_new(
            failures, made(json_pack("{s:o, s:o, s:o}", "image", text(e->name), "error",
                                     text(error_of(e)), "reason", text(e->reason))));
        if (!fits(j)) {
            (void)json_array_remove(failures, json_array_size(failures) - 1);
            left_out++;
        }
    }
    (void)json_object_set_new(j, "failures_left_out", made(json_integer(left_out)));
}

static char *termination_text(struct report *r, const struct report_run *run)
{
    static const struct report none;
    if (r)
        pthread_mutex_lock(&r->mutex);
    const struct report *images = r ? r : &none;
    json_t *j = head(totals(images), run, "basewarm.termination/1");
    (void)json_object_set_new(j, "failures", made(json_array()));
    /* A wide number first, so that the right one fits in any case. */
    (void)json_object_set_new(j, "failures_left_out", made(json_integer(INT32_MAX)));
    if (!fits(j)) /* a long path, a long error: what remains must still be JSON */
        (void)json_object_set_new(j, "cache_dir", json_null());
    if (!fits(j))
        (void)json_object_set_new(j, "error", made(json_string("too long for this log")));
    add_failures(j, images);
    if (r)
        pthread_mutex_unlock(&r->mutex);
    cleanup_free char *dumped = compact(j);
    json_decref(j);
    return xasprintf("%s\n", dumped);
}

int report_terminate(struct report *r, const struct report_run *run, const char *path,
                     struct error *err)
{
    struct stat st;
    cleanup_close int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* not in Kubernetes */
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "%s: cannot open", path);
    if (!S_ISREG(st.st_mode))
        return 0; /* not Kubernetes' either */
    cleanup_free char *bytes = termination_text(r, run);
    if (ftruncate(fd, 0) < 0 || fs_write_all(fd, bytes, strlen(bytes)) < 0)
        return error_errno(err, errno, "%s: cannot write", path);
    return 0;
}
