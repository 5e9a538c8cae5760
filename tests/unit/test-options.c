#include "cachedir/cli/options.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct settings {
    bool force, on;
    const char *dir;
    char **images;
    int64_t age_ns, size;
    unsigned jobs, any;
    int level;
};

static const char *const levels[] = {"warn|warning", "info", NULL};

#define AT(member) offsetof(struct settings, member)
static const struct option_spec specs[] = {
    {"force", 'f', OPTION_BOOL, AT(force), NULL, "Doing", "do it anyway"},
    {"on", 'o', OPTION_BOOL, AT(on), NULL, "Doing", "be on", "true"},
    {"cache-dir", 'c', OPTION_STRING, AT(dir), "DIR", "Doing", "the directory", "/cache"},
    {"image", 'i', OPTION_LIST, AT(images), "REF", "Images",
     "a sentence that is too long for what remains of a line of eighty columns; repeatable"},
    {"picture", 0, OPTION_LIST, AT(images), "REF"},
    {"a-very-long-name-of-an-option", 0, OPTION_DURATION, AT(age_ns), "D", "Doing",
     ".roff's [own]"},
    {"size", 0, OPTION_SIZE, AT(size), "S", "Images", "a size"},
    {"jobs", 'j', OPTION_UNSIGNED, AT(jobs), "N", "Doing", "how many", NULL, NULL, 1, 64},
    {"any", 0, OPTION_UNSIGNED, AT(any), "N", "Doing", "any number"},
    {"level", 'l', OPTION_CHOICE, AT(level), "LEVEL", "Doing", "which level", "info", levels},
    {0},
};
static const struct command_spec command = {.name = "test",
                                            .usage = "[options]",
                                            .summary = "Test it.",
                                            .options = specs,
                                            .epilog = "End.\n"};

#define ARGS_MAX 8

/* The state as one string: what the options did, then the operands. */
static char *parse(const char *const *args, struct error *err)
{
    struct settings s = {.on = true, .dir = "/cache", .level = 1, .any = 7};
    char *argv[ARGS_MAX + 2] = {(char[]){"test"}};
    int argc = 1, operand;
    char *text;
    size_t len;
    for (; argc <= ARGS_MAX && args[argc - 1]; argc++)
        argv[argc] = xstrdup(args[argc - 1]);
    char *const all[ARGS_MAX] = {argv[1], argv[2], argv[3], argv[4],
                                 argv[5], argv[6], argv[7], argv[8]};
    int r = options_parse(&command, argc, argv, &s, &operand, err);
    FILE *out = open_memstream(&text, &len);
    if (r == 0) {
        fprintf(out,
                "force=%d on=%d dir=%s age=%lld size=%lld jobs=%u any=%u level=%d images=", s.force,
                s.on, s.dir, (long long)s.age_ns, (long long)s.size, s.jobs, s.any, s.level);
        for (char **image = s.images; image && *image; image++)
            fprintf(out, "%s;", *image);
        for (int i = operand; i < argc; i++)
            fprintf(out, " %s", argv[i]);
        assert_null(argv[argc]);
    }
    fclose(out);
    options_release(&command, &s);
    assert_null(s.images);
    for (size_t i = 0; i < ARGS_MAX; i++)
        free(all[i]);
    return text;
}

