#include "log.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "terminal.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;  /* in text and json */
    const char *brief; /* in color */
    int color;         /* ECMA-48, select graphic rendition */
} levels[] = {
    [LOG_PANIC] = {"panic", "PANI", 31}, [LOG_FATAL] = {"fatal", "FATA", 31},
    [LOG_ERROR] = {"error", "ERRO", 31}, [LOG_WARN] = {"warning", "WARN", 33},
    [LOG_INFO] = {"info", "INFO", 36},   [LOG_DEBUG] = {"debug", "DEBU", 37},
    [LOG_TRACE] = {"trace", "TRAC", 37},
};

const char *const log_levels[] = {"panic", "fatal", "error", "warn|warning",
                                  "info",  "debug", "trace", NULL};
const char *const log_formats[] = {"text", "color", "json", NULL};

/* Shared by all threads. The level is read without the lock; the rest is guarded by the mutex. */
static atomic_int wanted = LOG_INFO;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct log_options options = {.level = LOG_INFO};
static bool colored;
static struct timespec started;
static struct {
    void (*before)(void *userdata);
    void (*after)(void *userdata);
    void *userdata;
} view;

void log_init(const struct log_options *o)
{
    pthread_mutex_lock(&mutex);
    options = *o;
    colored = o->format == LOG_COLOR && terminal_wants_color(STDERR_FILENO, true);
    if (started.tv_sec == 0 && started.tv_nsec == 0)
        clock_gettime(CLOCK_MONOTONIC, &started);
    atomic_store(&wanted, o->level);
    pthread_mutex_unlock(&mutex);
}

enum log_format log_default_format(void)
{
    return terminal_is_capable(STDERR_FILENO) ? LOG_COLOR : LOG_TEXT;
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load(&wanted);
}

static bool is_plain(const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+";
    return text[strspn(text, plain)] == '\0';
}

/* key=value as logrus writes it: quoted where anything but a plain word stands in it. */
static void put_pair(FILE *out, const char *key, const char *value)
{
    fprintf(out, "%s=", key);
    if (is_plain(value)) {
        fputs(value, out);
        return;
    }
    fputc('"', out);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            fputc('\\', out);
        fputc(*value, out);
    }
    fputc('"', out);
}

static void put_json(FILE *out, enum log_level level, const char *message, const char *now)
{
    json_t *text = json_string(message);
    if (!text) { /* not UTF-8: a mistake elsewhere, but the line must stay JSON */
        cleanup_free char *safe = text_foreign_str(message);
        text = json_string(safe);
    }
    json_t *line =
        json_pack("{s:s, s:o, s:s}", "level", levels[level].name, "msg", text, "time", now);
    if (!line)
        abort(); /* out of memory */
    if (json_dumpf(line, out, JSON_COMPACT | JSON_SORT_KEYS) < 0)
        abort();
    json_decref(line);
}

static void put_color(FILE *out, enum log_level level, const char *message, const char *now)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (colored)
        fprintf(out, "\x1b[%dm%s\x1b[0m", levels[level].color, levels[level].brief);
    else
        fputs(levels[level].brief, out);
    if (options.timestamp)
        fprintf(out, "[%s] %s", now, message);
    else
        fprintf(out, "[%04lld] %s",
                (long long)(t.tv_sec - started.tv_sec) - (t.tv_nsec < started.tv_nsec), message);
}

/* The line, with its end. Owned. With the mutex held. */
static char *compose(enum log_level level, const char *message)
{
    cleanup_free char *now = time_format(time(NULL));
    char *line;
    size_t len;
    FILE *out = open_memstream(&line, &len);
    if (!out)
        abort(); /* out of memory */
    switch (options.format) {
    case LOG_JSON:
        put_json(out, level, message, now);
        break;
    case LOG_COLOR:
        put_color(out, level, message, now);
        break;
    case LOG_TEXT:
        put_pair(out, "time", now);
        put_pair(out, " level", levels[level].name);
        put_pair(out, " msg", message);
        break;
    }
    fputc('\n', out);
    if (fclose(out) != 0)
        abort();
    return line;
}

void log_at(enum log_level level, const char *format, ...)
{
    if (!log_wants(level))
        return;
    va_list args;
    va_start(args, format);
    cleanup_free char *message = xvasprintf(format, args);
    va_end(args);
    for (char *p = message; *p; p++)
        if ((unsigned char)*p < ' ' || *p == '\x7f')
            *p = ' ';

    pthread_mutex_lock(&mutex);
    cleanup_free char *line = compose(level, message);
    if (view.before)
        view.before(view.userdata);
    fputs(line, stderr); /* to whom should one complain? */
    if (view.after)
        view.after(view.userdata);
    pthread_mutex_unlock(&mutex);
}

void log_set_view(void (*before)(void *userdata), void (*after)(void *userdata), void *userdata)
{
    pthread_mutex_lock(&mutex);
    view.before = before;
    view.after = after;
    view.userdata = userdata;
    pthread_mutex_unlock(&mutex);
}

void log_exclusively(void (*work)(void *userdata), void *userdata)
{
    pthread_mutex_lock(&mutex);
    work(userdata);
    pthread_mutex_unlock(&mutex);
}
