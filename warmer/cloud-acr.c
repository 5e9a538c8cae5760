/*
 * Azure: a token of Entra ID (Azure AD), which the registry itself exchanges for a refresh token:
 * an identity token like docker login's, of the user with the nil GUID. Entra ID gives its token
 * for
 *
 *     AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET            a service principal
 *     the same with AZURE_FEDERATED_TOKEN_FILE                            workload identity
 *     IDENTITY_ENDPOINT and IDENTITY_HEADER, or the instance's metadata   a managed identity
 */
#include "cloud-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <string.h>

#define RESOURCE "https://containerregistry.azure.net"
#define METADATA "http://169.254.169.254"
#define REFRESH_LIFETIME_S (3 * 3600)

static const struct {
    const char *suffix, *authority;
} kinds[] = {
    {"azurecr.io", "https://login.microsoftonline.com"},
    {"azurecr.us", "https://login.microsoftonline.us"},
    {"azurecr.cn", "https://login.chinacloudapi.cn"},
    {"azurecr.de", "https://login.microsoftonline.de"},
};

static const char *authority_of(const char *registry)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (cloud_host_is_below(registry, kinds[i].suffix))
            return kinds[i].authority;
    return NULL;
}

static bool owns(const char *registry)
{
    return authority_of(registry) != NULL;
}

struct identity {
    char *token; /* Entra ID's: a secret */
    const char *source;
};

static int take_token(const struct http_response *r, const char *what, struct identity *ret,
                      struct error *err)
{
    cleanup_cloud_json json_t *root = cloud_json(r, what, err);
    const char *token = root ? cloud_text(root, "access_token", what, err) : NULL;
    if (!token)
        return -1;
    ret->token = xstrdup(token);
    return 1;
}

/* A client with a secret, or with the assertion that Kubernetes signed. */
static int by_client(const struct cloud_query *q, struct identity *ret, struct error *err)
{
    static const char what[] = "Entra ID", file_variable[] = "AZURE_FEDERATED_TOKEN_FILE";
    const char *client = cloud_environment("AZURE_CLIENT_ID");
    const char *tenant = cloud_environment("AZURE_TENANT_ID");
    const char *secret = cloud_environment("AZURE_CLIENT_SECRET");
    const char *file = cloud_environment(file_variable);
    const char *own = cloud_environment("AZURE_AUTHORITY_HOST");
    if (!client || !tenant || (!secret && !file))
        return 0;
    const char *authority = own ? own : authority_of(q->registry);
    if (!cloud_url_keeps_secrets(authority))
        return error_set(err, ERROR_CONFIG, "AZURE_AUTHORITY_HOST must be an https URL");
    cleanup_secret char *assertion = secret ? NULL : cloud_read_secret(file_variable, file, err);
    if (!secret && !assertion)
        return -1;
    char *form = http_form_add(xstrdup(""), "grant_type", "client_credentials");
    form = http_form_add(form, "client_id", client);
    form = http_form_add(form, "scope", RESOURCE "/.default");
    form = http_form_add(form, "client_secret", secret);
    form =
        http_form_add(form, "client_assertion_type",
                      assertion ? "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" : NULL);
    form = http_form_add(form, "client_assertion", assertion);
    cleanup_secret char *body = form;
    cleanup_free char *escaped = http_escape(tenant);
    cleanup_free char *path = xasprintf("/%s/oauth2/v2.0/token", escaped);
    cleanup_free char *url = cloud_url(authority, path);
    cleanup_http_response struct http_response r = {0};
    const struct cloud_call call = {.method = HTTP_POST, .url = url, .body = body, .what = what};
    if (cloud_call(q, &call, &r, err) != 0)
        return -1;
    ret->source = secret ? "the service principal of AZURE_CLIENT_SECRET"
                         : "the workload identity of AZURE_FEDERATED_TOKEN_FILE";
    return take_token(&r, what, ret, err);
}

