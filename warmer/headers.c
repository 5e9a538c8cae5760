#include "headers.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <string.h>
#include <strings.h>

#define DIGITS_MAX 18 /* what surely fits into an int64_t */

static bool read_number(const char **p, int64_t *ret)
{
    int64_t value = 0;
    unsigned digits = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (++digits > DIGITS_MAX)
            return false;
        value = value * 10 + (**p - '0');
    }
    *ret = value;
    return digits > 0;
}

int content_range_parse(const char *value, struct content_range *ret, struct error *err)
{
    struct content_range r = {.total = -1};
    const char *p = value;
    bool good = strncasecmp(p, "bytes ", 6) == 0;
    if (good) {
        for (p += 6; *p == ' ';)
            p++;
        if (*p == '*') {
            p++;
        } else {
            r.satisfied = true;
            good = read_number(&p, &r.start) && *p++ == '-' && read_number(&p, &r.end) &&
                   r.end >= r.start;
            r.end++;
        }
    }
    good = good && *p++ == '/';
    if (good && *p == '*' && r.satisfied)
        p++;
    else
        good = good && read_number(&p, &r.total);
    good = good && *p == '\0' && (r.total < 0 || !r.satisfied || r.end <= r.total);
    if (!good) {
        cleanup_free char *shown = text_foreign_str(value);
        return error_set(err, ERROR_PROTOCOL, "Content-Range makes no sense: %s", shown);
    }
    *ret = r;
    return 0;
}

int64_t retry_after_parse(const char *value, const char *date, time_t now)
{
    if (!value)
        return -1;
    const char *p = value;
    int64_t seconds = 0;
    time_t then;
    if (read_number(&p, &seconds)) {
        if (*p != '\0')
            return -1;
    } else if (p > value) {
        seconds = RETRY_AFTER_MAX_S; /* more digits than any number of seconds has */
    } else if (http_date_parse(value, &then)) {
        time_t theirs;
        seconds = then - (date && http_date_parse(date, &theirs) ? theirs : now);
    } else {
        return -1;
    }
    if (seconds < 0)
        seconds = 0;
    if (seconds > RETRY_AFTER_MAX_S)
        seconds = RETRY_AFTER_MAX_S;
    return seconds * NS_PER_S;
}

/* `count` digits exactly; a blank may stand for the first where asctime(3) pads. */
static bool read_digits(const char **p, unsigned count, bool padded, int *ret)
{
    int value = 0;
    for (unsigned i = 0; i < count; i++, (*p)++) {
        if (padded && i == 0 && **p == ' ')
            continue;
        if (**p < '0' || **p > '9')
            return false;
        value = value * 10 + (**p - '0');
    }
    *ret = value;
    return true;
}

static bool read_month(const char **p, int *ret)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (int i = 0; i < 12; i++)
        if (strncmp(*p, months[i], 3) == 0) {
            *p += 3;
            *ret = i;
            return true;
        }
    return false;
}

static bool read_clock(const char **p, struct tm *tm)
{
    return read_digits(p, 2, false, &tm->tm_hour) && *(*p)++ == ':' &&
           read_digits(p, 2, false, &tm->tm_min) && *(*p)++ == ':' &&
           read_digits(p, 2, false, &tm->tm_sec);
}

/* "06 Nov 1994 08:49:37 GMT" or "06-Nov-94 08:49:37 GMT" */
static bool read_day_first(const char *p, char separator, struct tm *tm)
{
    int year = 0;
    if (!read_digits(&p, 2, false, &tm->tm_mday) || *p++ != separator ||
        !read_month(&p, &tm->tm_mon) || *p++ != separator)
        return false;
    if (separator == '-') {
        if (!read_digits(&p, 2, false, &year))
            return false;
        year += year < 70 ? 2000 : 1900;
    } else if (!read_digits(&p, 4, false, &year)) {
        return false;
    }
    tm->tm_year = year - 1900;
    return *p++ == ' ' && read_clock(&p, tm) && strcmp(p, " GMT") == 0;
}

/* "Nov  6 08:49:37 1994" */
static bool read_asctime(const char *p, struct tm *tm)
{
    int year = 0;
    if (!read_month(&p, &tm->tm_mon) || *p++ != ' ' || !read_digits(&p, 2, true, &tm->tm_mday) ||
        *p++ != ' ' || !read_clock(&p, tm) || *p++ != ' ' || !read_digits(&p, 4, false, &year))
        return false;
    tm->tm_year = year - 1900;
    return *p == '\0';
}

bool http_date_parse(const char *value, time_t *ret)
{
    struct tm tm = {0};
    bool good = false;
    /* The name of the day says nothing new: any word will do. */
    size_t word = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (word > 0 && value[word] == ',' && value[word + 1] == ' ')
        good = read_day_first(value + word + 2, word == 3 ? ' ' : '-', &tm);
    else if (word > 0 && value[word] == ' ')
        good = read_asctime(value + word + 1, &tm);
    if (!good || tm.tm_year < 70 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    *ret = timegm(&tm);
    return true;
}
