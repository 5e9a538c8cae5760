#include "settings.h"

#include "credentials.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <string.h>

#define SECONDS(n) (INT64_C(n) * NS_PER_S)

static const char *const fail_choices[] = {"any", "all", "never", NULL};
static const char *const format_choices[] = {"oci", "docker-archive", NULL};
static const char *const progress_choices[] = {"auto", "bar", "plain", "none", NULL};

/* Synonyms have no group: they work, and are not shown. */
#define AT(member) offsetof(struct settings, member)
static const struct option_spec options[] = {
/* clang-format off */
#define GROUP "Images"
    {"image", 'i', OPTION_LIST, AT(images), "REF", GROUP, "warm this image; repeatable"},
    {"images-file", 0, OPTION_LIST, AT(images_files), "FILE", GROUP,
     "warm the images in this list, one a line; - is stdin; repeatable"},
    {"dockerfile", 'd', OPTION_LIST, AT(dockerfiles), "FILE", GROUP,
     "warm the images that the stages of this Dockerfile begin with; it may be an http or https "
     "URL; - is stdin; repeatable"},
    {"build-arg", 0, OPTION_LIST, AT(build_args), "NAME=VALUE", GROUP,
     "the value of an ARG in Dockerfiles; without =VALUE, that in the environment; repeatable"},
    {"target", 0, OPTION_STRING, AT(target), "STAGE", GROUP,
     "of Dockerfiles, only what this stage needs"},
    {"pinned-dockerfile", 0, OPTION_STRING, AT(pinned_dockerfile), "FILE", GROUP,
     "write the Dockerfile again, with every image pinned to the digest that was warmed"},
    {"shard", 0, OPTION_STRING, AT(shard_text), "I/N", GROUP,
     "warm only the I-th of N parts of the list, from 0"},
    {"shards", 0, OPTION_UNSIGNED, AT(shards), "N", GROUP,
     "the same, with I from JOB_COMPLETION_INDEX", NULL, NULL, 1, SHARDS_MAX},
    {"platform", 0, OPTION_LIST, AT(platform_names), "OS/ARCH", GROUP,
     "the platform of images that name none, as os/arch[/variant]; repeatable; kaniko's "
     "--customPlatform and --custom-platform mean the same", "this machine's"},
    {"customPlatform", 0, OPTION_LIST, AT(platform_names), "OS/ARCH"},
    {"custom-platform", 0, OPTION_LIST, AT(platform_names), "OS/ARCH"},
#undef GROUP
#define GROUP "Directory"
    {"cache-dir", 'c', OPTION_STRING, AT(cache_dir), "DIR", GROUP,
     "the directory that the builder reads with its --cache-dir", "/cache"},
    {"format", 0, OPTION_CHOICE, AT(format_choice), "FORMAT", GROUP,
     "what the builder reads: oci is osscontainertools/kaniko's, docker-archive that of archived kaniko, of "
     "envbuilder, and of the former with FF_KANIKO_OCI_WARMER false, which here, too, means "
     "docker-archive", "as the directory has it, else oci", format_choices},
    {"alias-index", 0, OPTION_BOOL, AT(alias_index), NULL, GROUP,
     "publish each image also under the digest of the index that its reference led through, so that "
     "FROM name@sha256:INDEX finds it without any registry; for one platform only"},
    {"force", 'f', OPTION_BOOL, AT(force), NULL, GROUP,
     "trust nothing that is there: hash every blob again, and fetch what fails"},
    {"cache-ttl", 0, OPTION_DURATION, AT(cache_ttl_ns), "D", GROUP,
     "how long an entry lives: the builder's --cache-ttl", "336h"},
    {"fresh-for", 0, OPTION_DURATION, AT(fresh_for_ns), "D", GROUP,
     "do not ask again for a tag that was checked less than D ago", "0"},
#undef GROUP
#define GROUP "Registries"
    {"registry-map", 0, OPTION_LIST, AT(registry.registry_maps), "A=B;C=D", GROUP,
     "ask B before A, and D before C; several for one are asked in their order; repeatable, "
     "and added to by KANIKO_REGISTRY_MAP"},
    {"registry-mirror", 0, OPTION_LIST, AT(registry.mirrors), "HOST", GROUP,
     "ask this one before docker.io; repeatable, and added to by KANIKO_REGISTRY_MIRROR"},
    {"skip-default-registry-fallback", 0, OPTION_BOOL, AT(registry.skip_default_fallback), NULL, GROUP,
     "fail where no mirror has the image, instead of asking the original"},
    {"insecure-pull", 0, OPTION_BOOL, AT(registry.insecure_pull), NULL, GROUP,
     "plain HTTP for every registry"},
    {"insecure-registry", 0, OPTION_LIST, AT(registry.insecure_registries), "HOST", GROUP,
     "plain HTTP for this one; repeatable"},
    {"skip-tls-verify-pull", 0, OPTION_BOOL, AT(registry.skip_tls_verify_pull), NULL, GROUP,
     "do not verify the certificate of any registry"},
    {"skip-tls-verify-registry", 0, OPTION_LIST, AT(registry.skip_tls_verify), "HOST", GROUP,
     "do not verify the certificate of this one; repeatable"},
    {"registry-certificate", 0, OPTION_LIST, AT(registry.certificates), "HOST=FILE", GROUP,
     "trust the CA certificates in FILE, too, for this registry; repeatable"},
    {"registry-client-cert", 0, OPTION_LIST, AT(registry.client_certificates), "HOST=CRT,KEY", GROUP,
     "identify to this registry by a client certificate; repeatable"},
    {"authfile", 0, OPTION_LIST, AT(registry.authfiles), "FILE", GROUP,
     "credentials, in the form of docker's config.json, looked at before the usual places; "
     "repeatable, and the first match wins"},
    {"credential-helpers", 0, OPTION_LIST, AT(registry.credential_helpers), "NAME", GROUP,
     "use only these where no file knows a registry: env (KANIKO_<HOST>_USER and _PASSWORD), google, ecr, "
     "acr, gitlab; repeatable; \"\" is none of them", "all"},
    {"anonymous-retry", 0, OPTION_BOOL, AT(registry.anonymous_retry), NULL, GROUP,
     "one anonymous try when a stored credential is refused", "true"},
    {"foreign-layers", 0, OPTION_BOOL, AT(registry.foreign_layers), NULL, GROUP,
     "fetch layers from the URLs in the manifest where no registry has them", "true"},
#undef GROUP
#define GROUP "Network"
    {"jobs", 0, OPTION_UNSIGNED, AT(jobs), "N", GROUP, "connections in all", "8", NULL, 1, JOBS_MAX},
    {"jobs-per-host", 0, OPTION_UNSIGNED, AT(jobs_per_host), "N", GROUP, "connections to one registry",
     "as --jobs", NULL, 1, JOBS_MAX},
    {"retries", 0, OPTION_UNSIGNED, AT(retries), "N", GROUP, "how often a request that came to nothing is tried again", "5",
     NULL, 0, 1000},
    {"retry-max-time", 0, OPTION_DURATION, AT(retry_max_time_ns), "D", GROUP,
     "time for waiting and fruitless tries of one request", "5m"},
    {"stall-timeout", 0, OPTION_DURATION, AT(stall_timeout_ns), "D", GROUP,
     "a transfer below 1 KiB/s for so long has stalled", "30s"},
    {"timeout", 0, OPTION_DURATION, AT(timeout_ns), "D", GROUP, "time for the whole run", "none"},
    {"http2", 0, OPTION_BOOL, AT(registry.http2), NULL, GROUP,
     "offer HTTP/2 to servers with TLS; HTTP/1.1 is faster for layers, and dies less often"},
#undef GROUP
#define GROUP "Pruning"
    {"prune", 0, OPTION_BOOL, AT(prune), NULL, GROUP,
     "remove what is over after warming, as cachedir prune does"},
    {"grace", 0, OPTION_DURATION, AT(grace_ns), "D", GROUP,
     "how much longer than --cache-ttl an entry stays: not below the longest build", "24h"},
    {"max-size", 0, OPTION_SIZE, AT(max_size), "S", GROUP,
     "prune, and evict the oldest while all of it is larger than this"},
    {"min-free", 0, OPTION_STRING, AT(min_free_text), "S|P%", GROUP,
     "prune, and evict the oldest while less than this is free on the volume"},
    {"keep", 0, OPTION_LIST, AT(keep), "GLOB", GROUP,
     "never remove images whose reference matches; repeatable"},
#undef GROUP
#define GROUP "What is done"
    {"check", 0, OPTION_BOOL, AT(check), NULL, GROUP,
     "fetch nothing: exit 0 when every image is warm and current, 1 when not"},
    {"dry-run", 0, OPTION_BOOL, AT(dry_run), NULL, GROUP,
     "print what would be fetched, renewed and pruned, and change nothing"},
    {"fail", 0, OPTION_CHOICE, AT(fail), "WHICH", GROUP, "which failures make the run fail", "any",
     fail_choices},
#undef GROUP
#define GROUP "What is said"
    {"progress", 0, OPTION_CHOICE, AT(progress), "HOW", GROUP, "what is told while it works", "auto",
     progress_choices},
    {"report", 0, OPTION_STRING, AT(report), "FILE", GROUP, "write the closing table as JSON, too"},
    {"metrics-file", 0, OPTION_STRING, AT(metrics_file), "FILE", GROUP,
     "write it as Prometheus text, too"},
    {"verbosity", 'v', OPTION_CHOICE, AT(verbosity), "LEVEL", GROUP, "what is logged", "info",
     log_levels},
    {"log-format", 0, OPTION_CHOICE, AT(log_format), "FORMAT", GROUP, "how it is logged",
     "color on a terminal, else text", log_formats},
    {"log-timestamp", 0, OPTION_BOOL, AT(log_timestamp), NULL, GROUP,
     "the time of day in every line of the log, also in color"},
#undef GROUP
#define GROUP "Other"
    {"help", 'h', OPTION_BOOL, AT(help), NULL, GROUP, "print this"},
    {"version", 0, OPTION_BOOL, AT(version), NULL, GROUP, "print the version"},
    {"completion", 0, OPTION_STRING, AT(completion), "SHELL", GROUP,
     "print a completion script for bash, zsh or fish"},
    {"check-args", 0, OPTION_BOOL, AT(check_args), NULL, GROUP,
     "check the options and lists, and stop"},
#undef GROUP
    {0},
    /* clang-format on */
};

