/*
 * Verifying: every entry's structure first, then every inode's bytes, once however many names it
 * has, on all cores. Deep: what is a layer to one of its entries is unpacked on the way, and
 * compared with what each entry's config says of it.
 */
#include "alloc.h"
#include "layer.h"
#include "store.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct claim {             /* deep: what an entry says of one of its layers */
    size_t layer;          /* which: its index in the manifest */
    struct digest diff_id; /* unset when the config does not tell */
    char *unknown;         /* owned; its media type if that is none we unpack; safe to print */
};

struct job { /* one name of one inode; after sorting, names of one inode stand together */
    ino_t inode;
    struct digest digest;
    int64_t size;
    char *path;        /* below the root, */
    int64_t start;     /* and where in it; WHOLE_FILE */
    const char *where; /* what a problem is told of: an entry's digest, or the path */
    struct claim *claims;
    size_t claim_count; /* 0: no layer, or not deep */
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

/* What is wrong with a layer, in terms of the entry. */
static void tell_layer(struct verification *v, const struct job *job, const struct claim *claim,
                       const char *what)
{
    char brief[DIGEST_SHORT_SIZE];
    cleanup_free char *line =
        xasprintf("layer %zu (%s): %s", claim->layer + 1, digest_short(&job->digest, brief), what);
    tell(v, job->where, line);
}

static void note_layer(struct verification *v, const struct job *job, const struct claim *claim,
                       const char *what, const char *why)
{
    char brief[DIGEST_SHORT_SIZE];
    cleanup_free char *line = xasprintf("layer %zu (%s) was not %s: %s", claim->layer + 1,
                                        digest_short(&job->digest, brief), what, why);
    pthread_mutex_lock(&v->mutex);
    v->result.not_checked++;
    if (v->options->note)
        v->options->note(v->userdata, job->where, line);
    pthread_mutex_unlock(&v->mutex);
}

/* ---- structure ---- */

/* The diff IDs of an entry, one a layer; NULL when they are not known: then that is told here, or,
 * of a damaged config, where its bytes are hashed. */
static struct digest *read_diff_ids(struct verification *v, const struct cachedir_entry *e,
                                    const struct manifest *m)
{
    const struct cachedir_blob_info *config = entry_blob(e, &m->config.digest);
    cleanup_free char *bytes = NULL;
    size_t count;
    cleanup_free struct digest *ids = NULL;
    cleanup_error struct error why = {0};

    if (!config || config->size > CONFIG_SIZE_MAX)
        return NULL; /* a config that look() missed, or nobody would read */
    if (entry_blob_read(v->cd, &e->digest, config, &bytes) < 0) {
        if (errno != ENOENT) /* else it went meanwhile */
            (void)error_errno(&why, errno, "cannot read the config");
    } else if (digest_check(&config->digest, bytes, (size_t)config->size, NULL) == 0 &&
               config_diff_ids(bytes, (size_t)config->size, &ids, &count, &why) == 0) {
        if (count == m->layer_count)
            return take_ptr(ids);
        (void)error_set(&why, ERROR_PROTOCOL, "the config names %zu diff IDs for %zu layers", count,
                        m->layer_count);
    }
    if (why.kind != ERROR_NONE)
        tell(v, e->digest.text, why.message);
    return NULL;
}

static bool has_layers(const struct manifest *m)
{
    for (size_t i = 0; i < m->layer_count; i++)
        if (layer_media_type(m->layers[i].media_type))
            return true;
    return false;
}

/* What the entry says of its layers, to each one's job: they stand at the end, from `first` on. */
static int add_claims(struct verification *v, const struct cachedir_entry *e, size_t first,
                      struct error *err)
{
    cleanup_free char *bytes = NULL;
    cleanup_manifest struct manifest m = {0};
    size_t len;
    int found = cachedir_manifest(v->cd, entry_manifest(e), &bytes, &len, err);
    if (found <= 0 || manifest_parse(bytes, len, e->media_type, &m, NULL, NULL) < 0)
        return found < 0 ? -1 : 0; /* it went, or rotted, since we looked: hashing tells */
    /* Artifacts have configs that are none. */
    cleanup_free struct digest *ids = has_layers(&m) ? read_diff_ids(v, e, &m) : NULL;
    for (size_t i = 0; i < m.layer_count; i++) {
        struct job *job = NULL;
        for (size_t j = first; j < v->job_count && !job; j++)
            if (digest_equal(&v->jobs[j].digest, &m.layers[i].digest))
                job = &v->jobs[j];
        if (!job)
            continue; /* missing, which look() told */
        struct claim *claim = array_add(job->claims, job->claim_count);
        claim->layer = i;
        if (ids)
            claim->diff_id = ids[i];
        if (!layer_media_type(m.layers[i].media_type))
            claim->unknown = text_foreign_str(m.layers[i].media_type);
    }
    return 0;
}

static int add_entry_jobs(struct verification *v, const struct cachedir_entry *e, struct error *err)
{
    const size_t first = v->job_count;
    for (size_t i = 0; i < e->blob_count; i++) {
        if (!e->blobs[i].present)
            continue;
        struct job *job = array_add(v->jobs, v->job_count);
        job->inode = e->blobs[i].inode;
        job->digest = e->blobs[i].digest;
        job->size = e->blobs[i].size;
        job->path = v->cd->format->blob_path(&e->digest, &e->blobs[i], &job->start);
        job->where = e->digest.text;
    }
    return v->options->deep && e->state == CACHEDIR_COMPLETE ? add_claims(v, e, first, err) : 0;
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
    job->path = xasprintf("blobs/%s/%s", algorithm, name);
    job->start = WHOLE_FILE;
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

/* index.json is derived: a name that is left over is told, and is no problem. Whoever was stopped
 * between an entry and its name leaves one; the next run that writes drops it. */
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
            xasprintf("%s is still said to be %s, which is gone: the next run drops the name",
                      reference, names[i].manifest.text);
        if (v->options->note)
            v->options->note(v->userdata, "index.json", what);
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
        if (add_entry_jobs(v, &v->entries[i], err) < 0 ||
            v->cd->format->verify(v->cd, &v->entries[i], tell, v, err) < 0)
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

/* Compare what came out of a layer with what the entry says. */
static void judge_layer(struct verification *v, const struct job *job, const struct layer *layer)
{
    if (layer->problem && job->claim_count > 0)
        tell_layer(v, job, &job->claims[0], layer->problem);
    for (size_t i = 0; i < job->claim_count && digest_is_set(&layer->diff_id); i++) {
        const struct claim *claim = &job->claims[i];
        if (!digest_is_set(&claim->diff_id) || digest_equal(&claim->diff_id, &layer->diff_id))
            continue;
        if (!digest_same_algorithm(&claim->diff_id, &layer->diff_id)) {
            note_layer(v, job, claim, "compared", "the config's diff ID is no sha256");
            continue;
        }
        cleanup_free char *what = xasprintf("it unpacks to %s, and the config says %s",
                                            layer->diff_id.text, claim->diff_id.text);
        tell_layer(v, job, claim, what);
    }
}

/* Is it a layer that we unpack, to one of its entries at least? If not, but a layer: *ret_other. */
static bool is_layer(const struct verification *v, size_t first, size_t past, size_t *ret_other)
{
    *ret_other = past;
    for (size_t i = first; i < past; i++) {
        for (size_t j = 0; j < v->jobs[i].claim_count; j++)
            if (!v->jobs[i].claims[j].unknown)
                return true;
        if (v->jobs[i].claim_count > 0)
            *ret_other = i;
    }
    return false;
}

/* Hash it, and unpack what is a layer. ERROR_DIGEST when its bytes are not what they should be. */
static int read_one(struct verification *v, int fd, size_t first, size_t past, struct error *err)
{
    const struct job *job = &v->jobs[first];
    cleanup_layer struct layer layer = {0};
    size_t other;

    if (!is_layer(v, first, past, &other)) {
        if (pool_hash(fd, job->start, &job->digest, job->size, v->options->stop, err) < 0)
            return -1;
        if (other < past) {
            const struct claim *claim = &v->jobs[other].claims[0];
            cleanup_free char *why = xasprintf("its media type is \"%s\"", claim->unknown);
            note_layer(v, &v->jobs[other], claim, "unpacked", why);
        }
        return 0;
    }
    if (layer_check(fd, job->start, &job->digest, job->size, &layer_limits, v->options->stop,
                    &layer, err) < 0)
        return -1;
    for (size_t i = first; i < past; i++)
        judge_layer(v, &v->jobs[i], &layer);
    for (size_t i = first; i < past && layer.not_checked; i++)
        if (v->jobs[i].claim_count > 0) {
            note_layer(v, &v->jobs[i], &v->jobs[i].claims[0], "unpacked", layer.not_checked);
            return 0; /* once will do */
        }
    pthread_mutex_lock(&v->mutex);
    v->result.layers++;
    v->result.unpacked += layer.unpacked;
    pthread_mutex_unlock(&v->mutex);
    return 0;
}

static void read_jobs(struct verification *v, size_t first, size_t past)
{
    const struct job *job = &v->jobs[first];
    cleanup_error struct error why = {0};
    cleanup_close int fd = fs_open(v->cd->root, job->path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0 && errno == ENOENT)
        return; /* it went meanwhile */
    if (fd < 0)
        (void)error_errno(&why, errno, "cannot read %s", job->digest.text);
    else
        (void)read_one(v, fd, first, past, &why);
    if (why.kind == ERROR_INTERRUPTED)
        return;
    if (why.kind == ERROR_NONE || why.kind == ERROR_DIGEST) {
        pthread_mutex_lock(&v->mutex);
        v->result.bytes += job->size;
        pthread_mutex_unlock(&v->mutex);
    }
    for (size_t i = first; i < past && why.kind != ERROR_NONE; i++)
        tell(v, v->jobs[i].where, why.message);
}

static void *read_all(void *userdata)
{
    struct verification *v = userdata;
    size_t first, past;
    while ((past = take_jobs(v, &first)) > first)
        read_jobs(v, first, past);
    return NULL;
}

static void read_on_all_cores(struct verification *v)
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
    while (started + 1 < threads && pthread_create(&ids[started], NULL, read_all, v) == 0)
        started++;
    read_all(v); /* this thread is one of them; more of them is only faster */
    for (unsigned i = 0; i < started; i++)
        pthread_join(ids[i], NULL);
}

static void release_job(struct job *job)
{
    for (size_t i = 0; i < job->claim_count; i++)
        free(job->claims[i].unknown);
    free(job->claims);
    free(job->path);
}

int cachedir_verify(struct cachedir *cd, const struct cachedir_verify_options *options,
                    void (*problem)(void *userdata, const char *where, const char *what),
                    void *userdata, struct cachedir_verify_result *ret, struct error *err)
{
    struct verification v = {
        .cd = cd, .options = options, .problem = problem, .userdata = userdata};
    pthread_mutex_init(&v.mutex, NULL);

    int r = gather(&v, err);
    if (!options->quick)
        pool_distrust(cd); /* what is bad now may have been good before */
    if (r == 0 && !options->quick)
        read_on_all_cores(&v);
    if (r == 0 && stopped(&v))
        r = error_set(err, ERROR_INTERRUPTED, "stopped before everything was verified");
    *ret = v.result;
    for (size_t i = 0; i < v.job_count; i++)
        release_job(&v.jobs[i]);
    free(v.jobs);
    cachedir_entries_free(v.entries, v.entry_count);
    pthread_mutex_destroy(&v.mutex);
    return r;
}
