/*
 * Google: an access token, which the registries take as the password of "oauth2accesstoken". It is
 * had for the key file that GOOGLE_APPLICATION_CREDENTIALS names (of a service account, of an
 * external account, which is workload identity federation, or of a user), or else from the metadata
 * server, which is also how GKE's workload identity gives it.
 */
#include "cloud-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "google-jwt.h"

#include <string.h>
#include <time.h>

#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define KEY_VARIABLE "GOOGLE_APPLICATION_CREDENTIALS"
#define METADATA "169.254.169.254" /* a name would ask DNS, which may take its time */
#define TOKEN_URI "https://oauth2.googleapis.com/token"

static const char token_endpoint[] = "Google's token endpoint";

static bool owns(const char *registry)
{
    return cloud_host_is_below(registry, "gcr.io") || cloud_host_is_below(registry, "pkg.dev");
}

/* Takes the JSON's words; `source` is owned by the answer then. */
static int take_token(const struct http_response *r, const char *what, const char *member,
                      struct answer *ret, struct error *err)
{
    cleanup_cloud_json json_t *root = cloud_json(r, what, err);
    const char *token = root ? cloud_text(root, member, what, err) : NULL;
    if (!token)
        return -1;
    ret->credential.username = xstrdup("oauth2accesstoken");
    ret->credential.password = xstrdup(token);
    ret->lifetime_s = cloud_seconds(root, "expires_in");
    time_t ends;
    const char *at = json_string_value(json_object_get(root, "expireTime"));
    int64_t now = (int64_t)time(NULL) + cloud_skew(r);
    if (at && time_parse(at, &ends) && (int64_t)ends > now)
        ret->lifetime_s = (int64_t)ends - now;
    return 1;
}

static int post_form(const struct cloud_query *q, const char *url, const char *body,
                     struct http_response *r, struct error *err)
{
    const struct cloud_call call = {
        .method = HTTP_POST, .url = url, .body = body, .what = token_endpoint};
    return cloud_call(q, &call, r, err);
}

/* ---- key files ---- */

struct key_file {
    const char *path;
    const json_t *root;
};

static int nonsense(const struct key_file *key, const char *why, struct error *err)
{
    return error_set(err, ERROR_CONFIG, KEY_VARIABLE ": %s: %s", key->path, why);
}

/* A member that must be there; NULL with *err. */
static const char *member_of(const struct key_file *key, const json_t *object, const char *name,
                             struct error *err)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text && *text)
        return text;
    cleanup_free char *why = xasprintf("%s is missing, or no text", name);
    (void)nonsense(key, why, err);
    return NULL;
}

/* An URL that secrets are sent to. */
static const char *endpoint_of(const struct key_file *key, const char *name, const char *usual,
                               struct error *err)
{
    const char *url = json_string_value(json_object_get(key->root, name));
    if (!url || !*url)
        url = usual;
    if (url && cloud_url_keeps_secrets(url))
        return url;
    cleanup_free char *why = xasprintf("%s must be an https URL", name);
    (void)nonsense(key, why, err);
    return NULL;
}

static int send_assertion(const struct cloud_query *q, const struct google_claims *claims,
                          const char *pem, struct http_response *r, struct error *err)
{
    cleanup_secret char *jwt = google_jwt(claims, pem, err);
    if (!jwt)
        return -1;
    char *form =
        http_form_add(xstrdup(""), "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    form = http_form_add(form, "assertion", jwt);
    cleanup_secret char *body = form;
    return post_form(q, claims->audience, body, r, err);
}

static int by_service_account(const struct cloud_query *q, const struct key_file *key,
                              struct answer *ret, struct error *err)
{
    const char *pem = member_of(key, key->root, "private_key", err);
    struct google_claims claims = {
        .issuer = pem ? member_of(key, key->root, "client_email", err) : NULL,
        .key_id = json_string_value(json_object_get(key->root, "private_key_id")),
        .scope = SCOPE,
        .now = time(NULL),
    };
    if (!claims.issuer || !(claims.audience = endpoint_of(key, "token_uri", TOKEN_URI, err)))
        return -1;
    cleanup_http_response struct http_response r = {0};
    struct error failed = {0};
    int result = send_assertion(q, &claims, pem, &r, &failed);
    int64_t skew = result > 0 && r.status / 100 == 4 ? cloud_skew(&r) : 0;
    if (skew) {
        error_clear(&failed);
        claims.now += (time_t)skew;
        result = send_assertion(q, &claims, pem, &r, &failed);
    }
    if (result != 0) {
        error_move(err, &failed);
        return error_prefix(err, "%s", key->path);
    }
    return take_token(&r, token_endpoint, "access_token", ret, err);
}

static int by_user(const struct cloud_query *q, const struct key_file *key, struct answer *ret,
                   struct error *err)
{
    static const char *const names[] = {"client_id", "client_secret", "refresh_token"};
    char *form = http_form_add(xstrdup(""), "grant_type", "refresh_token");
    cleanup_secret char *body = form;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = member_of(key, key->root, names[i], err);
        if (!value)
            return -1;
        body = http_form_add(body, names[i], value);
    }
    const char *url = endpoint_of(key, "token_uri", TOKEN_URI, err);
    cleanup_http_response struct http_response r = {0};
    if (!url || post_form(q, url, body, &r, err) != 0)
        return -1;
    return take_token(&r, token_endpoint, "access_token", ret, err);
}

