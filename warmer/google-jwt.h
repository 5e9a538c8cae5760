/*
 * The assertion by which a service account's key is exchanged for a token: a JWT (RFC 7523), signed
 * by RS256. Pure, but for the key.
 */
#pragma once

#include "cachedir/error.h"

#include <time.h>

#define GOOGLE_JWT_LIFETIME_S 3600 /* the longest that is taken */

struct google_claims { /* everything is borrowed */
    const char *issuer, *scope, *audience;
    const char *key_id; /* NULL: none */
    time_t now;
};

/* Owned, a secret. NULL with ERROR_CONFIG: `pem` is no RSA private key. */
char *google_jwt(const struct google_claims *claims, const char *pem, struct error *err);