#define S(force, on, dir, age, size, jobs, any, level, images)                                     \
    "force=" force " on=" on " dir=" dir " age=" age " size=" size " jobs=" jobs " any=" any       \
    " level=" level " images=" images

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *args[ARGS_MAX];
        const char *expected;
    } rows[] = {
        {{NULL}, S("0", "1", "/cache", "0", "0", "0", "7", "1", "")},
        {{"--force", "--on=false"}, S("1", "0", "/cache", "0", "0", "0", "7", "1", "")},
        {{"--force=true", "--force=F"}, S("0", "1", "/cache", "0", "0", "0", "7", "1", "")},
        {{"-f", "-o=0"}, S("1", "0", "/cache", "0", "0", "0", "7", "1", "")},
        {{"-fo=False"}, S("1", "0", "/cache", "0", "0", "0", "7", "1", "")},
        {{"-fcdir", "op"}, S("1", "1", "dir", "0", "0", "0", "7", "1", "") " op"},
        {{"-fc", "dir"}, S("1", "1", "dir", "0", "0", "0", "7", "1", "")},
        {{"-c=dir"}, S("0", "1", "dir", "0", "0", "0", "7", "1", "")},
        {{"-c=d=e"}, S("0", "1", "d=e", "0", "0", "0", "7", "1", "")},
        {{"--cache-dir=a", "--cache-dir", "b"}, S("0", "1", "b", "0", "0", "0", "7", "1", "")},
        {{"--cache-dir="}, S("0", "1", "", "0", "0", "0", "7", "1", "")},
        {{"-i", "a", "-ib", "--image=c", "--image", "-d", "--picture", "e"},
         S("0", "1", "/cache", "0", "0", "0", "7", "1", "a;b;c;-d;e;")},
        {{"x", "--force", "y", "-", "z"},
         S("1", "1", "/cache", "0", "0", "0", "7", "1", "") " x y - z"},
        {{"x", "--", "--force", "-f"},
         S("0", "1", "/cache", "0", "0", "0", "7", "1", "") " x --force -f"},
        {{"--image", "--"}, S("0", "1", "/cache", "0", "0", "0", "7", "1", "--;")},
        {{"--a-very-long-name-of-an-option", "1m", "--size=2Ki"},
         S("0", "1", "/cache", "60000000000", "2048", "0", "7", "1", "")},
        {{"-j64", "--any=4294967295"},
         S("0", "1", "/cache", "0", "0", "64", "4294967295", "1", "")},
        {{"-l", "WARN"}, S("0", "1", "/cache", "0", "0", "0", "7", "0", "")},
        {{"--level=warning"}, S("0", "1", "/cache", "0", "0", "0", "7", "0", "")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        cleanup_free char *got = parse(rows[i].args, &err);
        if (err.kind != ERROR_NONE || strcmp(got, rows[i].expected) != 0)
            fail_msg("row %zu: %s\n%s, not\n%s", i, err.message, got, rows[i].expected);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *args[ARGS_MAX];
        const char *message;
    } rows[] = {
        {{"--forc"}, "unknown option --forc: did you mean --force?"},
        {{"--frocee=true"}, "unknown option --frocee=true: did you mean --force?"},
        {{"--cachedir=x"}, "unknown option --cachedir=x: did you mean --cache-dir?"},
        {{"--cachdirs=x"}, "unknown option --cachdirs=x: \"test --help\" lists them"},
        {{"--nothing=x"}, "unknown option --nothing=x: \"test --help\" lists them"},
        {{"--=x"}, "unknown option --=x: \"test --help\" lists them"},
        {{"--a|b\x1b"}, "unknown option --a|b\\x1b: \"test --help\" lists them"},
        {{"-x"}, "unknown option -x: \"test --help\" lists them"},
        {{"-fx"}, "unknown option -fx: \"test --help\" lists them"},
        {{"-image", "x"}, "-image: long options have two dashes: --image"},
        {{"-image=x"}, "-image=x: long options have two dashes: --image=x"},
        {{"-force"}, "-force: long options have two dashes: --force"},
        {{"--image"}, "--image needs a value: --image REF"},
        {{"-fc"}, "-c needs a value: -c DIR"},
        {{"--force=maybe"}, "--force \"maybe\": must be true or false"},
        {{"--force="}, "--force \"\": must be true or false"},
        {{"-j", "0"}, "-j \"0\": must be a number from 1 to 64"},
        {{"-j", "65"}, "-j \"65\": must be a number from 1 to 64"},
        {{"--jobs=-1"}, "--jobs \"-1\": must be a number from 1 to 64"},
        {{"--jobs= 1"}, "--jobs \" 1\": must be a number from 1 to 64"},
        {{"--jobs=1x"}, "--jobs \"1x\": must be a number from 1 to 64"},
        {{"--jobs="}, "--jobs \"\": must be a number from 1 to 64"},
        {{"--any=4294967296"}, "--any \"4294967296\": must be a number, at least 0"},
        {{"--any=99999999999999999999"},
         "--any \"99999999999999999999\": must be a number, at least 0"},
        {{"--level=warn|warning"}, "--level \"warn|warning\": must be warn or info"},
        {{"--size=0"},
         "--size: bad size \"0\": it must be more than 0; without the option there is no limit"},
        {{"--size=0K"},
         "--size: bad size \"0K\": it must be more than 0; without the option there is no limit"},
        {{"--level=war"}, "--level \"war\": must be warn or info"},
        {{"--level="}, "--level \"\": must be warn or info"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cleanup_error struct error err = {0};
        cleanup_free char *got = parse(rows[i].args, &err);
        if (err.kind != ERROR_USAGE || strcmp(err.message, rows[i].message) != 0)
            fail_msg("row %zu: %s%s, not\n%s", i, got, err.message, rows[i].message);
    }
    /* What other parsers say is passed on, with the option's name. */
    static const char *const others[][2] = {
        {"--size=1X", "--size: "},
        {"--a-very-long-name-of-an-option=1", "--a-very-long-name-of-an-option: "}};
    for (size_t i = 0; i < 2; i++) {
        cleanup_error struct error err = {0};
        cleanup_free char *got = parse((const char *const[]){others[i][0], NULL}, &err);
        assert_string_equal(got, "");
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_memory_equal(err.message, others[i][1], strlen(others[i][1]));
    }
}

static char *printed(void (*print)(const struct command_spec *command, FILE *out))
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    print(&command, out);
    fclose(out);
    return text;
}

