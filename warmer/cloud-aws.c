#include "cloud-aws.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "cloud-internal.h"

#include <string.h>
#include <strings.h>

#define CONTAINER_TIMEOUT_NS (5 * NS_PER_S) /* the agent asks somebody else first */
#define IMDS "http://169.254.169.254"
#define ECS "http://169.254.170.2"

void aws_keys_release(struct aws_keys *k)
{
    secret_free(k->id);
    secret_free(k->secret);
    secret_free(k->token);
    free(k->source);
    *k = (struct aws_keys){0};
}

char *aws_endpoint(const char *service, const char *fixed)
{
    cleanup_free char *name = xasprintf("AWS_ENDPOINT_URL_%s", service);
    const char *own = cloud_environment(name), *all = cloud_environment("AWS_ENDPOINT_URL");
    return cloud_url(own ? own : all ? all : fixed, "/");
}

/* ---- files ---- */

struct span {
    const char *start;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(const char *start, const char *end)
{
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    return (struct span){start, (size_t)(end - start)};
}

static bool is(struct span s, const char *text)
{
    return s.len == strlen(text) && strncmp(s.start, text, s.len) == 0;
}

char *aws_profile_value(const char *bytes, size_t len, const char *section, const char *key)
{
    char *value = NULL;
    bool inside = false;
    const char *end = bytes + len;
    for (const char *line = bytes, *next; line < end; line = next) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        next = stop < end ? stop + 1 : end;
        if (is_blank(*line) || *line == '#' || *line == ';')
            continue;
        const char *close = *line == '[' ? memchr(line, ']', (size_t)(stop - line)) : NULL;
        const char *equals = memchr(line, '=', (size_t)(stop - line));
        if (close) {
            inside = is(trim(line + 1, close), section);
        } else if (inside && equals && is(trim(line, equals), key)) {
            struct span found = trim(equals + 1, stop);
            secret_free(value);
            value = found.len && *found.start ? xstrndup(found.start, found.len) : NULL;
        }
    }
    return value;
}

struct profile {
    const char *name;
    struct secret_file credentials, config;
    char *credentials_path, *config_path;
};

static void profile_release(struct profile *p)
{
    secret_file_release(&p->credentials);
    secret_file_release(&p->config);
    free(p->credentials_path);
    free(p->config_path);
}
#define cleanup_profile __attribute__((cleanup(profile_release)))

static char *profile_value(const struct profile *p, const char *key)
{
    char *value = NULL;
    if (p->credentials.bytes)
        value = aws_profile_value(p->credentials.bytes, p->credentials.len, p->name, key);
    if (value || !p->config.bytes)
        return value;
    bool is_default = strcmp(p->name, "default") == 0;
    cleanup_free char *section = xasprintf("profile %s", p->name);
    value = aws_profile_value(p->config.bytes, p->config.len, section, key);
    return value || !is_default ? value
                                : aws_profile_value(p->config.bytes, p->config.len, "default", key);
}

/* The usual files may be missing; one that is named may not. */
static int read_profile_file(const struct cloud_query *q, const char *variable, const char *usual,
                             char **path, struct secret_file *file, struct error *err)
{
    const char *named = cloud_environment(variable), *home = cloud_environment("HOME");
    if (!named && !home)
        return 0;
    *path = named ? xstrdup(named) : xasprintf("%s/.aws/%s", home, usual);
    if (named)
        return cloud_read_file(q, variable, named, file, err);
    if (secret_file_read(*path, file, err) < 0)
        return -1;
    cleanup_free char *exposed = secret_file_exposed(file, *path);
    if (exposed && q->warn && strcmp(usual, "credentials") == 0)
        q->warn(q->userdata, exposed);
    return 0;
}

static int read_profile(const struct cloud_query *q, struct profile *p, struct error *err)
{
    const char *name = cloud_environment("AWS_PROFILE");
    p->name = name ? name : "default";
    return read_profile_file(q, "AWS_SHARED_CREDENTIALS_FILE", "credentials", &p->credentials_path,
                             &p->credentials, err) < 0 ||
                   read_profile_file(q, "AWS_CONFIG_FILE", "config", &p->config_path, &p->config,
                                     err) < 0
               ? -1
               : 0;
}

/* ---- STS ---- */