/* ---- external accounts ---- */

/* The token out of what the source said: all of it, or a member. Owned; NULL with *err. */
static char *subject_from(const struct key_file *key, const json_t *source, const char *text,
                          struct error *err)
{
    const json_t *format = json_object_get(source, "format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type || strcmp(type, "text") == 0)
        return xstrndup(text, strcspn(text, "\r\n"));
    const char *field = member_of(key, format, "subject_token_field_name", err);
    if (!field)
        return NULL;
    cleanup_cloud_json json_t *root = json_loads(text, 0, NULL);
    const char *token = json_string_value(json_object_get(root, field));
    if (token && *token)
        return xstrdup(token);
    (void)nonsense(key, "what credential_source gives has no such subject_token_field_name", err);
    return NULL;
}

static char *subject_by_url(const struct cloud_query *q, const struct key_file *key,
                            const json_t *source, const char *url, struct error *err)
{
    char *lines[9] = {NULL};
    size_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(source, "headers"), name, value)
    {
        if (count < sizeof lines / sizeof *lines - 1 && json_is_string(value))
            lines[count++] = xasprintf("%s: %s", name, json_string_value(value));
    }
    cleanup_http_response struct http_response r = {0};
    const struct cloud_call call = {.url = url,
                                    .headers = (const char *const *)lines,
                                    .what = "the external account's credential_source"};
    int result = cloud_call(q, &call, &r, err);
    for (size_t i = 0; i < count; i++)
        secret_free(lines[i]);
    return result == 0 ? subject_from(key, source, r.body ? r.body : "", err) : NULL;
}

static char *subject_token(const struct cloud_query *q, const struct key_file *key,
                           struct error *err)
{
    const json_t *source = json_object_get(key->root, "credential_source");
    const char *file = json_string_value(json_object_get(source, "file"));
    const char *url = json_string_value(json_object_get(source, "url"));
    if (file && *file) {
        cleanup_secret_file struct secret_file content = {0};
        static const struct cloud_query nobody;
        if (cloud_read_file(&nobody, "credential_source", file, &content, err) < 0)
            return NULL;
        return subject_from(key, source, content.bytes, err);
    }
    if (url && *url && !json_object_get(source, "environment_id"))
        return subject_by_url(q, key, source, url, err);
    (void)nonsense(key,
                   "only a file or a url is understood as credential_source here: for others, "
                   "docker-credential-gcr helps",
                   err);
    return NULL;
}

static int impersonate(const struct cloud_query *q, const char *url, const char *token,
                       struct answer *ret, struct error *err)
{
    static const char what[] = "Google's IAM";
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    cleanup_secret char *bearer = xasprintf("Bearer %s", token);
    const struct cloud_call call = {.method = HTTP_POST,
                                    .url = url,
                                    .headers = headers,
                                    .authorization = bearer,
                                    .body = "{\"scope\":[\"" SCOPE "\"],\"lifetime\":\"3600s\"}",
                                    .what = what};
    cleanup_http_response struct http_response r = {0};
    return cloud_call(q, &call, &r, err) != 0 ? -1 : take_token(&r, what, "accessToken", ret, err);
}

