/*
 * A registry that says what a test's script says, on top of tinyserver.h: a table of rules, of
 * which the first that matches a request and is not used up gives the answer. What none matches is
 * answered with 404.
 *
 *     {"GET /v2/a/blobs/", .status = 307, .headers = "Location: http://127.0.0.1:@2/blob\r\n"}
 *
 * In headers and bodies @1 and @2 are the two servers' ports.
 */
#pragma once

#include "tinyserver.h"
#include "warmer/registry.h"

#include "cachedir/alloc.h"

#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

struct rule {
    const char *request; /* how "METHOD path" begins; NULL ends the table */
    const char *with;    /* what the request must hold; "!text": must not */
    int status;
    const char *headers; /* each with its line break; NULL: none */
    const char *body;
    size_t cut;     /* close after so many bytes of the body; 0: all of it */
    bool chunked;   /* no Content-Length */
    unsigned times; /* answer so often; 0: for ever */
};

#define RULES_MAX 16
struct scripted {
    struct tiny_server one, two; /* two: storage, token server, mirror */
    const struct rule *rules[2];
    unsigned used[2][RULES_MAX]; /* guarded by the servers' locks */
    struct registries *registries;
    struct registry_client *client;
    struct reference ref; /* registry one, repository a/b, tag 1 */
    char *warnings, *details;
    pthread_mutex_t lock; /* guards them */
    char home[64];
};

