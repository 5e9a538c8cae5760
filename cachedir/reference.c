/*
 * The rules are those of go-containerregistry's pkg/name, weak validation, as of the releases that
 * the living builder is built with. Where this one is stricter (empty, "." and ".." components, a
 * registry that no resolver could look up), no registry could serve what the builder would ask for.
 */
#include "reference.h"

#include "alloc.h"
#include "text.h"

#include <arpa/inet.h>
#include <string.h>

#define HUB "docker.io"
#define TAG_MAX 128
#define REPOSITORY_MIN 2
#define REPOSITORY_MAX 255
#define REGISTRY_MAX 261 /* a host name of 255 bytes, a colon and five digits */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* The pieces of a reference; each points into one buffer that has been cut up. */
struct pieces {
    const char *registry;   /* NULL when none was written */
    const char *repository; /* as written: without "library/" */
    const char *tag;        /* NULL when none was written */
    const char *digest;     /* NULL when none was written */
};

/* Where a host name follows an '@', what stands before it is somebody's password. NULL when there
 * is none. */
static const char *behind_userinfo(const char *text)
{
    const char *slash = strrchr(text, '/');
    return slash ? memrchr(text, '@', (size_t)(slash - text)) : NULL;
}

static int refuse(struct error *err, const char *text, const char *why)
{
    const char *host = behind_userinfo(text);
    cleanup_free char *shown = text_foreign_str(host ? host : text);
    return error_set(err, ERROR_USAGE, "bad image reference \"%s%s\": %s", host ? "..." : "", shown,
                     why);
}

/* What is wrong with the text as a whole, else NULL. */
static const char *check_text(const char *text)
{
    size_t len = strnlen(text, REFERENCE_MAX + 1);
    if (len == 0)
        return "it is empty";
    if (len > REFERENCE_MAX)
        return "it is longer than 1024 bytes";
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == ' ')
            return "there is a space in it";
        if ((c == '"' || c == '\'') && (i == 0 || i == len - 1))
            return "write it without quotes";
        if (c == ',')
            return "there is a comma in it";
        if (c < 0x20 || c == 0x7F)
            return "there is a control character in it";
        if (c >= 0x80)
            return "only ASCII may stand in it (write a host's name in its xn-- form)";
    }
    if (strstr(text, "://"))
        return "an image reference has no scheme like https:// in front";
    if (behind_userinfo(text))
        return "no user and password belong in an image reference; docker login stores them";
    return NULL;
}

/* Cut `text` up. Returns what is wrong, else NULL. */
static const char *split(char *text, struct pieces *ret)
{
    *ret = (struct pieces){0};
    char *at = strchr(text, '@');
    if (at) {
        *at = '\0';
        ret->digest = at + 1;
        if (strchr(ret->digest, '@'))
            return "there is more than one '@' in it";
    }
    char *slash = strrchr(text, '/');
    char *colon = strrchr(text, ':');
    if (colon && (!slash || colon > slash)) { /* else it is a port's */
        *colon = '\0';
        ret->tag = colon + 1;
    }
    ret->repository = text;
    slash = strchr(text, '/');
    if (slash) {
        *slash = '\0';
        if (strpbrk(text, ".:") || strcmp(text, "localhost") == 0) {
            ret->registry = text;
            ret->repository = slash + 1;
        } else {
            *slash = '/';
        }
    }
    return NULL;
}

static const char *check_tag(const char *tag)
{
    if (!*tag)
        return "a tag must follow the colon";
    if (strlen(tag) > TAG_MAX)
        return "the tag is longer than 128 characters";
    if (tag[strspn(tag, LOWER UPPER DIGITS "_-.")])
        return "only letters, digits, '_', '-' and '.' may stand in a tag";
    return NULL;
}

static const char *check_port(const char *port)
{
    size_t len = strlen(port);
    if (strspn(port, DIGITS) != len)
        return "the registry's port is not a number";
    while (len > 0 && *port == '0') {
        port++;
        len--;
    }
    if (len > 5 || (len == 5 && strcmp(port, "65535") > 0))
        return "the registry's port is above 65535";
    return NULL;
}

/* "[::1]" and "[::1]:5000" */
static const char *check_ipv6(const char *registry)
{
    const char *end = strchr(registry, ']');
    struct in6_addr address;
    if (!end)
        return "the registry's address lacks its closing bracket";
    cleanup_free char *inner = xstrndup(registry + 1, (size_t)(end - registry - 1));
    if (inet_pton(AF_INET6, inner, &address) != 1)
        return "the registry is no IPv6 address";
    if (end[1] == '\0')
        return NULL;
    return end[1] == ':' ? check_port(end + 2) : "only a port may follow the registry's address";
}

