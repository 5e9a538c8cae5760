#include "place.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define HUB "docker.io"
#define HUB_AUTHORITY "registry-1.docker.io"

static const char *canonical(const char *registry)
{
    static const char *const hub[] = {HUB, "index.docker.io", HUB_AUTHORITY};
    for (size_t i = 0; i < sizeof hub / sizeof *hub; i++)
        if (strcmp(registry, hub[i]) == 0)
            return HUB;
    return registry;
}

/* Where the port begins: at its colon, or at the end. */
static const char *port_of(const char *registry)
{
    const char *bracket = strrchr(registry, ']');
    const char *colon = strchr(bracket ? bracket : registry, ':');
    return colon ? colon : registry + strlen(registry);
}

static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 5 && text[digits] == '\0' && strtoul(text, NULL, 10) <= 65535;
}

static bool is_host(const char *host, size_t len)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    if (len == 0 || len > 255)
        return false;
    if (host[0] == '[')
        return len > 2 && strspn(host + 1, "0123456789abcdefABCDEF:.") == len - 2 &&
               host[len - 1] == ']';
    return strspn(host, name) >= len;
}

int place_registry_parse(const char *text, char **ret, struct error *err)
{
    cleanup_free char *shown = text_foreign_str(text);
    if (strstr(text, "://"))
        return error_set(err, ERROR_USAGE,
                         "\"%s\": a registry is named by HOST[:PORT], without http:// or https://",
                         shown);
    const char *port = port_of(text);
    if (!is_host(text, (size_t)(port - text)) || (*port && !is_port(port + 1)))
        return error_set(err, ERROR_USAGE, "\"%s\" is no registry: HOST[:PORT] is", shown);
    *ret = xstrdup(canonical(text));
    return 0;
}

/* "HOST[:PORT][/prefix]". */
static int parse_target(const char *text, struct place_rule *rule, struct error *err)
{
    if (strstr(text, "://"))
        return place_registry_parse(text, &rule->registry, err); /* says why not */
    const char *slash = strchr(text, '/');
    cleanup_free char *registry = slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup(text);
    if (place_registry_parse(registry, &rule->registry, err) < 0)
        return -1;
    const char *prefix = slash ? slash + 1 : "";
    size_t len = strlen(prefix);
    bool good = len < REFERENCE_MAX && !strstr(prefix, "//") && prefix[0] != '/' &&
                strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789_-./") == len;
    if (!good) {
        cleanup_free char *shown = text_foreign_str(text);
        return error_set(err, ERROR_USAGE, "\"%s\": the path behind the registry is malformed",
                         shown);
    }
    rule->prefix = len && prefix[len - 1] != '/' ? xasprintf("%s/", prefix) : xstrdup(prefix);
    return 0;
}

static void rule_release(struct place_rule *rule)
{
    free(rule->from);
    free(rule->registry);
    free(rule->prefix);
    *rule = (struct place_rule){0};
}

static int add_rule(struct place_map *map, const char *from, const char *to, struct error *err)
{
    struct place_rule rule = {0};
    if (place_registry_parse(from, &rule.from, err) < 0 || parse_target(to, &rule, err) < 0) {
        rule_release(&rule);
        return -1;
    }
    *array_add(map->rules, map->count) = rule;
    return 0;
}

int place_map_add(struct place_map *map, const char *text, struct error *err)
{
    cleanup_free char *copy = xstrdup(text);
    char *save = NULL;
    for (char *item = strtok_r(copy, ";", &save); item; item = strtok_r(NULL, ";", &save)) {
        char *equals = strchr(item, '=');
        if (!equals) {
            cleanup_free char *shown = text_foreign_str(item);
            return error_set(err, ERROR_USAGE, "\"%s\": expected REGISTRY=REGISTRY[/PREFIX]",
                             shown);
        }
        *equals = '\0';
        if (add_rule(map, item, equals + 1, err) < 0)
            return -1;
    }
    return 0;
}

int place_map_add_mirror(struct place_map *map, const char *mirror, struct error *err)
{
    return add_rule(map, HUB, mirror, err);
}

void place_map_release(struct place_map *map)
{
    for (size_t i = 0; i < map->count; i++)
        rule_release(&map->rules[i]);
    free(map->rules);
    *map = (struct place_map){0};
}

static struct place make(const char *registry, const char *prefix, const char *repository)
{
    bool hub = strcmp(registry, HUB) == 0;
    struct place p = {.registry = xstrdup(registry),
                      .authority = xstrdup(hub ? HUB_AUTHORITY : registry),
                      .repository = xasprintf("%s%s", prefix, repository)};
    /* A mirror of something else that lives on the Hub: there one-part names are library's. */
    if (hub && !strchr(p.repository, '/')) {
        char *whole = xasprintf("library/%s", p.repository);
        free(p.repository);
        p.repository = whole;
    }
    return p;
}

void places_for(const struct place_map *map, const struct reference *ref, struct place **ret,
                size_t *ret_count)
{
    struct place *list = NULL;
    size_t count = 0;
    const char *own = canonical(ref->registry);
    for (size_t i = 0; i < map->count && count < PLACES_MAX; i++) {
        const struct place_rule *rule = &map->rules[i];
        if (strcmp(rule->from, own) != 0)
            continue;
        struct place place = make(rule->registry, rule->prefix, ref->repository);
        place.mapped = true;
        *array_add(list, count) = place;
    }
    if (count == 0 || !map->skip_default_fallback)
        *array_add(list, count) = make(own, "", ref->repository);
    *ret = list;
    *ret_count = count;
}

void places_free(struct place *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].registry);
        free(list[i].authority);
        free(list[i].repository);
    }
    free(list);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcasecmp(text + len - end_len, end) == 0;
}

static bool is_rfc1918(const char *host)
{
    struct in_addr in;
    if (inet_pton(AF_INET, host, &in) != 1)
        return false;
    uint32_t address = ntohl(in.s_addr);
    return address >> 24 == 10 || address >> 20 == 0xac1 || address >> 16 == 0xc0a8;
}

bool place_is_local(const char *registry)
{
    cleanup_free char *host = xstrndup(registry, (size_t)(port_of(registry) - registry));
    struct in_addr in;
    return strcasecmp(host, "localhost") == 0 || ends_with(host, ".localhost") ||
           ends_with(host, ".local") || strcmp(host, "[::1]") == 0 || is_rfc1918(host) ||
           (inet_pton(AF_INET, host, &in) == 1 && ntohl(in.s_addr) >> 24 == 127);
}