static void test_help(void **state)
{
    (void)state;
    static const char expected[] =
        "Usage: test [options]\n"
        "\n"
        "Test it.\n"
        "\n"
        "Doing:\n"
        "  -f, --force                 do it anyway\n"
        "  -o, --on                    be on (default: true)\n"
        "  -c, --cache-dir DIR         the directory (default: /cache)\n"
        "      --a-very-long-name-of-an-option D\n"
        "                              .roff's [own]\n"
        "  -j, --jobs N                how many\n"
        "      --any N                 any number\n"
        "  -l, --level LEVEL           which level: warn or info (default: info)\n"
        "\n"
        "Images:\n"
        "  -i, --image REF             a sentence that is too long for what remains of a\n"
        "                              line of eighty columns; repeatable\n"
        "      --size S                a size\n"
        "\n"
        "End.\n";
    cleanup_free char *text = printed(options_help);
    assert_string_equal(text, expected);
}

static void man_of_one(const struct command_spec *c, FILE *out)
{
    options_man(&c, 1, out);
}

static void man_of_two(const struct command_spec *c, FILE *out)
{
    static const struct option_spec mine[] = {
        {"own", 0, OPTION_BOOL, AT(on), NULL, "Own", "its own"},
        {"help", 'h', OPTION_BOOL, AT(force), NULL, "Common", "help"},
        {0},
    };
    const struct command_spec first = {"test a", "[options]", "do a", mine, ".first\n"};
    const struct command_spec second = {"test b", "X|Y", "do b", mine, NULL};
    const struct command_spec *const both[] = {&first, &second};
    (void)c;
    options_man(both, 2, out);
}

