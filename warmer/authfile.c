#include "authfile.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

void credential_copy(struct credential *to, const struct credential *from)
{
    *to = (struct credential){
        .username = from->username ? xstrdup(from->username) : NULL,
        .password = from->password ? xstrdup(from->password) : NULL,
        .identity_token = from->identity_token ? xstrdup(from->identity_token) : NULL,
        .registry_token = from->registry_token ? xstrdup(from->registry_token) : NULL,
        .source = from->source ? xstrdup(from->source) : NULL,
    };
}

void credential_release(struct credential *c)
{
    secret_free(c->username);
    secret_free(c->password);
    secret_free(c->identity_token);
    secret_free(c->registry_token);
    free(c->source);
    *c = (struct credential){0};
}

bool credential_is_set(const struct credential *c)
{
    return c->username || c->identity_token || c->registry_token;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool credential_equal(const struct credential *a, const struct credential *b)
{
    return same(a->username, b->username) && same(a->password, b->password) &&
           same(a->identity_token, b->identity_token) && same(a->registry_token, b->registry_token);
}

static void json_release(json_t **json)
{
    json_decref(*json);
}
#define cleanup_json __attribute__((cleanup(json_release)))

static void entry_release(struct auth_entry *e)
{
    free(e->registry);
    free(e->repository);
    credential_release(&e->credential);
    free(e->helper);
}

bool auth_file_has_secrets(const struct auth_file *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (credential_is_set(&f->entries[i].credential))
            return true;
    return false;
}

void auth_file_release(struct auth_file *f)
{
    for (size_t i = 0; i < f->count; i++)
        entry_release(&f->entries[i]);
    free(f->entries);
    free(f->helper);
    free(f->warning);
    *f = (struct auth_file){0};
}

static const char *canonical(const char *registry)
{
    static const char *const hub[] = {"docker.io", "index.docker.io", "registry-1.docker.io"};
    for (size_t i = 0; i < sizeof hub / sizeof *hub; i++)
        if (strcasecmp(registry, hub[i]) == 0)
            return "docker.io";
    return registry;
}

/* A key: registry and path, or a URL, of which only the host says anything. */
static void split_key(const char *key, struct auth_entry *e)
{
    const char *scheme = strstr(key, "://"), *host = scheme ? scheme + 3 : key;
    size_t len = strcspn(host, "/");
    cleanup_free char *registry = xstrndup(host, len);
    const char *path = host + len;
    path += strspn(path, "/");
    size_t path_len = strlen(path);
    while (path_len > 0 && path[path_len - 1] == '/')
        path_len--;
    bool version = path_len == 2 && (strncmp(path, "v1", 2) == 0 || strncmp(path, "v2", 2) == 0);
    e->registry = xstrdup(canonical(registry));
    e->repository = scheme || version ? xstrdup("") : xstrndup(path, path_len);
}

static int nonsense(const char *name, const char *key, const char *why, struct error *err)
{
    cleanup_free char *shown = text_foreign_str(key);
    return error_set(err, ERROR_CONFIG, "%s: \"%s\": %s", name, shown, why);
}

static bool has_control(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

/* An owned copy of a member that must be text if it is there; "" counts as absent. */
static int take_text(const json_t *object, const char *member, char **ret, const char *name,
                     const char *key, struct error *err)
{
    const json_t *value = json_object_get(object, member);
    *ret = NULL;
    if (!value || json_is_null(value))
        return 0;
    cleanup_free char *why = xasprintf("%s must be text without control characters", member);
    if (!json_is_string(value))
        return nonsense(name, key, why, err);
    const char *text = json_string_value(value);
    if (strcmp(member, "auth") != 0 && has_control(text))
        return nonsense(name, key, why, err);
    if (*text)
        *ret = xstrdup(text);
    return 0;
}

/* "user:password", base64. It overrides what the other members say, as in docker. */
static int take_auth(const char *auth, struct credential *c, const char *name, const char *key,
                     struct error *err)
{
    cleanup_secret char *text = secret_base64(auth);
    char *colon = text ? strchr(text, ':') : NULL;
    if (!colon || colon == text)
        return nonsense(name, key, "auth is not the base64 of USER:PASSWORD", err);
    if (has_control(text))
        return nonsense(name, key, "auth holds a control character (a line break that echo added?)",
                        err);
    secret_free(c->username);
    secret_free(c->password);
    c->username = xstrndup(text, (size_t)(colon - text));
    c->password = xstrdup(colon + 1);
    return 0;
}

static int read_credential(const json_t *value, struct credential *c, const char *name,
                           const char *key, struct error *err)
{
    cleanup_secret char *auth = NULL;
    if (!json_is_object(value))
        return nonsense(name, key, "an object was expected", err);
    if (take_text(value, "username", &c->username, name, key, err) < 0 ||
        take_text(value, "password", &c->password, name, key, err) < 0 ||
        take_text(value, "identitytoken", &c->identity_token, name, key, err) < 0 ||
        take_text(value, "registrytoken", &c->registry_token, name, key, err) < 0 ||
        take_text(value, "auth", &auth, name, key, err) < 0 ||
        (auth && take_auth(auth, c, name, key, err) < 0))
        return -1;
    if (c->username && !c->password)
        c->password = xstrdup("");
    /* How credential helpers, and files made from their output, mark a refresh token. */
    if (c->username && strcmp(c->username, "<token>") == 0 && !c->identity_token)
        c->identity_token = xstrdup(c->password);
    return 0;
}

static struct auth_entry *add_entry(struct auth_file *f, const char *name, const char *key,
                                    struct error *err)
{
    if (f->count == AUTH_FILE_ENTRIES_MAX) {
        error_set(err, ERROR_CONFIG, "%s: more than %d entries", name, AUTH_FILE_ENTRIES_MAX);
        return NULL;
    }
    struct auth_entry *e = array_add(f->entries, f->count);
    split_key(key, e);
    return e;
}

static int read_auths(json_t *auths, struct auth_file *f, const char *name, struct error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(auths))
        return error_set(err, ERROR_CONFIG, "%s: auths must be an object", name);
    json_object_foreach(auths, key, value)
    {
        struct auth_entry *e = add_entry(f, name, key, err);
        if (!e || read_credential(value, &e->credential, name, key, err) < 0)
            return -1;
        e->credential.source = xstrdup(name);
        if (e->credential.password && !credential_is_set(&e->credential) && !f->warning) {
            cleanup_free char *shown = text_foreign_str(key);
            f->warning = xasprintf("%s: \"%s\": a password without a username is no credential: "
                                   "going on without",
                                   name, shown);
        }
    }
    return 0;
}

static int read_helpers(json_t *helpers, struct auth_file *f, const char *name, struct error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(helpers))
        return error_set(err, ERROR_CONFIG, "%s: credHelpers must be an object", name);
    json_object_foreach(helpers, key, value)
    {
        struct auth_entry *e = add_entry(f, name, key, err);
        if (!e)
            return -1;
        if (!json_is_string(value))
            return nonsense(name, key, "the name of a credential helper was expected", err);
        e->helper = xstrdup(json_string_value(value));
    }
    return 0;
}