/* The text of an element; base64 and its like hold nothing that XML would escape. Owned. */
static char *element(const struct http_response *r, const char *tag)
{
    cleanup_free char *open = xasprintf("<%s>", tag);
    const char *body = r->body ? r->body : "";
    const char *from = strstr(body, open);
    if (!from)
        return NULL;
    from += strlen(open);
    size_t len =
        strspn(from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-");
    return from[len] == '<' && len > 0 ? xstrndup(from, len) : NULL;
}

static int assume_role(const struct cloud_query *q, const char *region, const char *domain,
                       const char *role, const char *variable, const char *token_file,
                       struct aws_keys *ret, struct error *err)
{
    static const char what[] = "AWS STS";
    cleanup_secret char *token = cloud_read_secret(variable, token_file, err);
    if (!token)
        return -1;
    const char *session = cloud_environment("AWS_ROLE_SESSION_NAME");
    cleanup_free char *fixed = xasprintf("https://sts.%s.%s", region, domain);
    cleanup_free char *url = aws_endpoint("STS", fixed);
    char *form = http_form_add(xstrdup(""), "Action", "AssumeRoleWithWebIdentity");
    form = http_form_add(form, "Version", "2011-06-15");
    form = http_form_add(form, "RoleArn", role);
    form = http_form_add(form, "RoleSessionName", session ? session : "basewarm");
    form = http_form_add(form, "WebIdentityToken", token);
    cleanup_secret char *body = form;
    cleanup_http_response struct http_response r = {0};
    const struct cloud_call call = {.method = HTTP_POST, .url = url, .body = body, .what = what};
    if (cloud_call(q, &call, &r, err) != 0)
        return -1;
    ret->id = element(&r, "AccessKeyId");
    ret->secret = element(&r, "SecretAccessKey");
    ret->token = element(&r, "SessionToken");
    if (!ret->id || !ret->secret || !ret->token)
        return error_set(err, ERROR_PROTOCOL, "%s: its answer holds no credentials", what);
    ret->source = xasprintf("AWS' web identity (%s)", token_file);
    return 1;
}

/* ---- where they may be ---- */

static int from_profile(const struct cloud_query *q, const char *region, const char *domain,
                        struct aws_keys *ret, char **ret_why, struct error *err)
{
    cleanup_profile struct profile p = {0};
    if (read_profile(q, &p, err) < 0)
        return -1;
    cleanup_free char *shown = text_foreign_str(p.name);
    cleanup_secret char *id = profile_value(&p, "aws_access_key_id");
    cleanup_secret char *secret = profile_value(&p, "aws_secret_access_key");
    if (id && secret) {
        *ret = (struct aws_keys){.id = take_ptr(id),
                                 .secret = take_ptr(secret),
                                 .token = profile_value(&p, "aws_session_token"),
                                 .source = xasprintf("AWS' profile %s", shown)};
        return 1;
    }
    cleanup_secret char *file = profile_value(&p, "web_identity_token_file");
    cleanup_secret char *role = profile_value(&p, "role_arn");
    if (file && role)
        return assume_role(q, region, domain, role, "web_identity_token_file", file, ret, err);
    static const char *const others[] = {"credential_process", "sso_session", "sso_start_url",
                                         "source_profile"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        cleanup_secret char *value = profile_value(&p, others[i]);
        if (value) {
            *ret_why = xasprintf("ecr: AWS' profile %s has %s, which takes "
                                 "docker-credential-ecr-login",
                                 shown, others[i]);
            return 0;
        }
    }
    return 0;
}

static int take_json(const struct http_response *r, const char *what, struct aws_keys *ret,
                     struct error *err)
{
    cleanup_cloud_json json_t *root = cloud_json(r, what, err);
    const char *id = root ? cloud_text(root, "AccessKeyId", what, err) : NULL;
    const char *secret = id ? cloud_text(root, "SecretAccessKey", what, err) : NULL;
    const char *token = secret ? cloud_text(root, "Token", what, err) : NULL;
    if (!token)
        return -1;
    *ret = (struct aws_keys){.id = xstrdup(id),
                             .secret = xstrdup(secret),
                             .token = xstrdup(token),
                             .source = xstrdup(what)};
    return 1;
}

bool aws_container_uri_is_good(const char *uri)
{
    static const char *const agents[] = {"http://169.254.170.2", "http://169.254.170.23",
                                         "http://[fd00:ec2::23]"};
    for (size_t i = 0; i < sizeof agents / sizeof *agents; i++) {
        size_t len = strlen(agents[i]);
        if (strncasecmp(uri, agents[i], len) == 0 && (uri[len] == '/' || uri[len] == '\0'))
            return true;
    }
    return cloud_url_keeps_secrets(uri);
}

static int from_container(const struct cloud_query *q, struct aws_keys *ret, struct error *err)
{
    static const char what[] = "AWS' container credentials";
    static const char file_variable[] = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    const char *full = cloud_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *relative = cloud_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *file = cloud_environment(file_variable);
    const char *token = cloud_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (!full && !relative)
        return 0;
    if (relative && *relative != '/')
        return error_set(err, ERROR_CONFIG,
                         "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with a slash");
    cleanup_free char *url = relative ? xasprintf(ECS "%s", relative) : xstrdup(full);
    if (!aws_container_uri_is_good(url))
        return error_set(err, ERROR_CONFIG,
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http of this "
                         "machine or of the pod identity agent");
    cleanup_secret char *authorization = file    ? cloud_read_secret(file_variable, file, err)
                                         : token ? xstrdup(token)
                                                 : NULL;
    if (file && !authorization)
        return -1;
    cleanup_http_response struct http_response r = {0};
    const struct cloud_call call = {.url = url,
                                    .authorization = authorization,
                                    .timeout_ns = CONTAINER_TIMEOUT_NS,
                                    .direct = true,
                                    .what = what};
    return cloud_call(q, &call, &r, err) != 0 ? -1 : take_json(&r, what, ret, err);
}

/* One question to the instance's metadata. */
static int ask_instance(const struct cloud_query *q, enum http_method method, const char *path,
                        const char *header, int64_t deadline, struct http_response *r,
                        struct error *err)
{
    const char *base = cloud_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    cleanup_free char *url = cloud_url(base ? base : IMDS, path);
    const char *const headers[] = {header, "Content-Type:", NULL};
    const struct cloud_call call = {.method = method,
                                    .url = url,
                                    .headers = headers,
                                    .timeout_ns = cloud_left(deadline),
                                    .direct = true,
                                    .what = "AWS' instance metadata"};
    return cloud_call(q, &call, r, err);
}

static char *first_line(const struct http_response *r)
{
    const char *body = r->body ? r->body : "";
    return xstrndup(body, strcspn(body, "\r\n"));
}

static int from_instance(const struct cloud_query *q, struct aws_keys *ret, char **ret_why,
                         struct error *err)
{
    static const char roles[] = "/latest/meta-data/iam/security-credentials/";
    const char *disabled = cloud_environment("AWS_EC2_METADATA_DISABLED");
    if (disabled && strcasecmp(disabled, "true") == 0) {
        *ret_why = xstrdup("ecr: no AWS credentials in environment and files, and "
                           "AWS_EC2_METADATA_DISABLED");
        return 0;
    }
    const int64_t deadline = cloud_deadline();
    struct error failed = {0};
    cleanup_http_response struct http_response r = {0};
    if (ask_instance(q, HTTP_PUT, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60",
                     deadline, &r, &failed) != 0) {
        if (cloud_is_elsewhere(&r, &failed) || r.status == 404) {
            *ret_why = xasprintf("ecr: no AWS credentials in environment and files, and %s",
                                 failed.message);
            error_clear(&failed);
            return 0;
        }
        error_move(err, &failed);
        return -1;
    }
    cleanup_secret char *token = first_line(&r);
    cleanup_secret char *header = xasprintf("X-aws-ec2-metadata-token: %s", token);
    int asked = ask_instance(q, HTTP_GET, roles, header, deadline, &r, &failed);
    cleanup_secret char *role = first_line(&r);
    if (r.status == 404 || (asked == 0 && !*role)) {
        error_clear(&failed);
        *ret_why = xstrdup("ecr: this instance has no role");
        return 0;
    }
    cleanup_free char *escaped = asked == 0 ? http_escape(role) : xstrdup("");
    cleanup_free char *path = xasprintf("%s%s", roles, escaped);
    if (asked != 0 || ask_instance(q, HTTP_GET, path, header, deadline, &r, &failed) != 0) {
        error_move(err, &failed);
        return -1;
    }
    return take_json(&r, "AWS' instance role", ret, err);
}

static int from_environment(const struct cloud_query *q, const char *region, const char *domain,
                            struct aws_keys *ret, struct error *err)
{
    static const char file_variable[] = "AWS_WEB_IDENTITY_TOKEN_FILE";
    const char *id = cloud_environment("AWS_ACCESS_KEY_ID");
    const char *secret = cloud_environment("AWS_SECRET_ACCESS_KEY");
    const char *token = cloud_environment("AWS_SESSION_TOKEN");
    const char *file = cloud_environment(file_variable), *role = cloud_environment("AWS_ROLE_ARN");
    if (id && secret) {
        *ret = (struct aws_keys){.id = xstrdup(id),
                                 .secret = xstrdup(secret),
                                 .token = token ? xstrdup(token) : NULL,
                                 .source = xstrdup("the environment's AWS_ACCESS_KEY_ID")};
        return 1;
    }
    if (!file || !role)
        return 0;
    return assume_role(q, region, domain, role, file_variable, file, ret, err);
}

int aws_keys_find(const struct cloud_query *q, const char *region, const char *domain,
                  struct aws_keys *ret, char **ret_why, struct error *err)
{
    int found = from_environment(q, region, domain, ret, err);
    if (found == 0)
        found = from_profile(q, region, domain, ret, ret_why, err);
    if (found == 0 && !*ret_why)
        found = from_container(q, ret, err);
    if (found == 0 && !*ret_why)
        found = from_instance(q, ret, ret_why, err);
    if (found < 0)
        aws_keys_release(ret);
    return found;
}
