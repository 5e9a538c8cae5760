/*
 * Shared between threads: the files' contents and what was said about them, behind one mutex. The
 * list of places never changes once made.
 */
#include "credentials.h"

#include "asked.h"
#include "cachedir/alloc.h"
#include "cachedir/text.h"
#include "cloud.h"
#include "helper.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define DOCKER_AUTH_CONFIG "DOCKER_AUTH_CONFIG"

struct source {
    char *name; /* for people; of a file: its path */
    bool is_file;
    bool demanded; /* somebody named it: then what keeps us from reading it is an error */
    bool must_exist;
    bool dockercfg;

    bool present; /* guarded by the mutex, like the rest */
    bool regular; /* can be read again */
    struct auth_file file;
};

struct credentials {
    struct credentials_options options;
    struct source *sources;
    size_t count;
    pthread_mutex_t mutex;
    char **said; /* what was told once already */
    size_t said_count;

    struct asked *asked; /* has a mutex of its own */
};

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* ---- where to look ---- */

/* Takes `name`. */
static void add_source(struct credentials *c, char *name, struct source like)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->sources[i].name, name) == 0) {
            c->sources[i].demanded |= like.demanded;
            free(name);
            return;
        }
    like.name = name;
    *array_add(c->sources, c->count) = like;
}

static void add_sources(struct credentials *c)
{
    const struct source file = {.is_file = true}, demanded = {.is_file = true, .demanded = true};
    const char *home = environment("HOME"), *value;
    for (char **path = c->options.authfiles; path && *path; path++)
        add_source(c, xstrdup(*path),
                   (struct source){.is_file = true, .demanded = true, .must_exist = true});
    if (environment(DOCKER_AUTH_CONFIG))
        add_source(c, xstrdup("the environment's " DOCKER_AUTH_CONFIG), (struct source){0});
    if ((value = environment("DOCKER_CONFIG"))) {
        struct stat st;
        bool directory = stat(value, &st) < 0 || S_ISDIR(st.st_mode);
        add_source(c, directory ? xasprintf("%s/config.json", value) : xstrdup(value), demanded);
    }
    if ((value = environment("REGISTRY_AUTH_FILE")))
        add_source(c, xstrdup(value), demanded);
    if ((value = environment("XDG_RUNTIME_DIR")))
        add_source(c, xasprintf("%s/containers/auth.json", value), file);
    else
        add_source(c, xasprintf("/run/containers/%u/auth.json", (unsigned)getuid()), file);
    if ((value = environment("XDG_CONFIG_HOME")))
        add_source(c, xasprintf("%s/containers/auth.json", value), file);
    else if (home)
        add_source(c, xasprintf("%s/.config/containers/auth.json", home), file);
    if (home) {
        add_source(c, xasprintf("%s/.docker/config.json", home), file);
        add_source(c, xasprintf("%s/.dockercfg", home),
                   (struct source){.is_file = true, .dockercfg = true});
    }
    add_source(c, xstrdup("/kaniko/.docker/config.json"), file);
}

/* ---- reading ---- */

typedef void (*teller)(void *userdata, const char *message);

static void say(struct credentials *c, teller tell, const char *message)
{
    if (tell)
        tell(c->options.userdata, message);
}

/* With the mutex held, or before there are threads. Takes `message`. */
static void say_once(struct credentials *c, teller tell, char *message)
{
    for (size_t i = 0; i < c->said_count; i++)
        if (strcmp(c->said[i], message) == 0) {
            free(message);
            return;
        }
    *array_add(c->said, c->said_count) = message;
    say(c, tell, message);
}

static int read_bytes(struct credentials *c, const struct source *s, struct secret_file *ret,
                      struct error *err)
{
    *ret = (struct secret_file){.regular = true};
    if (!s->is_file) {
        const char *value = environment(DOCKER_AUTH_CONFIG);
        ret->bytes = xstrdup(value ? value : "");
        ret->len = strlen(ret->bytes);
        return 0;
    }
    struct error failed = {0};
    bool hidden = !s->demanded && access(s->name, R_OK) < 0 && errno == EACCES;
    if (hidden) { /* another user's home, say */
        cleanup_free char *message =
            xasprintf("%s: cannot open it: %s: going on without", s->name, strerror(EACCES));
        say(c, c->options.debug, message);
        return 0;
    }
    if (secret_file_read(s->name, ret, &failed) < 0) {
        error_move(err, &failed);
        return -1;
    }
    if (!ret->bytes && s->must_exist)
        return error_set(err, ERROR_CONFIG, "%s: cannot open it: %s", s->name, strerror(ENOENT));
    return 0;
}

