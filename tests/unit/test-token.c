#include "warmer/token.h"

#include "cachedir/alloc.h"
#include "tinyserver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* ---- the answer ---- */

static const struct {
    const char *body, *token; /* NULL: refused */
    int64_t lifetime_s;
} answers[] = {
    {"{\"token\":\"abc\"}", "abc", 60},
    {"{\"access_token\":\"abc\"}", "abc", 60},
    {"{\"token\":\"\",\"access_token\":\"abc\"}", "abc", 60},
    {"{\"token\":\"abc\",\"access_token\":\"\"}", "abc", 60},
    {"{\"token\":\"abc\",\"access_token\":\"def\"}", "abc", 60},
    {"{\"token\":null,\"access_token\":\"abc\"}", "abc", 60},
    {"{\"token\":\"abc\",\"expires_in\":300}", "abc", 300},
    {"{\"token\":\"abc\",\"expires_in\":300.9}", "abc", 300},
    {"{\"token\":\"abc\",\"expires_in\":2}", "abc", 60},
    {"{\"token\":\"abc\",\"expires_in\":-5}", "abc", 60},
    {"{\"token\":\"abc\",\"expires_in\":\"300\"}", "abc", 60},
    {"{\"token\":\"abc\",\"expires_in\":1e300}", "abc", TOKEN_LIFETIME_MAX_S},
    {"{\"token\":\"a.b-c_d~e+f/g==\",\"issued_at\":\"yesterday\"}", "a.b-c_d~e+f/g==", 60},
    {"", NULL, 0},
    {"{}", NULL, 0},
    {"[]", NULL, 0},
    {"\"abc\"", NULL, 0},
    {"{\"token\":\"abc\"", NULL, 0},
    {"{\"token\":\"\"}", NULL, 0},
    {"{\"token\":5}", NULL, 0},
    {"{\"token\":\"a\\r\\nX: y\"}", NULL, 0},
    {"{\"token\":\"a b\"}", NULL, 0},
    {"{\"token\":\"\\u00e9\"}", NULL, 0},
    {"<html>", NULL, 0},
};

static void reads_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct token_response got = {0};
        cleanup_error struct error err = {0};
        int r = token_response_parse(answers[i].body, strlen(answers[i].body), &got, &err);
        if ((r == 0) != (answers[i].token != NULL))
            fail_msg("%s: %d", answers[i].body, r);
        if (r < 0) {
            assert_int_equal(err.kind, ERROR_PROTOCOL);
            continue;
        }
        if (strcmp(got.token, answers[i].token) != 0 || got.lifetime_s != answers[i].lifetime_s)
            fail_msg("%s: %s %lld", answers[i].body, got.token, (long long)got.lifetime_s);
        secret_free(got.token);
    }
}

/* ---- the flows ---- */

struct fixture {
    struct tiny_server server;
    struct http *http;
    struct token_cache *cache;
    atomic_uint sent;
    char *realm;
    /* How the server answers. */
    int get_status, post_status;
    const char *body; /* NULL: a new token each time: "token1", "token2" */
    atomic_uint serial;
};

