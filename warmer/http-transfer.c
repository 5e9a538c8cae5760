#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "http-internal.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define POLL_MS 500        /* how often the speed is judged; a stop does not wait for it */
#define BUFFER (128 << 10) /* libcurl reads so much at once */
#define GATHER (128 << 10) /* it hands on 16 KiB at once: too little for the disk */
#define FIRST_CAPACITY (16 << 10)

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/*
 * The callbacks. They run inside curl_multi_perform(), in the client's own thread. Whatever they
 * fail with is put into t->failure, which counts before the code that libcurl makes of it.
 */

static void note_address(const struct sockaddr *address, char text[64])
{
    text[0] = '\0';
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, address, sizeof in4);
        (void)inet_ntop(AF_INET, &in4.sin_addr, text, 64);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, 64);
    }
}

/* Before connecting: an address that is too deep is passed over, the next one tried. A proxy's
 * address is the user's own choice. */
static curl_socket_t on_open_socket(void *userdata, curlsocktype purpose,
                                    struct curl_sockaddr *address)
{
    struct transfer *t = userdata;
    enum address_class class = address_class_of(&address->addr);
    if (!t->proxy && (purpose != CURLSOCKTYPE_IPCXN || class > t->request->limit)) {
        t->refused++;
        t->refused_class = class;
        note_address(&address->addr, t->refused_address);
        return CURL_SOCKET_BAD;
    }
    t->allowed++;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* The connection stands, new or used before, and the request is about to be sent. libcurl may come
 * here twice, when a connection that was used before turns out to be dead. */
static int on_connected(void *userdata, char *address, char *local, int port, int local_port)
{
    (void)local, (void)port, (void)local_port;
    struct transfer *t = userdata;
    struct http_response *r = t->response;
    t->connected = true;
    t->mark_ns = now_ns();
    t->mark_moved = t->moved;
    (void)snprintf(r->address, sizeof r->address, "%s", address ? address : "");
    if (t->proxy)
        return CURL_PREREQFUNC_OK; /* judged by name, before */

    if (!address_class_of_literal(r->address, &r->address_class))
        r->address_class = ADDRESS_NEVER; /* libcurl knows every peer's address; or we take none */
    if (r->address_class > t->request->limit) {
        cleanup_free char *host = text_foreign_str(t->url.host);
        error_set(&t->failure, ERROR_REFUSED,
                  "%s is connected to %s, a %s address, where this request may not go", host,
                  r->address, address_class_name(r->address_class));
        return CURL_PREREQFUNC_ABORT;
    }
    return CURL_PREREQFUNC_OK;
}

static CURLcode on_tls_context(CURL *easy, void *context, void *userdata)
{
    (void)easy;
    const struct transfer *t = userdata;
    const struct http_request *q = t->request;
    if (trust_apply(q->trust, t->client->http->roots, q->client_certificate, context) < 0)
        return CURLE_SSL_CERTPROBLEM;
    return CURLE_OK;
}

static int headers_complete(struct transfer *t)
{
    struct http_response *r = t->response;
    const struct http_request *q = t->request;
    if (t->proxy && !t->url.https && r->status == 407)
        return error_set(&t->failure, ERROR_REFUSED,
                         "the proxy %s answers 407: it wants a user name and password in its URL",
                         t->proxy->show);
    long connects = 0;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_NUM_CONNECTS, &connects);
    r->reused = connects == 0;

