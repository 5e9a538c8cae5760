#include "warmer/dockerfile.h"

#include "cachedir/alloc.h"
#include "cachedir/reference.h"
#include "fuzz.h"

#include <string.h>

static void check_messages(const struct dockerfile *d)
{
    size_t errors = 0;
    CHECK(d->message_count <= DOCKERFILE_MESSAGES_MAX);
    for (size_t i = 0; i < d->message_count; i++) {
        const struct dockerfile_message *m = &d->messages[i];
        errors += m->error;
        CHECK(*m->text);
        for (const char *s = m->text; *s; s++)
            CHECK((unsigned char)*s >= ' ' && *s != 0x7F);
        CHECK(i == 0 || d->messages[i - 1].line <= m->line);
    }
    CHECK(errors <= d->errors &&
          (d->errors == 0 || errors > 0 || d->message_count == DOCKERFILE_MESSAGES_MAX));
}

static void check_images(const struct dockerfile *d, size_t len)
{
    size_t behind = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct dockerfile_image *image = &d->images[i];
        cleanup_reference struct reference ref = {0};
        CHECK(reference_parse(image->text, &ref, NULL) == 0);
        CHECK(image->line > 0);
        if (image->end == 0)
            continue;
        CHECK(image->start >= behind && image->start < image->end && image->end <= len);
        behind = image->end;
    }
}

static void check_pinned(const char *bytes, size_t len, const struct dockerfile_options *options,
                         const struct dockerfile *d)
{
    cleanup_free struct digest *digests = xcalloc(d->count + 1, sizeof *digests);
    cleanup_dockerfile struct dockerfile again;
    for (size_t i = 0; i < d->count; i++)
        digests[i] = (struct digest){
            "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
    size_t pinned_len;
    cleanup_free char *pinned = dockerfile_pin(bytes, len, d, digests, &pinned_len);
    dockerfile_parse(pinned, pinned_len, options, &again);
    CHECK(again.errors == 0 && again.count == d->count);
    for (size_t i = 0; i < d->count; i++) {
        const char *was = d->images[i].text, *is = again.images[i].text;
        const size_t name = strcspn(was, "@");
        CHECK(strncmp(was, is, name) == 0);
        CHECK(strcmp(d->images[i].end > 0 ? digests[i].text : was + name,
                     is + name + (d->images[i].end > 0)) == 0);
    }
}

/* Options, one a line, may stand before a NUL: NAME=VALUE, or the target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *args[8] = {0}, *rest = NULL;
    size_t count = 0;
    cleanup_free char *head = NULL;
    struct dockerfile_options options = {.build_args = args};
    const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
    if (nul) {
        head = xstrndup((const char *)data, size);
        for (char *line = strtok_r(head, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            if (!strchr(line, '='))
                options.target = line;
            else if (count < 7)
                args[count++] = line;
        size -= (size_t)(nul - data) + 1;
        data = nul + 1;
    }
    cleanup_dockerfile struct dockerfile d;
    dockerfile_parse((const char *)data, size, &options, &d);
    check_messages(&d);
    check_images(&d, size);
    if (d.errors == 0 && size < DOCKERFILE_LINE_MAX / 2) /* lines grow */
        check_pinned((const char *)data, size, &options, &d);
    return 0;
}
