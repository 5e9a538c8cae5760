/*
 * AWS credentials, from where AWS' own SDKs look, in their order:
 *
 *     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *     AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN                      of STS (IRSA)
 *     the profile AWS_PROFILE (default) of AWS_SHARED_CREDENTIALS_FILE  (~/.aws/credentials) and
 *       AWS_CONFIG_FILE (~/.aws/config): keys, or web_identity_token_file and role_arn
 *     AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI               pod identity, ECS
 *     the instance's role                                               IMDSv2
 */
#pragma once

#include "cloud.h"

struct aws_keys { /* secrets */
    char *id, *secret;
    char *token; /* NULL: none */
    char *source;
};
void aws_keys_release(struct aws_keys *k);
#define cleanup_aws_keys __attribute__((cleanup(aws_keys_release)))

/* `domain`: "amazonaws.com". As struct cloud's ask(): 1, 0 with *ret_why, -1. */
int aws_keys_find(const struct cloud_query *q, const char *region, const char *domain,
                  struct aws_keys *ret, char **ret_why, struct error *err);

/* An endpoint: $AWS_ENDPOINT_URL_<service>, $AWS_ENDPOINT_URL, or `fixed`. Owned. */
char *aws_endpoint(const char *service, const char *fixed);

/*
 * The value of `key` in the section [section] of an AWS file; the last of several counts. Blanks
 * around both say nothing, lines that begin with # or ; are comments, and lines that begin with a
 * blank belong to a nested key. Pure. Owned, a secret; NULL: there is none, or it is empty.
 */
char *aws_profile_value(const char *bytes, size_t len, const char *section, const char *key);
/* May credentials be had from this URI? https, or http of this machine and of the agents' fixed
 * addresses. Pure. */
bool aws_container_uri_is_good(const char *uri);