static const char *check_registry(const char *registry)
{
    if (strlen(registry) > REGISTRY_MAX)
        return "the registry's name is too long";
    if (*registry == '[')
        return check_ipv6(registry);
    size_t host_len = strspn(registry, LOWER UPPER DIGITS "-._");
    const char *rest = registry + host_len;
    if (*rest && *rest != ':')
        return "only letters, digits, '-', '.', '_' and a port may stand in the registry's name";
    if (host_len == 0)
        return *rest == ':' && rest[1] == ':' ? "an IPv6 address needs brackets around it"
                                              : "the registry's name is missing";
    if (*rest && strchr(rest + 1, ':'))
        return "an IPv6 address needs brackets around it";
    return *rest ? check_port(rest + 1) : NULL;
}

/* Empty components and dots change the path of a URL; no registry has such names (OCI
 * distribution-spec, pulling manifests). */
static const char *check_components(const char *repository)
{
    for (const char *s = repository;; s++) {
        size_t len = strcspn(s, "/");
        if (len == 0)
            return "a part of the name is empty (an unset variable?)";
        if ((len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
            return "\".\" and \"..\" are no parts of a name";
        s += len;
        if (!*s)
            return NULL;
    }
}

/* `repository` is complete, with "library/" where that belongs. */
static const char *check_repository(const char *written, const char *repository)
{
    if (!*written)
        return "the name is missing";
    const char *bad = written + strspn(written, LOWER DIGITS "_-./");
    if (*bad && strspn(bad, UPPER) > 0)
        return "repository names are lower case";
    if (*bad == ':')
        return "there is a colon too many";
    if (*bad)
        return "only lower-case letters, digits, '_', '-', '.' and '/' may stand in a name";
    const char *why = check_components(written);
    if (why)
        return why;
    if (strlen(written) < REPOSITORY_MIN)
        return "a name has at least two characters";
    return strlen(repository) > REPOSITORY_MAX ? "the name is longer than 255 characters" : NULL;
}

static bool is_hub(const char *registry)
{
    return !registry || strcmp(registry, HUB) == 0 || strcmp(registry, "index.docker.io") == 0 ||
           strcmp(registry, "registry-1.docker.io") == 0;
}

static char *assemble(const char *registry, const char *repository, const struct reference *r)
{
    return xasprintf("%s%s%s%s%s%s%s", registry, *registry ? "/" : "", repository,
                     r->tag ? ":" : "", r->tag ? r->tag : "", digest_is_set(&r->digest) ? "@" : "",
                     r->digest.text);
}

/* What people type; it must mean the same when it is read again. */
static char *familiar(const struct reference *r)
{
    static const char library[] = "library/";
    const char *repository = r->repository;
    if (strcmp(r->registry, HUB) != 0)
        return assemble(r->registry, repository, r);
    if (strncmp(repository, library, sizeof library - 1) == 0) {
        const char *short_one = repository + sizeof library - 1;
        if (!strchr(short_one, '/') && strlen(short_one) >= REPOSITORY_MIN)
            return assemble("", short_one, r);
    }
    size_t first = strcspn(repository, "/");
    if (memchr(repository, '.', first) || strncmp(repository, "localhost/", 10) == 0)
        return assemble(HUB, repository, r); /* the first part would be read as a registry */
    return assemble("", repository, r);
}

int reference_parse(const char *text, struct reference *ret, struct error *err)
{
    const char *why = check_text(text);
    if (why)
        return refuse(err, text, why);

    struct pieces p;
    cleanup_free char *buffer = xstrdup(text);
    why = split(buffer, &p);
    if (why)
        return refuse(err, text, why);

    struct digest digest = {0};
    cleanup_error struct error bad_digest = {0};
    if (p.digest && digest_parse(p.digest, &digest, &bad_digest) < 0)
        return refuse(err, text, bad_digest.message);

    bool implicit = is_hub(p.registry) && !strchr(p.repository, '/');
    cleanup_free char *repository = xasprintf("%s%s", implicit ? "library/" : "", p.repository);
    why = p.registry ? check_registry(p.registry) : NULL;
    if (!why && p.tag)
        why = check_tag(p.tag);
    if (!why)
        why = check_repository(p.repository, repository);
    if (why)
        return refuse(err, text, why);

    *ret = (struct reference){
        .registry = xstrdup(is_hub(p.registry) ? HUB : p.registry),
        .repository = take_ptr(repository),
        .tag = p.tag      ? xstrdup(p.tag)
               : p.digest ? NULL
                          : xstrdup("latest"),
        .digest = digest,
    };
    ret->name = assemble(ret->registry, ret->repository, ret);
    ret->familiar = familiar(ret);
    return 0;
}

bool reference_is_pinned(const struct reference *r)
{
    return digest_is_set(&r->digest);
}

void reference_copy(struct reference *to, const struct reference *from)
{
    *to = (struct reference){
        .registry = xstrdup(from->registry),
        .repository = xstrdup(from->repository),
        .tag = from->tag ? xstrdup(from->tag) : NULL,
        .digest = from->digest,
        .name = xstrdup(from->name),
        .familiar = xstrdup(from->familiar),
    };
}

void reference_release(struct reference *r)
{
    if (!r)
        return;
    free(r->registry);
    free(r->repository);
    free(r->tag);
    free(r->name);
    free(r->familiar);
    *r = (struct reference){0};
}
