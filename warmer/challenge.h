/*
 * WWW-Authenticate, parsed (RFC 9110, sections 11.3 and 11.6.1; distribution's token.md and
 * RFC 6750 for Bearer's parameters). Pure: hostile bytes in, structs out.
 */
#pragma once

#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>

#define CHALLENGE_BYTES_MAX 8192 /* of one header line */
#define CHALLENGES_MAX 16        /* of one response */

enum challenge_scheme { CHALLENGE_OTHER, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge { /* text is owned, foreign, and NULL where there was none */
    enum challenge_scheme scheme;
    char *realm;   /* of Bearer: the token endpoint's URL */
    char *service; /* to be handed to it as it is */
    char *scope;
    char *error; /* "insufficient_scope", "invalid_token" */
};

struct challenges {
    struct challenge *items;
    size_t count;
};

/*
 * Add the challenges of one header line, in order. Scheme and parameter names in any case; values
 * quoted or, as some registries send them, bare up to the next comma or blank. ERROR_PROTOCOL and
 * *list as before: a quote that does not end, a parameter without a scheme or twice, control
 * characters, a ceiling.
 */
int challenges_add(struct challenges *list, const char *line, struct error *err);
void challenges_release(struct challenges *list);
#define cleanup_challenges __attribute__((cleanup(challenges_release)))

/* The one to answer: the first Bearer with a realm, else the first Basic, else NULL. */
const struct challenge *challenges_pick(const struct challenges *list);

void challenge_copy(struct challenge *to, const struct challenge *from);
void challenge_release(struct challenge *c);
#define cleanup_challenge __attribute__((cleanup(challenge_release)))