const struct command_spec warmer_command = {
    .name = "warmer",
    .usage = "[-i REF | --images-file FILE | -d DOCKERFILE]... [options]",
    .summary = "Pull base images into the directory that kaniko's executor reads with "
               "--cache-dir, and keep warm what is there.",
    .options = options,
    .epilog = "Exit codes: 0 all is well; 1 --check found something to do, or a prune could not\n"
              "meet its limits; 64 usage, bad reference; 65 wrong bytes, no such platform; 66\n"
              "no such image, tag or list; 73 the directory cannot be made; 74 I/O error, no\n"
              "space; 75 worth another try; 77 refused; 78 bad configuration or credentials;\n"
              "128+n on signal n.\n"
              "\n"
              "  warmer -c /cache -i debian:bookworm-slim -i node:22\n"
              "  warmer -c /cache --images-file images.txt --fail never\n",
};

/* Each of a list has the form LEFT=RIGHT, and RIGHT holds `needed` if that is not 0. */
static int check_pairs(char **list, const char *option, const char *form, char needed,
                       struct error *err)
{
    for (; list && *list; list++) {
        const char *equals = strchr(*list, '=');
        if (equals && equals != *list && equals[1] && (!needed || strchr(equals, needed)))
            continue;
        cleanup_free char *shown = text_foreign_str(*list);
        return error_set(err, ERROR_USAGE, "%s \"%s\": must be %s", option, shown, form);
    }
    return 0;
}