/* With the mutex held, or before there are threads. What fails leaves the source as it was. */
static int read_source(struct credentials *c, struct source *s, struct error *err)
{
    cleanup_secret_file struct secret_file bytes;
    struct auth_file file = {0};
    if (read_bytes(c, s, &bytes, err) < 0)
        return -1;
    if (bytes.bytes &&
        auth_file_parse(bytes.bytes, bytes.len, s->name, s->dockercfg, &file, err) < 0)
        return -1;
    auth_file_release(&s->file);
    s->file = file;
    s->present = bytes.bytes != NULL;
    s->regular = bytes.regular;
    char *exposed =
        s->is_file && auth_file_has_secrets(&file) ? secret_file_exposed(&bytes, s->name) : NULL;
    if (exposed)
        say_once(c, c->options.warn, exposed);
    if (file.warning)
        say_once(c, c->options.warn, xstrdup(file.warning));
    return 0;
}

int credentials_new(const struct credentials_options *options, struct credentials **ret,
                    struct error *err)
{
    secret_json_memory();
    struct credentials *c = xcalloc(1, sizeof *c);
    c->options = *options;
    pthread_mutex_init(&c->mutex, NULL);
    c->asked = asked_new();
    add_sources(c);
    for (size_t i = 0; i < c->count; i++)
        if (read_source(c, &c->sources[i], err) < 0) {
            credentials_free(c);
            return -1;
        }
    *ret = c;
    return 0;
}

void credentials_stop(struct credentials *c)
{
    asked_stop(c->asked);
}

void credentials_free(struct credentials *c)
{
    if (!c)
        return;
    asked_free(c->asked);
    for (size_t i = 0; i < c->count; i++) {
        free(c->sources[i].name);
        auth_file_release(&c->sources[i].file);
    }
    for (size_t i = 0; i < c->said_count; i++)
        free(c->said[i]);
    free(c->said);
    free(c->sources);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* Secrets are rotated under long runs. What cannot be read now stays as it was. */
static void reload(struct credentials *c)
{
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->count; i++) {
        cleanup_error struct error err = {0};
        struct source *s = &c->sources[i];
        if (!s->is_file || (s->present && !s->regular))
            continue;
        struct stat st;
        if (!s->present && (stat(s->name, &st) < 0 || !S_ISREG(st.st_mode)))
            continue;
        if (read_source(c, s, &err) < 0)
            say(c, c->options.debug, err.message);
    }
    pthread_mutex_unlock(&c->mutex);
}

/* ---- finding ---- */

bool credentials_have_helper(const char *name)
{
    return strcmp(name, "env") == 0 || cloud_named(name);
}

static bool is_enabled(const struct credentials *c, const char *name)
{
    if (!c->options.helpers)
        return true;
    for (char **helper = c->options.helpers; *helper; helper++)
        if (strcmp(*helper, name) == 0)
            return true;
    return false;
}

static void say_found(struct credentials *c, const struct credential_query *q,
                      const struct credential *found)
{
    pthread_mutex_lock(&c->mutex);
    say_once(c, c->options.info, xasprintf("credentials for %s: %s", q->registry, found->source));
    pthread_mutex_unlock(&c->mutex);
}

/* Does the source know? *ret_helper, owned, is whom it leaves the answer to. */
static bool take(struct credentials *c, struct source *s, const struct credential_query *q,
                 struct credential *ret, char **ret_helper)
{
    pthread_mutex_lock(&c->mutex);
    const struct auth_entry *e = auth_file_find(&s->file, q->registry, q->repository);
    const char *helper = e ? e->helper : s->file.helper;
    *ret_helper = helper ? xstrdup(helper) : NULL;
    bool found = e && !helper;
    if (found)
        credential_copy(ret, &e->credential);
    pthread_mutex_unlock(&c->mutex);
    return found;
}

/* ---- asking ---- */

struct question {
    struct credentials *c;
    const struct credential_query *q;
    const char *helper;
    const struct cloud *cloud;
};

static int question_helper(void *userdata, struct answer *ret, struct error *err)
{
    static const char hub[] = "https://index.docker.io/v1/"; /* docker's name for it */
    const struct question *asks = userdata;
    const char *registry = asks->q->registry;
    const char *server = strcmp(registry, "docker.io") == 0 ? hub : registry;
    int result = helper_ask(asks->helper, server, HELPER_TIMEOUT_NS, asked_stopped(asks->c->asked),
                            &ret->credential, err);
    if (result > 0)
        ret->credential.source = xasprintf("docker-credential-%s", asks->helper);
    else if (result == 0)
        ret->why = xasprintf("docker-credential-%s has none", asks->helper);
    return result;
}

static int question_cloud(void *userdata, struct answer *ret, struct error *err)
{
    const struct question *asks = userdata;
    const struct credential_query *q = asks->q;
    const struct credentials_options *options = &asks->c->options;
    const struct cloud_query query = {.client = q->client,
                                      .registry = q->registry,
                                      .origin = q->origin,
                                      .trust = q->trust,
                                      .warn = options->warn,
                                      .userdata = options->userdata};
    return asks->cloud->ask(&query, ret, err);
}

/* Another reason why there is no credential: the worst one's kind, all words; but a stop says it
 * all. */
