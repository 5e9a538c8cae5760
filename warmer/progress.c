/*
 * The thread, and what it draws.
 *
 * Two locks guard two things. p->mutex: the transfers, the counts, `stopping`. The log's lock: what
 * is on the screen (p->shown); all drawing happens under it, by log_exclusively() or in before()
 * and after(). Whoever holds p->mutex does not log; who holds the log's lock takes no other.
 */
#include "progress.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/terminal.h"
#include "cachedir/text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define REDRAW (NS_PER_S / 5)
#define SUMMARY (10 * NS_PER_S)

/* Bytes a second, smoothed. */
struct rate {
    int64_t at_ns, bytes; /* of the last look; at_ns 0: none yet */
    double per_s;
};

struct progress_transfer {
    TAILQ_ENTRY(progress_transfer) link;
    struct progress_line line; /* name is owned */
    struct rate rate;
    _Atomic int64_t fetched;
    struct progress *progress;
};

struct shown { /* the lines that stand on the screen, the cursor below them */
    char *frame;
    size_t *widths; /* of its lines */
    size_t count;
};

struct progress {
    struct progress_options options;
    bool bar;
    bool running;
    pthread_t thread;
    _Atomic int64_t fetched; /* over the network, of all transfers */

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stopping;
    TAILQ_HEAD(transfers, progress_transfer) transfers; /* the oldest first */
    struct progress_sum sum;                            /* done and rate: see look() */
    int64_t already, known; /* bytes that were there; bytes of all transfers that started */
    struct rate rate;

    struct shown shown; /* guarded by the log's lock */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t rate_update(struct rate *r, int64_t now, int64_t bytes)
{
    const double seconds = (double)(now - r->at_ns) / (double)NS_PER_S;
    if (r->at_ns != 0 && seconds > 0) {
        const double current = (double)(bytes - r->bytes) / seconds;
        /* What is older than about three seconds hardly counts. */
        const double weight = seconds / (seconds + 1.5);
        r->per_s = r->per_s > 0 ? r->per_s + weight * (current - r->per_s) : current;
    }
    r->at_ns = now;
    r->bytes = bytes;
    return (int64_t)r->per_s;
}

/* The sum as of now. With the mutex held. */
static struct progress_sum look(struct progress *p)
{
    struct progress_sum sum = p->sum;
    const int64_t fetched = atomic_load(&p->fetched);
    if (sum.wanted < p->known)
        sum.wanted = p->known;
    sum.done = p->already + fetched < sum.wanted ? p->already + fetched : sum.wanted;
    sum.rate = rate_update(&p->rate, now_ns(), fetched);
    return sum;
}

/* ---- on the screen, under the log's lock ---- */

static void forget(struct shown *s)
{
    free(s->frame);
    free(s->widths);
    *s = (struct shown){0};
}

/* Take it off: rows are counted anew, since a narrower window has wrapped its lines. */
static void erase(const struct shown *s, FILE *out)
{
    unsigned columns = 0, screen_rows = 0;
    size_t rows = 0;
    if (s->count == 0)
        return;
    if (!terminal_size(STDERR_FILENO, &columns, &screen_rows))
        columns = 80;
    for (size_t i = 0; i < s->count; i++)
        rows += s->widths[i] ? (s->widths[i] + columns - 1) / columns : 1;
    fprintf(out, "\x1b[%zuA\r\x1b[J", rows);
}

static void before(void *userdata)
{
    erase(&((struct progress *)userdata)->shown, stderr);
}

static void after(void *userdata)
{
    const struct shown *s = &((struct progress *)userdata)->shown;
    if (s->frame)
        fputs(s->frame, stderr);
}

struct change {
    struct progress *progress;
    struct shown next;
};

/* In one write, so that nothing flickers. */
static void redraw(void *userdata)
{
    struct change *change = userdata;
    struct shown *s = &change->progress->shown;
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* out of memory */
    erase(s, out);
    if (change->next.frame)
        fputs(change->next.frame, out);
    if (fclose(out) != 0)
        abort();
    fputs(text, stderr);
    free(text);
    forget(s);
    *s = change->next;
}

/* ---- the thread ---- */

static void add_line(struct shown *s, FILE *frame, const char *line)
{
    *array_add(s->widths, s->count) = text_columns(line);
    fprintf(frame, "%s\n", line);
}

/* With the mutex held. The oldest transfers come first, and as many as the window has room for. */
static struct shown compose(struct progress *p)
{
    struct shown s = {0};
    unsigned columns = 80, rows = 24;
    size_t len;
    struct progress_transfer *t;
    const int64_t now = now_ns();