static int check_hosts(char **list, const char *option, struct error *err)
{
    for (; list && *list; list++) {
        if (**list && !strpbrk(*list, " \t\r\n=;,") && !strstr(*list, "://"))
            continue;
        cleanup_free char *shown = text_foreign_str(*list);
        return error_set(err, ERROR_USAGE,
                         "%s \"%s\": must be one host[:port], without http:// or https://", option,
                         shown);
    }
    return 0;
}

static int check_helpers(char **list, struct error *err)
{
    for (; list && *list; list++) {
        if (!**list || credentials_have_helper(*list))
            continue;
        cleanup_free char *shown = text_foreign_str(*list);
        return error_set(err, ERROR_USAGE,
                         "--credential-helpers \"%s\": must be env, google, ecr, acr, gitlab, or "
                         "empty",
                         shown);
    }
    return 0;
}

/* "A=B;C=D" each; an empty part, as after a last semicolon, is none. */
static int check_maps(char **list, const char *option, struct error *err)
{
    for (; list && *list; list++) {
        cleanup_free char *copy = xstrdup(*list);
        char *rest = NULL;
        for (char *part = strtok_r(copy, ";", &rest); part; part = strtok_r(NULL, ";", &rest)) {
            char *one[] = {part, NULL};
            if (check_pairs(one, option, "A=B, or several with ';' between them", 0, err) < 0)
                return -1;
        }
    }
    return 0;
}

