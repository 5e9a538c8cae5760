#include "pin.h"

#include "cachedir/alloc.h"
#include "cachedir/reference.h"
#include "output.h"

void pin_free(struct pin *p)
{
    if (!p)
        return;
    free(p->bytes);
    free(p->origin);
    free(p->platform);
    dockerfile_release(&p->parsed);
    free(p);
}

/* What an image's reference led to. */
static int find_digest(const struct pin *p, const struct dockerfile_image *image,
                       struct report *report, struct digest *ret, struct error *err)
{
    cleanup_reference struct reference ref = {0};
    if (reference_parse(image->text, &ref, err) < 0)
        return -1;
    enum error_kind failed = ERROR_TRANSIENT; /* stopped before it was looked at */
    if (report && report_find(report, ref.name, p->platform, ret, &failed))
        return 0;
    return error_set(err, failed, "nothing is written: %s:%zu: %s was not warmed", p->origin,
                     image->line, ref.familiar);
}

int pin_write(const struct pin *p, struct report *report, const char *path, struct error *err)
{
    cleanup_free struct digest *digests = xcalloc(p->parsed.count + 1, sizeof *digests);
    for (size_t i = 0; i < p->parsed.count; i++)
        if (find_digest(p, &p->parsed.images[i], report, &digests[i], err) < 0)
            return -1;
    size_t len;
    cleanup_free char *pinned = dockerfile_pin(p->bytes, p->len, &p->parsed, digests, &len);
    return output_write("Dockerfile", path, pinned, len, err);
}