static int by_external_account(const struct cloud_query *q, const struct key_file *key,
                               struct answer *ret, struct error *err)
{
    static const char impersonation[] = "service_account_impersonation_url";
    const char *audience = member_of(key, key->root, "audience", err);
    const char *type = audience ? member_of(key, key->root, "subject_token_type", err) : NULL;
    const char *url = type ? endpoint_of(key, "token_url", NULL, err) : NULL;
    const char *as = NULL;
    if (!url || (json_object_get(key->root, impersonation) &&
                 !(as = endpoint_of(key, impersonation, NULL, err))))
        return -1;
    cleanup_secret char *subject = subject_token(q, key, err);
    if (!subject)
        return -1;
    char *form =
        http_form_add(xstrdup(""), "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
    form = http_form_add(form, "audience", audience);
    form = http_form_add(form, "scope", SCOPE);
    form = http_form_add(form, "requested_token_type",
                         "urn:ietf:params:oauth:token-type:access_token");
    form = http_form_add(form, "subject_token_type", type);
    form = http_form_add(form, "subject_token", subject);
    cleanup_secret char *body = form;
    cleanup_http_response struct http_response r = {0};
    struct answer first = {0};
    if (post_form(q, url, body, &r, err) != 0)
        return -1;
    int result = take_token(&r, token_endpoint, "access_token", as ? &first : ret, err);
    if (result > 0 && as)
        result = impersonate(q, as, first.credential.password, ret, err);
    answer_release(&first);
    return result;
}

static int by_key_file(const struct cloud_query *q, const char *path, struct answer *ret,
                       struct error *err)
{
    static const struct {
        const char *type;
        int (*ask)(const struct cloud_query *, const struct key_file *, struct answer *,
                   struct error *);
    } types[] = {
        {"service_account", by_service_account},
        {"external_account", by_external_account},
        {"authorized_user", by_user},
    };
    cleanup_secret_file struct secret_file file = {0};
    if (cloud_read_file(q, KEY_VARIABLE, path, &file, err) < 0)
        return -1;
    json_error_t where;
    cleanup_cloud_json json_t *root = json_loadb(file.bytes, file.len, 0, &where);
    const struct key_file key = {.path = path, .root = root};
    if (!root) {
        cleanup_free char *why =
            xasprintf("line %d, column %d: not JSON", where.line, where.column);
        return nonsense(&key, why, err);
    }
    const char *type = member_of(&key, root, "type", err);
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].type) == 0) {
            int result = types[i].ask(q, &key, ret, err);
            if (result > 0)
                ret->credential.source = xasprintf("Google, for %s", path);
            return result;
        }
    if (!type)
        return -1;
    cleanup_free char *shown = text_foreign_str(type);
    cleanup_free char *why = xasprintf("no way is known for the type %s", shown);
    return nonsense(&key, why, err);
}

/* ---- the metadata server ---- */

static int by_metadata(const struct cloud_query *q, struct answer *ret, struct error *err)
{
    static const char what[] = "Google's metadata server";
    static const char *const headers[] = {"Metadata-Flavor: Google", NULL};
    const char *host = cloud_environment("GCE_METADATA_HOST");
    cleanup_free char *url =
        xasprintf("http://%s/computeMetadata/v1/instance/service-accounts/default/token",
                  host ? host : METADATA);
    const struct cloud_call call = {.url = url,
                                    .headers = headers,
                                    .timeout_ns = CLOUD_METADATA_NS,
                                    .direct = true,
                                    .what = what};
    cleanup_http_response struct http_response r = {0};
    struct error failed = {0};
    int result = cloud_call(q, &call, &r, &failed);
    if (result != 0 && (cloud_is_elsewhere(&r, &failed) || failed.kind == ERROR_REFUSED)) {
        ret->why = xasprintf("google: " KEY_VARIABLE " is not set, and %s", failed.message);
        error_clear(&failed);
        return 0;
    }
    if (result != 0) {
        error_move(err, &failed);
        return -1;
    }
    result = take_token(&r, what, "access_token", ret, err);
    if (result > 0)
        ret->credential.source = xstrdup(what);
    return result;
}

static int ask(const struct cloud_query *q, struct answer *ret, struct error *err)
{
    const char *path = cloud_environment(KEY_VARIABLE);
    return path ? by_key_file(q, path, ret, err) : by_metadata(q, ret, err);
}

const struct cloud cloud_google = {.name = "google", .one_for_all = true, .owns = owns, .ask = ask};