static int add_platforms(struct settings *s, struct error *err)
{
    for (char **name = s->platform_names; name && *name; name++) {
        struct platform platform = {0};
        struct error why = {0};
        if (strchr(*name, ',')) {
            cleanup_free char *shown = text_foreign_str(*name);
            return error_set(err, ERROR_USAGE,
                             "--platform \"%s\": one platform only: repeat --platform for each",
                             shown);
        }
        if (platform_parse(*name, &platform, &why) < 0) {
            (void)error_prefix(&why, "--platform");
            error_move(err, &why);
            return -1;
        }
        bool known = false;
        for (size_t i = 0; i < s->platform_count && !known; i++)
            known = platform_equal(&s->platforms[i], &platform);
        if (known)
            platform_release(&platform);
        else
            *array_add(s->platforms, s->platform_count) = platform;
    }
    if (s->platform_count == 0) {
        struct platform *host = array_add(s->platforms, s->platform_count);
        platform_host(host);
    }
    return 0;
}

static int add_environment(struct settings *s, struct error *err)
{
    static const char format[] = "FF_KANIKO_OCI_WARMER";
    char *map = getenv("KANIKO_REGISTRY_MAP"), *mirror = getenv("KANIKO_REGISTRY_MIRROR");
    const char *oci = getenv(format);
    bool wanted;
    if (map && *map)
        options_list_add(&s->registry.registry_maps, map);
    if (mirror && *mirror)
        options_list_add(&s->registry.mirrors, mirror);
    if (!oci || !*oci)
        return 0;
    if (!options_bool(oci, &wanted)) {
        cleanup_free char *shown = text_foreign_str(oci);
        return error_set(err, ERROR_USAGE, "%s \"%s\": must be true or false", format, shown);
    }
    if (!wanted && s->format_choice < 0)
        s->format = CACHEDIR_FORMAT_DOCKER_ARCHIVE;
    return 0;
}

/* A number without sign or blanks, below `limit`. */
static bool number(const char *text, size_t len, unsigned limit, unsigned *ret)
{
    unsigned value = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
        if (value >= limit)
            return false;
    }
    *ret = value;
    return len > 0;
}

