/*
 * What the programs say on stderr while they work. The library never logs.
 *
 * Levels and formats are kaniko's, so that whatever reads its logs reads these:
 *
 *     text     time="2026-11-24T23:49:06Z" level=info msg="debian:12: pulled"
 *     color    INFO[0003] debian:12: pulled       (seconds since the start, or with `timestamp`
 *                                                  RFC 3339; without colours where NO_COLOR is set)
 *     json     {"level":"info","msg":"debian:12: pulled","time":"2026-11-24T23:49:06Z"}
 *
 * Foreign text must have passed text_foreign() already; in addition every message is one line
 * here, whatever it holds. Any thread.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_PANIC, LOG_FATAL, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
enum log_format { LOG_TEXT, LOG_COLOR, LOG_JSON };

/* For an option table: the names in the order of the enums. */
extern const char *const log_levels[];
extern const char *const log_formats[];

struct log_options {
    enum log_level level;
    enum log_format format;
    bool timestamp; /* RFC 3339 in color, too */
};
/* The seconds of "INFO[0003]" count from the first call. */
void log_init(const struct log_options *options);
enum log_format log_default_format(void); /* color on a terminal, text elsewhere */
bool log_wants(enum log_level level);

void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)

/* A live view on the same terminal: `before` takes it off the screen and `after` puts it back,
 * both called under the log's lock around every line. NULL, NULL: no view. */
void log_set_view(void (*before)(void *userdata), void (*after)(void *userdata), void *userdata);

/* Run `work` under the log's lock, so that nothing is logged meanwhile (redrawing the view). It
 * must not log. */
void log_exclusively(void (*work)(void *userdata), void *userdata);