static bool answer(struct tiny_connection *c, const char *request, void *userdata)
{
    struct fixture *f = userdata;
    int status = strncmp(request, "GET ", 4) == 0 ? f->get_status : f->post_status;
    cleanup_free char *fresh = xasprintf("{\"token\":\"token%u\",\"expires_in\":300}",
                                         atomic_fetch_add(&f->serial, 1) + 1);
    const char *body = status == 200 ? f->body ? f->body : fresh : "{\"details\":\"no luck\"}";
    tiny_send(c, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
    return true;
}

static void start_with(struct fixture *f, tiny_handler handler)
{
    cleanup_error struct error err = {0};
    tiny_start(&f->server, handler, f);
    if (http_new(&(struct http_options){0}, &f->http, &err) < 0)
        fail_msg("%s", err.message);
    f->cache = token_cache_new(f->http);
    f->realm = xasprintf("http://127.0.0.1:%u/token?x=y", f->server.port);
}

static void start(struct fixture *f, int get_status, int post_status)
{
    *f = (struct fixture){.get_status = get_status, .post_status = post_status};
    start_with(f, answer);
}

static void stop(struct fixture *f)
{
    token_cache_free(f->cache);
    http_free(f->http);
    tiny_stop(&f->server);
    free(f->realm);
}

static struct token_request request(struct fixture *f, const struct credential *credential)
{
    return (struct token_request){.realm = f->realm,
                                  .service = "the service",
                                  .scope = "repository:a/b:pull",
                                  .credential = credential,
                                  .limit = ADDRESS_LOOPBACK,
                                  .sent = &f->sent};
}

static char user[] = "alice", password[] = "s&e=cret", identity[] = "idt+oken";
static const struct credential by_password = {.username = user, .password = password};
static const struct credential by_identity = {.identity_token = identity};

#define GET_LINE "GET /token?x=y&service=the%20service&scope=repository%3Aa%2Fb%3Apull HTTP/1.1"
#define FORM_END "&service=the%20service&scope=repository%3Aa%2Fb%3Apull&client_id=basewarm"

static const struct {
    const char *what;
    int get_status, post_status;
    const struct credential *credential;
    enum error_kind want; /* ERROR_NONE: a token */
    const char *requests; /* G and P, in order */
    const char *seen;     /* among what the server saw */
} flows[] = {
    {"anonymous", 200, 500, NULL, ERROR_NONE, "G", GET_LINE},
    {"user and password", 200, 500, &by_password, ERROR_NONE, "G",
     "Authorization: Basic YWxpY2U6cyZlPWNyZXQ="},
    {"a server without GET", 404, 200, &by_password, ERROR_NONE, "GP",
     "grant_type=password&username=alice&password=s%26e%3Dcret" FORM_END},
    {"405, too", 405, 200, &by_password, ERROR_NONE, "GP", "grant_type=password"},
    {"a refresh token", 500, 200, &by_identity, ERROR_NONE, "P",
     "grant_type=refresh_token&refresh_token=idt%2Boken" FORM_END},
    {"a server without POST", 200, 404, &by_identity, ERROR_NONE, "PG",
     "Authorization: Basic PHRva2VuPjppZHQrb2tlbg=="},
    {"400, as ACR", 200, 400, &by_identity, ERROR_NONE, "PG", ""},
    {"401, as Artifactory", 200, 401, &by_identity, ERROR_NONE, "PG", ""},
    {"refused both ways", 401, 401, &by_password, ERROR_REFUSED, "GP", ""},
    {"refused, and no POST", 401, 404, &by_password, ERROR_REFUSED, "GP", ""},
    {"anonymous has one way", 401, 200, NULL, ERROR_REFUSED, "G", ""},
    {"403 is final", 403, 200, &by_password, ERROR_REFUSED, "G", ""},
    {"out of order", 502, 200, &by_password, ERROR_TRANSIENT, "G", ""},
    {"too many requests", 429, 200, &by_password, ERROR_TRANSIENT, "G", ""},
    {"then out of order", 401, 503, &by_password, ERROR_TRANSIENT, "GP", ""},
};

static void takes_the_right_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof flows / sizeof *flows; i++) {
        struct fixture f;
        start(&f, flows[i].get_status, flows[i].post_status);
        struct http_client *client = http_client_new(f.http);
        struct token_request q = request(&f, flows[i].credential);
        struct registry_try how = {0};
        cleanup_error struct error err = {0};
        char *token = NULL;
        bool fetched = false;
        int r = token_get(f.cache, client, &q, NULL, &token, &fetched, &how, &err);
        http_client_free(client);
        if ((r == 0) != (flows[i].want == ERROR_NONE) || err.kind != flows[i].want)
            fail_msg("%s: %d %s", flows[i].what, r, err.message ? err.message : "");
        assert_true(r < 0 ? !token : fetched && strncmp(token, "token", 5) == 0);
        if (r < 0 && (!strstr(err.message, "no luck") || strstr(err.message, "x=y") ||
                      strstr(err.message, "cret")))
            fail_msg("%s: %s", flows[i].what, err.message);
        secret_free(token);
        char methods[8] = "";
        size_t count = 0;
        cleanup_free char *log = tiny_log(&f.server);
        for (char *p = log; p && *p && count < 7; p = strstr(p + 1, " /token"))
            if (p != log)
                methods[count++] = p[-1] == 'T' && p[-2] == 'E' ? 'G' : 'P';
        if (strcmp(methods, flows[i].requests) != 0 || !strstr(log, flows[i].seen))
            fail_msg("%s: %s: %s", flows[i].what, methods, log);
        assert_int_equal(atomic_load(&f.sent), strlen(flows[i].requests));
        stop(&f);
    }
}

