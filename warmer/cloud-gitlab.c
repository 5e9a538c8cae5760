/*
 * GitLab CI's job variables: CI_REGISTRY with CI_REGISTRY_USER and CI_REGISTRY_PASSWORD, or else
 * CI_JOB_TOKEN; and CI_DEPENDENCY_PROXY_SERVER, _USER and _PASSWORD. Which host is whose is what
 * these say.
 */
#include "cloud-internal.h"

#include "cachedir/alloc.h"

#include <string.h>
#include <strings.h>

/* Both as they stand in references and variables: a scheme, a path and https' port say nothing. */
static bool is_host(const char *variable, const char *registry)
{
    const char *value = cloud_environment(variable);
    if (!value)
        return false;
    const char *scheme = strstr(value, "://"), *host = scheme ? scheme + 3 : value;
    cleanup_free char *named = xstrndup(host, strcspn(host, "/"));
    const char *const both[] = {named, registry};
    size_t lengths[2];
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(both[i]);
        lengths[i] = len > 4 && strcmp(both[i] + len - 4, ":443") == 0 ? len - 4 : len;
    }
    return lengths[0] == lengths[1] && strncasecmp(named, registry, lengths[0]) == 0;
}

static bool owns(const char *registry)
{
    return is_host("CI_REGISTRY", registry) || is_host("CI_DEPENDENCY_PROXY_SERVER", registry);
}

static int take(struct answer *ret, const char *user, const char *password, const char *source)
{
    ret->credential.username = xstrdup(user);
    ret->credential.password = xstrdup(password);
    ret->credential.source = xasprintf("GitLab CI's %s", source);
    return 1;
}

static int ask(const struct cloud_query *q, struct answer *ret, struct error *err)
{
    (void)err;
    const bool registry = is_host("CI_REGISTRY", q->registry);
    const char *user_name = registry ? "CI_REGISTRY_USER" : "CI_DEPENDENCY_PROXY_USER";
    const char *password_name = registry ? "CI_REGISTRY_PASSWORD" : "CI_DEPENDENCY_PROXY_PASSWORD";
    const char *user = cloud_environment(user_name), *password = cloud_environment(password_name);
    const char *token = cloud_environment("CI_JOB_TOKEN");
    if (user && password)
        return take(ret, user, password, user_name);
    if (token)
        return take(ret, "gitlab-ci-token", token, "CI_JOB_TOKEN");
    ret->why =
        xasprintf("gitlab: neither %s and %s nor CI_JOB_TOKEN are set", user_name, password_name);
    return 0;
}

const struct cloud cloud_gitlab = {.name = "gitlab", .owns = owns, .ask = ask};
