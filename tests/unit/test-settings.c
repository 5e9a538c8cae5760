#include "warmer/settings.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 16

static int load(const char *const *args, struct settings *s, struct error *err)
{
    char program[] = "warmer", *argv[ARGS_MAX + 2] = {program};
    int argc = 1;
    /* Strings point into argv, so these must outlive the settings: they are the test's literals. */
    for (; argc <= ARGS_MAX && args[argc - 1]; argc++)
        memcpy(&argv[argc], &args[argc - 1], sizeof argv[argc]);
    return settings_load(argc, argv, s, err);
}

static void clear_environment(void)
{
    static const char *const names[] = {"KANIKO_REGISTRY_MAP", "KANIKO_REGISTRY_MIRROR",
                                        "FF_KANIKO_OCI_WARMER", "JOB_COMPLETION_INDEX"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(unsetenv(names[i]), 0);
}

static void test_defaults(void **state)
{
    (void)state;
    cleanup_settings struct settings s;
    cleanup_error struct error err = {0};
    cleanup_platform struct platform host = {0};
    platform_host(&host);
    clear_environment();
    assert_int_equal(load((const char *const[]){"-i", "debian", NULL}, &s, &err), 0);
    assert_string_equal(s.images[0], "debian");
    assert_null(s.images[1]);
    assert_string_equal(s.cache_dir, "/cache");
    assert_int_equal(s.cache_ttl_ns, 336 * 3600 * NS_PER_S);
    assert_int_equal(s.platform_count, 1);
    assert_true(platform_equal(&s.platforms[0], &host));
    assert_int_equal(s.jobs, 8);
    assert_int_equal(s.jobs_per_host, 8);
    assert_int_equal(s.retries, 5);
    assert_int_equal(s.retry_max_time_ns, 300 * NS_PER_S);
    assert_int_equal(s.stall_timeout_ns, 30 * NS_PER_S);
    assert_int_equal(s.registry.stall_timeout_ns, 30 * NS_PER_S);
    assert_int_equal(s.timeout_ns, 0);
    assert_int_equal(s.fresh_for_ns, 0);
    assert_int_equal(s.fail, FAIL_ANY);
    assert_int_equal(s.progress, PROGRESS_AUTO);
    assert_int_equal(s.verbosity, LOG_INFO);
    assert_true(s.registry.anonymous_retry && s.registry.foreign_layers);
    assert_false(s.force || s.check || s.dry_run || s.registry.insecure_pull);
    assert_null(s.report);
    assert_null(s.metrics_file);
    assert_null(s.dockerfiles);
    assert_int_equal(s.shards, 0);
}

static void test_values(void **state)
{
    (void)state;
    cleanup_settings struct settings s;
    cleanup_error struct error err = {0};
    clear_environment();
    assert_int_equal(setenv("KANIKO_REGISTRY_MAP", "c=d", 1), 0);
    assert_int_equal(setenv("KANIKO_REGISTRY_MIRROR", "m2", 1), 0);
    assert_int_equal(setenv("FF_KANIKO_OCI_WARMER", "T", 1), 0);
    assert_int_equal(
        load((const char *const[]){"--images-file=-", "--registry-map=a=b;",
                                   "--registry-mirror=m1/path", "--jobs=3",
                                   "--customPlatform=linux/arm/v7", "--custom-platform=linux/amd64",
                                   "--platform=linux/arm/v7", "--stall-timeout=2s",
                                   "--credential-helpers=env",
                                   "--credential-helpers=", "--credential-helpers=gitlab", NULL},
             &s, &err),
        0);
    clear_environment();
    assert_string_equal(s.registry.registry_maps[0], "a=b;");
    assert_string_equal(s.registry.registry_maps[1], "c=d");
    assert_null(s.registry.registry_maps[2]);
    assert_string_equal(s.registry.mirrors[0], "m1/path");
    assert_string_equal(s.registry.mirrors[1], "m2");
    assert_null(s.registry.mirrors[2]);
    assert_string_equal(s.registry.credential_helpers[0], "env");
    assert_string_equal(s.registry.credential_helpers[1], "");
    assert_string_equal(s.registry.credential_helpers[2], "gitlab");
    assert_null(s.registry.credential_helpers[3]);
    assert_int_equal(s.jobs_per_host, 3);
    assert_int_equal(s.registry.stall_timeout_ns, 2 * NS_PER_S);
    assert_int_equal(s.platform_count, 2); /* each once */
    assert_string_equal(s.platforms[0].variant, "v7");
    assert_string_equal(s.platforms[1].architecture, "amd64");
}

static void test_format(void **state)
{
    (void)state;
    static const struct {
        const char *option, *variable; /* NULL: not given */
        enum cachedir_format format;
    } rows[] = {
        {NULL, NULL, CACHEDIR_FORMAT_ANY},
        {NULL, "", CACHEDIR_FORMAT_ANY},
        {NULL, "1", CACHEDIR_FORMAT_ANY},
        {NULL, "F", CACHEDIR_FORMAT_DOCKER_ARCHIVE},
        {NULL, "false", CACHEDIR_FORMAT_DOCKER_ARCHIVE},
        {NULL, "0", CACHEDIR_FORMAT_DOCKER_ARCHIVE},
        {"--format=oci", "false", CACHEDIR_FORMAT_OCI},
        {"--format=oci", NULL, CACHEDIR_FORMAT_OCI},
        {"--format=docker-archive", "true", CACHEDIR_FORMAT_DOCKER_ARCHIVE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_settings struct settings s;
        cleanup_error struct error err = {0};
        clear_environment();
        if (rows[i].variable)
            assert_int_equal(setenv("FF_KANIKO_OCI_WARMER", rows[i].variable, 1), 0);
        assert_int_equal(load((const char *const[]){"-ia", rows[i].option, NULL}, &s, &err), 0);
        if (s.format != rows[i].format)
            fail_msg("row %zu: format %d", i, s.format);
    }
    clear_environment();
}

static void test_shards(void **state)
{
    (void)state;
    static const struct {
        const char *arg, *index;
        unsigned shard, shards;
    } rows[] = {
        {"--shard=0/1", NULL, 0, 1}, {"--shard=2/3", NULL, 2, 3},
        {"--shard=02/3", "9", 2, 3}, {"--shard=99999/100000", NULL, 99999, 100000},
        {"--shards=3", "2", 2, 3},   {"--shards=1", "0", 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_settings struct settings s;
        clear_environment();
        if (rows[i].index)
            assert_int_equal(setenv("JOB_COMPLETION_INDEX", rows[i].index, 1), 0);
        assert_int_equal(load((const char *const[]){"-ia", rows[i].arg, NULL}, &s, NULL), 0);
        if (s.shard != rows[i].shard || s.shards != rows[i].shards)
            fail_msg("row %zu: %u of %u", i, s.shard, s.shards);
    }
    clear_environment();
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *args[ARGS_MAX];
        const char *message; /* or how it begins */
        const char *variable, *value;
    } rows[] = {
        {{NULL}, "nothing to warm: "},
        {{"debian:12"}, "unexpected \"debian:12\": images are given by --image"},
        {{"list"}, "unexpected \"list\": images are given by --image, and commands like list"},
        {{"-iA", "\x1b"}, "unexpected \"\\x1b\": "},
        {{"-ia", "--platform=linux"}, "--platform: "},
        {{"-ia", "--platform=linux/a,linux/b"},
         "--platform \"linux/a,linux/b\": one platform only: repeat --platform for each"},
        {{"-ia", "--max-size=0"}, "--max-size: bad size \"0\": it must be more than 0"},
        {{"-ia", "--report=-"}, "--report -: stdout has the table: name a file"},
        {{"-ia", "--metrics-file=-"}, "--metrics-file -: stdout has the table: name a file"},
        {{"-da", "--pinned-dockerfile=-"}, "--pinned-dockerfile -: stdout has the table"},
        {{"-ia", "--report=f", "--metrics-file=f"},
         "--report and --metrics-file name the same file"},
        {{"-ia", "--platform="}, "--platform: "},
        {{"-ia", "--credential-helpers=aws"},
         "--credential-helpers \"aws\": must be env, google, ecr, acr, gitlab, or empty"},
        {{"-ia", "--registry-map=a"}, "--registry-map \"a\": must be A=B"},
        {{"-ia", "--registry-map=a=b;=c"}, "--registry-map \"=c\": must be A=B"},
        {{"-ia", "--registry-map=a="}, "--registry-map \"a=\": must be A=B"},
        {{"-ia"}, "--registry-map \"x\": must be A=B", "KANIKO_REGISTRY_MAP", "x"},
        {{"-ia", "--registry-mirror="}, "--registry-mirror \"\": must be one host"},
        {{"-ia", "--registry-mirror=https://m"}, "--registry-mirror \"https://m\": must be one"},
        {{"-ia", "--registry-mirror=a,b"}, "--registry-mirror \"a,b\": must be one host"},
        {{"-ia", "--insecure-registry=http://h"}, "--insecure-registry \"http://h\": must be one"},
        {{"-ia", "--skip-tls-verify-registry=a b"}, "--skip-tls-verify-registry \"a b\": must be"},
        {{"-ia", "--registry-certificate=f"}, "--registry-certificate \"f\": must be HOST=FILE"},
        {{"-ia", "--registry-certificate==f"}, "--registry-certificate \"=f\": must be HOST=FILE"},
        {{"-ia", "--registry-certificate=h="}, "--registry-certificate \"h=\": must be HOST=FILE"},
        {{"-ia", "--registry-client-cert=h=c"}, "--registry-client-cert \"h=c\": must be HOST=CRT"},
        {{"-ia", "--check", "--dry-run"}, "--check and --dry-run exclude each other"},
        {{"-ia", "--cache-dir="}, "--cache-dir is empty"},
        {{"-ia", "--stall-timeout=0"}, "--stall-timeout must be at least 1s"},
        {{"-ia", "--cache-ttl=-1h"}, "--cache-ttl: "},
        {{"-ia", "--jobs=0"}, "--jobs \"0\": must be a number from 1 to 128"},
        {{"-ia", "--fail=some"}, "--fail \"some\": must be any, all or never"},
        {{"-ia", "--format=tar"}, "--format \"tar\": must be oci or docker-archive"},
        {{"-ia", "--target=x"}, "--target names a stage: give --dockerfile, too"},
        {{"-dD", "--build-arg="}, "--build-arg \"\": must be NAME=VALUE"},
        {{"-dD", "--build-arg==x"}, "--build-arg \"=x\": must be NAME=VALUE"},
        {{"-d-", "--images-file=-"}, "- is given twice, but stdin can be read only once"},
        {{"-d-", "-d-"}, "- is given twice, but"},
        {{"-ia", "--pinned-dockerfile=f"}, "--pinned-dockerfile: give one --dockerfile"},
        {{"-da", "-db", "--pinned-dockerfile=f"}, "--pinned-dockerfile: give one --dockerfile"},
        {{"-da", "--pinned-dockerfile=f", "--platform=linux/a", "--platform=linux/b"},
         "--pinned-dockerfile: a digest is one platform's: "},
        {{"-da", "--pinned-dockerfile=f", "--check"}, "--pinned-dockerfile does not go with --ch"},
        {{"-da", "--pinned-dockerfile=f", "--dry-run"}, "--pinned-dockerfile does not go with --d"},
        {{"-da", "--pinned-dockerfile=f", "--shard=0/2"}, "--pinned-dockerfile does not go with "},
        {{"-da", "--pinned-dockerfile="}, "--pinned-dockerfile is empty"},
        {{"-ia", "--shard=1/2", "--shards=2"}, "--shard and --shards exclude each other"},
        {{"-ia", "--shard=2/2"}, "--shard \"2/2\": must be I/N, as 0/3, 1/3 and 2/3"},
        {{"-ia", "--shard=2"}, "--shard \"2\": must be I/N"},
        {{"-ia", "--shard=/2"}, "--shard \"/2\": must be I/N"},
        {{"-ia", "--shard=0/"}, "--shard \"0/\": must be I/N"},
        {{"-ia", "--shard=0/0"}, "--shard \"0/0\": must be I/N"},
        {{"-ia", "--shard=-1/2"}, "--shard \"-1/2\": must be I/N"},
        {{"-ia", "--shard=0/2/3"}, "--shard \"0/2/3\": must be I/N"},
        {{"-ia", "--shard=0/100001"}, "--shard \"0/100001\": must be I/N"},
        {{"-ia", "--shard=0/99999999999"}, "--shard \"0/99999999999\": must be I/N"},
        {{"-ia", "--shards=0"}, "--shards \"0\": must be a number from 1 to 100000"},
        {{"-ia", "--shards=2"}, "--shards: JOB_COMPLETION_INDEX is not set: "},
        {{"-ia", "--shards=2"},
         "--shards 2: JOB_COMPLETION_INDEX is \"2\": must be a number from 0 to 1",
         "JOB_COMPLETION_INDEX",
         "2"},
        {{"-ia", "--shards=2"},
         "--shards 2: JOB_COMPLETION_INDEX is \"\": must be",
         "JOB_COMPLETION_INDEX",
         ""},
        {{"-ia", "--shard=0/2", "--prune"}, "--shard does not go with --prune, "},
        {{"-ia", "--shard=0/2", "--max-size=1G"}, "--shard does not go with --prune, "},
        {{"-ia", "--shard=0/2", "--min-free=5%"}, "--shard does not go with --prune, "},
        {{"-ia"}, "FF_KANIKO_OCI_WARMER \"no\": must be true or", "FF_KANIKO_OCI_WARMER", "no"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_settings struct settings s;
        cleanup_error struct error err = {0};
        clear_environment();
        if (rows[i].variable)
            assert_int_equal(setenv(rows[i].variable, rows[i].value, 1), 0);
        if (load(rows[i].args, &s, &err) != -1 || err.kind != ERROR_USAGE ||
            strncmp(err.message, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("row %zu: %s", i, err.message);
    }
    clear_environment();
}

/* What is wrong beside them does not keep people from the help. */
static void test_help_first(void **state)
{
    (void)state;
    static const char *const rows[] = {"--help", "-h", "--version", "--completion=bash"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_settings struct settings s;
        assert_int_equal(load((const char *const[]){rows[i], "operand", NULL}, &s, NULL), 0);
    }
}

static char *printed(const char *shell)
{
    const struct command_spec *const commands[] = {&warmer_command};
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (shell)
        assert_int_equal(options_completion("warmer", commands, 1, shell, out, NULL), 0);
    else
        options_help(&warmer_command, out);
    fclose(out);
    return text;
}

/* The option followed by something that ends it. */
static bool names(const char *text, const char *option)
{
    for (const char *p = text; (p = strstr(p, option)); p++)
        if (strchr(" =\n\"[\\|)", p[strlen(option)]))
            return true;
    return false;
}

static void test_one_table(void **state)
{
    (void)state;
    cleanup_free char *help = printed(NULL), *bash = printed("bash"), *zsh = printed("zsh"),
                      *fish = printed("fish"), *man = printed("man");
    for (const struct option_spec *s = warmer_command.options; s->name; s++) {
        cleanup_free char *option = xasprintf("--%s", s->name);
        cleanup_free char *fishy = xasprintf("-l %s", s->name);
        size_t len;
        char *roffed;
        FILE *out = open_memstream(&roffed, &len);
        for (const char *p = option; *p; p++)
            fprintf(out, "%s%c", *p == '-' ? "\\" : "", *p);
        fclose(out);
        const bool shown = s->group != NULL;
        /* The help of --platform names its synonyms: look where options begin. */
        cleanup_free char *line = xasprintf("\n      %s", option),
                          *lettered = xasprintf(", %s", option);
        const bool in_help = names(help, line) || names(help, lettered);
        if (in_help != shown || names(zsh, option) < shown || names(fish, fishy) != shown ||
            names(man, roffed) < shown || names(bash, option) < shown)
            fail_msg("%s is not in all of help, completion, manual page", option);
        free(roffed);
    }
    char *rest = NULL;
    for (char *line = strtok_r(help, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (text_columns(line) > 80)
            fail_msg("over 80 columns: %s", line);
}

/* Each option does something to its own member, and each help is a sentence without a full stop. */
static void test_each(void **state)
{
    (void)state;
    for (const struct option_spec *o = warmer_command.options; o->name; o++) {
        static const char *const samples[] = {
            [OPTION_BOOL] = "true",   [OPTION_STRING] = "5%", [OPTION_LIST] = "a=b",
            [OPTION_DURATION] = "7s", [OPTION_SIZE] = "7Ki",  [OPTION_UNSIGNED] = "7",
        };
        struct settings s = {0};
        bool was = false;
        size_t last = 0;
        if (o->group && o->help[strlen(o->help) - 1] == '.')
            fail_msg("--%s: a full stop", o->name);
        for (; o->choices && o->choices[last + 1]; last++)
            ;
        const char *value = o->type == OPTION_CHOICE ? o->choices[last] : samples[o->type];
        cleanup_free char *arg = xasprintf("--%s=%s", o->name, value);
        char program[] = "warmer", *argv[] = {program, arg, NULL};
        int operand;
        assert_int_equal(options_parse(&warmer_command, 2, argv, &s, &operand, NULL), 0);
        const void *member = (const char *)&s + o->offset;
        switch (o->type) {
        case OPTION_BOOL:
            was = *(const bool *)member;
            break;
        case OPTION_STRING:
            was = strcmp(*(const char *const *)member, "5%") == 0;
            break;
        case OPTION_LIST:
            was = strcmp((*(char *const *const *)member)[0], "a=b") == 0;
            break;
        case OPTION_DURATION:
            was = *(const int64_t *)member == 7 * NS_PER_S;
            break;
        case OPTION_SIZE:
            was = *(const int64_t *)member == 7 * 1024;
            break;
        case OPTION_UNSIGNED:
            was = *(const unsigned *)member == 7;
            break;
        case OPTION_CHOICE:
            was = *(const int *)member == (int)last && last > 0;
            break;
        }
        if (!was)
            fail_msg("%s does not set its member", arg);
        options_release(&warmer_command, &s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_format),    cmocka_unit_test(test_shards),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_help_first),
        cmocka_unit_test(test_one_table), cmocka_unit_test(test_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
