/*
 * Credentials that somebody has to be asked for: a helper program, or a cloud. What was answered is
 * kept until it expires or the registry refuses it; one question at a time for each key, and
 * whoever comes meanwhile waits for its answer.
 *
 * Shared by all workers. The cache's mutex is not held while a question is asked.
 */
#pragma once

#include "authfile.h"
#include "cachedir/error.h"

#include <stdatomic.h>
#include <stdint.h>

#define ASKED_LIFETIME_S 3600 /* of an answer that says nothing about it */
#define ASKED_LIFETIME_MAX_S (24 * 3600)
#define ASKED_FAILURE_NS (INT64_C(10) * 1000000000) /* a failure stands for so long */
/* Refused, asked for again, and the same as before (or still nothing): not again for so long. */
#define ASKED_AGAIN_NS (INT64_C(60) * 1000000000)

struct answer {
    struct credential credential;
    int64_t lifetime_s; /* 0: unknown. It is renewed a fifth earlier */
    char *why;          /* why there is none, for people: owned; NULL: nothing to say about it */
};
void answer_release(struct answer *a);

/* 1: *ret is filled. 0: there is none; `why` may be filled. -1. */
typedef int (*ask_function)(void *userdata, struct answer *ret, struct error *err);

struct asked;
struct asked *asked_new(void);
void asked_stop(struct asked *a);                  /* whoever waits gets ERROR_INTERRUPTED */
const atomic_bool *asked_stopped(struct asked *a); /* for the questions */
void asked_free(struct asked *a);                  /* takes NULL; wipes */

/*
 * The answer to `key`: as it is known, or by ask(userdata). `refused` (NULL: nothing was) is the
 * credential that the registry has refused, maybe an empty one: it is not given again if there is
 * another. *ret is to be released in any case.
 */
int asked_get(struct asked *a, const char *key, const struct credential *refused, ask_function ask,
              void *userdata, struct answer *ret, struct error *err);
