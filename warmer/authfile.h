/*
 * One credentials file: docker's config.json, containers-auth.json(5), or docker's older .dockercfg
 * (the "auths" object alone). Pure: bytes in, entries out; credentials.h knows where files lie.
 *
 *     {"auths": {"registry[/path]": {"auth": base64 of "user:password", or
 *                                    "username": .., "password": .., and, or instead,
 *                                    "identitytoken": .. | "registrytoken": ..}},
 *      "credHelpers": {"registry": "helper"}, "credsStore": "helper"}
 *
 * Keys may be URLs, as docker writes them for its Hub: scheme and path of these mean nothing. Of
 * plain keys with a path, the longest that leads to the repository, by whole segments, wins.
 */
#pragma once

#include "cachedir/error.h"
#include "secret.h"

#include <stdbool.h>
#include <stddef.h>

#define AUTH_FILE_BYTES_MAX SECRET_FILE_BYTES_MAX
#define AUTH_FILE_ENTRIES_MAX 4096

struct credential { /* secrets, wiped when released; NULL is what there is not */
    char *username;
    char *password;
    char *identity_token; /* for the token endpoint: grant_type=refresh_token */
    char *registry_token; /* a bearer token as it is */
    char *source;         /* where it was found: safe to print */
};
void credential_copy(struct credential *to, const struct credential *from);
void credential_release(struct credential *c);
#define cleanup_credential __attribute__((cleanup(credential_release)))
bool credential_is_set(const struct credential *c);
bool credential_equal(const struct credential *a, const struct credential *b);
struct auth_entry {
    char *registry;   /* "docker.io" for each of its names */
    char *repository; /* "" or the path behind it */
    struct credential credential;
    char *helper; /* of credHelpers: then there is no credential */
};

struct auth_file {
    struct auth_entry *entries;
    size_t count;
    char *helper;  /* credsStore: for whatever no entry says better */
    char *warning; /* the first entry that is odd, but not wrong: safe to print; NULL: none is */
};

/*
 * `name` is what messages call it. ERROR_CONFIG: not JSON (with line and column), or an entry that
 * makes no sense (with its key). Nothing at all, but for blanks, is an empty file.
 */
int auth_file_parse(const char *bytes, size_t len, const char *name, bool dockercfg,
                    struct auth_file *ret, struct error *err);
/* Is there any credential in it? */
bool auth_file_has_secrets(const struct auth_file *f);
void auth_file_release(struct auth_file *f);
#define cleanup_auth_file __attribute__((cleanup(auth_file_release)))

/* Who may say something about this repository of this registry; NULL: nobody but credsStore. An
 * entry without a credential, docker's mark for credsStore, is none. */
const struct auth_entry *auth_file_find(const struct auth_file *f, const char *registry,
                                        const char *repository);
