/*
 * What the command line and the environment say. One table, in settings.c, feeds the parser,
 * --help, the man page and the completion: a new option is one line there and a member here.
 *
 * Nothing is read but argv and the environment: files that are named are opened by those who use
 * them. The strings point into argv and the environment.
 */
#pragma once

#include "registry.h"

#include "cachedir/cachedir.h"
#include "cachedir/cli/log.h"
#include "cachedir/cli/options.h"
#include "cachedir/platform.h"

#define JOBS_MAX 128
#define SHARDS_MAX 100000

enum fail_policy { FAIL_ANY, FAIL_ALL, FAIL_NEVER };
enum progress_mode { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_NONE };

struct settings {
    /* what to warm, and where */
    char **images;                 /* NULL-terminated, or NULL: none */
    char **images_files;           /* the same; "-" is stdin */
    char **dockerfiles;            /* the same; http and https URLs, too */
    char **build_args;             /* "NAME=VALUE", or "NAME": as in the environment */
    const char *target;            /* NULL: all stages */
    const char *pinned_dockerfile; /* NULL: none */
    unsigned shard, shards;        /* the shard-th of so many parts, from 0; shards 0: all of it */
    const char *cache_dir;
    struct platform *platforms; /* for images that name none; the machine's own if none was given */
    size_t platform_count;
    bool force;
    int64_t cache_ttl_ns;
    int64_t fresh_for_ns;

    /* How the registries are asked. settings_load() fills all but warn, debug and userdata. */
    struct registry_options registry;
    unsigned jobs;
    unsigned jobs_per_host;
    unsigned retries;
    int64_t retry_max_time_ns;
    int64_t stall_timeout_ns;
    int64_t timeout_ns; /* of the whole run; 0: none */

    /* what is removed afterwards, as by cachedir prune */
    bool prune;
    int64_t grace_ns;
    int64_t max_size; /* bytes; 0: no limit */
    const char *min_free_text;
    struct cachedir_limits limits; /* of these two */
    char **keep;

    /* what is done, and what is said */
    bool check;
    bool dry_run;
    int fail;                 /* enum fail_policy */
    int progress;             /* enum progress_mode */
    const char *report;       /* NULL: none */
    const char *metrics_file; /* the same */
    enum cachedir_format format;
    int format_choice; /* what --format says of it; -1: nothing */
    bool alias_index;  /* publish under the index's digest, too */
    int verbosity;     /* enum log_level */
    int log_format;    /* enum log_format */
    bool log_timestamp;

    /* instead of warming */
    bool help;
    bool version;
    bool check_args;
    const char *completion; /* for this shell; NULL: no */

    char **platform_names; /* as typed, like all below */
    const char *shard_text;
};

/*
 * Fill *ret from the defaults, the command line, then the environment (KANIKO_REGISTRY_MAP and
 * KANIKO_REGISTRY_MIRROR add to their options; FF_KANIKO_OCI_WARMER decides about the format
 * where --format does not). ERROR_USAGE quotes what is wrong. With help, version or completion
 * nothing else is checked. *ret must be released in any case.
 */
int settings_load(int argc, char **argv, struct settings *ret, struct error *err);
void settings_release(struct settings *s);
#define cleanup_settings __attribute__((cleanup(settings_release)))

extern const struct command_spec warmer_command; /* for --help, --completion and the man page */