static int read_file(json_t *root, const char *name, bool dockercfg, struct auth_file *f,
                     struct error *err)
{
    if (!json_is_object(root))
        return error_set(err, ERROR_CONFIG, "%s: a JSON object was expected", name);
    if (dockercfg)
        return read_auths(root, f, name, err);
    json_t *auths = json_object_get(root, "auths"), *helpers = json_object_get(root, "credHelpers"),
           *store = json_object_get(root, "credsStore");
    if (auths && !json_is_null(auths) && read_auths(auths, f, name, err) < 0)
        return -1;
    if (helpers && !json_is_null(helpers) && read_helpers(helpers, f, name, err) < 0)
        return -1;
    if (store && !json_is_null(store) && !json_is_string(store))
        return error_set(err, ERROR_CONFIG, "%s: credsStore must be text", name);
    if (json_is_string(store) && *json_string_value(store))
        f->helper = xstrdup(json_string_value(store));
    return 0;
}

int auth_file_parse(const char *bytes, size_t len, const char *name, bool dockercfg,
                    struct auth_file *ret, struct error *err)
{
    struct auth_file file = {0};
    size_t blanks = 0;
    while (blanks < len && bytes[blanks] && strchr(" \t\r\n", bytes[blanks]))
        blanks++;
    if (blanks < len) {
        json_error_t where;
        cleanup_json json_t *root = json_loadb(bytes, len, 0, &where);
        if (!root) {
            /* jansson's own words quote what it stumbled over: maybe a password. */
            bool ended = json_error_code(&where) == json_error_premature_end_of_input;
            return error_set(err, ERROR_CONFIG, "%s: line %d, column %d: not JSON%s", name,
                             where.line, where.column, ended ? ": it ends too early" : "");
        }
        if (read_file(root, name, dockercfg, &file, err) < 0) {
            auth_file_release(&file);
            return -1;
        }
    }
    *ret = file;
    return 0;
}

/* Does the path lead to the repository, by whole segments? */
static bool leads_to(const char *path, const char *repository)
{
    size_t len = strlen(path);
    return len == 0 || (strncmp(path, repository, len) == 0 &&
                        (repository[len] == '\0' || repository[len] == '/'));
}

const struct auth_entry *auth_file_find(const struct auth_file *f, const char *registry,
                                        const char *repository)
{
    const struct auth_entry *best = NULL;
    const char *wanted = canonical(registry);
    for (size_t i = 0; i < f->count; i++) {
        const struct auth_entry *e = &f->entries[i];
        if (strcasecmp(e->registry, wanted) != 0 || !leads_to(e->repository, repository) ||
            (!e->helper && !credential_is_set(&e->credential)))
            continue;
        size_t len = strlen(e->repository), best_len = best ? strlen(best->repository) : 0;
        /* Of two equals, the first; but a helper that is named for the registry knows better. */
        if (!best || len > best_len || (len == best_len && e->helper && !best->helper))
            best = e;
    }
    return best;
}
