/*
 * From a reference to the manifest digest that the builder will ask for (the builder's key).
 *
 * What need not be asked is not asked: a pinned reference whose entry stands costs no request, an
 * unchanged tag one HEAD. Only what changed costs the index and the manifest.
 */
#include "headers.h"
#include "run.h"

#include "cachedir/alloc.h"
#include "cachedir/cli/log.h"
#include "cachedir/text.h"

#include <openssl/rand.h>
#include <string.h>

struct
try { /* what one call of image_resolve() knows */
    struct image *image;
    struct registry_client *client;
    struct cachedir_name known; /* what index.json says of this reference; may be empty */
    bool is_known;
    struct registry_try how;
    struct error err;
};

bool run_again(struct run *run, struct retry_state *retry, struct work work, const char *name,
               int64_t progress, int64_t took, const struct registry_try *how, struct error *err)
{
    uint16_t jitter = 0;
    (void)RAND_bytes((unsigned char *)&jitter, sizeof jitter); /* at worst: no jitter */
    if (atomic_load(&run->stopped))
        return false;
    struct retry_verdict verdict =
        retry_decide(retry, &run->limits, err->kind, how->retry_after_ns, progress, took, jitter);
    if (!verdict.again) {
        if (verdict.too_long) {
            cleanup_free char *wait = duration_format(how->retry_after_ns);
            const bool is_capped = how->retry_after_ns >= RETRY_AFTER_MAX_S * NS_PER_S;
            (void)error_prefix(err,
                               "the registry says to come back in %s%s, which is beyond "
                               "--retry-max-time",
                               wait, is_capped ? " or more" : "");
        }
        return false;
    }
    if (verdict.wait_ns >= NS_PER_S) {
        cleanup_free char *wait = duration_format(verdict.wait_ns);
        log_info("%s: waiting %s%s: %s", name, wait,
                 how->retry_after_ns >= 0 ? ": registry says so" : "", err->message);
    } else {
        log_info("%s: trying again: %s", name, err->message);
    }
    error_clear(err);
    work.not_before = verdict.wait_ns > 0 ? monotonic_now() + verdict.wait_ns : 0;
    queue_push(run->queue, work);
    return true;
}

void image_finish(struct image *image, enum report_result result, const struct target *target,
                  struct error *failed)
{
    /* The stopping thread and a late worker may both come here. */
    if (atomic_exchange(&image->done, true)) {
        if (failed)
            error_clear(failed);
        return;
    }
    struct report_entry entry = {
        .position = (size_t)(image - image->run->images),
        .reference = image->wanted->reference.name,
        .name = image->name,
        .platform = image->platform,
        .result = result,
        .seconds = (double)(monotonic_now() - image->started) / (double)NS_PER_S,
    };
    if (target) {
        entry.digest = target->digest;
        /* Bytes are counted once, for the image that made them move. */
        if (target->images[0] == image) {
            entry.fetched = target->fetched;
            entry.reused = target->reused;
        }
        if (!digest_equal(&image->previous, &target->digest))
            entry.previous = image->previous;
        if (!failed)
            image_warn_of_index(image, &target->digest);
    }
    if (failed) {
        entry.failed = failed->kind;
        entry.reason = failed->message;
    }
    report_add(image->run->report, &entry);
    progress_image_done(image->run->progress, &entry);
    if (failed)
        error_clear(failed);
}

void image_remember(struct image *image, const struct digest *manifest, time_t checked)
{
    cleanup_error struct error err = {0};
    struct cachedir_name name = {
        .reference = image->wanted->reference.name,
        .platform = image->platform,
        .manifest = *manifest,
        .source = image->source,
        .checked = checked,
    };
    if (cachedir_name_set(image->run->cd, &name, &err) < 0)
        log_warn("%s", err.message); /* derived, and written again at the end */
}

/*
 * If the entry stands, renew it and be done. 1 done, 0 it must be made, -1 t->err.
 * `checked`: the registry said just now that this is what the reference means.
 */