static void add_trouble(struct error *trouble, enum error_kind kind, const char *message)
{
    if (trouble->kind == ERROR_NONE || kind == ERROR_INTERRUPTED) {
        (void)error_set(trouble, kind, "%s", message);
        return;
    }
    cleanup_free char *before = take_ptr(trouble->message);
    (void)error_set(trouble, error_worse(trouble->kind, kind), "%s; %s", before, message);
}

static bool ask(struct credentials *c, struct question *asks, const char *key,
                ask_function function, struct credential *ret, struct error *trouble)
{
    struct answer answer;
    cleanup_error struct error failed = {0};
    int result = asked_get(c->asked, key, asks->q->refused, function, asks, &answer, &failed);
    if (result > 0) {
        *ret = answer.credential;
        answer.credential = (struct credential){0};
        say_found(c, asks->q, ret);
    } else if (result == 0 && answer.why) {
        add_trouble(trouble, ERROR_REFUSED, answer.why);
    } else if (result < 0) {
        add_trouble(trouble, failed.kind, failed.message);
        pthread_mutex_lock(&c->mutex);
        if (failed.kind != ERROR_INTERRUPTED)
            say_once(c, c->options.warn,
                     xasprintf("credentials for %s: %s: going on without", asks->q->registry,
                               failed.message));
        pthread_mutex_unlock(&c->mutex);
    }
    answer_release(&answer);
    return result > 0;
}

static bool ask_helper(struct credentials *c, const struct credential_query *q, const char *helper,
                       struct credential *ret, struct error *trouble)
{
    cleanup_free char *key = xasprintf("helper %s\n%s", helper, q->registry);
    struct question asks = {.c = c, .q = q, .helper = helper};
    return ask(c, &asks, key, question_helper, ret, trouble);
}

/* The rule of kaniko's "env" helper. */
static bool take_environment(const char *registry, struct credential *ret)
{
    /* It knows the Hub by another name. */
    cleanup_free char *host =
        xstrdup(strcmp(registry, "docker.io") == 0 ? "index.docker.io" : registry);
    for (char *p = host; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    for (char *suffix = host; suffix;
         suffix = strchr(suffix, '.') ? strchr(suffix, '.') + 1 : NULL) {
        cleanup_free char *name = xstrdup(suffix);
        for (char *p = name; *p; p++)
            if (*p == '.')
                *p = '_';
        cleanup_free char *user_name = xasprintf("KANIKO_%s_USER", name);
        cleanup_free char *password_name = xasprintf("KANIKO_%s_PASSWORD", name);
        const char *user = getenv(user_name), *password = getenv(password_name);
        if (!user || !password)
            continue;
        cleanup_free char *shown = text_foreign_str(user_name);
        ret->source = xasprintf("the environment's %s", shown);
        ret->username = xstrdup(user);
        ret->password = xstrdup(password);
        if (strcmp(user, "<token>") == 0)
            ret->identity_token = xstrdup(password);
        return true;
    }
    return false;
}

static bool ask_cloud(struct credentials *c, const struct credential_query *q,
                      struct credential *ret, struct error *trouble)
{
    const struct cloud *cloud = cloud_of(q->registry);
    if (!cloud || !q->client || !is_enabled(c, cloud->name))
        return false;
    cleanup_free char *key =
        xasprintf("cloud %s\n%s", cloud->name, cloud->one_for_all ? "" : q->registry);
    struct question asks = {.c = c, .q = q, .cloud = cloud};
    return ask(c, &asks, key, question_cloud, ret, trouble);
}

bool credentials_find(struct credentials *c, const struct credential_query *q,
                      struct credential *ret, struct error *trouble)
{
    *ret = (struct credential){0};
    if (q->refused)
        reload(c);
    for (size_t i = 0; i < c->count; i++) {
        cleanup_free char *helper = NULL;
        if (take(c, &c->sources[i], q, ret, &helper)) {
            say_found(c, q, ret);
            error_clear(trouble);
            return true;
        }
        if (helper && ask_helper(c, q, helper, ret, trouble)) {
            error_clear(trouble);
            return true;
        }
    }
    if (is_enabled(c, "env") && take_environment(q->registry, ret)) {
        say_found(c, q, ret);
        error_clear(trouble);
        return true;
    }
    if (ask_cloud(c, q, ret, trouble)) {
        error_clear(trouble);
        return true;
    }
    return false;
}

char *credentials_missing(struct credentials *c, const char *registry)
{
    char *text = xasprintf("no credentials for %s were found", registry);
    size_t named = 0;
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->count; i++) {
        if (!c->sources[i].present)
            continue;
        char *longer = xasprintf("%s%s%s", text, named++ ? ", " : " in: ", c->sources[i].name);
        free(text);
        text = longer;
    }
    pthread_mutex_unlock(&c->mutex);
    if (named == 0) {
        char *longer =
            xasprintf("%s: there is no credentials file in any of the usual places", text);
        free(text);
        text = longer;
    }
    return text;
}