    t->body = r->status / 100 == 2 ? HTTP_BODY_TAKE : HTTP_BODY_KEEP;
    if (q->on_headers && q->on_headers(q->userdata, r, &t->body, &t->failure) < 0) {
        t->callers_own = true;
        return -1;
    }
    if (t->body == HTTP_BODY_SKIP && q->method != HTTP_HEAD && r->content_length != 0) {
        t->enough = true;
        return -1;
    }
    if (t->body == HTTP_BODY_TAKE && q->method != HTTP_HEAD && q->max_body > 0 &&
        r->content_length > q->max_body) {
        r->too_long = true;
        return error_set(&t->failure, ERROR_PROTOCOL,
                         "%lld bytes announced where at most %lld belong",
                         (long long)r->content_length, (long long)q->max_body);
    }
    return 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t len = size * count;
    long status = 0;
    t->moved += (int64_t)len;
    (void)curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    bool before = t->headers.complete;
    if (headers_line(&t->headers, t->response, line, len, (int)status, &t->failure) < 0)
        return CURL_WRITEFUNC_ERROR;
    if (!before && t->headers.complete) {
        int64_t begun = now_ns();
        if (headers_complete(t) < 0)
            return CURL_WRITEFUNC_ERROR;
        t->mark_ns += now_ns() - begun;
    }
    return len;
}

/* Room for `len` more bytes and a NUL; what is left behind is wiped. */
static void body_grow(struct transfer *t, size_t len)
{
    struct http_response *r = t->response;
    size_t have = (size_t)r->received, need = have + len + 1;
    if (need <= t->capacity)
        return;
    size_t capacity = t->capacity ? t->capacity : FIRST_CAPACITY;
    while (capacity < need)
        capacity *= 2;
    char *bigger = xmalloc(capacity);
    if (r->body) {
        memcpy(bigger, r->body, have);
        OPENSSL_cleanse(r->body, have);
        free(r->body);
    }
    r->body = bigger;
    t->capacity = capacity;
}

static void body_append(struct transfer *t, const char *data, size_t len)
{
    struct http_response *r = t->response;
    body_grow(t, len);
    memcpy(r->body + r->received, data, len);
    r->received += (int64_t)len;
    r->body[r->received] = '\0';
}

/* Of an unwanted body. Returns false when it is not worth reading on. */
static bool body_keep(struct transfer *t, const char *data, size_t len)
{
    struct http_response *r = t->response;
    size_t room = (size_t)(HTTP_KEEP_MAX - r->received);
    size_t kept = len < room ? len : room;
    if (kept)
        body_append(t, data, kept);
    t->dropped += (int64_t)(len - kept);
    int64_t total = r->received + t->dropped;
    return r->content_length > HTTP_DRAIN_MAX ? kept == len : total <= HTTP_DRAIN_MAX;
}

/* Hand on what was gathered. -1: the sink failed, or has enough. */
static int flush_gathered(struct transfer *t)
{
    const struct http_request *q = t->request;
    const size_t len = t->gathered;
    if (len == 0)
        return 0;
    int64_t begun = now_ns();
    t->gathered = 0;
    t->response->received += (int64_t)len;
    int result = q->sink(q->userdata, t->client->gathering, len, &t->failure);
    t->mark_ns += now_ns() - begun;
    t->enough = result > 0;
    t->callers_own = result < 0;
    return result == 0 ? 0 : -1;
}

/* Never beyond the next look for bytes: see drive(). */
static int gather(struct transfer *t, const char *data, size_t len)
{
    if (!t->client->gathering)
        t->client->gathering = xmalloc(GATHER);
    while (len > 0) {
        const size_t room = GATHER - t->gathered, now = len < room ? len : room;
        memcpy(t->client->gathering + t->gathered, data, now);
        t->gathered += now;
        data += now;
        len -= now;
        if (t->gathered == GATHER && flush_gathered(t) < 0)
            return -1;
    }
    return 0;
}

static int body_take(struct transfer *t, const char *data, size_t len)
{
    struct http_response *r = t->response;
    const struct http_request *q = t->request;
    int64_t max = q->max_body > 0 ? q->max_body : q->sink ? INT64_MAX : HTTP_BODY_MAX;
    if ((int64_t)len > max - r->received - (int64_t)t->gathered) {
        r->too_long = true;
        return error_set(&t->failure, ERROR_PROTOCOL, "more than %lld bytes came", (long long)max);
    }
    if (!q->sink) {
        body_append(t, data, len);
        return 0;
    }
    return gather(t, data, len);
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t len = size * count;
    t->moved += (int64_t)len;
    if (http_stopped(t->client->http)) /* a fast transfer is in here most of the time */
        return CURL_WRITEFUNC_ERROR;
    switch (t->body) {
    case HTTP_BODY_TAKE:
        return body_take(t, data, len) < 0 ? CURL_WRITEFUNC_ERROR : len;
    case HTTP_BODY_KEEP:
        if (body_keep(t, data, len))
            return len;
        break;
    case HTTP_BODY_SKIP:
        break;
    }
    t->enough = true;
    return CURL_WRITEFUNC_ERROR;
}

