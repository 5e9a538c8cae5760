/* TLS: whom the transport trusts, to whom it shows its certificate, and what it says otherwise. */
#include "tinyserver.h"
#include "warmer/http.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

/* A self-signed certificate and its key, in memory and as files. */
struct identity {
    X509 *certificate;
    EVP_PKEY *key;
    char *certificate_file, *key_file;
};

static char directory[] = "/tmp/basewarm-tls-XXXXXX";
static struct identity server_identity, other_identity, client_identity, misnamed_identity;

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void identity_make(struct identity *id, const char *name, const char *alternative)
{
    id->key = EVP_EC_gen("P-256");
    id->certificate = X509_new();
    assert_non_null(id->key);
    X509 *c = id->certificate;
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 3600);
    X509_set_pubkey(c, id->key);
    X509_NAME *subject = X509_get_subject_name(c);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c, subject);
    add_extension(c, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(c, NID_subject_alt_name, alternative);
    assert_true(X509_sign(c, id->key, EVP_sha256()) > 0);

    id->certificate_file = xasprintf("%s/%s.pem", directory, name);
    id->key_file = xasprintf("%s/%s.key", directory, name);
    FILE *file = fopen(id->certificate_file, "we");
    assert_int_equal(PEM_write_X509(file, c), 1);
    fclose(file);
    file = fopen(id->key_file, "we");
    assert_int_equal(PEM_write_PrivateKey(file, id->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
}

static void identity_release(struct identity *id)
{
    unlink(id->certificate_file);
    unlink(id->key_file);
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
    free(id->certificate_file);
    free(id->key_file);
}

static int accept_any(int ok, X509_STORE_CTX *context)
{
    (void)ok, (void)context;
    return 1;
}

static SSL_CTX *server_context(const struct identity *id, int client_mode)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, id->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, id->key), 1);
    SSL_CTX_set_verify(ctx, client_mode, accept_any);
    static const unsigned char session[] = "test";
    SSL_CTX_set_session_id_context(ctx, session, sizeof session);
    return ctx;
}

/* Answers with the name on the client's certificate. */
static bool reply_name(struct tiny_connection *c, const char *request, void *userdata)
{
    (void)request, (void)userdata;
    char name[64] = "nobody";
    X509 *peer = c->ssl ? SSL_get1_peer_certificate(c->ssl) : NULL;
    if (peer)
        X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, name, sizeof name);
    X509_free(peer);
    tiny_send(c, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(name), name);
    return true;
}

struct setup {
    struct tiny_server server;
    SSL_CTX *ctx;
    struct http *http;
    struct http_client *client;
    char *url;
};

static void setup(struct setup *s, const struct identity *id, int client_mode)
{
    *s = (struct setup){0};
    s->ctx = server_context(id, client_mode);
    s->server.tls = s->ctx;
    tiny_start(&s->server, reply_name, NULL);
    assert_int_equal(http_new(&(struct http_options){0}, &s->http, NULL), 0);
    s->client = http_client_new(s->http);
    s->url = xasprintf("https://127.0.0.1:%u/", s->server.port);
}

static void teardown(struct setup *s)
{
    http_client_free(s->client);
    http_free(s->http);
    tiny_stop(&s->server);
    SSL_CTX_free(s->ctx);
    free(s->url);
}

static struct trust *trust_for(struct http *h, bool skip_verify, const char *certificate,
                               const struct identity *client)
{
    const char *const certificates[] = {certificate, NULL};
    const struct trust_options options = {
        .skip_verify = skip_verify,
        .certificates = certificates,
        .client_certificate = client ? client->certificate_file : NULL,
        .client_key = client ? client->key_file : NULL,
    };
    struct trust *t = NULL;
    assert_int_equal(trust_new(http_roots(h), &options, &t, NULL), 0);
    return t;
}