static int add_shard(struct settings *s, struct error *err)
{
    static const char variable[] = "JOB_COMPLETION_INDEX";
    const char *text = s->shard_text, *index = getenv(variable);
    if (text && s->shards > 0)
        return error_set(err, ERROR_USAGE, "--shard and --shards exclude each other");
    if (text) {
        const char *slash = strchrnul(text, '/');
        if (*slash && number(slash + 1, strlen(slash + 1), SHARDS_MAX + 1, &s->shards) &&
            number(text, (size_t)(slash - text), s->shards, &s->shard))
            return 0;
        cleanup_free char *shown = text_foreign_str(text);
        return error_set(err, ERROR_USAGE,
                         "--shard \"%s\": must be I/N, as 0/3, 1/3 and 2/3, and N at most %d",
                         shown, SHARDS_MAX);
    }
    if (s->shards == 0)
        return 0;
    if (!index)
        return error_set(err, ERROR_USAGE,
                         "--shards: %s is not set: it is in the Pods of a Job of completionMode "
                         "Indexed; elsewhere give --shard I/N",
                         variable);
    if (number(index, strlen(index), s->shards, &s->shard))
        return 0;
    cleanup_free char *shown = text_foreign_str(index);
    return error_set(err, ERROR_USAGE, "--shards %u: %s is \"%s\": must be a number from 0 to %u",
                     s->shards, variable, shown, s->shards - 1);
}

static size_t length(char *const *list)
{
    size_t count = 0;
    for (; list && *list; list++)
        count++;
    return count;
}

static size_t stdins(char *const *list)
{
    size_t count = 0;
    for (; list && *list; list++)
        count += strcmp(*list, "-") == 0;
    return count;
}

static int check_pinned(const struct settings *s, struct error *err)
{
    static const char option[] = "--pinned-dockerfile";
    if (!s->pinned_dockerfile)
        return 0;
    if (length(s->dockerfiles) != 1)
        return error_set(err, ERROR_USAGE, "%s: give one --dockerfile", option);
    if (s->platform_count > 1)
        return error_set(err, ERROR_USAGE,
                         "%s: a digest is one platform's: give one --platform, and a file for each",
                         option);
    if (s->check || s->dry_run || s->shards > 0)
        return error_set(err, ERROR_USAGE, "%s does not go with %s", option,
                         s->check     ? "--check"
                         : s->dry_run ? "--dry-run"
                                      : "--shard: a shard does not know all digests");
    return *s->pinned_dockerfile ? 0 : error_set(err, ERROR_USAGE, "%s is empty", option);
}

/* stdout has the table, and of two results in one file the last would stay. */
static int check_outputs(const struct settings *s, struct error *err)
{
    const struct {
        const char *option, *path;
    } outputs[] = {{"--report", s->report},
                   {"--metrics-file", s->metrics_file},
                   {"--pinned-dockerfile", s->pinned_dockerfile}};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        const char *path = outputs[i].path;
        if (path && strcmp(path, "-") == 0)
            return error_set(err, ERROR_USAGE, "%s -: stdout has the table: name a file",
                             outputs[i].option);
        for (size_t j = 0; path && j < i; j++)
            if (outputs[j].path && strcmp(path, outputs[j].path) == 0 &&
                strncmp(path, "/dev/", strlen("/dev/")) != 0)
                return error_set(err, ERROR_USAGE, "%s and %s name the same file",
                                 outputs[j].option, outputs[i].option);
    }
    return 0;
}

static int check_inputs(const struct settings *s, struct error *err)
{
    if (s->target && !s->dockerfiles)
        return error_set(err, ERROR_USAGE, "--target names a stage: give --dockerfile, too");
    for (char **arg = s->build_args; arg && *arg; arg++)
        if (!**arg || **arg == '=') {
            cleanup_free char *shown = text_foreign_str(*arg);
            return error_set(err, ERROR_USAGE, "--build-arg \"%s\": must be NAME=VALUE", shown);
        }
    if (stdins(s->images_files) + stdins(s->dockerfiles) > 1)
        return error_set(err, ERROR_USAGE, "- is given twice, but stdin can be read only once");
    if (s->shards > 0 && s->prune)
        return error_set(err, ERROR_USAGE,
                         "--shard does not go with --prune, --max-size and --min-free: a shard "
                         "does not know the others' images");
    return check_outputs(s, err) < 0 ? -1 : check_pinned(s, err);
}

