/*
 * Credentials: which files they are in, and whose they are. Looked for in this order, and the first
 * place that knows the registry wins (within a file the most specific entry: authfile.h):
 *
 *     the --authfile options, in order              must be there
 *     $DOCKER_AUTH_CONFIG                           the JSON itself
 *     $DOCKER_CONFIG/config.json                    (or $DOCKER_CONFIG, if that is a file)
 *     $REGISTRY_AUTH_FILE
 *     $XDG_RUNTIME_DIR/containers/auth.json         (unset: /run/containers/UID/auth.json)
 *     $XDG_CONFIG_HOME/containers/auth.json         (unset: ~/.config/containers/auth.json)
 *     ~/.docker/config.json, ~/.dockercfg
 *     /kaniko/.docker/config.json
 *     KANIKO_<HOST>_USER and _PASSWORD              dots and dashes of HOST as underscores, upper
 *                                                   case; also without its first labels
 *
 * A place that is there and broken is an error, not a reason to look further.
 */
#pragma once

#include "authfile.h"
#include "cachedir/error.h"

#include <stdbool.h>

struct credentials;

struct credentials_options {
    char **authfiles; /* NULL-terminated; NULL: none */
    void (*warn)(void *userdata, const char *message);
    void (*debug)(void *userdata, const char *message);
    void *userdata;
};

/* Reads the files and the environment (not while another thread changes that). ERROR_CONFIG. */
int credentials_new(const struct credentials_options *options, struct credentials **ret,
                    struct error *err);
void credentials_free(struct credentials *c); /* takes NULL; wipes */

/* What is known for this repository of this registry: false, and an empty *ret, when nothing is.
 * Any thread. */
bool credentials_find(struct credentials *c, const char *registry, const char *repository,
                      struct credential *ret);

/* Read everything again: secrets are rotated under long runs. What cannot be read now stays as it
 * was. Any thread. */
void credentials_reload(struct credentials *c);

/* "no credentials for REGISTRY were found in: FILE, FILE". Owned. Any thread. */
char *credentials_missing(struct credentials *c, const char *registry);
