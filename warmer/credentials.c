/*
 * Shared between threads: the files' contents and what was said about them, behind one mutex. The
 * list of places never changes once made.
 */
#include "credentials.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
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

/* All of a file, which may be a pipe. *ret is owned, and must be wiped: *ret_len bytes. */
static int read_all(int fd, const char *name, char **ret, size_t *ret_len, struct error *err)
{
    size_t len = 0, room = 4096;
    char *bytes = xmalloc(room);
    for (;;) {
        if (len == room) {
            char *bigger = xmalloc(room * 2);
            memcpy(bigger, bytes, len);
            OPENSSL_cleanse(bytes, len);
            free(bytes);
            bytes = bigger;
            room *= 2;
        }
        ssize_t n = read(fd, bytes + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            len += (size_t)n;
        if (n == 0 && len <= AUTH_FILE_BYTES_MAX) {
            *ret = bytes;
            *ret_len = len;
            return 0;
        }
        if (n < 0 || len > AUTH_FILE_BYTES_MAX) {
            int errnum = errno;
            OPENSSL_cleanse(bytes, len);
            free(bytes);
            if (n < 0)
                return error_set(err, ERROR_CONFIG, "%s: cannot read it: %s", name,
                                 strerror(errnum));
            return error_set(err, ERROR_CONFIG, "%s: more than %d bytes", name,
                             AUTH_FILE_BYTES_MAX);
        }
    }
}

static void say(struct credentials *c, bool warning, const char *message)
{
    void (*tell)(void *, const char *) = warning ? c->options.warn : c->options.debug;
    if (tell)
        tell(c->options.userdata, message);
}

/* A file that cannot be opened: 0 and nothing read, if one may go on without it. */
static int not_opened(struct credentials *c, const struct source *s, int errnum, struct error *err)
{
    bool absent = errnum == ENOENT || errnum == ENOTDIR;
    if (s->must_exist || (s->demanded && !absent))
        return error_set(err, ERROR_CONFIG, "%s: cannot open it: %s", s->name, strerror(errnum));
    if (!absent) { /* another user's home, say */
        cleanup_free char *message =
            xasprintf("%s: cannot open it: %s: going on without", s->name, strerror(errnum));
        say(c, false, message);
    }
    return 0;
}

static int read_file(struct credentials *c, const struct source *s, char **ret, size_t *ret_len,
                     bool *ret_regular, struct error *err)
{
    cleanup_close int fd = open(s->name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return not_opened(c, s, errno, err);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, ERROR_CONFIG, "%s: %s", s->name, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(err, ERROR_CONFIG,
                         "%s is a directory, not a file: was a Secret mounted one level too deep?",
                         s->name);
    *ret_regular = S_ISREG(st.st_mode);
    return read_all(fd, s->name, ret, ret_len, err);
}

/* With the mutex held, or before there are threads. What fails leaves the source as it was. */
static int read_source(struct credentials *c, struct source *s, struct error *err)
{
    char *bytes = NULL;
    size_t len = 0;
    bool regular = true;
    if (s->is_file) {
        if (read_file(c, s, &bytes, &len, &regular, err) < 0)
            return -1;
    } else {
        const char *value = environment(DOCKER_AUTH_CONFIG);
        bytes = xstrdup(value ? value : "");
        len = strlen(bytes);
        if (len > AUTH_FILE_BYTES_MAX) {
            secret_free(bytes);
            return error_set(err, ERROR_CONFIG, "%s: more than %d bytes", s->name,
                             AUTH_FILE_BYTES_MAX);
        }
    }
    struct auth_file file = {0};
    int result = bytes ? auth_file_parse(bytes, len, s->name, s->dockercfg, &file, err) : 0;
    if (result == 0) {
        auth_file_release(&s->file);
        s->file = file;
        s->present = bytes != NULL;
        s->regular = regular;
    }
    if (bytes)
        OPENSSL_cleanse(bytes, len);
    free(bytes);
    return result;
}

int credentials_new(const struct credentials_options *options, struct credentials **ret,
                    struct error *err)
{
    secret_json_memory();
    struct credentials *c = xcalloc(1, sizeof *c);
    c->options = *options;
    pthread_mutex_init(&c->mutex, NULL);
    add_sources(c);
    for (size_t i = 0; i < c->count; i++)
        if (read_source(c, &c->sources[i], err) < 0) {
            credentials_free(c);
            return -1;
        }
    *ret = c;
    return 0;
}

void credentials_free(struct credentials *c)
{
    if (!c)
        return;
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

void credentials_reload(struct credentials *c)
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
            say(c, false, err.message);
    }
    pthread_mutex_unlock(&c->mutex);
}

/* ---- finding ---- */

/* With the mutex held. */
static void say_once(struct credentials *c, bool warning, char *message)
{
    for (size_t i = 0; i < c->said_count; i++)
        if (strcmp(c->said[i], message) == 0) {
            free(message);
            return;
        }
    *array_add(c->said, c->said_count) = message;
    say(c, warning, message);
}

static bool take(struct credentials *c, struct source *s, const char *registry,
                 const char *repository, struct credential *ret)
{
    const struct auth_entry *e = auth_file_find(&s->file, registry, repository);
    const char *helper = e ? e->helper : s->file.helper;
    if (!e && !helper)
        return false;
    if (!helper) {
        credential_copy(ret, &e->credential);
        say_once(c, false, xasprintf("credentials for %s: %s", registry, s->name));
        return true;
    }
    cleanup_free char *shown = text_foreign_str(helper);
    say_once(c, true,
             xasprintf("%s leaves %s to the credential helper \"%s\", which cannot be run from "
                       "here: going on without",
                       s->name, e ? registry : "all else", shown));
    return false;
}

/* The rule of kaniko's "env" helper. */
static bool take_environment(struct credentials *c, const char *registry, struct credential *ret)
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
        say_once(c, false, xasprintf("credentials for %s: %s", registry, ret->source));
        return true;
    }
    return false;
}

bool credentials_find(struct credentials *c, const char *registry, const char *repository,
                      struct credential *ret)
{
    bool found = false;
    *ret = (struct credential){0};
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; i < c->count && !found; i++)
        found = take(c, &c->sources[i], registry, repository, ret);
    found = found || take_environment(c, registry, ret);
    pthread_mutex_unlock(&c->mutex);
    return found;
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
