#include "address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* RFC 1035: 253 characters; a literal with its zone is far below. */
#define HOST_MAX 255

static const struct {
    uint32_t network;
    unsigned bits;
    enum address_class class;
} networks4[] = {
    /* the first that fits */
    {0x00000000, 8, ADDRESS_NEVER},    /* 0/8: on Linux 0.0.0.0 is this machine */
    {0xa83f8110, 32, ADDRESS_NEVER},   /* 168.63.129.16, Azure's wire server */
    {0x646464c8, 32, ADDRESS_NEVER},   /* 100.100.100.200, Alibaba's metadata */
    {0xc00000c0, 32, ADDRESS_NEVER},   /* 192.0.0.192, Oracle's metadata */
    {0xa9fe0000, 16, ADDRESS_NEVER},   /* 169.254/16, link-local and everybody's metadata */
    {0xffffffff, 32, ADDRESS_NEVER},   /* broadcast */
    {0xe0000000, 4, ADDRESS_NEVER},    /* multicast */
    {0x7f000000, 8, ADDRESS_LOOPBACK}, /* 127/8 */
    {0x0a000000, 8, ADDRESS_PRIVATE},  /* 10/8 */
    {0xac100000, 12, ADDRESS_PRIVATE}, /* 172.16/12 */
    {0xc0a80000, 16, ADDRESS_PRIVATE}, /* 192.168/16 */
    {0x64400000, 10, ADDRESS_PRIVATE}, /* 100.64/10, carriers' NAT */
    {0xc0000000, 24, ADDRESS_PRIVATE}, /* 192.0.0/24, protocol assignments */
    {0xc6120000, 15, ADDRESS_PRIVATE}, /* 198.18/15, benchmarks, often used inside */
    {0xf0000000, 4, ADDRESS_PRIVATE},  /* 240/4, reserved, used inside some clouds */
};

static enum address_class class_of_4(uint32_t address)
{
    for (size_t i = 0; i < sizeof networks4 / sizeof *networks4; i++) {
        uint32_t mask = UINT32_MAX << (32 - networks4[i].bits);
        if ((address & mask) == networks4[i].network)
            return networks4[i].class;
    }
    return ADDRESS_PUBLIC;
}

static const struct {
    uint8_t network[16];
    unsigned bits;
    int unwrap; /* -1: as `class` says; else where the IPv4 address stands */
    enum address_class class;
} networks6[] = {
    /* the first that fits */
    {{0}, 128, -1, ADDRESS_NEVER},           /* :: */
    {{[15] = 1}, 128, -1, ADDRESS_LOOPBACK}, /* ::1 */
    {{[10] = 0xff, 0xff}, 96, 12, 0},        /* IPv4-mapped */
    {{[8] = 0xff, 0xff}, 96, 12, 0},         /* IPv4-translated, RFC 2765 */
    {{0}, 96, 12, 0},                        /* IPv4-compatible */
    {{0, 0x64, 0xff, 0x9b}, 96, 12, 0},      /* NAT64 */
    {{0x20, 0x02}, 16, 2, 0},                /* 6to4 */
    {{0xfd, 0, 0x0e, 0xc2, [14] = 0x02, 0x54}, 128, -1, ADDRESS_NEVER}, /* AWS's metadata */
    {{0xfd, 0x20, 0, 0xce, [14] = 0x02, 0x54}, 128, -1, ADDRESS_NEVER}, /* Google's metadata */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48, -1, ADDRESS_PRIVATE},             /* local NAT64 */
    {{0xfe, 0x80}, 10, -1, ADDRESS_NEVER},                              /* link-local */
    {{0xfe, 0xc0}, 10, -1, ADDRESS_PRIVATE},                            /* site-local, deprecated */
    {{0xfc}, 7, -1, ADDRESS_PRIVATE},                                   /* unique local */
    {{0xff}, 8, -1, ADDRESS_NEVER},                                     /* multicast */
};

bool address_has_prefix(const uint8_t *address, const uint8_t *network, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    if (memcmp(address, network, bytes) != 0)
        return false;
    return rest == 0 || ((address[bytes] ^ network[bytes]) & (0xff << (8 - rest)) & 0xff) == 0;
}

static uint32_t get_32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static enum address_class class_of_6(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof networks6 / sizeof *networks6; i++)
        if (address_has_prefix(address, networks6[i].network, networks6[i].bits)) {
            if (networks6[i].unwrap >= 0)
                return class_of_4(get_32(address + networks6[i].unwrap));
            return networks6[i].class;
        }
    static const uint8_t teredo[4] = {0x20, 0x01, 0, 0};
    if (address_has_prefix(address, teredo, 32)) {
        enum address_class server = class_of_4(get_32(address + 4));
        enum address_class client = class_of_4(~get_32(address + 12)); /* RFC 4380: inverted */
        return server > client ? server : client;
    }
    return ADDRESS_PUBLIC;
}

enum address_class address_class_of(const struct sockaddr *address)
{
    /* memcpy: what we are given need not be aligned for the type that it is */
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, address, sizeof in4);
        return class_of_4(ntohl(in4.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return class_of_6(in6.sin6_addr.s6_addr);
    }
    return ADDRESS_NEVER;
}

/* Without brackets and a final dot; false when it is empty or too long. */
static bool plain_host(const char *host, char *ret)
{
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len > 1 && host[len - 1] == '.')
        len--;
    if (len == 0 || len > HOST_MAX)
        return false;
    memcpy(ret, host, len);
    ret[len] = '\0';
    return true;
}

bool address_class_of_literal(const char *host, enum address_class *ret)
{
    char plain[HOST_MAX + 1];
    if (!plain_host(host, plain))
        return false;
    /* The zone says which interface, not what kind of address; getaddrinfo would want it to exist.
     */
    if (strchr(plain, ':'))
        plain[strcspn(plain, "%")] = '\0';

    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    if (getaddrinfo(plain, NULL, &hints, &found) != 0)
        return false;
    *ret = address_class_of(found->ai_addr);
    freeaddrinfo(found);
    return true;
}

bool address_class_of_host(const char *host, enum address_class *ret)
{
    if (address_class_of_literal(host, ret))
        return true;
    static const struct {
        const char *name;
        bool below; /* whatever ends in .name, too */
        enum address_class class;
    } names[] = {
        {"localhost", true, ADDRESS_LOOPBACK},
        {"localhost.localdomain", false, ADDRESS_LOOPBACK},
        {"ip6-localhost", false, ADDRESS_LOOPBACK},
        {"ip6-loopback", false, ADDRESS_LOOPBACK},
        {"metadata", false, ADDRESS_NEVER},
        {"metadata.google.internal", true, ADDRESS_NEVER},
        {"metadata.goog", true, ADDRESS_NEVER},
        {"instance-data", false, ADDRESS_NEVER},
        {"instance-data.ec2.internal", false, ADDRESS_NEVER},
    };
    char plain[HOST_MAX + 1];
    if (!plain_host(host, plain))
        return false;
    size_t len = strlen(plain);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if (len < n || strcasecmp(plain + len - n, names[i].name) != 0)
            continue;
        if (len == n || (names[i].below && plain[len - n - 1] == '.')) {
            *ret = names[i].class;
            return true;
        }
    }
    return false;
}

const char *address_class_name(enum address_class class)
{
    switch (class) {
    case ADDRESS_PUBLIC:
        return "public";
    case ADDRESS_PRIVATE:
        return "private";
    case ADDRESS_LOOPBACK:
        return "loopback";
    case ADDRESS_NEVER:
        break;
    }
    return "link-local or reserved";
}
