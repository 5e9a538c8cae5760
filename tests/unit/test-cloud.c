/* The clouds' pure parts: whose a host is, AWS' files and URIs, Google's assertion. */
#include "warmer/cloud-aws.h"
#include "warmer/cloud-ecr.h"
#include "warmer/cloud-internal.h"
#include "warmer/google-jwt.h"

#include "cachedir/alloc.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *registry, *cloud; /* NULL: nobody's */
} hosts[] = {
    {"gcr.io", "google"},
    {"eu.gcr.io", "google"},
    {"GCR.io:443", "google"},
    {"europe-west1-docker.pkg.dev", "google"},
    {"xgcr.io", NULL},
    {"gcr.io.example.org", NULL},
    {"gcr.io.", NULL},
    {"pkg.dev.example.org", NULL},
    {"registry.k8s.io", NULL},
    {"docker.io", NULL},
    {"localhost:5000", NULL},
    {"[::1]:5000", NULL},
    {"", NULL},
    {"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"},
    {"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"},
    {"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "ecr"},
    {"123456789012.dkr-ecr.eu-west-1.on.aws", "ecr"},
    {"public.ecr.aws", "ecr"},
    {"12345678901.dkr.ecr.eu-west-1.amazonaws.com", NULL},
    {"1234567890123.dkr.ecr.eu-west-1.amazonaws.com", NULL},
    {"123456789012.dkr.ecr..amazonaws.com", NULL},
    {"123456789012.dkr.ecr.a.b.amazonaws.com", NULL},
    {"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", NULL},
    {"123456789012.dkr.ecr.evil.example/x.amazonaws.com", NULL},
    {"x.123456789012.dkr.ecr.eu-west-1.amazonaws.com", NULL},
    {"123456789012.dkr.s3.eu-west-1.amazonaws.com", NULL},
    {"123456789012.dkr.ecr.abcdefghijklmnopqrstuvwxyz0123456789.amazonaws.com", NULL},
    {"team.azurecr.io", "acr"},
    {"team.privatelink.azurecr.io", "acr"},
    {"team.azurecr.cn", "acr"},
    {"team.azurecr.us", "acr"},
    {"teamazurecr.io", NULL},
    {"azurecr.io.example.org", NULL},
    {"registry.gitlab.example", "gitlab"},
    {"registry.gitlab.example:443", "gitlab"},
    {"registry.gitlab.example:5050", NULL},
    {"gitlab.example", "gitlab"}, /* the dependency proxy, named with its port */
    {"sub.registry.gitlab.example", NULL},
};

static void knows_whose_a_host_is(void **state)
{
    (void)state;
    assert_int_equal(setenv("CI_REGISTRY", "registry.gitlab.example", 1), 0);
    assert_int_equal(setenv("CI_DEPENDENCY_PROXY_SERVER", "gitlab.example:443", 1), 0);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        const struct cloud *cloud = cloud_of(hosts[i].registry);
        const char *got = cloud ? cloud->name : "nobody";
        if (strcmp(got, hosts[i].cloud ? hosts[i].cloud : "nobody") != 0)
            fail_msg("%s is %s's", hosts[i].registry, got);
    }
    assert_ptr_equal(cloud_named("ecr"), &cloud_ecr);
    assert_null(cloud_named("env"));
}

static void knows_amazons_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *registry, *region, *service, *domain, *endpoint;
    } rows[] = {
        {"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", "ecr", "amazonaws.com",
         "https://api.ecr.eu-west-1.amazonaws.com"},
        {"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "ecr",
         "amazonaws.com.cn", "https://api.ecr.cn-north-1.amazonaws.com.cn"},
        {"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "us-east-1", "ecr", "amazonaws.com",
         "https://ecr-fips.us-east-1.amazonaws.com"},
        {"123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1", "ecr", "amazonaws.com",
         "https://ecr.eu-west-1.api.aws"},
        {"public.ecr.aws", "us-east-1", "ecr-public", "amazonaws.com",
         "https://api.ecr-public.us-east-1.amazonaws.com"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ecr_host h;
        assert_true(ecr_host_parse(rows[i].registry, &h));
        if (strcmp(h.region, rows[i].region) != 0 || strcmp(h.service, rows[i].service) != 0 ||
            strcmp(h.domain, rows[i].domain) != 0 || strcmp(h.endpoint, rows[i].endpoint) != 0)
            fail_msg("%s: %s %s %s %s", rows[i].registry, h.region, h.service, h.domain,
                     h.endpoint);
    }
}

