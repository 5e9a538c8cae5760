/*
 * warmer: from the command line to the exit code. The work is run.h's; here are the signals, the
 * deadline, and what is said at the end.
 */
#include "helper.h"
#include "metrics.h"
#include "output.h"
#include "pin.h"
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void warn(void *userdata, const char *message)
{
    (void)userdata;
    log_warn("%s", message);
}

static void info(void *userdata, const char *message)
{
    (void)userdata;
    log_info("%s", message);
}

static void debug(void *userdata, const char *message)
{
    (void)userdata;
    log_debug("%s", message);
}

static void problem(void *userdata, const char *message)
{
    (void)userdata;
    log_error("%s", message);
}

/* ---- signals ---- */

#define LEAVE_AFTER (950 * NS_PER_S / 1000)

/*
 * Signals are blocked in every thread and read by one of our own, which stops the run: as PID 1,
 * too, where a signal without a handler would be dropped. A second one leaves at once.
 */
struct watch {
    pthread_mutex_t mutex;
    struct run *run; /* guarded by it; NULL while there is none: then a signal just ends us */
    sigset_t signals;
    int64_t began;     /* ns of CLOCK_MONOTONIC */
    int64_t deadline;  /* of --timeout, the same; 0: none */
    int64_t leave_at;  /* after a signal: what is not done then is not waited for; 0: none came */
    atomic_int caught; /* the signal's number; 0: none */
    atomic_bool expired;
};

static int wait_for_signal(const struct watch *w)
{
    const int64_t until = w->leave_at ? w->leave_at : atomic_load(&w->expired) ? 0 : w->deadline;
    if (until == 0)
        return sigwaitinfo(&w->signals, NULL);
    int64_t left = until - monotonic_now();
    if (left < 0)
        left = 0;
    return sigtimedwait(&w->signals, NULL, &(struct timespec){left / NS_PER_S, left % NS_PER_S});
}

static void stop_run(struct watch *w, int code)
{
    pthread_mutex_lock(&w->mutex);
    if (!w->run)
        _exit(code); /* reading a list from a pipe, or opening a directory that hangs */
    run_stop(w->run);
    pthread_mutex_unlock(&w->mutex);
}

static void watch_run(struct watch *w, struct run *run)
{
    pthread_mutex_lock(&w->mutex);
    w->run = run;
    pthread_mutex_unlock(&w->mutex);
}

static void *watch_signals(void *userdata)
{
    struct watch *w = userdata;
    for (;;) {
        int number = wait_for_signal(w);
        if (number == SIGCHLD) {
            helper_reap_orphans();
            continue;
        }
        const int caught = atomic_load(&w->caught);
        if (caught && (number > 0 || monotonic_now() >= w->leave_at))
            _exit(128 + caught);
        if (number > 0) {
            w->leave_at = monotonic_now() + LEAVE_AFTER;
            atomic_store(&w->caught, number);
            log_warn("stopped by signal %d (%s)", number, strsignal(number));
            stop_run(w, 128 + number);
        } else if (w->deadline && !atomic_load(&w->expired) && monotonic_now() >= w->deadline) {
            atomic_store(&w->expired, true);
            log_warn("--timeout is reached: stopping");
            stop_run(w, error_exit_code(ERROR_INTERRUPTED));
        }
    }
    return NULL;
}

/* Every open stage and connection takes a few; the soft limit is often 1024. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* then the queue's bounds must do */
    }
}

static void block_signals(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGINT);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGHUP);
    sigaddset(ret, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, ret, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, as we may inherit it, helpers' ends are lost */
}

static struct watch the_watch = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int start_watch(const struct settings *s, sigset_t signals, struct error *err)
{
    pthread_t id;
    struct watch *w = &the_watch;
    w->signals = signals;
    w->began = monotonic_now();
    w->deadline = s->timeout_ns ? w->began + s->timeout_ns : 0;
    int failed = pthread_create(&id, NULL, watch_signals, w);
    if (failed)
        return error_errno(err, failed, "cannot start a thread");
    (void)pthread_detach(id);
    return 0;
}

/* ---- the run ---- */

static int open_directory(const struct settings *s, struct cachedir **ret, struct error *err)
{
    const bool only_look = s->check || s->dry_run;
    struct cachedir_options options = {.create = !only_look, .format = s->format, .warn = warn};
    if (cachedir_open(s->cache_dir, &options, ret, err) == 0)
        return 0;
    return -1;
}

