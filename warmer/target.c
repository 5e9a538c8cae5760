/*
 * One manifest digest on its way to an entry: locked, staged, its blobs taken or fetched,
 * published.
 */
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

#include <string.h>

#define LOCK_POLL (NS_PER_S / 5) /* how often a lock that another process holds is tried again */

void target_free(struct target *target)
{
    if (!target)
        return;
    cachedir_stage_free(target->stage);
    cachedir_unlock(target->lock);
    manifest_release(&target->manifest);
    reference_release(&target->ref);
    error_clear(&target->failed);
    free(target->images);
    free(target->name);
    free(target->bytes);
    free(target->content_type);
    free(target);
}

void target_want(struct image *image, const struct digest *digest, int64_t size,
                 struct registry_manifest *manifest)
{
    struct run *run = image->run;
    struct target *target = NULL;

    if (run->settings->check) {
        struct target stale = {.digest = *digest, .images = &image};
        image_finish(image, REPORT_STALE, &stale, NULL);
        return;
    }
    pthread_mutex_lock(&run->mutex);
    for (size_t i = 0; i < run->target_count && !target; i++)
        if (digest_equal(&run->targets[i]->digest, digest) && !run->targets[i]->finished)
            target = run->targets[i];
    const bool new = target == NULL;
    if (new) {
        target = xcalloc(1, sizeof *target);
        target->run = run;
        target->digest = *digest;
        target->size = size;
        target->name = xstrdup(image->name);
        reference_copy(&target->ref, &image->wanted->reference);
        target->bytes = take_ptr(manifest->bytes);
        target->len = manifest->len;
        target->content_type = take_ptr(manifest->content_type);
        *array_add(run->targets, run->target_count) = target;
    }
    *array_add(target->images, target->image_count) = image;
    pthread_mutex_unlock(&run->mutex);
    if (new)
        queue_push(run->queue,
                   (struct work){.kind = WORK_PLAN, .subject = target, .ref = &target->ref});
}

/* Did it fail where this image need not go? Then it is tried again, from the image's own registry.
 */
static bool begins_again(const struct target *target, struct image *image,
                         const struct error *failed)
{
    const struct reference *a = &target->ref, *b = &image->wanted->reference;
    if (!failed || !fetch_is_sources_fault(failed->kind) ||
        (strcmp(a->registry, b->registry) == 0 && strcmp(a->repository, b->repository) == 0))
        return false;
    target_want(image, &target->digest, target->size, &(struct registry_manifest){0});
    return true;
}

static void close_plan(struct target *target)
{
    if (target->open)
        queue_close_plan(target->run->queue);
    target->open = false;
}

/* Everybody who waits for it has his result. */
static void finish(struct target *target, enum report_result result, struct error *failed)
{
    struct run *run = target->run;

    cachedir_stage_free(target->stage);
    target->stage = NULL;
    cachedir_unlock(target->lock);
    target->lock = NULL;
    close_plan(target);

    pthread_mutex_lock(&run->mutex);
    target->finished = true; /* from now on nobody joins */
    const size_t count = target->image_count;
    pthread_mutex_unlock(&run->mutex);
    for (size_t i = 0; i < count; i++) {
        struct error copy = {0};
        if (begins_again(target, target->images[i], failed))
            continue;
        if (failed)
            (void)error_set(&copy, failed->kind, "%s", failed->message);
        else if (result != REPORT_PLANNED &&
                 image_make_alias(target->images[i], &target->digest, &copy) == 0)
            image_remember(target->images[i], &target->digest, time(NULL));
        if (copy.kind != ERROR_NONE)
            image_finish(target->images[i], REPORT_FAILED, target, &copy);
        else
            image_finish(target->images[i], result, target, NULL);
    }
    if (failed)
        error_clear(failed);
}

static void fail(struct target *target, struct error *err)
{
    finish(target, REPORT_FAILED, err);
}

/* Its manifest: from the resolving, from the disk, from the registry. */
static int get_manifest(struct target *target, struct registry_client *client,
                        struct registry_try *how, struct error *err)
{
    if (!target->bytes) {
        char *bytes = NULL;
        if (cachedir_manifest(target->run->cd, &target->digest, &bytes, &target->len, err) < 0)
            return -1;
        target->bytes = bytes;
    }
    if (!target->bytes) {
        struct registry_manifest got;
        if (registry_manifest(client, &target->ref, &target->digest, target->size, &got, how, err) <
            0)
            return -1;
        target->bytes = got.bytes;
        target->len = got.len;
        target->content_type = got.content_type;
        target->fetched += (int64_t)got.len;
    }
    if (target->manifest.kind == 0 &&
        manifest_parse(target->bytes, target->len, target->content_type, &target->manifest, NULL,
                       err) < 0)
        return -1;
    if (target->manifest.kind != MANIFEST_IMAGE)
        return error_set(err, ERROR_PROTOCOL, "%s is an index, not an image", target->digest.text);
    return 0;
}

