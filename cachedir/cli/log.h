/*
 * What the programs say on stderr while they work. The library never logs.
 *
 * Levels and formats are kaniko's: text ("INFO[0003] ..."-like lines without colour), color, json
 * (one object a line: level, msg, time). Foreign text must have passed text_foreign() already;
 * in addition every message is one line here, whatever it holds. Any thread.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_PANIC, LOG_FATAL, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
enum log_format { LOG_TEXT, LOG_COLOR, LOG_JSON };

struct log_options {
    enum log_level level;
    enum log_format format;
    bool timestamp; /* RFC 3339 in text and color, too */
};
void log_init(const struct log_options *options);
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

/* Run `work` under the log's lock, so that nothing is logged meanwhile (redrawing the view). */
void log_exclusively(void (*work)(void *userdata), void *userdata);