static int renew(struct try *t, const struct digest *manifest, bool checked)
{
    struct image *image = t->image;
    struct run *run = image->run;
    cleanup_cachedir_entry struct cachedir_entry entry = {0};

    if (image_claim_alias(image, manifest, &t->err) < 0)
        return -1;
    if (run->settings->force)
        return 0;
    if (cachedir_look(run->cd, manifest, &entry, &t->err) < 0)
        return -1;
    if (digest_is_set(&entry.alias_of)) /* for one platform: which is wanted, the index says */
        return 0;
    if (entry.state == CACHEDIR_BROKEN)
        log_warn("%s: the entry is broken and must be mended: %s", image->name, entry.problem);
    if (entry.state != CACHEDIR_COMPLETE)
        return 0;
    if (run->settings->check || run->settings->dry_run) {
        enum cachedir_alias_state alias;
        if (image_alias_state(image, manifest, &alias, &t->err) < 0)
            return -1;
        if (alias != CACHEDIR_ALIAS_STANDS)
            return 0;
    } else {
        bool named = t->is_known && digest_equal(&t->known.manifest, manifest);
        struct error err = {0};
        /* An entry that we never named may be one of kaniko's own: its blobs join the pool. */
        if ((!named && cachedir_adopt(run->cd, manifest, &err) < 0) ||
            cachedir_renew(run->cd, manifest, &err) < 0 ||
            image_make_alias(image, manifest, &err) < 0) {
            if (err.kind == ERROR_DIGEST || err.kind == ERROR_NOT_FOUND) {
                log_warn("%s: %s: it must be mended", image->name, err.message);
                error_clear(&err);
                return 0;
            }
            error_move(&t->err, &err);
            return -1;
        }
        /* Of a digest no registry has anything new to say. */
        const bool asked = checked && !(named && reference_is_pinned(&image->wanted->reference));
        if (!named || asked || !digest_equal(&t->known.source, &image->source))
            image_remember(image, manifest, asked ? time(NULL) : t->known.checked);
    }
    struct target here = {.digest = *manifest, .images = &image, .reused = entry.size};
    image_finish(image, checked ? REPORT_RENEWED : REPORT_FRESH, &here, NULL);
    return 1;
}

/*
 * The same, and if it must be made and we know enough, let it be made without asking for more.
 * `certain`: this digest is a manifest's and not an index's.
 */
static int use(struct try *t, const struct digest *manifest, bool checked, bool certain)
{
    cleanup_registry_manifest struct registry_manifest on_disk = {0};
    enum cachedir_alias_state alias;
    /* An alias that is to be made must be proven: then the index is asked for. */
    if (certain && image_alias_state(t->image, manifest, &alias, &t->err) < 0)
        return -1;
    if (certain && alias == CACHEDIR_ALIAS_UNKNOWN)
        return 0;
    int done = renew(t, manifest, checked);
    if (done != 0)
        return done;
    char *bytes = NULL;
    int found = cachedir_manifest(t->image->run->cd, manifest, &bytes, &on_disk.len, &t->err);
    if (found < 0)
        return -1;
    on_disk.bytes = bytes;
    /* What lies there may be an index: then the registry's way down through it is gone. */
    cleanup_manifest struct manifest parsed = {0};
    if (found && !certain &&
        (manifest_parse(on_disk.bytes, on_disk.len, NULL, &parsed, NULL, NULL) < 0 ||
         parsed.kind != MANIFEST_IMAGE))
        return 0;
    if (!found && !certain)
        return 0;
    target_want(t->image, manifest, found ? (int64_t)on_disk.len : -1, &on_disk);
    return 1;
}

/* The manifest's bytes are not an index: they are the image. */
static int take_image(struct try *t, struct registry_manifest *got)
{
    int done = renew(t, &got->digest, true);
    if (done == 0)
        target_want(t->image, &got->digest, (int64_t)got->len, got);
    return done < 0 ? -1 : 0;
}

static int no_such_platform(struct try *t, const struct manifest *index)
{
    cleanup_free char *available = manifest_platforms(index);
    return error_set(&t->err, ERROR_PROTOCOL, "no image for platform %s; available: %s",
                     t->image->platform, *available ? available : "none");
}

/* Down through an index, and through nested ones, to the manifest for our platform. */
static int take_index(struct try *t, const struct manifest *index, int depth)
{
    struct image *image = t->image;
    const struct descriptor *child = manifest_select(index, &image->wanted->platform);

    if (!child)
        return no_such_platform(t, index);
    if (!media_type_is_index(child->media_type)) {
        int done = renew(t, &child->digest, true);
        if (done == 0)
            target_want(image, &child->digest, child->size, &(struct registry_manifest){0});
        return done < 0 ? -1 : 0;
    }
    if (depth >= INDEX_DEPTH_MAX)
        return error_set(&t->err, ERROR_PROTOCOL, "indexes within indexes, more than %d deep",
                         INDEX_DEPTH_MAX);
    cleanup_registry_manifest struct registry_manifest got = {0};
    cleanup_manifest struct manifest nested = {0};
    if (registry_manifest(t->client, &image->wanted->reference, &child->digest, child->size, &got,
                          &t->how, &t->err) < 0 ||
        manifest_parse(got.bytes, got.len, got.content_type, &nested, NULL, &t->err) < 0)
        return error_prefix(&t->err, "the index within the index");
    image_add_index(image, &got, false);
    if (nested.kind == MANIFEST_IMAGE)
        return take_image(t, &got);
    return take_index(t, &nested, depth + 1);
}

static int take(struct try *t, struct registry_manifest *got)
{
    struct image *image = t->image;
    cleanup_manifest struct manifest manifest = {0};
    bool contradicts = false;

    if (manifest_parse(got->bytes, got->len, got->content_type, &manifest, &contradicts, &t->err) <
        0)
        return -1;
    if (contradicts) {
        cleanup_free char *shown = text_foreign_str(got->content_type);
        if (!reference_is_pinned(&image->wanted->reference))
            return error_set(&t->err, ERROR_PROTOCOL,
                             "the registry calls it %s, and it calls itself %s", shown,
                             manifest.media_type);
        log_warn("%s: the registry calls it %s, and it calls itself %s", image->name, shown,
                 manifest.media_type);
    }
    image->source = got->digest;
    image_add_index(image, got, true);
    return manifest.kind == MANIFEST_INDEX ? take_index(t, &manifest, 1) : take_image(t, got);
}

