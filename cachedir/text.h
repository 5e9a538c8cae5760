/*
 * Text for people: foreign text made safe, durations, sizes, points in time.
 */
#pragma once

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * Everything that came from the network or from the volume passes through here on its way to a
 * terminal, a log, JSON, a metric's label or the termination log: control characters (C0, DEL, C1),
 * bidirectional overrides and invalid UTF-8 become \xNN, a line break a space, and at most
 * TEXT_FOREIGN_MAX bytes remain ("..." at the end says that some were cut). Returns owned text,
 * never NULL.
 */
#define TEXT_FOREIGN_MAX 300
char *text_foreign(const char *bytes, size_t len);
char *text_foreign_str(const char *s); /* the same for a NUL-terminated string; NULL is "" */

/* How many terminal columns valid UTF-8 text takes (wcwidth rules; invalid bytes count 1). */
size_t text_columns(const char *s);

/*
 * Durations as Go's time.ParseDuration reads them ("336h", "1h30m", "1.5s", "300ms", "0"), in
 * nanoseconds. Negative ones are parsed by Go but make no sense in any option here: ERROR_USAGE.
 */
int duration_parse(const char *text, int64_t *ret_ns, struct error *err);
/* "1h30m", "12s", "350ms": the two largest units. Returns owned text. */
char *duration_format(int64_t ns);

/* Sizes: "500", "10G", "1.5Gi", "100MB" and "100MiB" too; K M G T are 1000, Ki Mi Gi Ti 1024. */
int size_parse(const char *text, int64_t *ret_bytes, struct error *err);
/* "301.2 MiB"; owned. */
char *size_format(int64_t bytes);

/* RFC 3339 in UTC, whole seconds: "2026-11-24T23:49:06Z". Owned. */
char *time_format(time_t t);
/* Reads RFC 3339 with any offset and fraction. false when it is not that. */
bool time_parse(const char *text, time_t *ret);

#define NS_PER_S INT64_C(1000000000)
