/*
 * Verifying: every entry's structure first, then every inode's bytes, once however many names it
 * has, on all cores.
 */
#include "alloc.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct job { /* one name of one inode; after sorting, names of one inode stand together */
    ino_t inode;
    struct digest digest;
    int64_t size;
    char *path;        /* below the root */
    const char *where; /* what a problem is told of: an entry's digest, or the path */
};

struct verification {
    struct cachedir *cd;
    const struct cachedir_verify_options *options;
    void (*problem)(void *userdata, const char *where, const char *what);
    void *userdata;
    struct job *jobs;
    size_t job_count;
    struct cachedir_entry *entries;
    size_t entry_count;

    pthread_mutex_t mutex; /* guards what follows, and the calls of problem() */
    size_t next;
    struct cachedir_verify_result result;
};

static bool stopped(const struct verification *v)
{
    return v->options->stop && *v->options->stop;
}

static void tell(void *userdata, const char *where, const char *what)
{
    struct verification *v = userdata;
    pthread_mutex_lock(&v->mutex);
    v->result.problems++;
    if (v->problem)
        v->problem(v->userdata, where, what);
    pthread_mutex_unlock(&v->mutex);
}

/* ---- structure ---- */

static char *blob_path(const char *above, const struct digest *digest)
{
    return xasprintf("%s%sblobs/%s/%s", above, *above ? "/" : "",
                     digest_is_sha256(digest) ? "sha256" : "sha512", digest_hex(digest));
}

static void add_entry_jobs(struct verification *v, const struct cachedir_entry *e)
{
    for (size_t i = 0; i < e->blob_count; i++) {
        if (!e->blobs[i].present)
            continue;
        struct job *job = array_add(v->jobs, v->job_count);
        job->inode = e->blobs[i].inode;
        job->digest = e->blobs[i].digest;
        job->size = e->blobs[i].size;
        job->path = blob_path(e->digest.text, &job->digest);
        job->where = e->digest.text;
    }
}

static void check_pool_file(struct verification *v, int dir, const char *algorithm,
                            const char *name)
{
    cleanup_free char *text = xasprintf("%s:%s", algorithm, name);
    struct digest digest;
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return; /* it went meanwhile: a prune may run beside us */
    if (digest_parse(text, &digest, NULL) < 0 || !S_ISREG(st.st_mode)) {
        cleanup_free char *shown = text_foreign_str(name);
        cleanup_free char *where = xasprintf("blobs/%s/%s", algorithm, shown);
        tell(v, where,
             S_ISREG(st.st_mode) ? "stray file: its name is no digest" : "not a regular file");
        return;
    }
    struct job *job = array_add(v->jobs, v->job_count);
    job->inode = st.st_ino;
    job->digest = digest;
    job->size = st.st_size;
    job->path = blob_path("", &digest);
    job->where = job->path;
}

static int check_pool(struct verification *v, struct error *err)
{
    const struct {
        const char *algorithm;
        int dir;
    } pools[] = {{"sha256", v->cd->pool.sha256}, {"sha512", v->cd->pool.sha512}};
    for (size_t i = 0; i < 2; i++) {
        cleanup_names char **names = NULL;
        size_t count = 0;
        if (pools[i].dir < 0)
            continue;
        if (fs_names(pools[i].dir, &names, &count) < 0)
            return error_errno(err, errno, "cannot read blobs/%s", pools[i].algorithm);
        for (size_t j = 0; j < count; j++)
            check_pool_file(v, pools[i].dir, pools[i].algorithm, names[j]);
    }
    return 0;
}