static void get(struct fixture *f, struct http_client *client, const struct token_request *q,
                const char *refused, const char *want)
{
    struct registry_try how;
    cleanup_error struct error err = {0};
    cleanup_secret char *token = NULL;
    if (token_get(f->cache, client, q, refused, &token, NULL, &how, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(token, want);
}

static void keeps_tokens_apart(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 200, 200);
    struct http_client *client = http_client_new(f.http);
    struct token_request q = request(&f, NULL), other = q, logged_in = q;
    other.scope = "repository:c:pull";
    logged_in.credential = &by_password;
    get(&f, client, &q, NULL, "token1");
    get(&f, client, &q, NULL, "token1");
    get(&f, client, &other, NULL, "token2");
    get(&f, client, &logged_in, NULL, "token3");
    get(&f, client, &q, NULL, "token1");
    /* Only who says that this very token was refused gets a new one. */
    get(&f, client, &q, "token0", "token1");
    get(&f, client, &q, "token1", "token4");
    get(&f, client, &q, "token1", "token4");
    get(&f, client, &other, NULL, "token2");
    http_client_free(client);
    stop(&f);
}

static void refuses_large_answers(void **state)
{
    (void)state;
    struct fixture f = {.get_status = 200};
    cleanup_free char *large = xcalloc(TOKEN_RESPONSE_MAX + 2, 1);
    memset(large, ' ', TOKEN_RESPONSE_MAX + 1);
    f.body = large;
    start_with(&f, answer);
    struct http_client *client = http_client_new(f.http);
    struct token_request q = request(&f, NULL);
    struct registry_try how;
    cleanup_error struct error err = {0};
    char *token = NULL;
    assert_int_equal(token_get(f.cache, client, &q, NULL, &token, NULL, &how, &err), -1);
    assert_int_equal(err.kind, ERROR_PROTOCOL);
    http_client_free(client);
    stop(&f);
}

struct worker {
    struct fixture *f;
    pthread_t thread;
    char *token;
    enum error_kind failed;
};

static void *work(void *userdata)
{
    struct worker *w = userdata;
    struct http_client *client = http_client_new(w->f->http);
    struct token_request q = request(w->f, NULL);
    struct registry_try how;
    cleanup_error struct error err = {0};
    (void)token_get(w->f->cache, client, &q, NULL, &w->token, NULL, &how, &err);
    w->failed = err.kind;
    http_client_free(client);
    return NULL;
}

#define WORKERS 8

static void one_fetch_at_a_time(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct fixture f;
        start(&f, round == 0 ? 200 : 403, 200);
        struct worker workers[WORKERS] = {0};
        for (size_t i = 0; i < WORKERS; i++) {
            workers[i].f = &f;
            assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (size_t i = 0; i < WORKERS; i++) {
            pthread_join(workers[i].thread, NULL);
            assert_int_equal(workers[i].failed, round == 0 ? ERROR_NONE : ERROR_REFUSED);
            if (round == 0)
                assert_string_equal(workers[i].token, "token1");
            secret_free(workers[i].token);
        }
        if (round == 0)
            assert_int_equal(tiny_requests(&f.server), 1);
        stop(&f);
    }
}

static bool hang(struct tiny_connection *c, const char *text, void *userdata)
{
    (void)text, (void)userdata;
    tiny_hang(c);
    return false;
}

static void a_stop_wakes_all(void **state)
{
    (void)state;
    struct fixture f = {0};
    start_with(&f, hang);
    struct worker workers[WORKERS] = {0};
    for (size_t i = 0; i < WORKERS; i++) {
        workers[i].f = &f;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    tiny_wait_requests(&f.server, 1);
    http_stop(f.http);
    token_cache_stop(f.cache);
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, ERROR_INTERRUPTED);
    }
    assert_int_equal(tiny_requests(&f.server), 1);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_answers),       cmocka_unit_test(takes_the_right_way),
        cmocka_unit_test(keeps_tokens_apart),  cmocka_unit_test(refuses_large_answers),
        cmocka_unit_test(one_fetch_at_a_time), cmocka_unit_test(a_stop_wakes_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