/*
 * The options. libcurl keeps pointers to t, its buffer and the form: transfer_detach() takes them
 * back.
 */

int64_t transfer_connect_timeout(const struct transfer *t)
{
    const struct http_request *q = t->request;
    int64_t least = t->client->http->connect_timeout_ns;
    if (q->connect_timeout_ns > 0 && q->connect_timeout_ns < least)
        least = q->connect_timeout_ns;
    return q->timeout_ns > 0 && q->timeout_ns < least ? q->timeout_ns : least;
}

static CURLcode set_connection(struct transfer *t)
{
    CURL *easy = t->client->easy;
    const struct http *h = t->client->http;
    unsigned bad = 0;
    bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never wait for a resolver's thread */
    bad |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                            (long)(transfer_connect_timeout(t) / (NS_PER_S / 1000)));
    /* Refused while libcurl still has the last request's buffer, which DNS failures leave behind:
     * then that is used again. */
    (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER);
    bad |= curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    bad |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                            h->http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    /* Both set, so that libcurl does not look into the environment itself. */
    bad |= curl_easy_setopt(easy, CURLOPT_PROXY, t->proxy ? t->proxy->url : "");
    bad |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    bad |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    bad |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
    bad |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    bad |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
    bad |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    bad |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    bad |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_says);
    return bad ? CURLE_FAILED_INIT : CURLE_OK;
}

static CURLcode set_tls(struct transfer *t)
{
    CURL *easy = t->client->easy;
    const struct http_request *q = t->request;
    bool verify = !trust_skips_verify(q->trust);
    /*
     * The roots come through on_tls_context(), of which libcurl knows nothing when it looks for a
     * connection or a TLS session to use again. It does compare this directory, which does not
     * exist and which nobody asks for certificates: so what was verified by one registry's rules
     * is never taken for another's.
     */
    char key[64];
    (void)snprintf(key, sizeof key, "/dev/null/%u%s", trust_id(q->trust),
                   q->client_certificate ? "-client" : "");
    unsigned bad = 0;
    bad |= curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    bad |= curl_easy_setopt(easy, CURLOPT_CAPATH, key);
    bad |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL);
    bad |= curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, key);
    bad |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
    bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    bad |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
    bad |= curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    return bad ? CURLE_FAILED_INIT : CURLE_OK;
}

static CURLcode set_request(struct transfer *t, struct curl_slist *headers)
{
    CURL *easy = t->client->easy;
    const struct http_request *q = t->request;
    unsigned bad = 0;
    bad |= curl_easy_setopt(easy, CURLOPT_URL, t->url.text);
    bad |= curl_easy_setopt(easy, CURLOPT_USERAGENT, "basewarm/" BASEWARM_VERSION);
    bad |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    switch (q->method) {
    case HTTP_GET:
        bad |= curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        break;
    case HTTP_HEAD:
        bad |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        break;
    case HTTP_PUT:
        bad |= curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT");
        __attribute__((fallthrough));
    case HTTP_POST:
        bad |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
        bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, q->form ? q->form : "");
        bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t)(q->form ? q->form_len : 0));
        break;
    }
    if (q->signature) {
        const struct http_signature *with = q->signature;
        cleanup_free char *provider = xasprintf("aws:amz:%s:%s", with->region, with->service);
        bad |= curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, provider);
        bad |= curl_easy_setopt(easy, CURLOPT_USERNAME, with->key);
        bad |= curl_easy_setopt(easy, CURLOPT_PASSWORD, with->secret);
    }
    return bad ? CURLE_FAILED_INIT : CURLE_OK;
}

