#include "host.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <pthread.h>
#include <string.h>

#define FIRST_SLOW_NS NS_PER_S
#define SAID_MAX 64 /* of one host; then it has said enough */

struct strings {
    char **items;
    size_t count;
};

struct scope {
    char *repository, *text;
};

struct skip {
    struct digest blob;
    unsigned count;
};

struct known { /* a host, and what the mutex guards of it */
    struct host host;
    enum host_scheme scheme;
    bool probing;
    bool was_challenged;
    struct challenge challenge;
    struct strings anonymous; /* repositories */
    struct scope *scopes;
    size_t scope_count;
    bool answered;
    enum address_class class;
    int64_t not_before, slow_ns;
    int64_t dead_until, ailing_until;
    bool no_ranges;
    struct skip *skips;
    size_t skip_count;
    struct strings said;
};

struct named_trust {
    char *registry;
    struct trust *trust;
};

struct hosts {
    struct http *http;
    /* never change */
    bool insecure_pull;
    struct strings insecure; /* registries */
    struct named_trust *trusts;
    size_t trust_count;
    struct trust *other_trust;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a scheme was found, or not, or all is stopped */
    struct known **list;
    size_t count;
};

static bool holds(const struct strings *set, const char *text)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i], text) == 0)
            return true;
    return false;
}

static void add(struct strings *set, const char *text)
{
    if (!holds(set, text))
        *array_add(set->items, set->count) = xstrdup(text);
}

static void strings_release(struct strings *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->items[i]);
    free(set->items);
}

/* ---- options ---- */

/* "HOST=VALUE": *ret_value points into `option`. */
static int split_option(const char *option, char **ret_registry, const char **ret_value,
                        struct error *err)
{
    const char *equals = strchr(option, '=');
    if (!equals || !equals[1]) {
        cleanup_free char *shown = text_foreign_str(option);
        return error_set(err, ERROR_USAGE, "\"%s\": expected HOST=FILE", shown);
    }
    cleanup_free char *name = xstrndup(option, (size_t)(equals - option));
    *ret_value = equals + 1;
    return place_registry_parse(name, ret_registry, err);
}

/* The values of all options that begin with this registry. `list` borrows from the options. */
static int values_of(char **options, const char *registry, const char ***list, size_t *count,
                     struct error *err)
{
    for (char **option = options; option && *option; option++) {
        cleanup_free char *name = NULL;
        const char *value;
        if (split_option(*option, &name, &value, err) < 0)
            return -1;
        if (strcmp(name, registry) == 0)
            *array_add(*list, *count) = value;
    }
    *array_add(*list, *count) = NULL;
    return 0;
}

/* "CRT,KEY", split. *ret_pair is owned. */
static int split_pair(const char *text, const char *registry, char **ret_pair,
                      struct trust_options *wanted, struct error *err)
{
    *ret_pair = xstrdup(text);
    char *comma = strchr(*ret_pair, ',');
    if (!comma || comma == *ret_pair || !comma[1] || strchr(comma + 1, ',')) {
        cleanup_free char *shown = text_foreign_str(text);
        return error_set(err, ERROR_USAGE, "--registry-client-cert %s=%s: expected HOST=CRT,KEY",
                         registry, shown);
    }
    *comma = '\0';
    wanted->client_certificate = *ret_pair;
    wanted->client_key = comma + 1;
    return 0;
}

static int make_trust(struct hosts *hosts, const struct registry_options *options,
                      const char *registry, bool skip_verify, struct error *err)
{
    cleanup_free const char **certificates = NULL, **pairs = NULL;
    size_t certificate_count = 0, pair_count = 0;
    cleanup_free char *pair = NULL;
    if (values_of(options->certificates, registry, &certificates, &certificate_count, err) < 0 ||
        values_of(options->client_certificates, registry, &pairs, &pair_count, err) < 0)
        return -1;
    struct trust_options wanted = {.skip_verify = skip_verify, .certificates = certificates};
    /* Of several client certificates the last one counts, as in kaniko. */
    if (pair_count > 1 && split_pair(pairs[pair_count - 2], registry, &pair, &wanted, err) < 0)
        return -1;
    struct trust *trust;
    if (trust_new(http_roots(hosts->http), &wanted, &trust, err) < 0)
        return error_prefix(err, "%s", registry);
    struct named_trust *made = array_add(hosts->trusts, hosts->trust_count);
    made->registry = xstrdup(registry);
    made->trust = trust;
    return 0;
}