/* The files that others read; `error` is what ended the run beside its images, or NULL. */
static int write_files(const struct settings *s, struct report *report, struct report_run *about)
{
    cleanup_error struct error err = {0}, metrics = {0}, termination = {0};
    int code = 0;
    if (s->metrics_file && metrics_write(report, about, s->metrics_file, &metrics) < 0) {
        log_error("%s", metrics.message);
        code = error_exit_code(metrics.kind);
    }
    if (s->report && report_write(report, about, s->report, &err) < 0) {
        log_error("%s", err.message);
        code = error_exit_code(err.kind);
    }
    if (report_terminate(report, about, REPORT_TERMINATION_LOG, &termination) < 0)
        log_warn("%s", termination.message);
    return code;
}

/* --pinned-dockerfile. Returns the exit code of it. */
static int write_pinned(const struct settings *s, const struct pin *pin, struct report *report)
{
    cleanup_error struct error err = {0};
    if (!pin || pin_write(pin, report, s->pinned_dockerfile, &err) == 0)
        return 0;
    log_error("--pinned-dockerfile: %s", err.message);
    return error_exit_code(err.kind);
}

/* index.json is derived: the entries are the truth. When all is as it was, it stays as it is. */
static void flush_names(struct run *run)
{
    cleanup_error struct error err = {0};
    if (cachedir_has_news(run->cd) && cachedir_flush(run->cd, &err) < 0)
        log_warn("%s", err.message);
}

static bool stands(void *userdata, const struct digest *digest)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    return cachedir_look(userdata, digest, &entry, NULL) < 0 || entry.state != CACHEDIR_ABSENT;
}

/* After warming. Returns the exit code of it. */
static int prune(struct run *run)
{
    cleanup_error struct error err = {0};
    int code = 0;
    if (run_prune(run, &err) < 0) {
        log_error("%s", err.message);
        code = error_exit_code(err.kind);
    } else if (!run->pruned.limits_met) {
        code = 1;
    }
    if (!run->settings->dry_run && run->pruned.removed[CACHEDIR_PRUNE_EVICTED] > 0)
        report_evicted(run->report, stands, run->cd);
    return code;
}

/* What is read by who reads only the end. */
static void say_last_word(const struct run *run, int prune_code)
{
    cleanup_free char *failures = report_last_word(run->report);
    if (prune_code == 1)
        log_error("--max-size or --min-free cannot be met: what --keep names, what is in use, or "
                  "what others have on the volume is too much");
    if (failures)
        log_error("%s", failures);
}

/* The table, the files, the code. */
static int conclude(const struct run *run, const struct watch *w, const struct pin *pin,
                    int prune_code, struct report_run *about)
{
    const struct settings *s = run->settings;
    const int caught = atomic_load(&w->caught);
    int code = report_code(run->report, s->fail);
    int pin_code = write_pinned(s, pin, run->report);
    if (code == 0 && s->fail != FAIL_NEVER)
        code = prune_code ? prune_code : pin_code;

    report_print(run->report, stdout);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_error("cannot write to stdout");
        code = code ? code : error_exit_code(ERROR_IO);
    }
    say_last_word(run, prune_code);
    if (caught)
        code = 128 + caught;
    about->exit_code = code;
    about->seconds = (double)(monotonic_now() - w->began) / (double)NS_PER_S;
    registries_counters(run->registries, &about->requests);
    about->has_pruned = run->has_pruned;
    about->pruned = run->pruned;
    int written = write_files(s, run->report, about);
    return code || s->fail == FAIL_NEVER ? code : written;
}

static int warm(const struct settings *s, const struct wanted_list *list, struct report_run *about,
                struct error *err)
{
    /* Static, because a worker stuck in the kernel may outlive this function. */
    static struct run run;
    struct registry_options registry = s->registry;
    registry.warn = warn;
    registry.info = info;
    registry.debug = debug;

    run.settings = s;
    run.limits = (struct retry_limits){s->retries, s->retry_max_time_ns};
    if (registries_new(&registry, &run.registries, err) < 0 || open_directory(s, &run.cd, err) < 0)
        return -1;
    if (s->alias_index && cachedir_format(run.cd) == CACHEDIR_FORMAT_DOCKER_ARCHIVE)
        log_warn(
            "--alias-index: the keys of archived kaniko's cached layers then begin with the "
            "index's digest, which all architectures share: give each a --cache-repo of its own");
    run.report = report_new();
    run.progress = progress_new(&(struct progress_options){
        .mode = s->progress, .log_is_json = s->log_format == LOG_JSON, .images = list->count});
    run_prepare(&run, list);
    watch_run(&the_watch, &run);
    const bool all_left = run_warm(&run);
    progress_stop(run.progress);
    const bool stopped = !all_left || atomic_load(&run.stopped);
    if (!stopped)
        flush_names(&run);
    int prune_code = !stopped && s->prune ? prune(&run) : 0;
    int code = conclude(&run, &the_watch, list->pin, prune_code, about);
    if (all_left && stopped)
        flush_names(&run); /* behind the table, because of thousands it takes seconds */
    if (!all_left) {
        (void)fflush(stderr);
        _exit(code); /* the disk is safe at any instant: nothing waits for a stuck worker */
    }
    watch_run(&the_watch, NULL);
    run_release(&run);
    report_free(run.report);
    progress_free(run.progress);
    cachedir_close(run.cd);
    registries_free(run.registries);
    return code;
}