/*
 * The lock of the entry. 1 it is ours (or done without), 0 it is another's: back in the queue, or
 * finished because the other is done; -1.
 */
static int lock(struct target *target, struct error *err)
{
    struct run *run = target->run;
    cleanup_error struct error why = {0};

    if (target->lock)
        return 1;
    if (cachedir_lock_entry(run->cd, &target->digest, &target->lock, &why) == 0) {
        cleanup_cachedir_entry struct cachedir_entry entry = {0};
        if (cachedir_look(run->cd, &target->digest, &entry, err) < 0)
            return -1;
        target->existed = entry.state == CACHEDIR_BROKEN;
        /* While it was another's, he may have made it. */
        if (target->locked_since && entry.state == CACHEDIR_COMPLETE && !run->settings->force) {
            if (cachedir_renew(run->cd, &target->digest, err) < 0)
                return -1;
            target->reused = entry.size;
            finish(target, REPORT_RENEWED, NULL);
            return 0;
        }
        return 1;
    }
    if (why.kind != ERROR_LOCKED) {
        error_move(err, &why);
        return -1;
    }
    int64_t now = monotonic_now(), progress = cachedir_progress(run->cd, NULL);
    if (target->locked_since == 0)
        log_info("%s: another process warms it: waiting for it", target->name);
    if (target->locked_since == 0 || progress != target->locked_progress) {
        target->locked_since = now;
        target->locked_progress = progress;
    }
    if (now - target->locked_since > 2 * run->settings->stall_timeout_ns) {
        log_warn("%s: its lock is held, but nobody seems to work on it: going on without",
                 target->name);
        return 1;
    }
    close_plan(target);
    queue_push(run->queue, (struct work){.kind = WORK_PLAN,
                                         .subject = target,
                                         .ref = &target->ref,
                                         .not_before = now + LOCK_POLL});
    return 0;
}

/* A descriptor may carry its content (image-spec, descriptor.md, "data"). */
static int take_embedded(struct target *target, const struct descriptor *blob, struct error *err)
{
    struct cachedir_blob *file;
    if (!blob->data || digest_check(&blob->digest, blob->data, (size_t)blob->size, NULL) < 0)
        return 0;
    if (cachedir_blob_open(target->stage, blob, true, &file, err) < 0)
        return -1;
    int r = cachedir_blob_reset(file, err);
    if (r == 0)
        r = cachedir_blob_write(file, 0, blob->data, (size_t)blob->size, err);
    if (r == 0)
        r = cachedir_blob_commit(file, err);
    cachedir_blob_close(file);
    return r < 0 ? -1 : cachedir_stage_take(target->stage, blob, err);
}

/* 1: it is in the stage. 0: it must be fetched. */
static int take_blob(struct target *target, const struct descriptor *blob, struct error *err)
{
    int taken = cachedir_stage_take(target->stage, blob, err);
    if (taken == 0)
        taken = take_embedded(target, blob, err);
    if (taken > 0)
        target->reused += blob->size;
    return taken;
}

/* What a manifest names, each once: the config, then the layers. Owned array of borrowed ones; NULL
 * when a blob would have two sizes. */
static const struct descriptor **blobs_of(const struct manifest *m, size_t *ret_count,
                                          struct error *err)
{
    cleanup_free const struct descriptor **blobs = xcalloc(m->layer_count + 1, sizeof *blobs);
    size_t count = 0;
    blobs[count++] = &m->config;
    for (size_t i = 0; i < m->layer_count; i++) {
        const struct descriptor *layer = &m->layers[i], *same = NULL;
        for (size_t j = 0; j < count && !same; j++)
            if (digest_equal(&blobs[j]->digest, &layer->digest))
                same = blobs[j];
        if (!same) {
            blobs[count++] = layer;
        } else if (same->size != layer->size) {
            (void)error_set(err, ERROR_DIGEST, "%s stands there with two sizes, %lld and %lld",
                            layer->digest.text, (long long)same->size, (long long)layer->size);
            return NULL;
        }
    }
    *ret_count = count;
    return take_ptr(blobs);
}

static int want_blobs(struct target *target, const struct descriptor **blobs, size_t count,
                      struct error *err)
{
    struct run *run = target->run;
    const bool copies = cachedir_copies(run->cd);
    size_t missing = 0;
    int64_t bytes = 0, here = 0;