/* Every registry that an option of TLS names. */
static int read_names(const struct registry_options *options, struct strings *names,
                      struct strings *skipped, struct error *err)
{
    char **const lists[] = {options->certificates, options->client_certificates};
    for (size_t i = 0; i < 2; i++)
        for (char **option = lists[i]; option && *option; option++) {
            cleanup_free char *name = NULL;
            const char *value;
            if (split_option(*option, &name, &value, err) < 0)
                return -1;
            add(names, name);
        }
    for (char **option = options->skip_tls_verify; option && *option; option++) {
        cleanup_free char *name = NULL;
        if (place_registry_parse(*option, &name, err) < 0)
            return -1;
        add(names, name);
        add(skipped, name);
    }
    return 0;
}

static int read_options(struct hosts *hosts, const struct registry_options *options,
                        struct error *err)
{
    struct strings names = {0}, skipped = {0};
    hosts->insecure_pull = options->insecure_pull;
    int result = read_names(options, &names, &skipped, err);
    for (size_t i = 0; result == 0 && i < names.count; i++)
        result = make_trust(hosts, options, names.items[i],
                            options->skip_tls_verify_pull || holds(&skipped, names.items[i]), err);
    if (result == 0 && options->skip_tls_verify_pull)
        result = trust_new(http_roots(hosts->http), &(struct trust_options){.skip_verify = true},
                           &hosts->other_trust, err);
    for (char **option = options->insecure_registries; result == 0 && option && *option; option++) {
        cleanup_free char *name = NULL;
        result = place_registry_parse(*option, &name, err);
        if (result == 0)
            add(&hosts->insecure, name);
    }
    strings_release(&names);
    strings_release(&skipped);
    return result;
}

int hosts_new(const struct registry_options *options, struct http *http, struct hosts **ret,
              struct error *err)
{
    struct hosts *hosts = xcalloc(1, sizeof *hosts);
    hosts->http = http;
    pthread_mutex_init(&hosts->mutex, NULL);
    pthread_cond_init(&hosts->changed, NULL);
    if (read_options(hosts, options, err) < 0) {
        hosts_free(hosts);
        return -1;
    }
    *ret = hosts;
    return 0;
}

void hosts_stop(struct hosts *hosts)
{
    pthread_mutex_lock(&hosts->mutex);
    pthread_cond_broadcast(&hosts->changed);
    pthread_mutex_unlock(&hosts->mutex);
}

static void known_free(struct known *k)
{
    free(k->host.registry);
    free(k->host.authority);
    challenge_release(&k->challenge);
    strings_release(&k->anonymous);
    for (size_t i = 0; i < k->scope_count; i++) {
        free(k->scopes[i].repository);
        free(k->scopes[i].text);
    }
    free(k->scopes);
    strings_release(&k->said);
    free(k->skips);
    free(k);
}

void hosts_free(struct hosts *hosts)
{
    if (!hosts)
        return;
    for (size_t i = 0; i < hosts->count; i++)
        known_free(hosts->list[i]);
    free(hosts->list);
    for (size_t i = 0; i < hosts->trust_count; i++) {
        free(hosts->trusts[i].registry);
        trust_free(hosts->trusts[i].trust);
    }
    free(hosts->trusts);
    trust_free(hosts->other_trust);
    strings_release(&hosts->insecure);
    pthread_cond_destroy(&hosts->changed);
    pthread_mutex_destroy(&hosts->mutex);
    free(hosts);
}

/* ---- hosts ---- */

static const struct trust *trust_for(const struct hosts *hosts, const char *registry)
{
    for (size_t i = 0; i < hosts->trust_count; i++)
        if (strcmp(hosts->trusts[i].registry, registry) == 0)
            return hosts->trusts[i].trust;
    return hosts->other_trust;
}