/* index.json is derived: what it names must be there. */
static int check_names(struct verification *v, struct error *err)
{
    struct cachedir_name *names;
    size_t count;
    struct stat st;
    if (cachedir_names(v->cd, &names, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (fstatat(v->cd->root, names[i].manifest.text, &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        cleanup_free char *reference = text_foreign_str(names[i].reference);
        cleanup_free char *what =
            xasprintf("%s is said to be %s, which is not here", reference, names[i].manifest.text);
        tell(v, "index.json", what);
    }
    cachedir_names_free(names, count);
    return 0;
}

static int gather(struct verification *v, struct error *err)
{
    const struct cachedir_verify_options *o = v->options;
    if (!o->only) {
        if (cachedir_list(v->cd, &v->entries, &v->entry_count, err) < 0)
            return -1;
    } else {
        for (size_t i = 0; i < o->only_count; i++) {
            struct cachedir_entry *e = array_add(v->entries, v->entry_count);
            if (cachedir_look(v->cd, &o->only[i], e, err) < 0)
                return -1;
            if (e->state == CACHEDIR_ABSENT) {
                e->digest = o->only[i];
                tell(v, o->only[i].text, "is not here");
            }
        }
    }
    for (size_t i = 0; i < v->entry_count && !stopped(v); i++) {
        if (v->entries[i].state == CACHEDIR_ABSENT)
            continue;
        v->result.entries++;
        add_entry_jobs(v, &v->entries[i]);
        if (v->cd->format->verify(v->cd, &v->entries[i], tell, v, err) < 0)
            return -1;
    }
    if (!o->only && (check_pool(v, err) < 0 || check_names(v, err) < 0))
        return -1;
    return 0;
}

/* ---- bytes ---- */

static int compare_jobs(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    if (x->size != y->size) /* the largest first, so that the last core is not left alone */
        return x->size > y->size ? -1 : 1;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return strcmp(x->digest.text, y->digest.text);
}

static bool same_file(const struct job *a, const struct job *b)
{
    return a->inode == b->inode && a->size == b->size && digest_equal(&a->digest, &b->digest);
}

/* The next inode's names, [*ret, return). */
static size_t take_jobs(struct verification *v, size_t *ret)
{
    pthread_mutex_lock(&v->mutex);
    size_t first = v->next, past = first;
    if (first < v->job_count && !stopped(v)) {
        past = first + 1;
        while (past < v->job_count && same_file(&v->jobs[first], &v->jobs[past]))
            past++;
        v->next = past;
        v->result.blobs++;
    }
    pthread_mutex_unlock(&v->mutex);
    *ret = first;
    return past;
}

static void hash_one(struct verification *v, size_t first, size_t past)
{
    const struct job *job = &v->jobs[first];
    cleanup_error struct error why = {0};
    cleanup_close int fd = fs_open(v->cd->root, job->path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && errno == ENOENT)
        return; /* it went meanwhile */
    if (fd < 0)
        (void)error_errno(&why, errno, "cannot read %s", job->digest.text);
    else
        (void)pool_hash(fd, &job->digest, job->size, &why);
    if (why.kind == ERROR_NONE || why.kind == ERROR_DIGEST) {
        pthread_mutex_lock(&v->mutex);
        v->result.bytes += job->size;
        pthread_mutex_unlock(&v->mutex);
    }
    for (size_t i = first; i < past && why.kind != ERROR_NONE; i++)
        tell(v, v->jobs[i].where, why.message);
}

static void *hash_all(void *userdata)
{
    struct verification *v = userdata;
    size_t first, past;
    while ((past = take_jobs(v, &first)) > first)
        hash_one(v, first, past);
    return NULL;
}

static void hash_on_all_cores(struct verification *v)
{
    unsigned threads = v->options->threads;
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores > 0 ? (unsigned)cores : 1;
    }
    if (v->job_count > 0)
        qsort(v->jobs, v->job_count, sizeof *v->jobs, compare_jobs);
    cleanup_free pthread_t *ids = xcalloc(threads, sizeof *ids);
    unsigned started = 0;
    while (started + 1 < threads && pthread_create(&ids[started], NULL, hash_all, v) == 0)
        started++;
    hash_all(v); /* this thread is one of them; more of them is only faster */
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
}

int cachedir_verify(struct cachedir *cd, const struct cachedir_verify_options *options,
                    void (*problem)(void *userdata, const char *where, const char *what),
                    void *userdata, struct cachedir_verify_result *ret, struct error *err)
{
    struct verification v = {
        .cd = cd, .options = options, .problem = problem, .userdata = userdata};
    pthread_mutex_init(&v.mutex, NULL);

    int r = gather(&v, err);
    if (r == 0 && !options->quick)
        hash_on_all_cores(&v);
    if (r == 0 && stopped(&v))
        r = error_set(err, ERROR_INTERRUPTED, "stopped before everything was verified");
    *ret = v.result;
    for (size_t i = 0; i < v.job_count; i++)
        free(v.jobs[i].path);
    free(v.jobs);
    cachedir_entries_free(v.entries, v.entry_count);
    pthread_mutex_destroy(&v.mutex);
    return r;
}