static int by_managed_identity(const struct cloud_query *q, struct identity *ret, char **ret_why,
                               struct error *err)
{
    static const char what[] = "Azure's managed identity";
    const char *endpoint = cloud_environment("IDENTITY_ENDPOINT");
    const char *secret = cloud_environment("IDENTITY_HEADER");
    const char *base = cloud_environment("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    const bool app = endpoint && secret;
    char *query = http_form_add(xstrdup(""), "api-version", app ? "2019-08-01" : "2018-02-01");
    query = http_form_add(query, "resource", RESOURCE);
    query = http_form_add(query, "client_id", cloud_environment("AZURE_CLIENT_ID"));
    cleanup_free char *arguments = query;
    cleanup_free char *place =
        app ? xstrdup(endpoint)
            : cloud_url(base ? base : METADATA, "/metadata/identity/oauth2/token");
    cleanup_free char *url = http_url_add_query(place, arguments, err);
    if (!url)
        return error_prefix(err, "%s", what);
    cleanup_secret char *header =
        app ? xasprintf("X-IDENTITY-HEADER: %s", secret) : xstrdup("Metadata: true");
    const char *const headers[] = {header, NULL};
    const struct cloud_call call = {.url = url,
                                    .headers = headers,
                                    .timeout_ns = CLOUD_METADATA_NS,
                                    .direct = true,
                                    .what = what};
    cleanup_http_response struct http_response r = {0};
    struct error failed = {0};
    int result = cloud_call(q, &call, &r, &failed);
    if (result != 0 && (cloud_is_elsewhere(&r, &failed) || failed.kind == ERROR_REFUSED)) {
        *ret_why = xasprintf("acr: no AZURE_CLIENT_ID with AZURE_TENANT_ID and a secret or token "
                             "file, and %s",
                             failed.message);
        error_clear(&failed);
        return 0;
    }
    if (result != 0) {
        error_move(err, &failed);
        return -1;
    }
    ret->source = what;
    return take_token(&r, what, ret, err);
}

/* The registry's own endpoint: it gets Entra ID's token, and nobody else does. */
static int exchange(const struct cloud_query *q, const struct identity *identity,
                    struct answer *ret, struct error *err)
{
    static const char what[] = "the registry's token exchange";
    cleanup_free char *url = cloud_url(q->origin, "/oauth2/exchange");
    char *form = http_form_add(xstrdup(""), "grant_type", "access_token");
    form = http_form_add(form, "service", q->registry);
    form = http_form_add(form, "tenant", cloud_environment("AZURE_TENANT_ID"));
    form = http_form_add(form, "access_token", identity->token);
    cleanup_secret char *body = form;
    cleanup_http_response struct http_response r = {0};
    const struct cloud_call call = {
        .method = HTTP_POST, .url = url, .body = body, .to_registry = true, .what = what};
    if (cloud_call(q, &call, &r, err) != 0)
        return error_prefix(err, "for %s", identity->source);
    cleanup_cloud_json json_t *root = cloud_json(&r, what, err);
    const char *token = root ? cloud_text(root, "refresh_token", what, err) : NULL;
    if (!token)
        return -1;
    ret->credential.username = xstrdup("00000000-0000-0000-0000-000000000000");
    ret->credential.password = xstrdup(token);
    ret->credential.identity_token = xstrdup(token);
    ret->credential.source = xasprintf("Azure, for %s", identity->source);
    ret->lifetime_s = REFRESH_LIFETIME_S;
    return 1;
}

static int ask(const struct cloud_query *q, struct answer *ret, struct error *err)
{
    struct identity identity = {0};
    int result = by_client(q, &identity, err);
    if (result == 0)
        result = by_managed_identity(q, &identity, &ret->why, err);
    if (result > 0)
        result = exchange(q, &identity, ret, err);
    secret_free(identity.token);
    return result;
}

const struct cloud cloud_acr = {.name = "acr", .owns = owns, .ask = ask};
