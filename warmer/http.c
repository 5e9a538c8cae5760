#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "http-internal.h"

#define DEFAULT_TIMEOUT (30 * NS_PER_S)
#define IDLE_CONNECTIONS 8 /* a client keeps: registry, token server, storage, a mirror or two */

/* libcurl's thread-safe initialisation is a build option: this does not need it. Nothing undoes
 * it: another user of libcurl in the process may still be at work. */
static CURLcode curl_ready;
static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void lock_share(CURL *easy, curl_lock_data what, curl_lock_access access, void *userdata)
{
    (void)easy, (void)access;
    struct http *h = userdata;
    pthread_mutex_lock(&h->share_locks[what]);
}

static void unlock_share(CURL *easy, curl_lock_data what, void *userdata)
{
    (void)easy;
    struct http *h = userdata;
    pthread_mutex_unlock(&h->share_locks[what]);
}

static void init_share(struct http *h)
{
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++)
        pthread_mutex_init(&h->share_locks[i], NULL);
    h->share = curl_share_init();
    if (!h->share)
        abort(); /* out of memory */
    /* Each of these is an optimisation: without it handles look up and shake hands on their own. */
    (void)curl_share_setopt(h->share, CURLSHOPT_LOCKFUNC, lock_share);
    (void)curl_share_setopt(h->share, CURLSHOPT_UNLOCKFUNC, unlock_share);
    (void)curl_share_setopt(h->share, CURLSHOPT_USERDATA, h);
    (void)curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    (void)curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
}

int http_new(const struct http_options *options, struct http **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    if (curl_ready != CURLE_OK)
        return error_set(err, ERROR_CONFIG, "libcurl: %s", curl_easy_strerror(curl_ready));
    if (options->http2 && !(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_HTTP2))
        return error_set(err, ERROR_CONFIG, "this libcurl was built without HTTP/2");

    struct http *h = xcalloc(1, sizeof *h);
    h->stall_timeout_ns = options->stall_timeout_ns ? options->stall_timeout_ns : DEFAULT_TIMEOUT;
    h->connect_timeout_ns =
        options->connect_timeout_ns ? options->connect_timeout_ns : DEFAULT_TIMEOUT;
    h->http2 = options->http2;
    pthread_mutex_init(&h->lock, NULL);
    init_share(h);
    if (roots_new(&h->roots, err) < 0 || proxies_from_environment(&h->proxies, err) < 0) {
        http_free(h);
        return -1;
    }
    *ret = h;
    return 0;
}

void http_stop(struct http *h)
{
    atomic_store(&h->stopped, true);
    pthread_mutex_lock(&h->lock);
    for (struct http_client *c = h->clients; c; c = c->next)
        (void)curl_multi_wakeup(c->multi); /* fails only when it is awake, or not asleep at all */
    pthread_mutex_unlock(&h->lock);
}

bool http_stopped(const struct http *h)
{
    return atomic_load(&h->stopped);
}

struct roots *http_roots(const struct http *h)
{
    return h->roots;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    (void)curl_share_cleanup(h->share);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++)
        pthread_mutex_destroy(&h->share_locks[i]);
    pthread_mutex_destroy(&h->lock);
    proxies_free(h->proxies);
    roots_free(h->roots);
    free(h);
}

struct http_client *http_client_new(struct http *h)
{
    struct http_client *c = xcalloc(1, sizeof *c);
    c->http = h;
    c->easy = curl_easy_init();
    c->multi = curl_multi_init();
    if (!c->easy || !c->multi)
        abort();                                              /* out of memory */
    (void)curl_easy_setopt(c->easy, CURLOPT_SHARE, h->share); /* curl_easy_reset() leaves it */
    (void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);

    pthread_mutex_lock(&h->lock);
    c->next = h->clients;
    if (c->next)
        c->next->previous = c;
    h->clients = c;
    pthread_mutex_unlock(&h->lock);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->http->lock);
    if (c->next)
        c->next->previous = c->previous;
    if (c->previous)
        c->previous->next = c->next;
    else
        c->http->clients = c->next;
    pthread_mutex_unlock(&c->http->lock);

    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    free(c->gathering);
    free(c);
}