/* By the digest that HEAD named, so that both speak of one thing; by the reference when the
 * header turns out to be wrong. */
static int get(struct try *t, const struct digest *head)
{
    const struct reference *ref = &t->image->wanted->reference;
    cleanup_registry_manifest struct registry_manifest got = {0};
    const struct digest *by = reference_is_pinned(ref) ? &ref->digest
                              : digest_is_set(head)    ? head
                                                       : NULL;

    int r = registry_manifest(t->client, ref, by, -1, &got, &t->how, &t->err);
    if (r < 0 && by == head && head && !reference_is_pinned(ref) &&
        (t->err.kind == ERROR_NOT_FOUND || t->err.kind == ERROR_DIGEST)) {
        log_debug("%s: not to be had under the digest that HEAD named: %s", t->image->name,
                  t->err.message);
        error_clear(&t->err);
        r = registry_manifest(t->client, ref, NULL, -1, &got, &t->how, &t->err);
    }
    return r < 0 ? -1 : take(t, &got);
}

/* name@sha256:...: the bytes cannot have changed, so nobody is asked while they are here. */
static int resolve_pinned(struct try *t)
{
    struct image *image = t->image;
    image->source = image->wanted->reference.digest;
    int done = 0;
    if (t->is_known && digest_equal(&t->known.source, &image->source))
        done = use(t, &t->known.manifest, true, true);
    else if (digest_is_sha256(&image->source))
        done = use(t, &image->source, true, false);
    if (done != 0)
        return done < 0 ? -1 : 0;
    return get(t, NULL);
}

static int resolve_tag(struct try *t)
{
    struct image *image = t->image;
    struct run *run = image->run;
    struct digest head = {0};
    int done = 0;

    if (t->is_known && run->settings->fresh_for_ns > 0 &&
        time(NULL) - t->known.checked < run->settings->fresh_for_ns / NS_PER_S &&
        t->known.checked <= time(NULL)) {
        enum cachedir_alias_state alias;
        image->source = t->known.source;
        if (image_alias_state(image, &t->known.manifest, &alias, &t->err) < 0)
            return -1;
        if (alias != CACHEDIR_ALIAS_UNKNOWN)
            done = renew(t, &t->known.manifest, false);
        if (done != 0)
            return done < 0 ? -1 : 0;
    }
    if (registry_head(t->client, &image->wanted->reference, &head, &t->how, &t->err) < 0)
        return -1;
    if (!digest_is_sha256(&head)) /* the builder's key is sha256: compute it */
        head = (struct digest){0};
    if (digest_is_set(&head)) {
        image->source = head;
        if (t->is_known && digest_equal(&t->known.source, &head))
            done = use(t, &t->known.manifest, true, true);
        else
            done = use(t, &head, true, false);
        if (done != 0)
            return done < 0 ? -1 : 0;
    }
    return get(t, &head);
}

/* What to do about it, where the kind of the failure tells. */
static void advise(const struct image *image, const struct registry_try *how, struct error *err)
{
    const char *advice = NULL;
    if (err->kind == ERROR_NOT_FOUND)
        advice = "there is no such image or tag: is the name right?";
    else if (err->kind == ERROR_REFUSED)
        advice = "docker login or --authfile gives credentials; or is the name wrong? Many "
                 "registries refuse what does not exist, too";
    else if (err->kind == ERROR_TRANSIENT && image->retry.fruitless > 0 && how->retry_after_ns < 0)
        advice = "given up after several tries: run it again later";
    if (advice)
        (void)error_set(err, err->kind, "%s: %s", err->message, advice);
}

void image_resolve(struct run *run, struct image *image, struct registry_client *client)
{
    const struct reference *ref = &image->wanted->reference;
    struct try t = {.image = image, .client = client, .how = {.retry_after_ns = -1}};
    int64_t began = monotonic_now();

    if (image->started == 0) {
        image->started = began;
        progress_image_started(run->progress, image->name);
    }
    int found = cachedir_name_find(run->cd, ref->name, image->platform, &t.known, &t.err);
    t.is_known = found > 0;
    if (t.is_known)
        image->previous = t.known.manifest;
    int r = found < 0 ? -1 : reference_is_pinned(ref) ? resolve_pinned(&t) : resolve_tag(&t);
    cachedir_name_release(&t.known);
    if (r == 0)
        return;
    struct work work = {.kind = WORK_RESOLVE, .subject = image, .ref = ref};
    if (!run_again(run, &image->retry, work, image->name, 0, monotonic_now() - began, &t.how,
                   &t.err)) {
        advise(image, &t.how, &t.err);
        image_finish(image, REPORT_FAILED, NULL, &t.err);
    }
}
