/*
 * How deep inside a network an address lies. A registry may send us elsewhere (a redirect, a token
 * realm, a layer's urls), but never deeper than where it lives itself: so an on-premises object
 * store works, and a registry on the internet learns nothing about the machines around us.
 *
 * Pure: no DNS, no sockets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sockaddr;

/* Ordered: a connection to class c is allowed where c <= the limit. */
enum address_class {
    ADDRESS_PUBLIC = 0,
    /* RFC 1918, 100.64/10, fc00::/7; likewise what the internet does not route: 192.0.0/24,
     * 198.18/15, 240/4, fec0::/10, 64:ff9b:1::/48 */
    ADDRESS_PRIVATE,
    ADDRESS_LOOPBACK, /* 127/8, ::1 */
    /* Link-local (169.254/16, fe80::/10), the clouds' metadata and wire servers wherever they live
     * (fd00:ec2::254, fd20:ce::254, 168.63.129.16, 100.100.100.200, 192.0.0.192), 0/8, ::,
     * multicast, broadcast; and whatever is neither IPv4 nor IPv6. */
    ADDRESS_NEVER,
};

/*
 * Of a socket address. IPv4 inside IPv6 is judged as the IPv4 address that it reaches: mapped
 * (::ffff:0:0/96), compatible (::/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96), 6to4
 * (2002::/16); for Teredo (2001::/32) the deeper one of server and client.
 */
enum address_class address_class_of(const struct sockaddr *address);

/*
 * Of a host as it stands in a URL (brackets allowed), without asking DNS: false when the host is a
 * name that says nothing. Literals are read as getaddrinfo reads them (127.1, 0x7f000001,
 * 2130706433, 0177.0.0.1, a final dot, a zone). Names that say something: localhost and
 * *.localhost are loopback, the metadata servers' names are never.
 */
bool address_class_of_host(const char *host, enum address_class *ret);
/* The same for literals alone. */
bool address_class_of_literal(const char *host, enum address_class *ret);

/* Do the first `bits` bits of two addresses in network order agree? */
bool address_has_prefix(const uint8_t *address, const uint8_t *network, unsigned bits);

/* "public", "private", "loopback", "link-local or reserved" */
const char *address_class_name(enum address_class class);