/* @1 and @2 replaced. Owned. */
static char *scripted_text(const struct scripted *s, const char *text)
{
    char *out = xcalloc(strlen(text) * 6 + 1, 1);
    char *to = out;
    for (const char *p = text; *p; p++) {
        if (p[0] == '@' && (p[1] == '1' || p[1] == '2')) {
            to += snprintf(to, 6, "%u", p[1] == '1' ? s->one.port : s->two.port);
            p++;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return out;
}

static bool scripted_matches(const struct rule *rule, const char *request)
{
    if (strncmp(request, rule->request, strlen(rule->request)) != 0)
        return false;
    if (!rule->with)
        return true;
    bool not = rule->with[0] == '!';
    return (strcasestr(request, rule->with + not ) == NULL) == not ;
}

static bool scripted_answer(struct tiny_connection *c, const char *request, void *userdata)
{
    struct scripted *s = userdata;
    size_t which = c->server == &s->two;
    static const struct rule none = {.status = 404};
    const struct rule *rule = s->rules[which];
    pthread_mutex_lock(&c->server->lock);
    for (size_t i = 0; rule && rule->request; rule++, i++)
        if (scripted_matches(rule, request) &&
            (rule->times == 0 || s->used[which][i] < rule->times)) {
            s->used[which][i]++;
            break;
        }
    pthread_mutex_unlock(&c->server->lock);
    if (!rule || !rule->request)
        rule = &none;

    cleanup_free char *headers = scripted_text(s, rule->headers ? rule->headers : "");
    cleanup_free char *body = scripted_text(s, rule->body ? rule->body : "");
    size_t len = strlen(body);
    bool head = strncmp(request, "HEAD ", 5) == 0;
    bool own_length = strcasestr(headers, "Content-Length:") != NULL;
    tiny_send(c, "HTTP/1.1 %d X\r\n%s", rule->status, headers);
    if (rule->chunked)
        tiny_send(c, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n", len, body);
    else if (own_length)
        tiny_send(c, "\r\n");
    else
        tiny_send(c, "Content-Length: %zu\r\n\r\n", len);
    if (!head && !rule->chunked)
        tiny_write(c, body, rule->cut ? rule->cut : len);
    return !rule->cut;
}

static void scripted_append(struct scripted *s, char **to, const char *message)
{
    pthread_mutex_lock(&s->lock);
    char *longer = xasprintf("%s%s\n", *to ? *to : "", message);
    free(*to);
    *to = longer;
    pthread_mutex_unlock(&s->lock);
}

static void scripted_warn(void *userdata, const char *message)
{
    struct scripted *s = userdata;
    scripted_append(s, &s->warnings, message);
}

static void scripted_debug(void *userdata, const char *message)
{
    struct scripted *s = userdata;
    scripted_append(s, &s->details, message);
}

/* A login for server one, in the usual place. */
__attribute__((unused)) static void scripted_login(const struct scripted *s, const char *user)
{
    cleanup_free char *path = xasprintf("%s/.docker", s->home);
    (void)mkdir(path, 0700);
    cleanup_free char *file = xasprintf("%s/config.json", path);
    FILE *f = fopen(file, "we");
    assert_non_null(f);
    assert_int_equal(fchmod(fileno(f), 0600), 0); /* else a warning says so */
    fprintf(f, "{\"auths\":{\"127.0.0.1:%u\":{\"username\":\"%s\",\"password\":\"secret\"}}}",
            s->one.port, user);
    fclose(f);
}

/* The servers; the registries come with scripted_open(). */
static void scripted_start(struct scripted *s, const struct rule *one, const struct rule *two)
{
    s->rules[0] = one;
    s->rules[1] = two;
    pthread_mutex_init(&s->lock, NULL);
    (void)snprintf(s->home, sizeof s->home, "/tmp/test-registry-XXXXXX");
    assert_non_null(mkdtemp(s->home));
    assert_int_equal(setenv("HOME", s->home, 1) | setenv("XDG_RUNTIME_DIR", s->home, 1), 0);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("DOCKER_CONFIG");
    unsetenv("DOCKER_AUTH_CONFIG");
    unsetenv("REGISTRY_AUTH_FILE");
    tiny_start(&s->one, scripted_answer, s);
    tiny_start(&s->two, scripted_answer, s);
    cleanup_free char *text = xasprintf("127.0.0.1:%u/a/b:1", s->one.port);
    assert_int_equal(reference_parse(text, &s->ref, NULL), 0);
}

static void scripted_open(struct scripted *s, struct registry_options options)
{
    cleanup_error struct error err = {0};
    options.warn = scripted_warn;
    options.debug = scripted_debug;
    options.userdata = s;
    if (registries_new(&options, &s->registries, &err) < 0)
        fail_msg("%s", err.message);
    s->client = registry_client_new(s->registries);
}

static void scripted_close(struct scripted *s)
{
    registry_client_free(s->client);
    registries_free(s->registries);
    s->client = NULL;
    s->registries = NULL;
}

static int scripted_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void scripted_stop(struct scripted *s)
{
    scripted_close(s);
    tiny_stop(&s->one);
    tiny_stop(&s->two);
    reference_release(&s->ref);
    free(s->warnings);
    free(s->details);
    pthread_mutex_destroy(&s->lock);
    (void)nftw(s->home, scripted_remove, 8, FTW_DEPTH | FTW_PHYS);
    *s = (struct scripted){0};
}

/* How often a server saw a request that begins so. */
__attribute__((unused)) static unsigned scripted_count(struct tiny_server *server,
                                                       const char *request)
{
    unsigned count = 0;
    cleanup_free char *log = tiny_log(server);
    cleanup_free char *line = xasprintf("\n%s", request);
    count += strncmp(log, request, strlen(request)) == 0;
    for (const char *p = strstr(log, line); p; p = strstr(p + 1, line))
        count++;
    return count;
}

/* Has a server seen this text in any request? */
__attribute__((unused)) static bool scripted_saw(struct tiny_server *server, const char *text)
{
    cleanup_free char *log = tiny_log(server);
    return strcasestr(log, text) != NULL;
}

/* A server's TLS with a certificate of its own for 127.0.0.1, which is written to a file. Owned. */
__attribute__((unused)) static SSL_CTX *scripted_tls(const char *file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *c = X509_new();
    assert_true(key && c);
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 3600);
    X509_set_pubkey(c, key);
    X509_NAME *name = X509_get_subject_name(c);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"x", -1, -1, 0);
    X509_set_issuer_name(c, name);
    X509_EXTENSION *alternative =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(c, alternative, -1);
    X509_EXTENSION_free(alternative);
    assert_true(X509_sign(c, key, EVP_sha256()) > 0);
    FILE *f = fopen(file, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, c), 1);
    fclose(f);
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(tls, c), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    X509_free(c);
    EVP_PKEY_free(key);
    return tls;
}
