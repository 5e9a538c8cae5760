#include "cachedir/reference.h"

#include "cachedir/alloc.h"
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SHA256 "sha256:deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"
#define SHA512                                                                                     \
    "sha512:deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"                      \
    "deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"
#define TEN "aaaaaaaaaa"
#define FIFTY TEN TEN TEN TEN TEN

static const struct {
    const char *text, *registry, *repository, *tag, *digest, *name, *familiar;
} good[] = {
    /* The default registry, its namespace, the default tag. */
    {"debian", "docker.io", "library/debian", "latest", "", "docker.io/library/debian:latest",
     "debian:latest"},
    {"debian:bookworm", "docker.io", "library/debian", "bookworm", "",
     "docker.io/library/debian:bookworm", "debian:bookworm"},
    {"library/debian", "docker.io", "library/debian", "latest", "",
     "docker.io/library/debian:latest", "debian:latest"},
    {"docker.io/debian", "docker.io", "library/debian", "latest", "",
     "docker.io/library/debian:latest", "debian:latest"},
    {"docker.io/library/debian:12", "docker.io", "library/debian", "12", "",
     "docker.io/library/debian:12", "debian:12"},
    {"index.docker.io/debian:12", "docker.io", "library/debian", "12", "",
     "docker.io/library/debian:12", "debian:12"},
    {"registry-1.docker.io/library/debian", "docker.io", "library/debian", "latest", "",
     "docker.io/library/debian:latest", "debian:latest"},
    {"index.docker.io/user/app", "docker.io", "user/app", "latest", "", "docker.io/user/app:latest",
     "user/app:latest"},
    {"user/app:1.2", "docker.io", "user/app", "1.2", "", "docker.io/user/app:1.2", "user/app:1.2"},
    {"namespace/pathcomponent/image", "docker.io", "namespace/pathcomponent/image", "latest", "",
     "docker.io/namespace/pathcomponent/image:latest", "namespace/pathcomponent/image:latest"},
    {"library/a/b", "docker.io", "library/a/b", "latest", "", "docker.io/library/a/b:latest",
     "library/a/b:latest"},
    {"library/d", "docker.io", "library/d", "latest", "", "docker.io/library/d:latest",
     "library/d:latest"}, /* "d" would be too short */
    {"library", "docker.io", "library/library", "latest", "", "docker.io/library/library:latest",
     "library:latest"},
    {"localhost", "docker.io", "library/localhost", "latest", "",
     "docker.io/library/localhost:latest", "localhost:latest"},
    {"localhost:5000", "docker.io", "library/localhost", "5000", "",
     "docker.io/library/localhost:5000", "localhost:5000"}, /* as the builder reads it */
    {"a.b", "docker.io", "library/a.b", "latest", "", "docker.io/library/a.b:latest", "a.b:latest"},
    {"docker.io/a.b/c", "docker.io", "a.b/c", "latest", "", "docker.io/a.b/c:latest",
     "docker.io/a.b/c:latest"}, /* "a.b/c" would be another one */
    {"docker.io/localhost/c", "docker.io", "localhost/c", "latest", "",
     "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"},
    {"docker.io/localhost", "docker.io", "library/localhost", "latest", "",
     "docker.io/library/localhost:latest", "localhost:latest"},
    {"myhost/app", "docker.io", "myhost/app", "latest", "", "docker.io/myhost/app:latest",
     "myhost/app:latest"},
    {"docker/whalesay:latest", "docker.io", "docker/whalesay", "latest", "",
     "docker.io/docker/whalesay:latest", "docker/whalesay:latest"},
    {"Docker.io/debian", "Docker.io", "debian", "latest", "", "Docker.io/debian:latest",
     "Docker.io/debian:latest"}, /* the builder compares letter by letter */

    /* Other registries. */
    {"gcr.io/g-convoy/hello-world:latest", "gcr.io", "g-convoy/hello-world", "latest", "",
     "gcr.io/g-convoy/hello-world:latest", "gcr.io/g-convoy/hello-world:latest"},
    {"gcr.io/google.com/g-convoy/hello-world", "gcr.io", "google.com/g-convoy/hello-world",
     "latest", "", "gcr.io/google.com/g-convoy/hello-world:latest",
     "gcr.io/google.com/g-convoy/hello-world:latest"},
    {"us.gcr.io/project-id/image:with.period.in.tag", "us.gcr.io", "project-id/image",
     "with.period.in.tag", "", "us.gcr.io/project-id/image:with.period.in.tag",
     "us.gcr.io/project-id/image:with.period.in.tag"},
    {"gcr.io/project-id/image:w1th-alpha_num3ric.PLUScaps", "gcr.io", "project-id/image",
     "w1th-alpha_num3ric.PLUScaps", "", "gcr.io/project-id/image:w1th-alpha_num3ric.PLUScaps",
     "gcr.io/project-id/image:w1th-alpha_num3ric.PLUScaps"},
    {"mirror.gcr.io/ubuntu", "mirror.gcr.io", "ubuntu", "latest", "", "mirror.gcr.io/ubuntu:latest",
     "mirror.gcr.io/ubuntu:latest"},
    {"mirror.gcr.io/library/ubuntu", "mirror.gcr.io", "library/ubuntu", "latest", "",
     "mirror.gcr.io/library/ubuntu:latest", "mirror.gcr.io/library/ubuntu:latest"},
    {"domain.with.port:9001/image:latest", "domain.with.port:9001", "image", "latest", "",
     "domain.with.port:9001/image:latest", "domain.with.port:9001/image:latest"},
    {"www.example.test:12345/repo/path", "www.example.test:12345", "repo/path", "latest", "",
     "www.example.test:12345/repo/path:latest", "www.example.test:12345/repo/path:latest"},
    {"host:5000/app", "host:5000", "app", "latest", "", "host:5000/app:latest",
     "host:5000/app:latest"},
    {"host:65535/app", "host:65535", "app", "latest", "", "host:65535/app:latest",
     "host:65535/app:latest"},
    {"host:/app", "host:", "app", "latest", "", "host:/app:latest", "host:/app:latest"},
    {"localhost/app", "localhost", "app", "latest", "", "localhost/app:latest",
     "localhost/app:latest"},
    {"localhost/testimage:mytag", "localhost", "testimage", "mytag", "",
     "localhost/testimage:mytag", "localhost/testimage:mytag"},
    {"localhost:5000/app:1", "localhost:5000", "app", "1", "", "localhost:5000/app:1",
     "localhost:5000/app:1"},
    {"10.0.0.1:5000/app", "10.0.0.1:5000", "app", "latest", "", "10.0.0.1:5000/app:latest",
     "10.0.0.1:5000/app:latest"},
    {"127.0.0.1/app", "127.0.0.1", "app", "latest", "", "127.0.0.1/app:latest",
     "127.0.0.1/app:latest"},
    {"[::1]:5000/app", "[::1]:5000", "app", "latest", "", "[::1]:5000/app:latest",
     "[::1]:5000/app:latest"},
    {"[::1]/app:2", "[::1]", "app", "2", "", "[::1]/app:2", "[::1]/app:2"},
    {"[fd00::abcd:1]:443/a/b:2", "[fd00::abcd:1]:443", "a/b", "2", "", "[fd00::abcd:1]:443/a/b:2",
     "[fd00::abcd:1]:443/a/b:2"},
    {"GHCR.IO/user/app", "GHCR.IO", "user/app", "latest", "", "GHCR.IO/user/app:latest",
     "GHCR.IO/user/app:latest"},
    {"under_score.example:5000/app", "under_score.example:5000", "app", "latest", "",
     "under_score.example:5000/app:latest", "under_score.example:5000/app:latest"},
    {"registry.k8s.io./pause:3.9", "registry.k8s.io.", "pause", "3.9", "",
     "registry.k8s.io./pause:3.9", "registry.k8s.io./pause:3.9"},

    /* Weak validation takes more than the distribution-spec's grammar. */
    {"quay.io/a__b/c--d", "quay.io", "a__b/c--d", "latest", "", "quay.io/a__b/c--d:latest",
     "quay.io/a__b/c--d:latest"},
    {"quay.io/-a/b-", "quay.io", "-a/b-", "latest", "", "quay.io/-a/b-:latest",
     "quay.io/-a/b-:latest"},
    {"quay.io/a..b/c", "quay.io", "a..b/c", "latest", "", "quay.io/a..b/c:latest",
     "quay.io/a..b/c:latest"},
    {"quay.io/a/b", "quay.io", "a/b", "latest", "", "quay.io/a/b:latest", "quay.io/a/b:latest"},
    {"debian:-x", "docker.io", "library/debian", "-x", "", "docker.io/library/debian:-x",
     "debian:-x"},
    {"debian:.x", "docker.io", "library/debian", ".x", "", "docker.io/library/debian:.x",
     "debian:.x"},
    {"debian:_", "docker.io", "library/debian", "_", "", "docker.io/library/debian:_", "debian:_"},

    /* Pinned. */
    {"debian@" SHA256, "docker.io", "library/debian", NULL, SHA256,
     "docker.io/library/debian@" SHA256, "debian@" SHA256},
    {"nginx:latest@" SHA256, "docker.io", "library/nginx", "latest", SHA256,
     "docker.io/library/nginx:latest@" SHA256, "nginx:latest@" SHA256},
    {"docker.io/library/debian:12@" SHA256, "docker.io", "library/debian", "12", SHA256,
     "docker.io/library/debian:12@" SHA256, "debian:12@" SHA256},
    {"docker.io/a.b/c@" SHA256, "docker.io", "a.b/c", NULL, SHA256, "docker.io/a.b/c@" SHA256,
     "docker.io/a.b/c@" SHA256},
    {"gcr.io/project-id/sub-repo@" SHA256, "gcr.io", "project-id/sub-repo", NULL, SHA256,
     "gcr.io/project-id/sub-repo@" SHA256, "gcr.io/project-id/sub-repo@" SHA256},
    {"example.text:8443/foo/bar:latest@" SHA256, "example.text:8443", "foo/bar", "latest", SHA256,
     "example.text:8443/foo/bar:latest@" SHA256, "example.text:8443/foo/bar:latest@" SHA256},
    {"[::1]:5000/app@" SHA256, "[::1]:5000", "app", NULL, SHA256, "[::1]:5000/app@" SHA256,
     "[::1]:5000/app@" SHA256},
    {"host:5000@" SHA256, "docker.io", "library/host", "5000", SHA256,
     "docker.io/library/host:5000@" SHA256, "host:5000@" SHA256},
    {"quay.io/user/app@" SHA512, "quay.io", "user/app", NULL, SHA512, "quay.io/user/app@" SHA512,
     "quay.io/user/app@" SHA512},
};

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_good(size_t row, const char *text)
{
    struct reference r, copy;
    struct error err = {0};
    if (reference_parse(text, &r, &err) < 0)
        fail_msg("row %zu: %s", row, err.message);
    if (!same(r.registry, good[row].registry) || !same(r.repository, good[row].repository) ||
        !same(r.tag, good[row].tag) || !same(r.digest.text, good[row].digest) ||
        !same(r.name, good[row].name) || !same(r.familiar, good[row].familiar))
        fail_msg("\"%s\": registry %s, repository %s, tag %s, digest %s, name %s, familiar %s",
                 text, r.registry, r.repository, r.tag ? r.tag : "-", r.digest.text, r.name,
                 r.familiar);
    assert_int_equal(reference_is_pinned(&r), good[row].digest[0] != '\0');
    reference_copy(&copy, &r);
    assert_string_equal(copy.name, r.name);
    assert_string_equal(copy.familiar, r.familiar);
    assert_true(same(copy.tag, r.tag));
    assert_true(digest_equal(&copy.digest, &r.digest));
    reference_release(&r);
    reference_release(&r);
    reference_release(&copy);
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check_good(i, good[i].text);
        check_good(i, good[i].name); /* the names that we make mean the same */
        check_good(i, good[i].familiar);
    }
    reference_release(NULL);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* a part of it */
    } rows[] = {
        {"", "empty"},
        {"Debian", "lower case"},
        {"ghcr.io/User/app", "lower case"},
        {"MYHOST/app", "lower case"},
        {"debian:", "tag must follow"},
        {"gcr.io/x/y:", "tag must follow"},
        {"debian:@" SHA256, "tag must follow"},
        {"host:5000/", "name is missing"},
        {"gcr.io/", "name is missing"},
        {"@" SHA256, "name is missing"},
        {":tag", "name is missing"},
        {"/app", "part of the name is empty"},
        {"//app", "part of the name is empty"},
        {"docker.io//app", "part of the name is empty"},
        {"gcr.io/a//b", "part of the name is empty"},
        {"gcr.io/a/", "part of the name is empty"},
        {"gcr.io/../etc", "no parts of a name"},
        {"gcr.io/a/./b", "no parts of a name"},
        {"gcr.io/a/..", "no parts of a name"},
        {"a", "two characters"},
        {"gcr.io/a", "two characters"},
        {"white space", "space"},
        {"debian ", "space"},
        {" debian", "space"},
        {"debian\n", "control"},
        {"debian\t", "control"},
        {"deb\x1b[2Jian", "\\x1b[2J"},
        {"debian\x7f", "control"},
        {"d\xc3\xa9"
         "bian",
         "ASCII"},
        {"m\xc3\xbcller.example/app", "xn--"},
        {"https://ghcr.io/user/app", "scheme"},
        {"http://localhost:5000/app", "scheme"},
        {"docker://debian", "scheme"},
        {"gcr.io/project-id/bad_chars:c@n'tuse", "bad digest"},
        {"b@char/image", "no user"},
        {"debian:la+test", "in a tag"},
        {"debian:a:b", "colon too many"},
        {"gcr.io/a:b/c", "colon too many"},
        {"gcr.io/a+b/c", "may stand in a name"},
        {"gcr.io/~user/c", "may stand in a name"},
        {"a:1,b:1", "there is a comma in it"},
        {"\"gcr.io/b/c\"", "write it without quotes"},
        {"'gcr.io/b/c", "write it without quotes"},
        {"gcr?com:1/x/y", "registry's name"},
        {"gcr.io#x/app", "registry's name"},
        {"user%40x.io/app", "registry's name"},
        {"a.b\\c/app", "registry's name"},
        {"user@host.io/app", "no user"},
        {"user:pw@host.io/app", "reference \"...@host.io/app\": no user"},
        {"https://user:pw@host.io/app", "reference \"...@host.io/app\": an image"},
        {"u:p@w@h/a@" SHA256, "reference \"...@h/a@"},
        {":5000/app", "registry's name is missing"},
        {"::1/app", "brackets"},
        {"::1:5000/app", "brackets"},
        {"fe80::1/app", "brackets"},
        {"[::1/app", "closing bracket"},
        {"[::1]x/app", "only a port"},
        {"[::1]:x/app", "not a number"},
        {"[fe80::1%eth0]:5000/app", "IPv6"},
        {"[]:5000/app", "IPv6"},
        {"[1.2.3.4]:5000/app", "IPv6"},
        {"[::g]:5000/app", "IPv6"},
        {"host:99999/app", "65535"},
        {"host:65536/app", "65535"},
        {"host:5000x/app", "not a number"},
        {"host:-1/app", "not a number"},
        {"gcr.io/x/unknown-alg@unknown:abc123", "sha256: or sha512:"},
        {"gcr.io/x/wrong-length@sha256:d34db33fd34db33f", "64 hex digits"},
        {"gcr.io/x/missing-digest@", "missing"},
        {"repo@sha256:" FIFTY TEN "aaaA", "lower case"},
        {"repo@sha256::" FIFTY TEN "aaa", "only hex"},
        {"repo@" SHA256 "@" SHA256, "more than one '@'"},
        {"repo@" SHA256 ":tag", "only hex"},
        {"gcr.io/x/long:" FIFTY FIFTY TEN TEN "aaaaaaaaa", "128"},
        {"gcr.io/" FIFTY FIFTY FIFTY FIFTY FIFTY "aaaaaa", "255"},
        {FIFTY FIFTY FIFTY FIFTY FIFTY, "255"}, /* with library/ */
        {FIFTY FIFTY FIFTY FIFTY FIFTY TEN "aa.io/app", "too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reference r = {0};
        struct error err = {0};
        if (reference_parse(rows[i].text, &r, &err) == 0)
            fail_msg("accepted: \"%s\"", rows[i].text);
        assert_int_equal(err.kind, ERROR_USAGE);
        if (!strstr(err.message, rows[i].message) || !strstr(err.message, "bad image reference"))
            fail_msg("\"%s\" lacks \"%s\"", err.message, rows[i].message);
        assert_null(r.name);
        error_clear(&err);
        assert_int_equal(reference_parse(rows[i].text, &r, NULL), -1);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct reference r;
    struct error err = {0};
    /* The longest of each: the name that comes of it can still be read. */
    cleanup_free char *longest =
        xasprintf("%s:65535/%s:%s@%s", FIFTY FIFTY FIFTY FIFTY FIFTY ".a.io",
                  FIFTY FIFTY FIFTY FIFTY FIFTY "aaaaa", FIFTY FIFTY TEN TEN "aaaaaaaa", SHA512);
    if (reference_parse(longest, &r, &err) < 0)
        fail_msg("%s", err.message);
    assert_string_equal(r.name, longest);
    assert_true(strlen(r.name) <= REFERENCE_MAX);
    reference_release(&r);

    cleanup_free char *longer = xmalloc(REFERENCE_MAX + 2);
    memset(longer, 'a', REFERENCE_MAX + 1);
    longer[REFERENCE_MAX + 1] = '\0';
    assert_int_equal(reference_parse(longer, &r, &err), -1);
    assert_non_null(strstr(err.message, "longer than 1024"));
    assert_true(strlen(err.message) < 500);
    error_clear(&err);
}

static void check_refused(const char *file, const char *bytes, size_t len)
{
    struct reference r;
    struct error err = {0};
    assert_int_equal(strlen(bytes), len); /* else it would test less than it says */
    if (reference_parse(bytes, &r, &err) == 0)
        fail_msg("%s was accepted", file);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_true(strlen(err.message) > 0);
    error_clear(&err);
}

static void test_corpus(void **state)
{
    (void)state;
    corpus_each("reference/refused", check_refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