static struct known *make_known(const struct hosts *hosts, const struct place *place)
{
    struct known *k = xcalloc(1, sizeof *k);
    k->host = (struct host){
        .registry = xstrdup(place->registry),
        .authority = xstrdup(place->authority),
        .trust = trust_for(hosts, place->registry),
        .plain_wanted = hosts->insecure_pull || holds(&hosts->insecure, place->registry),
    };
    k->host.plain_allowed = k->host.plain_wanted || place_is_local(place->registry);
    k->scheme = k->host.plain_allowed ? HOST_UNKNOWN : HOST_HTTPS;
    return k;
}

struct host *hosts_get(struct hosts *hosts, const struct place *place)
{
    struct known *found = NULL;
    pthread_mutex_lock(&hosts->mutex);
    for (size_t i = 0; i < hosts->count && !found; i++)
        if (strcmp(hosts->list[i]->host.registry, place->registry) == 0)
            found = hosts->list[i];
    if (!found) {
        found = make_known(hosts, place);
        *array_add(hosts->list, hosts->count) = found;
    }
    pthread_mutex_unlock(&hosts->mutex);
    return &found->host;
}

static struct known *lock(struct hosts *hosts, struct host *host)
{
    pthread_mutex_lock(&hosts->mutex);
    return (struct known *)host; /* its first member */
}

static void unlock(struct hosts *hosts)
{
    pthread_mutex_unlock(&hosts->mutex);
}

/* ---- scheme ---- */

int host_scheme(struct hosts *hosts, struct host *host, enum host_scheme *ret, struct error *err)
{
    struct known *k = lock(hosts, host);
    while (k->probing && !http_stopped(hosts->http))
        pthread_cond_wait(&hosts->changed, &hosts->mutex);
    bool stopped = http_stopped(hosts->http);
    if (!stopped) {
        *ret = k->scheme;
        k->probing = k->scheme == HOST_UNKNOWN;
    }
    unlock(hosts);
    return stopped ? error_set(err, ERROR_INTERRUPTED, "stopped") : 0;
}

void host_scheme_found(struct hosts *hosts, struct host *host, enum host_scheme scheme)
{
    struct known *k = lock(hosts, host);
    k->scheme = scheme;
    k->probing = false;
    pthread_cond_broadcast(&hosts->changed);
    unlock(hosts);
}

/* ---- authorization ---- */

bool host_challenge(struct hosts *hosts, struct host *host, struct challenge *ret)
{
    struct known *k = lock(hosts, host);
    bool was = k->was_challenged;
    *ret = (struct challenge){0};
    if (was)
        challenge_copy(ret, &k->challenge);
    unlock(hosts);
    return was;
}

void host_challenged(struct hosts *hosts, struct host *host, const struct challenge *challenge)
{
    struct known *k = lock(hosts, host);
    challenge_release(&k->challenge);
    challenge_copy(&k->challenge, challenge);
    k->was_challenged = true;
    unlock(hosts);
}

bool host_is_anonymous(struct hosts *hosts, struct host *host, const char *repository)
{
    struct known *k = lock(hosts, host);
    bool is = holds(&k->anonymous, repository);
    unlock(hosts);
    return is;
}

void host_set_anonymous(struct hosts *hosts, struct host *host, const char *repository)
{
    struct known *k = lock(hosts, host);
    add(&k->anonymous, repository);
    unlock(hosts);
}

/* With the mutex held. */
static struct scope *find_scope(const struct known *k, const char *repository)
{
    for (size_t i = 0; i < k->scope_count; i++)
        if (strcmp(k->scopes[i].repository, repository) == 0)
            return &k->scopes[i];
    return NULL;
}

char *host_scope(struct hosts *hosts, struct host *host, const char *repository)
{
    struct known *k = lock(hosts, host);
    const struct scope *scope = find_scope(k, repository);
    char *text = scope ? xstrdup(scope->text) : NULL;
    unlock(hosts);
    return text;
}

void host_set_scope(struct hosts *hosts, struct host *host, const char *repository,
                    const char *text)
{
    struct known *k = lock(hosts, host);
    struct scope *scope = find_scope(k, repository);
    if (!scope) {
        scope = array_add(k->scopes, k->scope_count);
        scope->repository = xstrdup(repository);
    }
    free(scope->text);
    scope->text = xstrdup(text);
    unlock(hosts);
}