/* "" on success with the client's certificate's name in `name`, else what was said. */
static char *ask(struct setup *s, const struct trust *trust, bool client_certificate, char name[64],
                 enum error_kind *ret_kind)
{
    cleanup_http_response struct http_response r = {0};
    cleanup_error struct error err = {0};
    struct http_request q = {.url = s->url,
                             .trust = trust,
                             .client_certificate = client_certificate,
                             .limit = ADDRESS_LOOPBACK};
    int result = http_perform(s->client, &q, &r, &err);
    (void)snprintf(name, 64, "%s", r.body ? r.body : "");
    *ret_kind = err.kind;
    return xstrdup(result < 0 ? err.message : "");
}

static void test_trust(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, &server_identity, SSL_VERIFY_NONE);
    struct trust *added = trust_for(s.http, false, server_identity.certificate_file, NULL);
    struct trust *other = trust_for(s.http, false, other_identity.certificate_file, NULL);
    struct trust *skips = trust_for(s.http, true, NULL, NULL);
    /* One client, one server: what one trust has verified is never taken for another's, neither
     * the connection nor the TLS session. */
    const struct {
        const struct trust *trust;
        bool trusted;
    } rows[] = {{NULL, false},  {added, true}, {added, true}, {NULL, false},
                {other, false}, {skips, true}, {NULL, false}, {other, false},
                {added, true},  {skips, true}, {other, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        enum error_kind kind;
        cleanup_free char *says = ask(&s, rows[i].trust, false, name, &kind);
        if (rows[i].trusted ? kind != ERROR_NONE : kind != ERROR_CONFIG)
            fail_msg("row %zu: %s", i, says);
        if (!rows[i].trusted) {
            assert_non_null(strstr(says, "certificate is not trusted"));
            assert_non_null(strstr(says, "--registry-certificate"));
            assert_non_null(strstr(says, "--skip-tls-verify-registry"));
        }
    }
    assert_int_equal(tiny_requests(&s.server), 5); /* nothing was sent to whom it did not trust */
    trust_free(added);
    trust_free(other);
    trust_free(skips);
    teardown(&s);
}

