/*
 * ECR: GetAuthorizationToken, signed, gives a password for Basic, good for twelve hours.
 */
#include "cloud-ecr.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "cloud-aws.h"
#include "cloud-internal.h"

#include <string.h>
#include <time.h>

#define ACCOUNT_DIGITS 12

/* Behind "ACCOUNT.dkr" and the region; and where the API of such a registry is. */
static const struct {
    const char *infix, *suffix, *domain, *endpoint;
} kinds[] = {
    {".ecr.", ".amazonaws.com", "amazonaws.com", "https://api.ecr.%s.amazonaws.com"},
    {".ecr.", ".amazonaws.com.cn", "amazonaws.com.cn", "https://api.ecr.%s.amazonaws.com.cn"},
    {".ecr.", ".amazonaws.eu", "amazonaws.eu", "https://api.ecr.%s.amazonaws.eu"},
    {".ecr-fips.", ".amazonaws.com", "amazonaws.com", "https://ecr-fips.%s.amazonaws.com"},
    {"-ecr.", ".on.aws", "amazonaws.com", "https://ecr.%s.api.aws"},
    {"-ecr-fips.", ".on.aws", "amazonaws.com", "https://ecr-fips.%s.api.aws"},
    {"-ecr.", ".on.amazonwebservices.com.cn", "amazonaws.com.cn",
     "https://ecr.%s.api.amazonwebservices.com.cn"},
};

static bool parse_kind(const char *rest, size_t kind, struct ecr_host *ret)
{
    const char *infix = kinds[kind].infix, *suffix = kinds[kind].suffix;
    if (strncmp(rest, infix, strlen(infix)) != 0)
        return false;
    rest += strlen(infix);
    size_t len = strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (len == 0 || len >= sizeof ret->region || strcmp(rest + len, suffix) != 0)
        return false;
    *ret = (struct ecr_host){.service = "ecr", .domain = kinds[kind].domain};
    memcpy(ret->region, rest, len);
    const char *format = kinds[kind].endpoint, *at = strstr(format, "%s");
    (void)snprintf(ret->endpoint, sizeof ret->endpoint, "%.*s%s%s", (int)(at - format), format,
                   ret->region, at + 2);
    return true;
}

bool ecr_host_parse(const char *registry, struct ecr_host *ret)
{
    static const char infix[] = ".dkr";
    cleanup_free char *host = cloud_host(registry);
    if (strcmp(host, "public.ecr.aws") == 0) {
        *ret = (struct ecr_host){.region = "us-east-1",
                                 .service = "ecr-public",
                                 .domain = "amazonaws.com",
                                 .endpoint = "https://api.ecr-public.us-east-1.amazonaws.com",
                                 .is_public = true};
        return true;
    }
    const char *rest = host + ACCOUNT_DIGITS;
    if (strspn(host, "0123456789") != ACCOUNT_DIGITS || strncmp(rest, infix, strlen(infix)) != 0)
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (parse_kind(rest + strlen(infix), i, ret))
            return true;
    return false;
}

static bool owns(const char *registry)
{
    struct ecr_host host;
    return ecr_host_parse(registry, &host);
}

/* The time for the signature, when the server's clock goes differently: "X-Amz-Date: 20261124T..."
 */
static char *date_header(int64_t skew)
{
    cleanup_free char *text = time_format(time(NULL) + (time_t)skew);
    char *header = xasprintf("X-Amz-Date: %s", text), *to = header + strlen("X-Amz-Date: ");
    for (const char *from = to; *from; from++)
        if (*from != '-' && *from != ':')
            *to++ = *from;
    *to = '\0';
    return header;
}

static int get_token(const struct cloud_query *q, const struct ecr_host *host,
                     const struct aws_keys *keys, int64_t skew, struct http_response *r,
                     struct error *err)
{
    const struct http_signature signature = {
        .region = host->region, .service = host->service, .key = keys->id, .secret = keys->secret};
    cleanup_free char *url = aws_endpoint(host->is_public ? "ECR_PUBLIC" : "ECR", host->endpoint);
    cleanup_secret char *token =
        keys->token ? xasprintf("X-Amz-Security-Token: %s", keys->token) : NULL;
    cleanup_free char *date = skew ? date_header(skew) : NULL;
    const char *headers[6] = {"Content-Type: application/x-amz-json-1.1",
                              host->is_public
                                  ? "X-Amz-Target: SpencerFrontendService.GetAuthorizationToken"
                                  : "X-Amz-Target: AmazonEC2ContainerRegistry_V20150921."
                                    "GetAuthorizationToken"};
    size_t count = 2;
    if (token)
        headers[count++] = token;
    if (date)
        headers[count++] = date;
    const struct cloud_call call = {.method = HTTP_POST,
                                    .url = url,
                                    .headers = headers,
                                    .body = "{}",
                                    .signature = &signature,
                                    .what = "AWS ECR"};
    return cloud_call(q, &call, r, err);
}

static int take_token(const struct http_response *r, const struct aws_keys *keys,
                      struct answer *ret, struct error *err)
{
    static const char what[] = "AWS ECR";
    cleanup_cloud_json json_t *root = cloud_json(r, what, err);
    if (!root)
        return -1;
    const json_t *data = json_object_get(root, "authorizationData");
    if (json_is_array(data))
        data = json_array_get(data, 0);
    const char *token = cloud_text(data, "authorizationToken", what, err);
    if (!token)
        return -1;
    cleanup_secret char *text = secret_base64(token);
    char *colon = text ? strchr(text, ':') : NULL;
    if (!colon || colon == text)
        return error_set(err, ERROR_PROTOCOL, "%s: its token is not the base64 of USER:PASSWORD",
                         what);
    ret->credential.username = xstrndup(text, (size_t)(colon - text));
    ret->credential.password = xstrdup(colon + 1);
    ret->credential.source = xasprintf("AWS ECR, for %s", keys->source);
    int64_t expires = cloud_seconds(data, "expiresAt");
    int64_t now = (int64_t)time(NULL) + cloud_skew(r);
    ret->lifetime_s = expires > now ? expires - now : 0;
    return 1;
}

static int ask(const struct cloud_query *q, struct answer *ret, struct error *err)
{
    struct ecr_host host;
    cleanup_aws_keys struct aws_keys keys = {0};
    if (!ecr_host_parse(q->registry, &host))
        return 0;
    int found = aws_keys_find(q, host.region, host.domain, &keys, &ret->why, err);
    if (found <= 0)
        return found;
    cleanup_http_response struct http_response r = {0};
    struct error failed = {0};
    int result = get_token(q, &host, &keys, 0, &r, &failed);
    int64_t skew = result > 0 && r.status / 100 == 4 ? cloud_skew(&r) : 0;
    if (skew) { /* a signature is good for five minutes around its time */
        error_clear(&failed);
        result = get_token(q, &host, &keys, skew, &r, &failed);
    }
    if (result != 0) {
        (void)error_prefix(&failed, "for %s", keys.source);
        error_move(err, &failed);
        return -1;
    }
    return take_token(&r, &keys, ret, err);
}

const struct cloud cloud_ecr = {.name = "ecr", .owns = owns, .ask = ask};