/* A line that would end early could carry a second header, or a second request. */
static int add_header(struct curl_slist **list, const char *line, struct error *err)
{
    for (const char *p = line; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return error_set(err, ERROR_PROTOCOL, "a control character in a header to be sent");
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        abort(); /* out of memory */
    *list = longer;
    return 0;
}

static void wipe_string(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static int make_headers(const struct http_request *q, struct curl_slist **list, struct error *err)
{
    if (add_header(list, "Accept-Encoding: identity", err) < 0)
        return -1;
    for (const char *const *line = q->headers; line && *line; line++)
        if (add_header(list, *line, err) < 0)
            return -1;
    if (q->range_end > 0) {
        cleanup_free char *line = xasprintf("Range: bytes=%lld-%lld", (long long)q->range_start,
                                            (long long)q->range_end - 1);
        if (add_header(list, line, err) < 0)
            return -1;
    }
    if (!q->authorization)
        return 0;
    char *line = xasprintf("Authorization: %s", q->authorization);
    int result = add_header(list, line, err);
    wipe_string(line);
    return result;
}

static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *line = list; line; line = line->next)
        OPENSSL_cleanse(line->data, strlen(line->data));
    curl_slist_free_all(list);
}

/*
 * The loop. Too slow means: since mark_ns, less than 1 KiB a second. The mark moves on whenever
 * that is not so, a second at a time; so a burst counts for the second in which it came, and a
 * steady trickle never moves it.
 */
static int judge_speed(struct transfer *t, struct error *err)
{
    if (!t->connected)
        return 0; /* libcurl's connect timeout holds */
    int64_t now = now_ns(), elapsed = now - t->mark_ns;
    if (elapsed < NS_PER_S)
        return 0;
    double wanted = (double)elapsed / (double)NS_PER_S * HTTP_STALL_BYTES_PER_S;
    if ((double)(t->moved - t->mark_moved) >= wanted) {
        t->mark_ns = now;
        t->mark_moved = t->moved;
        return 0;
    }
    if (elapsed < t->client->http->stall_timeout_ns)
        return 0;
    cleanup_free char *limit = duration_format(t->client->http->stall_timeout_ns);
    return error_set(err, ERROR_TRANSIENT, "stalled: less than %d bytes a second for %s",
                     HTTP_STALL_BYTES_PER_S, limit);
}

/* The time that is left of the request's own limit, in ms: at most POLL_MS. */
static int poll_ms(const struct transfer *t, int64_t deadline)
{
    int64_t left = deadline - now_ns();
    if (t->request->timeout_ns == 0 || left >= POLL_MS * (NS_PER_S / 1000))
        return POLL_MS;
    return left > 0 ? (int)(left / (NS_PER_S / 1000)) + 1 : 0;
}

/* 0: libcurl is done, *ret_code says how. -1: stopped, stalled, or out of time. */
static int drive(struct transfer *t, CURLcode *ret_code, struct error *err)
{
    CURLM *multi = t->client->multi;
    const int64_t deadline = now_ns() + t->request->timeout_ns;
    for (;;) {
        if (http_stopped(t->client->http))
            return error_set(err, ERROR_INTERRUPTED, "stopped");
        if (poll_ms(t, deadline) == 0) {
            cleanup_free char *limit = duration_format(t->request->timeout_ns);
            t->response->timed_out = !t->connected;
            return error_set(err, ERROR_TRANSIENT, "no answer within %s", limit);
        }
        int running = 0, left = 0;
        CURLMcode code = curl_multi_perform(multi, &running);
        const bool no_more = flush_gathered(t) < 0;
        if (no_more) { /* whatever libcurl says of the body's end */
            *ret_code = CURLE_WRITE_ERROR;
            return 0;
        }
        const CURLMsg *message;
        while ((message = curl_multi_info_read(multi, &left)))
            if (message->msg == CURLMSG_DONE) {
                *ret_code = message->data.result;
                return 0;
            }
        if (code == CURLM_OK && judge_speed(t, err) < 0)
            return -1;
        if (code == CURLM_OK)
            code = curl_multi_poll(multi, NULL, 0, poll_ms(t, deadline), NULL);
        if (code != CURLM_OK)
            return error_set(err, ERROR_IO, "%s", curl_multi_strerror(code));
    }
}