    for (size_t i = 0; copies && i < count; i++)
        here += cachedir_has_blob(run->cd, blobs[i]) ? blobs[i]->size : 0;
    if (here > 0 && run_make_room(run, here, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        int taken = take_blob(target, blobs[i], err);
        if (taken < 0)
            return -1;
        if (taken > 0)
            continue;
        if (!fetch_is_wanted(run, &blobs[i]->digest))
            bytes += blobs[i]->size - cachedir_partial(run->cd, blobs[i]);
        else if (copies) /* what another image of this run brings */
            bytes += blobs[i]->size;
        blobs[missing++] = blobs[i];
    }
    if (run_make_room(run, bytes, err) < 0)
        return -1;
    progress_want(run->progress, bytes);
    for (size_t i = 0; i < missing; i++)
        while (!fetch_want(target, blobs[i])) {
            /* It landed meanwhile. */
            int taken = take_blob(target, blobs[i], err);
            if (taken != 0) {
                if (taken < 0)
                    return -1;
                break;
            }
        }
    return 0;
}

/* What is here is taken; what is not gets a fetch each. */
static int stage(struct target *target, struct error *err)
{
    const struct manifest *m = &target->manifest;
    struct run *run = target->run;
    size_t count;

    if (cachedir_stage_new(run->cd, &target->digest, m->media_type, target->bytes, target->len,
                           target->ref.name, run->settings->force, &target->stage, err) < 0)
        return -1;
    for (size_t i = 0; i < m->layer_count; i++)
        if (!digest_is_sha256(&m->layers[i].digest)) {
            log_warn("%s: a layer has the digest %s, which the present builders cannot read",
                     target->name, m->layers[i].digest.text);
            break;
        }
    cleanup_free const struct descriptor **blobs = blobs_of(m, &count, err);
    return !blobs ? -1 : want_blobs(target, blobs, count, err);
}

static void plan_only(struct target *target)
{
    size_t count;
    struct error err = {0};
    cleanup_free const struct descriptor **blobs = blobs_of(&target->manifest, &count, &err);
    if (!blobs) {
        fail(target, &err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (cachedir_has_blob(target->run->cd, blobs[i]))
            target->reused += blobs[i]->size;
        else
            target->fetched += blobs[i]->size;
    }
    finish(target, REPORT_PLANNED, NULL);
}

void target_plan(struct target *target, struct registry_client *client)
{
    struct run *run = target->run;
    struct registry_try how = {.retry_after_ns = -1};
    struct error err = {0};
    int64_t began = monotonic_now();

    target->open = true;
    if (!run->settings->dry_run) {
        int locked = lock(target, &err);
        if (locked < 0)
            fail(target, &err);
        if (locked <= 0)
            return;
    }
    if (get_manifest(target, client, &how, &err) < 0) {
        struct work again = {.kind = WORK_PLAN, .subject = target, .ref = &target->ref};
        close_plan(target); /* another worker may have it as soon as it is back in the queue */
        if (!run_again(run, &target->retry, again, target->name, 0, monotonic_now() - began, &how,
                       &err)) {
            (void)error_prefix(&err, "manifest");
            fail(target, &err);
        }
        return;
    }
    if (run->settings->dry_run) {
        plan_only(target);
        return;
    }
    /* Ourselves: so that a fast fetch does not publish before we are through. */
    target->missing = 1;
    if (stage(target, &err) < 0)
        target_blob_failed(target, &err);
    else
        target_blob_landed(target);
}

void target_blob_landed(struct target *target)
{
    struct run *run = target->run;
    pthread_mutex_lock(&run->mutex);
    bool last = --target->missing == 0;
    pthread_mutex_unlock(&run->mutex);
    if (last)
        queue_push(run->queue, (struct work){.kind = WORK_PUBLISH, .subject = target});
}

void target_blob_failed(struct target *target, struct error *err)
{
    struct run *run = target->run;
    pthread_mutex_lock(&run->mutex);
    if (target->failed.kind == ERROR_NONE)
        error_move(&target->failed, err);
    pthread_mutex_unlock(&run->mutex);
    error_clear(err);
    target_blob_landed(target);
}

/* A reference that is a manifest, no index, is taken as it is; kaniko does the same. */
static void warn_of_platform(const struct target *target)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    if (cachedir_look(target->run->cd, &target->digest, &entry, NULL) < 0 || !entry.platform.os)
        return;
    for (size_t i = 0; i < target->image_count; i++) {
        const struct image *image = target->images[i];
        if (!digest_equal(&image->source, &target->digest) ||
            platform_matches(&entry.platform, &image->wanted->platform))
            continue;
        cleanup_free char *have = platform_format(&entry.platform);
        log_warn("%s is an image for %s and no index: taken as it is, although %s was wanted",
                 image->name, have, image->platform);
    }
}

void target_publish(struct target *target)
{
    struct error err = {0};
    if (target->failed.kind != ERROR_NONE) {
        error_move(&err, &target->failed);
        fail(target, &err);
        return;
    }
    if (cachedir_stage_publish(target->stage, &err) < 0) {
        (void)error_prefix(&err, "publishing");
        fail(target, &err);
        return;
    }
    finish(target, REPORT_PULLED, NULL);
    warn_of_platform(target); /* now that nobody joins */
}
