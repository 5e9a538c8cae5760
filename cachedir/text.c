#include "text.h"

#include "alloc.h"

#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wchar.h>

/* The bytes that the UTF-8 character at `s` takes, and the character; 0 when it is none: a stray or
 * missing continuation, an overlong form, a surrogate, beyond U+10FFFF (RFC 3629, section 4). */
static size_t utf8_decode(const char *s, size_t len, uint32_t *ret)
{
    unsigned char lead = (unsigned char)s[0];
    if (lead < 0x80) {
        *ret = lead;
        return 1;
    }
    size_t need = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (need == 0 || need > len)
        return 0;
    static const unsigned char lead_bits[] = {[2] = 0x1F, [3] = 0x0F, [4] = 0x07};
    static const uint32_t smallest[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000};
    uint32_t c = lead & lead_bits[need];
    for (size_t i = 1; i < need; i++) {
        unsigned char next = (unsigned char)s[i];
        if ((next & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (next & 0x3F);
    }
    if (c < smallest[need] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *ret = c;
    return need;
}

/* C0, DEL and C1 move a terminal's cursor or worse. The bidirectional embeddings, overrides and
 * isolates make a line read otherwise than it is ("Trojan Source"): a name could pose as another
 * and the words after it be reordered. */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* One step of the translation: what stands at `s` is written to `out` (16 bytes suffice), and the
 * number of bytes read is returned. */
static size_t foreign_step(const char *s, size_t len, char out[16], size_t *ret_out)
{
    uint32_t c = 0;
    size_t read = utf8_decode(s, len, &c);
    if (c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029) {
        out[0] = ' ';
        *ret_out = 1;
        return c == '\r' && len > 1 && s[1] == '\n' ? 2 : read;
    }
    if (read > 0 && !is_unsafe(c)) {
        memcpy(out, s, read);
        *ret_out = read;
        return read;
    }
    if (read == 0)
        read = 1; /* of an invalid sequence, what follows may be good again */
    static const char digits[] = "0123456789abcdef";
    *ret_out = 0;
    for (size_t i = 0; i < read; i++) {
        unsigned char byte = (unsigned char)s[i];
        const char escape[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        memcpy(out + *ret_out, escape, sizeof escape);
        *ret_out += sizeof escape;
    }
    return read;
}

char *text_foreign(const char *bytes, size_t len)
{
    static const char cut[] = "...";
    char buffer[TEXT_FOREIGN_MAX + 1];
    size_t used = 0, fits = 0; /* fits: the last whole character after which "..." still fits */

    while (len > 0) {
        char out[16];
        size_t out_len;
        size_t read = foreign_step(bytes, len, out, &out_len);
        if (used + out_len > TEXT_FOREIGN_MAX) {
            memcpy(buffer + fits, cut, sizeof cut - 1);
            used = fits + sizeof cut - 1;
            break;
        }
        memcpy(buffer + used, out, out_len);
        used += out_len;
        if (used <= TEXT_FOREIGN_MAX - (sizeof cut - 1))
            fits = used;
        bytes += read;
        len -= read;
    }
    buffer[used] = '\0';
    return xstrdup(buffer);
}

char *text_foreign_str(const char *s)
{
    return s ? text_foreign(s, strlen(s)) : xstrdup("");
}

/* wcwidth() answers for the locale's characters only, and programs that run in a container usually
 * have none. (locale_t)0 when the C library lacks this one: then wcwidth() does what it can. */
static locale_t utf8_locale;
static pthread_once_t utf8_locale_once = PTHREAD_ONCE_INIT;

static void utf8_locale_make(void)
{
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

size_t text_columns(const char *s)
{
    pthread_once(&utf8_locale_once, utf8_locale_make);
    locale_t before = utf8_locale ? uselocale(utf8_locale) : (locale_t)0;
    size_t columns = 0;
    size_t left = strlen(s);
    while (left > 0) {
        uint32_t c;
        size_t read = utf8_decode(s, left, &c);
        bool is_plain = read == 0 || (c >= ' ' && c <= '~'); /* most are, and wcwidth() is slow */
        int width = is_plain ? 1 : wcwidth((wchar_t)c);
        columns += width < 0 ? 1 : (size_t)width;
        if (read == 0)
            read = 1;
        s += read;
        left -= read;
    }
    if (before)
        uselocale(before);
    return columns;
}

static const struct duration_unit {
    const char *name;
    int64_t ns;
} duration_units[] = {
    {"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S},
    {"s", NS_PER_S},        {"ms", NS_PER_S / 1000},
    {"us", 1000},           {"ns", 1}, /* down to here for duration_format() */
    {"\u00B5s", 1000},      {"\u03BCs", 1000},
};

#define DURATION_UNITS_WRITTEN 6
#define DURATION_UNITS_READ (sizeof duration_units / sizeof *duration_units)

static int duration_refuse(struct error *err, const char *text, const char *why)
{
    cleanup_free char *shown = text_foreign_str(text);
    return error_set(err, ERROR_USAGE, "bad duration \"%s\": %s", shown, why);
}

static const struct duration_unit *duration_unit_find(const char *name, size_t len)
{
    for (size_t i = 0; i < DURATION_UNITS_READ; i++) {
        if (strlen(duration_units[i].name) == len && memcmp(duration_units[i].name, name, len) == 0)
            return &duration_units[i];
    }
    return NULL;
}

/* One "1.5h" from *text on; on success *text is behind it. Returns what is wrong, else NULL. */
static const char *duration_part(const char **text, int64_t *ret_ns)
{
    static const char digits[] = "0123456789";
    static const char too_long[] = "it is longer than 292 years";
    const char *s = *text;
    size_t whole_len = strspn(s, digits);
    int64_t whole = 0;
    for (size_t i = 0; i < whole_len; i++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, s[i] - '0', &whole))
            return too_long;
    }
    s += whole_len;

    /* As Go does it: the digits that a nanosecond of an hour cannot show are read and dropped. */
    uint64_t fraction = 0;
    double scale = 1;
    size_t fraction_len = 0;
    if (*s == '.') {
        fraction_len = strspn(++s, digits);
        for (size_t i = 0; i < fraction_len && i < 18; i++) {
            fraction = fraction * 10 + (uint64_t)(s[i] - '0');
            scale *= 10;
        }
        s += fraction_len;
    }
    if (whole_len + fraction_len == 0)
        return "a number is missing, write it like 90s or 336h";

    size_t unit_len = strcspn(s, ".0123456789");
    if (unit_len == 0)
        return "a unit is missing, write it like 90s or 336h";
    const struct duration_unit *unit = duration_unit_find(s, unit_len);
    if (!unit)
        return "the units are ns, us, ms, s, m and h (a day is 24h)";
    int64_t ns;
    if (__builtin_mul_overflow(whole, unit->ns, &ns) ||
        __builtin_add_overflow(ns, (int64_t)((double)fraction * ((double)unit->ns / scale)), &ns))
        return too_long;
    *text = s + unit_len;
    *ret_ns = ns;
    return NULL;
}

int duration_parse(const char *text, int64_t *ret_ns, struct error *err)
{
    const char *rest = text;
    if (*rest == '-')
        return duration_refuse(err, text, "it must not be negative");
    if (*rest == '+')
        rest++;
    int64_t total = 0;
    if (strcmp(rest, "0") == 0) { /* the one number that needs no unit */
        *ret_ns = 0;
        return 0;
    }
    do {
        int64_t part = 0;
        const char *why = duration_part(&rest, &part);
        if (!why && __builtin_add_overflow(total, part, &total))
            why = "it is longer than 292 years";
        if (why)
            return duration_refuse(err, text, why);
    } while (*rest);
    *ret_ns = total;
    return 0;
}

char *duration_format(int64_t ns)
{
    const char *sign = ns < 0 ? "-" : "";
    uint64_t left = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    for (size_t i = 0; i < DURATION_UNITS_WRITTEN; i++) {
        uint64_t unit = (uint64_t)duration_units[i].ns;
        if (left < unit)
            continue;
        unsigned long long count = left / unit, next = 0;
        const char *name = duration_units[i].name;
        if (i + 1 < DURATION_UNITS_WRITTEN)
            next = left % unit / (uint64_t)duration_units[i + 1].ns;
        if (next == 0)
            return xasprintf("%s%llu%s", sign, count, name);
        return xasprintf("%s%llu%s%llu%s", sign, count, name, next, duration_units[i + 1].name);
    }
    return xstrdup("0s");
}

static const struct {
    const char *name;
    int64_t bytes;
} size_units[] = {
    {"", 1},
    {"K", 1000},
    {"k", 1000},
    {"M", INT64_C(1000) * 1000},
    {"G", INT64_C(1000) * 1000 * 1000},
    {"T", INT64_C(1000) * 1000 * 1000 * 1000},
    {"Ki", INT64_C(1) << 10},
    {"Mi", INT64_C(1) << 20},
    {"Gi", INT64_C(1) << 30},
    {"Ti", INT64_C(1) << 40},
};

/* The unit that `s` is, with or without a B behind it; 0 when it is none. */
static int64_t size_unit_find(const char *s)
{
    size_t len = strlen(s);
    if (len > 0 && s[len - 1] == 'B')
        len--;
    for (size_t i = 0; i < sizeof size_units / sizeof *size_units; i++) {
        if (strlen(size_units[i].name) == len && memcmp(size_units[i].name, s, len) == 0)
            return size_units[i].bytes;
    }
    return 0;
}

/* With so many digits behind the point, times the largest unit, 64 bits hold the product. */
#define SIZE_FRACTION_DIGITS 7

/* Returns what is wrong, else NULL. */
static const char *size_read(const char *text, int64_t *ret_bytes)
{
    static const char digits[] = "0123456789";
    static const char too_large[] = "it is larger than 8 EiB";
    if (*text == '-')
        return "it must not be negative";
    size_t whole_len = strspn(text, digits);
    if (whole_len == 0)
        return "a number is missing, write it like 500M, 10G or 1.5Gi";
    int64_t bytes = 0;
    for (size_t i = 0; i < whole_len; i++) {
        if (__builtin_mul_overflow(bytes, 10, &bytes) ||
            __builtin_add_overflow(bytes, text[i] - '0', &bytes))
            return too_large;
    }
    text += whole_len;

    uint64_t fraction = 0, scale = 1;
    if (*text == '.') {
        size_t len = strspn(++text, digits);
        if (len == 0 || len > SIZE_FRACTION_DIGITS)
            return "one to seven digits may follow the point";
        for (size_t i = 0; i < len; i++) {
            fraction = fraction * 10 + (uint64_t)(text[i] - '0');
            scale *= 10;
        }
        text += len;
    }
    int64_t unit = size_unit_find(text);
    if (unit == 0)
        return "the units are K, M, G, T (powers of 1000) and Ki, Mi, Gi, Ti (of 1024)";
    if (unit == 1 && scale > 1)
        return "there are no fractions of a byte";
    if (__builtin_mul_overflow(bytes, unit, &bytes) ||
        __builtin_add_overflow(bytes, (int64_t)(fraction * (uint64_t)unit / scale), &bytes))
        return too_large;
    *ret_bytes = bytes;
    return NULL;
}

int size_parse(const char *text, int64_t *ret_bytes, struct error *err)
{
    const char *why = size_read(text, ret_bytes);
    if (!why)
        return 0;
    cleanup_free char *shown = text_foreign_str(text);
    return error_set(err, ERROR_USAGE, "bad size \"%s\": %s", shown, why);
}

char *size_format(int64_t bytes)
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes > -1024 && bytes < 1024)
        return xasprintf("%d B", (int)bytes);
    double scaled = (double)bytes / 1024;
    size_t i = 0;
    /* 1023.95 and more would be shown as 1024.0 */
    for (; i + 1 < sizeof names / sizeof *names && (scaled >= 1023.95 || scaled <= -1023.95); i++)
        scaled /= 1024;
    return xasprintf("%.1f %s", scaled, names[i]);
}

char *time_format(time_t t)
{
    struct tm tm;
    char buffer[64];
    if (!gmtime_r(&t, &tm)) /* a year that does not fit an int: somebody's clock is mad */
        return xasprintf("@%lld", (long long)t);
    size_t len = strftime(buffer, sizeof buffer, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return xstrndup(buffer, len);
}

/* `digits` decimal digits at *s, then `follow` (unless it is NUL). */
static bool time_field(const char **s, int digits, char follow, int *ret)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        value = value * 10 + (**s - '0');
    }
    *ret = value;
    if (!follow)
        return true;
    return *(*s)++ == follow;
}

static bool time_is_calendar(const struct tm *tm, int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int last = days[month - 1] + (month == 2 && leap ? 1 : 0);
    return tm->tm_mday >= 1 && tm->tm_mday <= last && tm->tm_hour <= 23 && tm->tm_min <= 59 &&
           tm->tm_sec <= 60; /* a leap second */
}

bool time_parse(const char *text, time_t *ret)
{
    struct tm tm = {0};
    int year, month;
    const char *s = text;
    if (!time_field(&s, 4, '-', &year) || !time_field(&s, 2, '-', &month) ||
        !time_field(&s, 2, '\0', &tm.tm_mday))
        return false;
    if (*s != 'T' && *s != 't')
        return false;
    s++;
    if (!time_field(&s, 2, ':', &tm.tm_hour) || !time_field(&s, 2, ':', &tm.tm_min) ||
        !time_field(&s, 2, '\0', &tm.tm_sec) || !time_is_calendar(&tm, year, month))
        return false;
    if (*s == '.') {
        size_t digits = strspn(s + 1, "0123456789");
        if (digits == 0)
            return false;
        s += 1 + digits;
    }
    int offset = 0;
    if (*s == '+' || *s == '-') {
        int sign = *s++ == '-' ? -1 : 1, hours, minutes;
        if (!time_field(&s, 2, ':', &hours) || !time_field(&s, 2, '\0', &minutes) || hours > 23 ||
            minutes > 59)
            return false;
        offset = sign * (hours * 3600 + minutes * 60);
    } else if (*s == 'Z' || *s == 'z') {
        s++;
    } else {
        return false;
    }
    if (*s)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    *ret = timegm(&tm) - offset;
    return true;
}
