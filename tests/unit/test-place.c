#include "warmer/place.h"

#include "cachedir/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Places as "registry|authority|repository", in order; * marks what is mapped. */
static const struct {
    const char *maps[4], *mirrors[3];
    bool skip;
    const char *reference, *want;
} rows[] = {
    {{NULL}, {NULL}, false, "debian", "docker.io|registry-1.docker.io|library/debian"},
    {{NULL}, {NULL}, false, "user/app:1", "docker.io|registry-1.docker.io|user/app"},
    {{NULL}, {NULL}, false, "localhost:5000/a/b:1", "localhost:5000|localhost:5000|a/b"},
    {{NULL}, {NULL}, true, "quay.io/a/b", "quay.io|quay.io|a/b"},
    /* kaniko's own vectors (pkg/image/remote/remote_test.go) */
    {{"docker.io=newreg.io"}, {NULL}, true, "debian", "*newreg.io|newreg.io|library/debian"},
    {{"index.docker.io=newreg.io"},
     {NULL},
     true,
     "index.docker.io/debian",
     "*newreg.io|newreg.io|library/debian"},
    {{"oldreg.io=newreg.io"}, {NULL}, true, "oldreg.io/debian", "*newreg.io|newreg.io|debian"},
    {{"index.docker.io=newreg.io/subdir1/subdir2"},
     {NULL},
     true,
     "debian",
     "*newreg.io|newreg.io|subdir1/subdir2/library/debian"},
    {{"index.docker.io=newreg.io/subdir1/subdir2/"},
     {NULL},
     true,
     "library/debian",
     "*newreg.io|newreg.io|subdir1/subdir2/library/debian"},
    {{"index.docker.io=newreg.io/subdir1/subdir2/"},
     {NULL},
     true,
     "namespace/debian",
     "*newreg.io|newreg.io|subdir1/subdir2/namespace/debian"},
    {{"index.docker.io=newreg.io/"}, {NULL}, true, "debian", "*newreg.io|newreg.io|library/debian"},
    /* Several, in order, then the original. */
    {{"docker.io=a.io;docker.io=b.io:80/p", "quay.io=c.io"},
     {NULL},
     false,
     "xx",
     "*a.io|a.io|library/xx *b.io:80|b.io:80|p/library/xx "
     "docker.io|registry-1.docker.io|library/xx"},
    {{"docker.io=a.io;quay.io=c.io", "docker.io=b.io"},
     {"m.io"},
     true,
     "xx",
     "*a.io|a.io|library/xx *b.io|b.io|library/xx *m.io|m.io|library/xx"},
    {{NULL},
     {"m1", "m2:5000"},
     false,
     "xx",
     "*m1|m1|library/xx *m2:5000|m2:5000|library/xx docker.io|registry-1.docker.io|library/xx"},
    {{NULL}, {"m1"}, false, "quay.io/xx/y", "quay.io|quay.io|xx/y"},
    {{NULL}, {"m1"}, true, "quay.io/xx/y", "quay.io|quay.io|xx/y"}, /* not mapped: no fallback */
    {{"quay.io=a.io"}, {NULL}, false, "quay.io:443/xx", "quay.io:443|quay.io:443|xx"},
    /* To the Hub; prefixes with dots; IPv6. */
    {{"quay.io=docker.io"},
     {NULL},
     true,
     "quay.io/xx",
     "*docker.io|registry-1.docker.io|library/xx"},
    {{"quay.io=registry-1.docker.io/me"},
     {NULL},
     true,
     "quay.io/xx",
     "*docker.io|registry-1.docker.io|me/xx"},
    {{"quay.io=corp.io/quay.io"}, {NULL}, true, "quay.io/xx/y", "*corp.io|corp.io|quay.io/xx/y"},
    {{"quay.io=[::1]:5000/q"}, {NULL}, true, "quay.io/xx/y", "*[::1]:5000|[::1]:5000|q/xx/y"},
    {{"", ";quay.io=a.io;"}, {NULL}, true, "quay.io/xx", "*a.io|a.io|xx"},
};

static void lists_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_place_map struct place_map map = {.skip_default_fallback = rows[i].skip};
        cleanup_error struct error err = {0};
        cleanup_reference struct reference ref = {0};
        int r = reference_parse(rows[i].reference, &ref, &err);
        for (const char *const *m = rows[i].maps; r == 0 && *m; m++)
            r = place_map_add(&map, *m, &err);
        for (const char *const *m = rows[i].mirrors; r == 0 && *m; m++)
            r = place_map_add_mirror(&map, *m, &err);
        if (r < 0)
            fail_msg("row %zu: %s", i, err.message);
        struct place *list;
        size_t count;
        char *got = xstrdup("");
        places_for(&map, &ref, &list, &count);
        for (size_t k = 0; k < count; k++) {
            char *longer = xasprintf("%s%s%s%s|%s|%s", got, k ? " " : "", list[k].mapped ? "*" : "",
                                     list[k].registry, list[k].authority, list[k].repository);
            free(got);
            got = longer;
        }
        places_free(list, count);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        free(got);
    }
}

static void refuses_bad_maps(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "quay.io",
        "=a.io",
        "quay.io=",
        "quay.io=https://a.io",
        "https://quay.io=a.io",
        "quay.io=/path",
        "quay.io=a.io//p",
        "quay.io=a.io/Upper",
        "quay.io=a.io/p?q",
        "a b=c",
        "quay.io=a.io:port",
        "quay.io=a.io:99999",
        "quay.io=a.io:123456",
        "quay.io=user@a.io",
        "quay.io=[::1",
        "quay.io=[]",
        "quay.io=a.io;b",
        "quay.io=a\x1b.io",
        "quay.io/x=a.io",
        "quay.io=a.io:",
        "quay.io=[::1]x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cleanup_place_map struct place_map map = {0};
        cleanup_error struct error err = {0};
        if (place_map_add(&map, bad[i], &err) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_null(strchr(err.message, '\x1b'));
    }
}

static void knows_local_hosts(void **state)
{
    (void)state;
    static const char *const local[] = {
        "localhost",      "localhost:5000",  "LOCALHOST:1",    "a.localhost",
        "a.localhost:80", "nas.local",       "nas.local:5000", "127.0.0.1",
        "127.0.0.1:5000", "127.1.2.3:1",     "[::1]",          "[::1]:5000",
        "10.0.0.1",       "10.255.1.2:5000", "172.16.0.1",     "172.31.255.255:1",
        "192.168.1.1",
    };
    static const char *const remote[] = {
        "docker.io",
        "localhost.example.com",
        "local",
        "mylocalhost:5000",
        "notlocal.com:5000",
        "128.0.0.1",
        "11.0.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "169.254.1.1",
        "[::2]",
        "[2001:db8::1]:5000",
        "127.0.0.1.example.com",
        "127.1",
        "10.1",
        "1.2.3.4:127",
        "example.com:10",
        "0x7f000001",
    };
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (!place_is_local(local[i]))
            fail_msg("local: %s", local[i]);
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        if (place_is_local(remote[i]))
            fail_msg("not local: %s", remote[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_places),
        cmocka_unit_test(refuses_bad_maps),
        cmocka_unit_test(knows_local_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