/* ---- how it behaves ---- */

void host_answered(struct hosts *hosts, struct host *host, enum address_class class)
{
    struct known *k = lock(hosts, host);
    k->answered = true;
    k->class = class;
    unlock(hosts);
}

enum address_class host_class(struct hosts *hosts, struct host *host)
{
    struct known *k = lock(hosts, host);
    enum address_class class = k->answered ? k->class : ADDRESS_PUBLIC;
    unlock(hosts);
    return class;
}

void host_well(struct hosts *hosts, struct host *host)
{
    struct known *k = lock(hosts, host);
    k->slow_ns = 0;
    k->dead_until = k->ailing_until = 0;
    unlock(hosts);
}

void host_slow(struct hosts *hosts, struct host *host, int64_t retry_after_ns, int64_t now_ns)
{
    struct known *k = lock(hosts, host);
    int64_t wait = retry_after_ns;
    if (wait < 0 || wait > HOST_ASKED_MAX_NS) {
        /* Answers to what was asked at the same time count once. */
        if (now_ns >= k->not_before || k->slow_ns == 0)
            k->slow_ns = k->slow_ns ? k->slow_ns * 2 : FIRST_SLOW_NS;
        if (k->slow_ns > HOST_SLOW_MAX_NS)
            k->slow_ns = HOST_SLOW_MAX_NS;
        wait = k->slow_ns;
    }
    if (now_ns + wait > k->not_before)
        k->not_before = now_ns + wait;
    unlock(hosts);
}

void host_dead(struct hosts *hosts, struct host *host, int64_t now_ns)
{
    struct known *k = lock(hosts, host);
    k->dead_until = now_ns + HOST_DEAD_NS;
    unlock(hosts);
}

void host_ailing(struct hosts *hosts, struct host *host, int64_t now_ns)
{
    struct known *k = lock(hosts, host);
    k->ailing_until = now_ns + HOST_DEAD_NS;
    unlock(hosts);
}

int64_t host_ready_at(struct hosts *hosts, struct host *host)
{
    struct known *k = lock(hosts, host);
    int64_t at = k->not_before;
    unlock(hosts);
    return at;
}

bool host_usable(struct hosts *hosts, struct host *host, bool by_tag, int64_t now_ns)
{
    struct known *k = lock(hosts, host);
    bool usable =
        now_ns >= k->dead_until && now_ns >= k->not_before && (by_tag || now_ns >= k->ailing_until);
    unlock(hosts);
    return usable;
}

/* ---- ranges ---- */

bool host_has_ranges(struct hosts *hosts, struct host *host)
{
    struct known *k = lock(hosts, host);
    bool has = !k->no_ranges;
    unlock(hosts);
    return has;
}

void host_ignores_ranges(struct hosts *hosts, struct host *host)
{
    struct known *k = lock(hosts, host);
    k->no_ranges = true;
    unlock(hosts);
}

static struct skip *find_skip(struct known *k, const struct digest *blob)
{
    for (size_t i = 0; i < k->skip_count; i++)
        if (digest_equal(&k->skips[i].blob, blob))
            return &k->skips[i];
    return NULL;
}

unsigned host_skips(struct hosts *hosts, struct host *host, const struct digest *blob)
{
    struct known *k = lock(hosts, host);
    struct skip *skip = find_skip(k, blob);
    if (!skip) {
        skip = array_add(k->skips, k->skip_count);
        skip->blob = *blob;
    }
    unsigned before = skip->count++;
    unlock(hosts);
    return before;
}

void host_skip_worked(struct hosts *hosts, struct host *host, const struct digest *blob)
{
    struct known *k = lock(hosts, host);
    struct skip *skip = find_skip(k, blob);
    if (skip)
        skip->count = 0;
    unlock(hosts);
}

bool host_says_first(struct hosts *hosts, struct host *host, const char *what)
{
    struct known *k = lock(hosts, host);
    bool first = !holds(&k->said, what) && k->said.count < SAID_MAX;
    if (first)
        add(&k->said, what);
    unlock(hosts);
    return first;
}