    (void)terminal_size(STDERR_FILENO, &columns, &rows);
    FILE *frame = open_memstream(&s.frame, &len);
    if (!frame)
        abort(); /* out of memory */
    size_t room = rows > 3 ? rows - 3 : 0;
    TAILQ_FOREACH(t, &p->transfers, link)
    {
        if (room-- == 0)
            break;
        const int64_t fetched = atomic_load(&t->fetched);
        struct progress_line line = t->line;
        line.done += fetched;
        if (line.done > line.size)
            line.done = line.size;
        line.rate = rate_update(&t->rate, now, fetched);
        cleanup_free char *text = progress_format_transfer(&line, columns - 1);
        add_line(&s, frame, text);
    }
    struct progress_sum sum = look(p);
    cleanup_free char *total = progress_format_total(&sum, columns - 1);
    add_line(&s, frame, total);
    if (fclose(frame) != 0)
        abort();
    return s;
}

/* Wait, but not beyond a stop. With the mutex held. */
static void pause_for(struct progress *p, int64_t ns)
{
    const int64_t until = now_ns() + ns;
    const struct timespec at = {until / NS_PER_S, until % NS_PER_S};
    while (!p->stopping && now_ns() < until)
        pthread_cond_timedwait(&p->wake, &p->mutex, &at);
}

static void *view(void *userdata)
{
    struct progress *p = userdata;
    pthread_mutex_lock(&p->mutex);
    while (!p->stopping) {
        if (p->bar) {
            struct change change = {p, compose(p)};
            pthread_mutex_unlock(&p->mutex);
            log_exclusively(redraw, &change);
            pthread_mutex_lock(&p->mutex);
            pause_for(p, p->options.redraw_ns);
        } else {
            pause_for(p, p->options.summary_ns);
            if (p->stopping)
                break;
            struct progress_sum sum = look(p);
            pthread_mutex_unlock(&p->mutex);
            cleanup_free char *total = progress_format_total(&sum, SIZE_MAX);
            log_info("%s", total);
            pthread_mutex_lock(&p->mutex);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

struct progress *progress_new(const struct progress_options *options)
{
    struct progress *p = xcalloc(1, sizeof *p);
    pthread_condattr_t attributes;
    p->options = *options;
    if (p->options.redraw_ns == 0)
        p->options.redraw_ns = REDRAW;
    if (p->options.summary_ns == 0)
        p->options.summary_ns = SUMMARY;
    p->sum.images = options->images;
    TAILQ_INIT(&p->transfers);
    p->bar = terminal_is_capable(STDERR_FILENO) &&
             (options->mode == PROGRESS_BAR ||
              (options->mode == PROGRESS_AUTO && !options->log_is_json));
    pthread_mutex_init(&p->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    (void)look(p); /* rates count from here */
    if (options->mode == PROGRESS_NONE)
        return p;
    if (p->bar)
        log_set_view(before, after, p);
    int failed = pthread_create(&p->thread, NULL, view, p);
    p->running = failed == 0;
    if (failed)
        log_warn("no live view: cannot start a thread: %s", strerrordesc_np(failed));
    return p;
}

void progress_stop(struct progress *p)
{
    pthread_mutex_lock(&p->mutex);
    const bool running = p->running;
    p->running = false;
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    if (running)
        pthread_join(p->thread, NULL);
    if (p->bar && running) {
        struct change nothing = {.progress = p};
        log_exclusively(redraw, &nothing);
        log_set_view(NULL, NULL, NULL);
    }
}

static void free_transfer(struct progress_transfer *t)
{
    char *name = NULL;
    memcpy(&name, &t->line.name, sizeof name); /* ours, const for its readers */
    free(name);
    free(t);
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    progress_stop(p);
    while (!TAILQ_EMPTY(&p->transfers)) {
        struct progress_transfer *t = TAILQ_FIRST(&p->transfers);
        TAILQ_REMOVE(&p->transfers, t, link);
        free_transfer(t);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

/* ---- what the workers say ---- */

void progress_image_started(struct progress *p, const char *name)
{
    if (!p->bar && p->options.mode != PROGRESS_NONE)
        log_info("%s: started", name);
}

void progress_image_done(struct progress *p, const struct report_entry *entry)
{
    const bool failed = entry->result == REPORT_FAILED;
    cleanup_free char *said = report_sentence(entry);
    pthread_mutex_lock(&p->mutex);
    p->sum.images_done++;
    p->sum.images_failed += failed;
    pthread_mutex_unlock(&p->mutex);
    if (failed && entry->failed == ERROR_INTERRUPTED)
        log_debug("%s", said); /* one line says it of all, and the table of each */
    else if (failed)
        log_error("%s", said);
    else if (p->options.mode != PROGRESS_NONE)
        log_info("%s", said);
}

void progress_want(struct progress *p, int64_t bytes)
{
    pthread_mutex_lock(&p->mutex);
    p->sum.wanted += bytes;
    pthread_mutex_unlock(&p->mutex);
}

struct progress_transfer *progress_transfer_started(struct progress *p, const struct digest *digest,
                                                    const char *name, int64_t size, int64_t already)
{
    struct progress_transfer *t = xcalloc(1, sizeof *t);
    t->progress = p;
    (void)snprintf(t->line.digest, sizeof t->line.digest, "%s", digest_hex(digest));
    t->line.name = xstrdup(name);
    t->line.size = size;
    t->line.done = already;
    (void)rate_update(&t->rate, now_ns(), 0);
    pthread_mutex_lock(&p->mutex);
    p->already += already;
    p->known += size;
    TAILQ_INSERT_TAIL(&p->transfers, t, link);
    pthread_mutex_unlock(&p->mutex);
    return t;
}

void progress_add(struct progress_transfer *t, int64_t bytes)
{
    atomic_fetch_add_explicit(&t->fetched, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->progress->fetched, bytes, memory_order_relaxed);
}

void progress_transfer_ended(struct progress *p, struct progress_transfer *t)
{
    pthread_mutex_lock(&p->mutex);
    TAILQ_REMOVE(&p->transfers, t, link);
    pthread_mutex_unlock(&p->mutex);
    free_transfer(t);
}