static void test_man(void **state)
{
    (void)state;
    cleanup_free char *one = printed(man_of_one);
    static const char start[] =
        ".SS Doing\n.TP\n\\fB\\-f\\fR, \\fB\\-\\-force\\fR\ndo it anyway.\n";
    assert_memory_equal(one, start, strlen(start));
    assert_non_null(strstr(one, ".TP\n\\fB\\-\\-a\\-very\\-long\\-name\\-of\\-an\\-option\\fR "
                                "\\fID\\fR\n\\&.roff's [own].\n"));
    assert_null(strstr(one, "picture"));
    cleanup_free char *two = printed(man_of_two);
    assert_string_equal(two, ".SS \"test a [options]\"\ndo a.\n"
                             ".TP\n\\fB\\-\\-own\\fR\nits own.\n"
                             ".PP\n.nf\n\\&.first\n.fi\n"
                             ".SS \"test b X|Y\"\ndo b.\n"
                             ".TP\n\\fB\\-\\-own\\fR\nits own.\n"
                             ".SS Common to all commands\n"
                             ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nhelp.\n");
}

static void test_completion(void **state)
{
    (void)state;
    static const struct {
        const char *shell, *holds;
    } rows[] = {
        {"bash", "complete -o filenames -F _test test\n"},
        {"bash", "-W \"--force --on --cache-dir --image"},
        {"bash", "--level | -l)\n            mapfile -t COMPREPLY < <(compgen -W \"warn info\""},
        {"bash", "--cache-dir | -c)\n            mapfile -t COMPREPLY < <(compgen -d --"},
        {"zsh", "#compdef test\n"},
        {"zsh", "'*--image=[a sentence"},
        {"zsh", "'--level=[which level]:LEVEL:(warn info)'"},
        {"zsh", "[.roff'\\''s \\[own\\]]:D:'"},
        {"fish", "complete -c test -s l -l level -x -a 'warn info' -d 'which level'\n"},
        {"fish", "-d '.roff\\'s [own]'"},
        {"man", ".SS Doing\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct command_spec *const one[] = {&command};
        char *text;
        size_t len;
        FILE *out = open_memstream(&text, &len);
        assert_int_equal(options_completion("test", one, 1, rows[i].shell, out, NULL), 0);
        fclose(out);
        if (!strstr(text, rows[i].holds))
            fail_msg("row %zu: not in:\n%s", i, text);
        /* Synonyms are not offered. */
        if (strcmp(rows[i].shell, "bash") != 0)
            assert_null(strstr(text, "picture"));
        free(text);
    }
    cleanup_error struct error err = {0};
    assert_int_equal(options_completion("test", NULL, 0, "tcsh", stdout, &err), -1);
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_string_equal(err.message, "no completion for \"tcsh\": bash, zsh or fish");
}

/* What bash would offer for a command line. */
static void test_bash(void **state)
{
    (void)state;
    static const struct {
        const char *words, *expected;
    } rows[] = {
        {"test --f", "--force\n"},      {"test --level w", "warn\n"},
        {"test --level = w", "warn\n"}, /* as bash splits --level=w */
        {"test -l ''", "warn\ninfo\n"}, {"test --image x", ""},
        {"test --jobs ''", ""},
    };
    char path[] = "/tmp/test-options.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *script = fdopen(fd, "w");
    const struct command_spec *const one[] = {&command};
    assert_int_equal(options_completion("test", one, 1, "bash", script, NULL), 0);
    assert_int_equal(fclose(script), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *line = NULL;
        size_t size = 0, len;
        char *text;
        cleanup_free char *shell = xasprintf(
            "exec bash --norc -c '. %s; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _test; "
            "printf \"%%s\\n\" \"${COMPREPLY[@]}\"' bash %s",
            path, rows[i].words);
        FILE *out = open_memstream(&text, &len);
        FILE *in = popen(shell, "re");
        assert_non_null(in);
        while (getline(&line, &size, in) > 0)
            if (strcmp(line, "\n") != 0)
                fputs(line, out);
        assert_int_equal(pclose(in), 0);
        fclose(out);
        if (strcmp(text, rows[i].expected) != 0)
            fail_msg("row %zu: \"%s\", not \"%s\"", i, text, rows[i].expected);
        free(text);
        free(line);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_help),       cmocka_unit_test(test_man),
        cmocka_unit_test(test_completion), cmocka_unit_test(test_bash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
