/*
 * Credentials: where they come from, and whose they are. Looked for in this order, and the first
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
 *     the cloud that the host belongs to            cloud.h
 *
 * A file may leave a registry to a helper (helper.h), which is asked then. A file that is there and
 * broken is an error, not a reason to look further; a helper or a cloud that fails is one.
 */
#pragma once

#include "authfile.h"
#include "cachedir/error.h"

#include <stdbool.h>

struct credentials;
struct http_client;
struct trust;

struct credentials_options {
    char **authfiles; /* NULL-terminated; NULL: none */
    char **helpers;   /* of "env" and the clouds' names: those that may be used; NULL: all */
    void (*warn)(void *userdata, const char *message);
    void (*debug)(void *userdata, const char *message);
    void *userdata;
};

/* Is it "env", or a cloud's name? */
bool credentials_have_helper(const char *name);

/* Reads the files and the environment (not while another thread changes that). ERROR_CONFIG. */
int credentials_new(const struct credentials_options *options, struct credentials **ret,
                    struct error *err);
/* Ends helpers, and wakes whoever waits for them. Any thread. */
void credentials_stop(struct credentials *c);
void credentials_free(struct credentials *c); /* takes NULL; wipes */

struct credential_query { /* everything is borrowed */
    const char *registry, *repository;
    /* What the registry has refused, maybe an empty one: then the files are read again first, and
     * helpers and clouds asked again if it was theirs. NULL: nothing was. */
    const struct credential *refused;
    /* For clouds, which are not asked without a client. */
    struct http_client *client;
    const char *origin; /* how the registry is spoken to: "https://host:443" */
    const struct trust *trust;
};

/*
 * What is known for this repository of this registry: false, and an empty *ret, when nothing is.
 * Then *trouble says what kept helpers and clouds from giving one, and is of the kind of the worst
 * of that; or is empty, when there was nothing. Any thread; waits for helpers and clouds.
 */
bool credentials_find(struct credentials *c, const struct credential_query *q,
                      struct credential *ret, struct error *trouble);

/* "no credentials for REGISTRY were found in: FILE, FILE". Owned. Any thread. */
char *credentials_missing(struct credentials *c, const char *registry);