static void reads_profiles(void **state)
{
    (void)state;
    static const char text[] = "# [default]\n"
                               "aws_access_key_id = outside\n"
                               "[default]\n"
                               "aws_access_key_id = one\r\n"
                               " aws_access_key_id = nested\n"
                               "; aws_access_key_id = comment\n"
                               "empty =\n"
                               "pair = a=b\n"
                               "no equals\n"
                               "[ spaced ]\n"
                               "aws_access_key_id=two\n"
                               "aws_access_key_id =\t three \n"
                               "[unclosed\n"
                               "[profile x]\n"
                               "last = end";
    static const struct {
        const char *section, *key, *want; /* NULL: none */
    } rows[] = {
        {"default", "aws_access_key_id", "one"},
        {"default", "empty", NULL},
        {"default", "pair", "a=b"},
        {"default", "absent", NULL},
        {"default", "no equals", NULL},
        {"spaced", "aws_access_key_id", "three"},
        {"profile x", "last", "end"},
        {"x", "last", NULL},
        {"", "aws_access_key_id", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_secret char *got =
            aws_profile_value(text, strlen(text), rows[i].section, rows[i].key);
        if ((got == NULL) != (rows[i].want == NULL) || (got && strcmp(got, rows[i].want) != 0))
            fail_msg("[%s] %s: %s", rows[i].section, rows[i].key, got ? got : "none");
    }
    static const char nul[] = "[default]\nkey = \0hush\n";
    assert_null(aws_profile_value(nul, sizeof nul - 1, "default", "key"));
}

static void judges_urls(void **state)
{
    (void)state;
    static const struct {
        const char *uri;
        bool container, secrets; /* may credentials come from there; may they go there */
    } rows[] = {
        {"https://example.org/x", true, true},
        {"http://127.0.0.1:8080/x", true, true},
        {"http://localhost/x", true, true},
        {"http://[::1]:80/", true, true},
        {"http://169.254.170.2/v2/x", true, false},
        {"http://169.254.170.23/v1/credentials", true, false},
        {"http://[fd00:ec2::23]/v1/credentials", true, false},
        {"http://169.254.170.2.example.org/", false, false},
        {"http://169.254.170.23@example.org/", false, false},
        {"http://169.254.170.23:80@example.org/", false, false},
        {"http://169.254.169.254/", false, false},
        {"http://127.0.0.1@example.org/", false, false},
        {"http://localhost.example.org/", false, false},
        {"http://10.0.0.1/", false, false},
        {"http://example.org/", false, false},
        {"ftp://127.0.0.1/", false, false},
        {"file:///etc/passwd", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (aws_container_uri_is_good(rows[i].uri) != rows[i].container ||
            cloud_url_keeps_secrets(rows[i].uri) != rows[i].secrets)
            fail_msg("%s", rows[i].uri);
}

static char *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &data);
    char *pem = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return pem;
}

/* Out of base64url; owned. */
static unsigned char *decode(const char *text, size_t len, size_t *ret_len)
{
    cleanup_free char *padded = xcalloc(1, len + 4);
    for (size_t i = 0; i < len; i++)
        padded[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    size_t padding = (4 - len % 4) % 4;
    memset(padded + len, '=', padding);
    unsigned char *bytes = xcalloc(1, len + 4);
    int n = EVP_DecodeBlock(bytes, (const unsigned char *)padded, (int)(len + padding));
    assert_true(n >= (int)padding);
    *ret_len = (size_t)n - padding;
    bytes[*ret_len] = '\0';
    return bytes;
}

static void signs_assertions(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    cleanup_free char *pem = pem_of(key);
    cleanup_error struct error err = {0};
    struct google_claims claims = {.issuer = "a\"b@example.org",
                                   .scope = "s",
                                   .audience = "https://example.org/token",
                                   .key_id = "k",
                                   .now = 1000};
    cleanup_secret char *jwt = google_jwt(&claims, pem, &err);
    assert_non_null(jwt);
    char *first = strchr(jwt, '.'), *second = strrchr(jwt, '.');
    assert_true(first && second > first);
    size_t len;
    cleanup_free char *head = (char *)decode(jwt, (size_t)(first - jwt), &len);
    assert_string_equal(head, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k\"}");
    cleanup_free char *body = (char *)decode(first + 1, (size_t)(second - first - 1), &len);
    assert_string_equal(body, "{\"iss\":\"a\\\"b@example.org\",\"scope\":\"s\",\"aud\":"
                              "\"https://example.org/token\",\"iat\":1000,\"exp\":4600}");
    cleanup_free unsigned char *signature = decode(second + 1, strlen(second + 1), &len);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(context, signature, len, (const unsigned char *)jwt,
                                      (size_t)(second - jwt)),
                     1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);

    claims.key_id = NULL;
    cleanup_secret char *bare = google_jwt(&claims, pem, &err);
    assert_non_null(bare);
    assert_int_equal(strncmp(bare, "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.", 37), 0);

    EVP_PKEY *curve = EVP_EC_gen("P-256");
    cleanup_free char *other = pem_of(curve);
    EVP_PKEY_free(curve);
    const char *const bad[] = {"", "hush", other, "-----BEGIN PRIVATE KEY-----\nhush\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cleanup_error struct error refused = {0};
        assert_null(google_jwt(&claims, bad[i], &refused));
        assert_int_equal(refused.kind, ERROR_CONFIG);
        assert_null(strstr(refused.message, "hush"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_whose_a_host_is), cmocka_unit_test(knows_amazons_endpoints),
        cmocka_unit_test(reads_profiles),        cmocka_unit_test(judges_urls),
        cmocka_unit_test(signs_assertions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