static int conclude(struct transfer *t, CURLcode code, struct error *err)
{
    if (t->failure.kind != ERROR_NONE) {
        error_move(err, &t->failure);
        return -1;
    }
    if (http_stopped(t->client->http) && code != CURLE_OK && !t->enough)
        return error_set(err, ERROR_INTERRUPTED, "stopped");
    bool unwanted = t->headers.complete && t->body == HTTP_BODY_KEEP;
    if (t->enough || unwanted)
        return 0;
    /* To libcurl an end within the headers is one like any other. */
    if (code == CURLE_OK && !t->headers.complete)
        code = t->headers.lines ? CURLE_PARTIAL_FILE : CURLE_GOT_NOTHING;
    return code == CURLE_OK ? 0 : transfer_failed(t, code, err);
}

static int run(struct transfer *t, struct error *err)
{
    struct http_client *c = t->client;
    CURLcode code = CURLE_OK;
    if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return error_set(err, ERROR_IO, "libcurl does not take the request");
    struct error ended = {0};
    int driven = drive(t, &code, &ended);
    int result;
    bool unwanted = t->headers.complete && t->body == HTTP_BODY_KEEP;
    if (driven == 0 || (unwanted && ended.kind == ERROR_TRANSIENT)) {
        result = conclude(t, code, err); /* asks libcurl for details: before the handle leaves */
        error_clear(&ended);
    } else {
        error_move(err, &ended);
        result = -1;
    }
    (void)curl_multi_remove_handle(c->multi, c->easy);
    return result;
}

/* Through a proxy nobody but the proxy knows the address: what the URL says is all there is. */
static int judge_by_name(struct transfer *t, struct error *err)
{
    struct http_response *r = t->response;
    r->proxied = true;
    if (!address_class_of_host(t->url.host, &r->address_class))
        r->address_class = ADDRESS_PUBLIC;
    if (r->address_class <= t->request->limit)
        return 0;
    cleanup_free char *host = text_foreign_str(t->url.host);
    return error_set(err, ERROR_REFUSED, "%s is a %s address, where this request may not go", host,
                     address_class_name(r->address_class));
}

static int transfer(struct transfer *t, struct error *err)
{
    struct http_client *c = t->client;
    if (!t->request->direct)
        t->proxy = proxies_find(c->http->proxies, t->url.https, t->url.host, t->url.port);
    if (t->proxy && judge_by_name(t, err) < 0)
        return -1;
    struct curl_slist *headers = NULL;
    int result = make_headers(t->request, &headers, err);
    if (result == 0) {
        curl_easy_reset(c->easy);
        if (set_connection(t) != CURLE_OK || set_tls(t) != CURLE_OK ||
            set_request(t, headers) != CURLE_OK)
            result = error_set(err, ERROR_CONFIG, "this libcurl (%s) lacks something we need",
                               curl_version());
        else
            result = run(t, err);
        curl_easy_reset(c->easy); /* it forgets t, the form, and its copies of proxy and URL */
    }
    free_headers(headers);
    error_clear(&t->failure);
    return result;
}

int http_perform(struct http_client *c, const struct http_request *request,
                 struct http_response *ret, struct error *err)
{
    struct transfer t = {.client = c, .request = request, .response = ret};
    response_clear_headers(ret);
    if (http_stopped(c->http))
        return error_set(err, ERROR_INTERRUPTED, "stopped");

    struct error failed = {0};
    int result = url_parse(request->url, &t.url, &failed);
    if (result == 0)
        result = transfer(&t, &failed);
    url_parts_release(&t.url);
    if (result < 0) {
        cleanup_free char *shown = http_url_show(request->url);
        if (!t.callers_own)
            error_prefix(&failed, "%s %s", http_method_name(request->method), shown);
        error_move(err, &failed);
    }
    return result;
}
