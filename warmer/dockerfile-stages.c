/* What names mean: a stage, or an image; and which stages are needed. */
#include "dockerfile-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/reference.h"
#include "cachedir/text.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static void source_release(struct source *s)
{
    free(s->text);
}

void stage_release(struct stage *s)
{
    source_release(&s->from);
    for (size_t i = 0; i < s->source_count; i++)
        source_release(&s->sources[i]);
    free(s->sources);
    free(s->name);
    free(s->written);
    free(s->unset);
    free(s->platform);
}

/* ---- what a name means ---- */

#define NOT_A_STAGE SIZE_MAX

static bool is_called(const struct stage *s, const char *name)
{
    return s->name && strcasecmp(s->name, name) == 0;
}

/* FROM: the first before it. */
static size_t base_of(struct parse *p, size_t stage)
{
    if (!parse_work(p, stage))
        return NOT_A_STAGE;
    for (size_t i = 0; i < stage; i++)
        if (is_called(&p->stages[i], p->stages[stage].from.text))
            return i;
    return NOT_A_STAGE;
}

/* A number, as Go's strconv.Atoi reads it. */
static bool is_number(const char *text, long *ret)
{
    const char *digits = text + (*text == '+' || *text == '-');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    *ret = strtol(text, NULL, 10);
    return errno == 0;
}

/* COPY --from and RUN --mount=from in a stage: the last before it; COPY knows numbers, too. */
static size_t stage_of(struct parse *p, size_t stage, const struct source *s)
{
    long number;
    if (!parse_work(p, p->stage_count))
        return NOT_A_STAGE;
    for (size_t i = stage; i-- > 0;)
        if (is_called(&p->stages[i], s->text))
            return i;
    cleanup_free char *shown = text_foreign_str(s->text);
    for (size_t i = stage; i < p->stage_count; i++)
        if (is_called(&p->stages[i], s->text)) {
            parse_error(p, s->line, "%s%s: this stage must stand before the one that uses it",
                        dockerfile_use_name(s->use), shown);
            return stage;
        }
    if (s->use != DOCKERFILE_COPY || !is_number(s->text, &number))
        return NOT_A_STAGE;
    if (number >= 0 && (size_t)number < stage)
        return (size_t)number;
    parse_error(p, s->line, "%s%s: there is no such stage before this one",
                dockerfile_use_name(s->use), shown);
    return stage;
}

/* ---- what is needed ---- */

static void need_sources(struct parse *p, size_t stage, const struct stage *of, bool onbuild)
{
    for (size_t i = 0; i < of->source_count; i++) {
        if (of->sources[i].onbuild != onbuild)
            continue;
        size_t source = stage_of(p, stage, &of->sources[i]);
        if (source != NOT_A_STAGE)
            p->stages[source].needed = true;
    }
}

static char *names_of_stages(const struct parse *p)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort();
    const char *join = "";
    for (size_t i = 0; i < p->stage_count; i++)
        if (p->stages[i].name) {
            fprintf(out, "%s%s", join, p->stages[i].name);
            join = ", ";
        }
    if (fclose(out) != 0)
        abort();
    return text;
}

static bool mark_target(struct parse *p, const char *target)
{
    for (size_t i = 0; i < p->stage_count; i++)
        if (is_called(&p->stages[i], target)) {
            p->stages[i].needed = true;
            return true;
        }
    cleanup_free char *names = names_of_stages(p);
    cleanup_free char *shown = text_foreign_str(target), *there = text_foreign_str(names);
    parse_error(p, 0, "no stage is called \"%s\"; there are: %s", shown,
                *there ? there : "none with a name");
    return false;
}

/* All stages, or the target and what it needs: stages only ever need those before them. */
static bool mark_needed(struct parse *p)
{
    const char *target = p->options->target;
    if (target && !mark_target(p, target))
        return false;
    for (size_t i = p->stage_count; i-- > 0;) {
        p->stages[i].needed |= !target;
        if (!p->stages[i].needed)
            continue;
        size_t base = base_of(p, i);
        if (base != NOT_A_STAGE) {
            p->stages[base].needed = true;
            need_sources(p, i, &p->stages[base], true);
        }
        need_sources(p, i, &p->stages[i], false);
    }
    return true;
}

/* ---- the images ---- */

static void add_image(struct parse *p, const struct source *s)
{
    struct dockerfile_image *image = array_add(p->ret->images, p->ret->count);
    *image = (struct dockerfile_image){s->use, s->line, xstrdup(s->text), s->start, s->end};
}

static void warn_of_unset(struct parse *p, const struct stage *s)
{
    if (s->unset)
        parse_warning(p, s->from.line,
                      "no value for %s: taken as empty; give --build-arg NAME=VALUE, or ARG "
                      "NAME=VALUE before the first FROM",
                      s->unset);
}

static void warn_of_platform(struct parse *p, const struct stage *s)
{
    if (!s->platform)
        return;
    cleanup_free char *shown = text_foreign_str(s->platform);
    parse_warning(p, s->from.line,
                  "FROM --platform=%s is not followed, because kaniko does not: it takes the "
                  "platform from its --custom-platform alone",
                  shown);
}

/* The image that a stage begins with. */
static void add_base(struct parse *p, const struct stage *s)
{
    cleanup_reference struct reference ref = {0};
    cleanup_error struct error err = {0};
    cleanup_free char *written = text_foreign_str(s->written);
    if (reference_parse(s->from.text, &ref, &err) == 0) {
        warn_of_unset(p, s);
        warn_of_platform(p, s);
        add_image(p, &s->from);
    } else if (s->unset) {
        cleanup_free char *remains = text_foreign_str(s->from.text);
        parse_error(p, s->from.line,
                    "FROM %s: only \"%s\" remains, because there is no value for %s: give "
                    "--build-arg NAME=VALUE",
                    written, remains, s->unset);
    } else if (strcmp(s->written, s->from.text) != 0) {
        parse_error(p, s->from.line, "FROM %s: %s", written, err.message);
    } else {
        parse_error(p, s->from.line, "FROM: %s", err.message);
    }
}

/* An image that COPY --from or RUN --mount=from names. */
static void add_source(struct parse *p, const struct source *s)
{
    cleanup_reference struct reference ref = {0};
    cleanup_error struct error err = {0};
    long number;
    if (s->onbuild || strcmp(s->text, "scratch") == 0 || !parse_work(p, p->stage_count) ||
        (s->use == DOCKERFILE_COPY && is_number(s->text, &number)))
        return;
    for (size_t i = 0; i < p->stage_count; i++)
        if (is_called(&p->stages[i], s->text))
            return;
    if (reference_parse(s->text, &ref, &err) == 0)
        add_image(p, s);
    else if (s->use == DOCKERFILE_COPY)
        parse_error(p, s->line, "COPY --from: no stage is called so, and a %s", err.message);
    else /* something that other builders know: kaniko passes it by */
        parse_warning(p, s->line, "RUN --mount: no stage is called so, and a %s", err.message);
}

void stages_resolve(struct parse *p)
{
    if (!mark_needed(p))
        return;
    for (size_t i = 0; i < p->stage_count; i++) {
        const struct stage *s = &p->stages[i];
        if (!s->needed)
            continue;
        if (base_of(p, i) == NOT_A_STAGE && strcmp(s->from.text, "scratch") != 0)
            add_base(p, s);
        else
            warn_of_unset(p, s);
        for (size_t k = 0; k < s->source_count; k++)
            add_source(p, &s->sources[k]);
    }
}