static int check(const struct settings *s, struct error *err)
{
    const struct registry_options *r = &s->registry;
    if (check_hosts(r->insecure_registries, "--insecure-registry", err) < 0 ||
        check_hosts(r->skip_tls_verify, "--skip-tls-verify-registry", err) < 0 ||
        check_hosts(r->mirrors, "--registry-mirror", err) < 0 ||
        check_maps(r->registry_maps, "--registry-map", err) < 0 ||
        check_helpers(r->credential_helpers, err) < 0 ||
        check_pairs(r->certificates, "--registry-certificate", "HOST=FILE", 0, err) < 0 ||
        check_pairs(r->client_certificates, "--registry-client-cert", "HOST=CRT,KEY", ',', err) < 0)
        return -1;
    if ((s->prune || s->max_size || s->min_free_text) && s->check)
        return error_set(err, ERROR_USAGE, "--check changes nothing: it does not go with --prune");
    if (s->check && s->dry_run)
        return error_set(err, ERROR_USAGE, "--check and --dry-run exclude each other");
    if (!*s->cache_dir)
        return error_set(err, ERROR_USAGE, "--cache-dir is empty");
    if (s->stall_timeout_ns < NS_PER_S)
        return error_set(err, ERROR_USAGE, "--stall-timeout must be at least 1s");
    if (!s->images && !s->images_files && !s->dockerfiles)
        return error_set(err, ERROR_USAGE,
                         "nothing to warm: give --image REF, --images-file FILE or --dockerfile "
                         "FILE");
    return check_inputs(s, err);
}

static int unexpected(const char *operand, struct error *err)
{
    const bool is_word = *operand && !operand[strspn(operand, "abcdefghijklmnopqrstuvwxyz")];
    cleanup_free char *shown = text_foreign_str(operand);
    return error_set(err, ERROR_USAGE, "unexpected \"%s\": images are given by --image%s", shown,
                     is_word ? ", and commands like list and prune to cachedir" : "");
}

int settings_load(int argc, char **argv, struct settings *ret, struct error *err)
{
    int operand;
    *ret = (struct settings){
        .cache_dir = "/cache",
        .format_choice = -1,
        .cache_ttl_ns = SECONDS(336 * 3600),
        .grace_ns = SECONDS(24 * 3600),
        .registry = {.anonymous_retry = true, .foreign_layers = true},
        .jobs = 8,
        .retries = 5,
        .retry_max_time_ns = SECONDS(300),
        .stall_timeout_ns = SECONDS(30),
        .verbosity = LOG_INFO,
        .log_format = log_default_format(),
    };
    if (options_parse(&warmer_command, argc, argv, ret, &operand, err) < 0)
        return -1;
    if (ret->help || ret->version || ret->completion)
        return 0;
    if (operand < argc)
        return unexpected(argv[operand], err);
    static const enum cachedir_format formats[] = {CACHEDIR_FORMAT_OCI,
                                                   CACHEDIR_FORMAT_DOCKER_ARCHIVE};
    if (ret->format_choice >= 0)
        ret->format = formats[ret->format_choice];
    if (ret->jobs_per_host == 0)
        ret->jobs_per_host = ret->jobs;
    ret->registry.stall_timeout_ns = ret->stall_timeout_ns;
    ret->limits.max_size = ret->max_size;
    if (ret->min_free_text && cachedir_limits_min_free(&ret->limits, ret->min_free_text, err) < 0)
        return -1;
    ret->prune |= ret->max_size > 0 || ret->min_free_text;
    if (add_environment(ret, err) < 0 || add_platforms(ret, err) < 0 || add_shard(ret, err) < 0)
        return -1;
    return check(ret, err);
}

void settings_release(struct settings *s)
{
    for (size_t i = 0; i < s->platform_count; i++)
        platform_release(&s->platforms[i]);
    free(s->platforms);
    options_release(&warmer_command, s);
    *s = (struct settings){0};
}
