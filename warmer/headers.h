/*
 * Header values that need parsing: Content-Range (RFC 9110, section 14.4), Retry-After (10.2.3)
 * and its dates (5.6.7). Pure: hostile bytes in, numbers out.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct content_range {
    bool satisfied;     /* false: "bytes *" + "/total", which comes with 416; start and end are 0 */
    int64_t start, end; /* the bytes [start, end) are what the body holds */
    int64_t total;      /* of the whole; -1: "*", the server does not say */
};

/* ERROR_PROTOCOL: another unit, no numbers, 19 digits or more, an end before the start, a total
 * that the end lies beyond. */
int content_range_parse(const char *value, struct content_range *ret, struct error *err);

#define RETRY_AFTER_MAX_S (INT64_C(30) * 24 * 3600) /* whoever says more means this */

/*
 * In nanoseconds: the seconds that the value says, or the time from `date` (the response's own
 * Date header: its clock, not ours, wrote the value; NULL or unreadable: from `now`) to the date
 * that it says, at least 0. -1 when there is no value, or it makes no sense.
 */
int64_t retry_after_parse(const char *value, const char *date, time_t now);

/* An HTTP date in any of the three forms that one must read: IMF-fixdate, RFC 850, asctime. */
bool http_date_parse(const char *value, time_t *ret);
