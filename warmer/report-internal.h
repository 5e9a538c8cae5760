/* What the two halves of the report share. */
#pragma once

#include "report.h"

#include <pthread.h>

struct report {
    pthread_mutex_t mutex; /* guards the rest */
    struct report_entry *entries;
    size_t count;
};

struct report_totals {
    size_t images;
    size_t results[REPORT_RESULTS];
    int64_t fetched, reused;
    enum error_kind worst; /* of the failures */
};
/* With the mutex held. */
struct report_totals report_count(const struct report *r);
