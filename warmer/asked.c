#include "asked.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

struct entry {
    char *key;
    bool asking;
    uint64_t answers; /* how many came */
    int result;       /* of the last: 1, 0, -1 */
    struct answer answer;
    struct error failed;
    int64_t asked_at, renew_at;
    bool repeated; /* it was refused, and is the same again */
};

struct asked {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* an answer came, or all is stopped */
    struct entry **entries; /* they never move, and live as long as this */
    size_t count;
    atomic_bool stopped;
};

void answer_release(struct answer *a)
{
    credential_release(&a->credential);
    free(a->why);
    *a = (struct answer){0};
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct asked *asked_new(void)
{
    struct asked *a = xcalloc(1, sizeof *a);
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

void asked_stop(struct asked *a)
{
    atomic_store(&a->stopped, true);
    pthread_mutex_lock(&a->mutex);
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->mutex);
}

const atomic_bool *asked_stopped(struct asked *a)
{
    return &a->stopped;
}

void asked_free(struct asked *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->count; i++) {
        struct entry *e = a->entries[i];
        free(e->key);
        answer_release(&e->answer);
        error_clear(&e->failed);
        free(e);
    }
    free(a->entries);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

/* With the mutex held. */
static struct entry *find(struct asked *a, const char *key)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->entries[i]->key, key) == 0)
            return a->entries[i];
    struct entry *e = xcalloc(1, sizeof *e);
    e->key = xstrdup(key);
    *array_add(a->entries, a->count) = e;
    return e;
}

static bool was_refused(const struct entry *e, const struct credential *refused)
{
    return refused && credential_equal(&e->answer.credential, refused);
}

static bool is_good(const struct entry *e, const struct credential *refused, int64_t now)
{
    if (e->answers == 0)
        return false;
    if (e->result < 0)
        return now - e->asked_at < ASKED_FAILURE_NS;
    if (was_refused(e, refused))
        return (e->repeated || e->result == 0) && now - e->asked_at < ASKED_AGAIN_NS;
    return e->result == 0 || now < e->renew_at;
}

static void copy_answer(const struct entry *e, struct answer *ret)
{
    credential_copy(&ret->credential, &e->answer.credential);
    ret->lifetime_s = e->answer.lifetime_s;
    ret->why = e->answer.why ? xstrdup(e->answer.why) : NULL;
}

/* With the mutex held. true: e->result is the answer. false: it is for the caller to ask. */
static bool settle(struct asked *a, struct entry *e, const struct credential *refused)
{
    for (bool waited = false; !atomic_load(&a->stopped); waited = true) {
        if (!e->asking) {
            if (waited || is_good(e, refused, now_ns()))
                return true;
            e->asking = true;
            return false;
        }
        uint64_t answers = e->answers;
        while (e->asking && e->answers == answers && !atomic_load(&a->stopped))
            pthread_cond_wait(&a->changed, &a->mutex);
    }
    return true;
}

/* With the mutex held: what was asked for has come. */
static void put(struct entry *e, const struct credential *refused, int result,
                struct answer *answer, struct error *failed, int64_t asked_at)
{
    int64_t lifetime = answer->lifetime_s > 0 ? answer->lifetime_s : ASKED_LIFETIME_S;
    if (lifetime > ASKED_LIFETIME_MAX_S)
        lifetime = ASKED_LIFETIME_MAX_S;
    e->repeated = refused && result == 1 && credential_equal(&answer->credential, refused);
    answer_release(&e->answer);
    e->answer = *answer;
    *answer = (struct answer){0};
    error_clear(&e->failed);
    error_move(&e->failed, failed);
    e->result = result;
    e->asked_at = asked_at;
    e->renew_at = asked_at + lifetime * NS_PER_S / 10 * 8;
    e->asking = false;
    e->answers++;
}

int asked_get(struct asked *a, const char *key, const struct credential *refused, ask_function ask,
              void *userdata, struct answer *ret, struct error *err)
{
    *ret = (struct answer){0};
    pthread_mutex_lock(&a->mutex);
    struct entry *e = find(a, key);
    if (!settle(a, e, refused)) {
        struct answer answer = {0};
        struct error failed = {0};
        int64_t asked_at = now_ns();
        pthread_mutex_unlock(&a->mutex);
        int result = ask(userdata, &answer, &failed);
        pthread_mutex_lock(&a->mutex);
        put(e, refused, result, &answer, &failed, asked_at);
        pthread_cond_broadcast(&a->changed);
    }
    int result = e->result;
    if (atomic_load(&a->stopped))
        result = error_set(err, ERROR_INTERRUPTED, "stopped");
    else if (result < 0)
        (void)error_set(err, e->failed.kind, "%s", e->failed.message);
    else
        copy_answer(e, ret);
    pthread_mutex_unlock(&a->mutex);
    return result;
}
