/*
 * The clouds' own registries: credentials without a file and without a helper, from what a cloud
 * gives to the machines and pods in it. A cloud is asked only about registries whose host is its
 * own, so that nobody's metadata server is looked for on behalf of anybody else's registry.
 *
 *     google   gcr.io, *.gcr.io, *.pkg.dev              cloud-google.c
 *     ecr      ACCOUNT.dkr.ecr.REGION.amazonaws.com,
 *              and its kin, public.ecr.aws              cloud-ecr.c, cloud-aws.c
 *     acr      *.azurecr.io, .cn, .us, .de              cloud-acr.c
 *     gitlab   what $CI_REGISTRY and
 *              $CI_DEPENDENCY_PROXY_SERVER name         cloud-gitlab.c
 *
 * Endpoints are the clouds' fixed ones, or those that their own environment variables and key files
 * name; these are the user's words, so the address classes (address.h) do not hold for them.
 * Redirects are not followed. A metadata server is given CLOUD_METADATA_NS in all; when nobody
 * answers there, this is not the cloud, and no failure.
 */
#pragma once

#include "asked.h"
#include "cachedir/error.h"

#include <stdbool.h>
#include <stddef.h>

#define CLOUD_METADATA_NS (INT64_C(1) * 1000000000)

struct http_client;
struct trust;

struct cloud_query { /* everything is borrowed */
    struct http_client *client;
    const char *registry;      /* "host" or "host:port" */
    const char *origin;        /* how it is spoken to: "https://host:443" */
    const struct trust *trust; /* the registry's; NULL: the roots alone */
    void (*warn)(void *userdata, const char *message);
    void *userdata;
};

struct cloud {
    const char *name; /* as --credential-helpers has it */
    bool one_for_all; /* its answer is the same for all its registries */
    bool (*owns)(const char *registry);
    /*
     * 1: *ret is filled. 0: nothing here says who we are; ret->why tells where it was looked.
     * ERROR_REFUSED: the cloud does not take what we are; ERROR_CONFIG: a key file or a variable
     * makes no sense; ERROR_TRANSIENT, ERROR_PROTOCOL, ERROR_INTERRUPTED. No message and no `why`
     * holds a secret.
     */
    int (*ask)(const struct cloud_query *q, struct answer *ret, struct error *err);
};

extern const struct cloud cloud_google, cloud_ecr, cloud_acr, cloud_gitlab;

const struct cloud *cloud_named(const char *name);  /* NULL: there is none */
const struct cloud *cloud_of(const char *registry); /* whose it is; NULL: nobody's */
