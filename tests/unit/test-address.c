#include "warmer/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static const struct {
    const char *text;
    enum address_class class;
} addresses[] = {
    {"8.8.8.8", ADDRESS_PUBLIC},
    {"9.255.255.255", ADDRESS_PUBLIC},
    {"10.0.0.0", ADDRESS_PRIVATE},
    {"10.255.255.255", ADDRESS_PRIVATE},
    {"11.0.0.0", ADDRESS_PUBLIC},
    {"172.15.255.255", ADDRESS_PUBLIC},
    {"172.16.0.1", ADDRESS_PRIVATE},
    {"172.31.255.255", ADDRESS_PRIVATE},
    {"172.32.0.0", ADDRESS_PUBLIC},
    {"192.167.255.255", ADDRESS_PUBLIC},
    {"192.168.0.0", ADDRESS_PRIVATE},
    {"192.169.0.0", ADDRESS_PUBLIC},
    {"100.63.255.255", ADDRESS_PUBLIC},
    {"100.64.0.0", ADDRESS_PRIVATE},
    {"100.127.255.255", ADDRESS_PRIVATE},
    {"100.128.0.0", ADDRESS_PUBLIC},
    {"100.100.100.200", ADDRESS_NEVER},
    {"100.100.100.201", ADDRESS_PRIVATE},
    {"192.0.0.1", ADDRESS_PRIVATE},
    {"192.0.0.192", ADDRESS_NEVER},
    {"198.18.0.1", ADDRESS_PRIVATE},
    {"198.19.255.255", ADDRESS_PRIVATE},
    {"198.20.0.0", ADDRESS_PUBLIC},
    {"127.0.0.1", ADDRESS_LOOPBACK},
    {"127.255.255.255", ADDRESS_LOOPBACK},
    {"128.0.0.0", ADDRESS_PUBLIC},
    {"0.0.0.0", ADDRESS_NEVER},
    {"0.1.2.3", ADDRESS_NEVER},
    {"1.0.0.0", ADDRESS_PUBLIC},
    {"169.253.255.255", ADDRESS_PUBLIC},
    {"169.254.0.0", ADDRESS_NEVER},
    {"169.254.169.254", ADDRESS_NEVER},
    {"169.255.0.0", ADDRESS_PUBLIC},
    {"168.63.129.16", ADDRESS_NEVER},
    {"168.63.129.17", ADDRESS_PUBLIC},
    {"223.255.255.255", ADDRESS_PUBLIC},
    {"224.0.0.1", ADDRESS_NEVER},
    {"239.255.255.255", ADDRESS_NEVER},
    {"240.0.0.1", ADDRESS_PRIVATE},
    {"255.255.255.255", ADDRESS_NEVER},

    {"2001:4860:4860::8888", ADDRESS_PUBLIC},
    {"::", ADDRESS_NEVER},
    {"::1", ADDRESS_LOOPBACK},
    {"fbff::1", ADDRESS_PUBLIC},
    {"fc00::1", ADDRESS_PRIVATE},
    {"fdff::1", ADDRESS_PRIVATE},
    {"fd00:ec2::254", ADDRESS_NEVER},
    {"fd00:ec2::253", ADDRESS_PRIVATE},
    {"fd20:ce::254", ADDRESS_NEVER},
    {"fe00::1", ADDRESS_PUBLIC},
    {"fe80::1", ADDRESS_NEVER},
    {"febf::1", ADDRESS_NEVER},
    {"fec0::1", ADDRESS_PRIVATE},
    {"ff02::1", ADDRESS_NEVER},
    /* IPv4 inside IPv6 */
    {"::ffff:8.8.8.8", ADDRESS_PUBLIC},
    {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
    {"::ffff:169.254.169.254", ADDRESS_NEVER},
    {"::ffff:10.1.2.3", ADDRESS_PRIVATE},
    {"::ffff:0:127.0.0.1", ADDRESS_LOOPBACK},
    {"::127.0.0.1", ADDRESS_LOOPBACK},
    {"::10.0.0.1", ADDRESS_PRIVATE},
    {"::2", ADDRESS_NEVER}, /* 0.0.0.2 */
    {"64:ff9b::8.8.8.8", ADDRESS_PUBLIC},
    {"64:ff9b::169.254.169.254", ADDRESS_NEVER},
    {"64:ff9b::10.0.0.1", ADDRESS_PRIVATE},
    {"64:ff9b:1::8.8.8.8", ADDRESS_PRIVATE},
    {"2002:0808:0808::1", ADDRESS_PUBLIC},
    {"2002:7f00:0001::1", ADDRESS_LOOPBACK},
    {"2002:a9fe:a9fe::", ADDRESS_NEVER},
    {"2002:0a00:0001::", ADDRESS_PRIVATE},
    /* Teredo: server 65.54.227.120, client inverted */
    {"2001:0:4136:e378:8000:63bf:f7f7:f7f7", ADDRESS_PUBLIC},   /* 8.8.8.8 */
    {"2001:0:4136:e378:8000:63bf:5601:5601", ADDRESS_NEVER},    /* 169.254.169.254 */
    {"2001:0:0a00:0001:8000:63bf:f7f7:f7f7", ADDRESS_PRIVATE},  /* server 10.0.0.1 */
    {"2001:0:7f00:0001:8000:63bf:f5ff:fffe", ADDRESS_LOOPBACK}, /* server 127.0.0.1, 10.0.0.1 */
    {"2001:1::1", ADDRESS_PUBLIC},
};

static void test_of(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct sockaddr_in in4 = {.sin_family = AF_INET};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        const void *address = &in4;
        if (inet_pton(AF_INET, addresses[i].text, &in4.sin_addr) != 1) {
            assert_int_equal(inet_pton(AF_INET6, addresses[i].text, &in6.sin6_addr), 1);
            address = &in6;
        }
        enum address_class class = address_class_of(address);
        if (class != addresses[i].class)
            fail_msg("%s: %s", addresses[i].text, address_class_name(class));
    }
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    assert_int_equal(address_class_of((const void *)&local), ADDRESS_NEVER);
}