/* ---- the command line ---- */

/* An empty list: only FROM scratch, or a shard that got none. */
static int do_nothing(const struct settings *s, const struct pin *pin, struct report_run *about)
{
    log_warn("the list of images is empty: nothing to do%s",
             s->shards > 0 ? "" : " (a list has one reference a line, a Dockerfile FROM)");
    struct report *nothing = report_new();
    int code = about->exit_code = write_pinned(s, pin, nothing);
    int written = write_files(s, nothing, about);
    report_free(nothing);
    return s->fail == FAIL_NEVER ? 0 : code ? code : written;
}

/* What cannot be written is told once, and not tried again at the end. */
static int check_file(const char *option, const char **path, struct error *err)
{
    if (!*path || output_check(option, *path, err) == 0)
        return 0;
    *path = NULL;
    return -1;
}

/* A file that cannot be written is told before the work; whoever must not fail is told after it. */
static int check_files(struct settings *s, struct error *err)
{
    if (s->fail == FAIL_NEVER)
        return 0;
    if (check_file("--metrics-file", &s->metrics_file, err) < 0 ||
        check_file("--report", &s->report, err) < 0)
        return -1;
    return check_file("--pinned-dockerfile", &s->pinned_dockerfile, err);
}

static int begin(struct settings *s, sigset_t signals, struct report_run *about, struct error *err)
{
    cleanup_wanted_list struct wanted_list list = {0};
    const struct list_listener listener = {.problem = problem, .warning = warn};

    if (start_watch(s, signals, err) < 0 || list_load(s, &listener, &list, err) < 0 ||
        run_check_aliases(s, &list, err) < 0)
        return -1;
    if (s->check_args)
        return 0;
    if (check_files(s, err) < 0)
        return -1;
    if (s->shards > 0) {
        const size_t all = list.count;
        list_shard(&list, s->shard, s->shards);
        log_info("shard %u of %u: %zu of %zu %s", s->shard, s->shards, list.count, all,
                 all == 1 ? "image" : "images");
    }
    return list.count == 0 ? do_nothing(s, list.pin, about) : warm(s, &list, about, err);
}

static int run(int argc, char **argv, struct settings *s, sigset_t signals,
               struct report_run *about, struct error *err)
{
    if (settings_load(argc, argv, s, err) < 0)
        return -1;
    log_init(&(struct log_options){.level = (enum log_level)s->verbosity,
                                   .format = (enum log_format)s->log_format,
                                   .timestamp = s->log_timestamp});
    if (s->help) {
        options_help(&warmer_command, stdout);
        return 0;
    }
    if (s->version) {
        puts("warmer (basewarm) " BASEWARM_VERSION);
        return 0;
    }
    if (s->completion) {
        const struct command_spec *const commands[] = {&warmer_command};
        return options_completion("warmer", commands, 1, s->completion, stdout, err);
    }
    about->cache_dir = s->cache_dir;
    return begin(s, signals, about, err);
}

int main(int argc, char **argv)
{
    cleanup_settings struct settings settings = {0};
    cleanup_error struct error err = {0};
    struct report_run about = {.started = time(NULL)};
    sigset_t signals;

    (void)prctl(PR_SET_DUMPABLE, 0);      /* secrets do not get into core dumps, nor to debuggers */
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* for the width of what is printed */
    log_init(&(struct log_options){.level = LOG_INFO, .format = log_default_format()});
    block_signals(&signals);
    raise_file_limit();
    int code = run(argc, argv, &settings, signals, &about, &err);
    if (code < 0) {
        log_error("%s", err.message);
        /* --fail=never: whatever befell images, directory or network; usage stays. */
        code =
            settings.fail == FAIL_NEVER && err.kind != ERROR_USAGE ? 0 : error_exit_code(err.kind);
        about.exit_code = code;
        about.error = err.message;
        struct report *nothing = report_new();
        (void)write_files(&settings, nothing, &about);
        report_free(nothing);
    }
    return code;
}