/* Asked for by the server, shown only where the request says so. */
static void test_client_certificate(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, &server_identity, SSL_VERIFY_PEER);
    struct trust *t = trust_for(s.http, true, NULL, &client_identity);
    static const struct {
        bool show;
        const char *name;
    } rows[] = {{false, "nobody"}, {true, "client"}, {false, "nobody"}, {true, "client"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        enum error_kind kind;
        cleanup_free char *says = ask(&s, t, rows[i].show, name, &kind);
        assert_string_equal(says, "");
        if (strcmp(name, rows[i].name) != 0)
            fail_msg("row %zu: %s", i, name);
    }
    trust_free(t);
    teardown(&s);

    /* Demanded. */
    setup(&s, &server_identity, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
    t = trust_for(s.http, true, NULL, NULL);
    char name[64];
    enum error_kind kind;
    cleanup_free char *says = ask(&s, t, true, name, &kind);
    assert_int_equal(kind, ERROR_CONFIG);
    assert_non_null(strstr(says, "--registry-client-cert"));
    trust_free(t);
    teardown(&s);
}

static void test_wrong_name(void **state)
{
    (void)state;
    struct setup s;
    setup(&s, &misnamed_identity, SSL_VERIFY_NONE);
    struct trust *added = trust_for(s.http, false, misnamed_identity.certificate_file, NULL);
    struct trust *skips = trust_for(s.http, true, NULL, NULL);
    char name[64];
    enum error_kind kind;
    cleanup_free char *says = ask(&s, added, false, name, &kind);
    assert_int_equal(kind, ERROR_CONFIG);
    assert_non_null(strstr(says, "target host name '127.0.0.1'"));
    cleanup_free char *none = ask(&s, skips, false, name, &kind);
    assert_string_equal(none, "");
    trust_free(added);
    trust_free(skips);
    teardown(&s);
}

/* A server that is no TLS server, and one that hangs up. */

struct raw {
    const char *reply;
    int fd;
};

static void *raw_server(void *userdata)
{
    struct raw *raw = userdata;
    int fd = accept4(raw->fd, NULL, NULL, SOCK_CLOEXEC);
    char hello[4096];
    if (recv(fd, hello, sizeof hello, 0) > 0)
        (void)send(fd, raw->reply, strlen(raw->reply), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void test_no_tls(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum error_kind kind;
        const char *says;
    } rows[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", ERROR_CONFIG, "--insecure-registry"},
        {"", ERROR_TRANSIENT, "TLS"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof address;
        struct raw raw = {rows[i].reply, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        assert_int_equal(bind(raw.fd, (const struct sockaddr *)&address, len), 0);
        assert_int_equal(listen(raw.fd, 1), 0);
        assert_int_equal(getsockname(raw.fd, (struct sockaddr *)&address, &len), 0);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, raw_server, &raw), 0);

        struct http *h = NULL;
        assert_int_equal(http_new(&(struct http_options){0}, &h, NULL), 0);
        struct setup s = {.http = h, .client = http_client_new(h)};
        s.url = xasprintf("https://127.0.0.1:%u/", ntohs(address.sin_port));
        char name[64];
        enum error_kind kind;
        cleanup_free char *says = ask(&s, NULL, false, name, &kind);
        if (kind != rows[i].kind || !strstr(says, rows[i].says))
            fail_msg("row %zu: %s: %s", i, error_kind_name(kind), says);
        pthread_join(thread, NULL);
        close(raw.fd);
        free(s.url);
        http_client_free(s.client);
        http_free(h);
    }

    /* The other way round: plain HTTP to a TLS server. */
    struct setup s;
    setup(&s, &server_identity, SSL_VERIFY_NONE);
    free(s.url);
    s.url = xasprintf("http://127.0.0.1:%u/", s.server.port);
    char name[64];
    enum error_kind kind;
    cleanup_free char *says = ask(&s, NULL, false, name, &kind);
    if (kind != ERROR_PROTOCOL && kind != ERROR_TRANSIENT)
        fail_msg("%s", says);
    teardown(&s);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_files(void **state)
{
    (void)state;
    struct http *h = NULL;
    assert_int_equal(http_new(&(struct http_options){0}, &h, NULL), 0);
    cleanup_free char *junk = xasprintf("%s/junk", directory);
    cleanup_free char *missing = xasprintf("%s/missing", directory);
    cleanup_free char *locked = xasprintf("%s/locked", directory);
    write_file(junk, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    FILE *file = fopen(locked, "we");
    assert_int_equal(PEM_write_PrivateKey(file, client_identity.key, EVP_aes_128_cbc(),
                                          (const unsigned char *)"x", 1, NULL, NULL),
                     1);
    fclose(file);
    const struct {
        const char *certificate, *client, *key;
        const char *names, *says;
    } rows[] = {
        {missing, NULL, NULL, missing, "No such file"},
        {directory, NULL, NULL, directory, "directory"},
        {junk, NULL, NULL, junk, "no certificate"},
        {client_identity.key_file, NULL, NULL, client_identity.key_file, "no certificate"},
        {NULL, missing, client_identity.key_file, missing, "No such file"},
        {NULL, junk, client_identity.key_file, junk, "no certificate"},
        {NULL, client_identity.certificate_file, missing, missing, "No such file"},
        {NULL, client_identity.certificate_file, junk, junk, "no private key"},
        {NULL, client_identity.certificate_file, locked, locked, "passphrase"},
        {NULL, client_identity.certificate_file, other_identity.key_file, other_identity.key_file,
         "not the key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const certificates[] = {rows[i].certificate, NULL};
        const struct trust_options options = {.certificates = certificates,
                                              .client_certificate = rows[i].client,
                                              .client_key = rows[i].key};
        struct trust *t = NULL;
        cleanup_error struct error err = {0};
        if (trust_new(http_roots(h), &options, &t, &err) == 0)
            fail_msg("row %zu: taken", i);
        if (err.kind != ERROR_CONFIG || !strstr(err.message, rows[i].names) ||
            !strstr(err.message, rows[i].says))
            fail_msg("row %zu: %s", i, err.message);
    }
    unlink(junk);
    unlink(locked);
    http_free(h);
}

/* SSL_CERT_FILE and SSL_CERT_DIR. */
static void test_environment(void **state)
{
    (void)state;
    cleanup_free char *subdirectory = xasprintf("%s/roots", directory);
    cleanup_free char *in_it = xasprintf("%s/any-name", subdirectory);
    cleanup_free char *two = xasprintf("/nonexistent:%s", subdirectory);
    cleanup_free char *junk = xasprintf("%s/readme", subdirectory);
    assert_int_equal(mkdir(subdirectory, 0700), 0);
    assert_int_equal(link(server_identity.certificate_file, in_it), 0);
    write_file(junk, "not a certificate\n");
    const struct {
        const char *file, *directories;
        int trusted; /* -1: http_new fails */
    } rows[] = {
        {server_identity.certificate_file, NULL, 1},
        {other_identity.certificate_file, NULL, 0},
        {NULL, subdirectory, 1},
        {NULL, two, 1},
        {NULL, "/nonexistent", 0},
        {other_identity.certificate_file, subdirectory, 1},
        {"/nonexistent", NULL, -1},
        {junk, subdirectory, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsetenv("SSL_CERT_FILE");
        unsetenv("SSL_CERT_DIR");
        if (rows[i].file)
            setenv("SSL_CERT_FILE", rows[i].file, 1);
        if (rows[i].directories)
            setenv("SSL_CERT_DIR", rows[i].directories, 1);
        if (rows[i].trusted < 0) {
            struct http *h = NULL;
            cleanup_error struct error err = {0};
            assert_int_equal(http_new(&(struct http_options){0}, &h, &err), -1);
            assert_int_equal(err.kind, ERROR_CONFIG);
            assert_non_null(strstr(err.message, "SSL_CERT_FILE"));
            continue;
        }
        struct setup s;
        setup(&s, &server_identity, SSL_VERIFY_NONE);
        char name[64];
        enum error_kind kind;
        cleanup_free char *says = ask(&s, NULL, false, name, &kind);
        if ((kind == ERROR_NONE) != rows[i].trusted)
            fail_msg("row %zu: %s", i, says);
        teardown(&s);
    }
    unlink(junk);
    unlink(in_it);
    rmdir(subdirectory);
    unsetenv("SSL_CERT_FILE");
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
}

/* Several clients at once share the roots and the TLS sessions. */
static void *many(void *userdata)
{
    const struct setup *s = userdata;
    struct http_client *client = http_client_new(s->http);
    struct http_client *second = http_client_new(s->http);
    for (unsigned i = 0; i < 10; i++) {
        cleanup_http_response struct http_response r = {0};
        struct http_request q = {.url = s->url, .limit = ADDRESS_LOOPBACK};
        if (http_perform(i % 2 ? client : second, &q, &r, NULL) < 0)
            abort();
    }
    http_client_free(client);
    http_client_free(second);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    setenv("SSL_CERT_FILE", server_identity.certificate_file, 1);
    struct setup s;
    setup(&s, &server_identity, SSL_VERIFY_NONE);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many, &s), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(tiny_requests(&s.server), 40);
    assert_int_equal(tiny_connections(&s.server), 8);
    teardown(&s);
    unsetenv("SSL_CERT_FILE");
}

static int group_setup(void **state)
{
    (void)state;
    static const char *const names[] = {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
                                        "SSL_CERT_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("SSL_CERT_DIR", "/nonexistent", 1);
    if (!mkdtemp(directory))
        return -1;
    identity_make(&server_identity, "server", "IP:127.0.0.1");
    identity_make(&other_identity, "other", "IP:127.0.0.1");
    identity_make(&client_identity, "client", "DNS:client");
    identity_make(&misnamed_identity, "misnamed", "DNS:elsewhere.test");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    identity_release(&server_identity);
    identity_release(&other_identity);
    identity_release(&client_identity);
    identity_release(&misnamed_identity);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust),      cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_wrong_name), cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_environment),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