#define NOTHING (-1)

static const struct {
    const char *host;
    int literal, host_class;
} hosts[] = {
    {"127.0.0.1", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"127.1", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"0x7f000001", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"0x7f.1", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"2130706433", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"0177.0.0.1", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"127.0.0.1.", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"0", ADDRESS_NEVER, ADDRESS_NEVER},
    {"2852039166", ADDRESS_NEVER, ADDRESS_NEVER}, /* 169.254.169.254 */
    {"0251.0376.0251.0376", ADDRESS_NEVER, ADDRESS_NEVER},
    {"[::1]", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"::1", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"[::ffff:7f00:1]", ADDRESS_LOOPBACK, ADDRESS_LOOPBACK},
    {"[fe80::1%nosuchlink]", ADDRESS_NEVER, ADDRESS_NEVER},
    {"[fe80::1%25nosuchlink]", ADDRESS_NEVER, ADDRESS_NEVER},
    {"10.0.0.1", ADDRESS_PRIVATE, ADDRESS_PRIVATE},
    {"8.8.8.8", ADDRESS_PUBLIC, ADDRESS_PUBLIC},
    {"localhost", NOTHING, ADDRESS_LOOPBACK},
    {"LocalHost.", NOTHING, ADDRESS_LOOPBACK},
    {"registry.localhost", NOTHING, ADDRESS_LOOPBACK},
    {"metadata.google.internal", NOTHING, ADDRESS_NEVER},
    {"metadata.google.internal.", NOTHING, ADDRESS_NEVER},
    {"x.metadata.google.internal", NOTHING, ADDRESS_NEVER},
    {"metadata", NOTHING, ADDRESS_NEVER},
    {"notlocalhost", NOTHING, NOTHING},
    {"localhost.example.com", NOTHING, NOTHING},
    {"metadata.example.com", NOTHING, NOTHING},
    {"registry-1.docker.io", NOTHING, NOTHING},
    {"", NOTHING, NOTHING},
    {"[]", NOTHING, NOTHING},
    {".", NOTHING, NOTHING},
    {"1.2.3.4.5", NOTHING, NOTHING},
    {"256.1.1.1", NOTHING, NOTHING},
};

static void test_hosts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        enum address_class class;
        int literal = address_class_of_literal(hosts[i].host, &class) ? (int)class : NOTHING;
        int host = address_class_of_host(hosts[i].host, &class) ? (int)class : NOTHING;
        if (literal != hosts[i].literal || host != hosts[i].host_class)
            fail_msg("\"%s\": literal %d, host %d", hosts[i].host, literal, host);
    }
    char longer[400];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    enum address_class class;
    assert_false(address_class_of_host(longer, &class));
}

static void test_order(void **state)
{
    (void)state;
    assert_true(ADDRESS_PUBLIC < ADDRESS_PRIVATE);
    assert_true(ADDRESS_PRIVATE < ADDRESS_LOOPBACK);
    assert_true(ADDRESS_LOOPBACK < ADDRESS_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
