#include "dockerfile-internal.h"

#include "cachedir/alloc.h"
#include "cachedir/text.h"

#include <string.h>
#include <strings.h>

const char *dockerfile_use_name(enum dockerfile_use use)
{
    static const char *const names[] = {[DOCKERFILE_FROM] = "FROM ",
                                        [DOCKERFILE_COPY] = "COPY --from=",
                                        [DOCKERFILE_MOUNT] = "RUN --mount=from="};
    return names[use];
}

/* ---- messages ---- */

static void add_message(struct parse *p, size_t line, bool error, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));
static void add_message(struct parse *p, size_t line, bool error, const char *format, va_list args)
{
    struct dockerfile *d = p->ret;
    d->errors += error;
    if (d->message_count >= DOCKERFILE_MESSAGES_MAX)
        return;
    (void)array_add(d->messages, d->message_count);
    size_t at = d->message_count - 1;
    for (; at > 0 && d->messages[at - 1].line > line; at--)
        d->messages[at] = d->messages[at - 1];
    d->messages[at] = (struct dockerfile_message){line, error, xvasprintf(format, args)};
}

void parse_error(struct parse *p, size_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_message(p, line, true, format, args);
    va_end(args);
}

void parse_warning(struct parse *p, size_t line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_message(p, line, false, format, args);
    va_end(args);
}

bool parse_work(struct parse *p, size_t steps)
{
    p->work -= (int64_t)steps + 1;
    return p->work >= 0;
}

/* ---- variables ---- */

/* The last --build-arg of this name. */
static const char *build_arg(struct parse *p, const char *name, bool nonempty)
{
    const size_t len = strlen(name);
    const char *found = NULL;
    for (char **arg = p->options->build_args; arg && *arg && parse_work(p, len); arg++)
        if (strncmp(*arg, name, len) == 0 && (*arg)[len] == '=' && (!nonempty || (*arg)[len + 1]))
            found = *arg + len + 1;
    return found;
}

static struct variable *variable(struct parse *p, const char *name)
{
    if (!parse_work(p, p->variable_count))
        return NULL;
    for (size_t i = 0; i < p->variable_count; i++)
        if (strcmp(p->variables[i].name, name) == 0)
            return &p->variables[i];
    return NULL;
}

static const char *value_in_from(void *userdata, const char *name)
{
    struct parse *p = userdata;
    const char *given = build_arg(p, name, true);
    const struct variable *v = given ? NULL : variable(p, name);
    return v ? v->value : given;
}

static const char *value_in_arg(void *userdata, const char *name)
{
    struct parse *p = userdata;
    const char *given = build_arg(p, name, false);
    const struct variable *v = given ? NULL : variable(p, name);
    return v ? v->value : given;
}

/* Is it in the list "A, B"? */
static bool is_listed(const char *list, const char *name)
{
    const size_t len = strlen(name);
    for (const char *s = list; s; s = strstr(s, ", ") ? strstr(s, ", ") + 2 : NULL)
        if (strncmp(s, name, len) == 0 && (!s[len] || s[len] == ','))
            return true;
    return false;
}

static void unset(void *userdata, const char *name)
{
    struct parse *p = userdata;
    cleanup_free char *shown = text_foreign_str(name);
    if (!p->unset) {
        p->unset = take_ptr(shown);
    } else if (strlen(p->unset) < TEXT_FOREIGN_MAX && !is_listed(p->unset, shown)) {
        cleanup_free char *before = p->unset;
        p->unset = xasprintf("%s, %s", before, shown);
    }
}

/* Owned; NULL: told of. p->unset is then what had no value. */
static char *expand(struct parse *p, size_t line, const char *keyword, const char *text)
{
    const struct expansion how = {
        .escape = p->reader.escape,
        .value = strcmp(keyword, "ARG") == 0 ? value_in_arg : value_in_from,
        .unset = unset,
        .userdata = p,
        .work = &p->work,
    };
    char *why = NULL;
    free(p->unset);
    p->unset = NULL;
    char *expanded = dockerfile_expand(&how, text, &why);
    if (!expanded) {
        cleanup_free char *shown = text_foreign_str(text);
        parse_error(p, line, "%s %s: %s", keyword, shown, why);
        free(why);
    }
    return expanded;
}

static void set_variable(struct parse *p, size_t line, const char *name, const char *written)
{
    cleanup_free char *value = expand(p, line, "ARG", written);
    struct variable *v = variable(p, name);
    if (!value)
        return;
    if (p->unset) {
        cleanup_free char *shown = text_foreign_str(name);
        parse_warning(p, line, "no value for %s: taken as empty in ARG %s", p->unset, shown);
    }
    if (!v && p->variable_count >= DOCKERFILE_ARGS_MAX) {
        parse_error(p, line, "more than %d ARG before the first FROM", DOCKERFILE_ARGS_MAX);
        return;
    }
    if (!v) {
        v = array_add(p->variables, p->variable_count);
        v->name = xstrdup(name);
    }
    free(v->value);
    v->value = take_ptr(value);
}

static void parse_arg(struct parse *p, const struct instruction *i)
{
    size_t pos = i->rest.start;
    if (pos == i->rest.end)
        parse_error(p, i->line, "ARG without a name");
    for (char *word; (word = instruction_word(i, &pos, p->reader.escape)); free(word)) {
        char *equals = strchr(word, '=');
        if (equals == word) {
            parse_error(p, i->line, "ARG with an empty name");
        } else if (equals) {
            *equals = '\0';
            set_variable(p, i->line, word, equals + 1);
        }
    }
}

/* ---- FROM ---- */

/* ^[a-z][a-z0-9-_.]*$, once it is in lower case. */
static bool is_stage_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    static const char others[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    return *name && strchr(letters, *name) && !name[strspn(name, others)];
}

/* AS NAME; false: told of. */
static bool parse_stage_name(struct parse *p, const struct instruction *i, const struct span *words,
                             size_t count, struct stage *stage)
{
    if (count == 1)
        return true;
    cleanup_free char *as =
        count == INSTRUCTION_WORDS ? instruction_text(i, words[1]) : xstrdup("");
    if (strcasecmp(as, "as") != 0) {
        parse_error(p, i->line,
                    count == 0 ? "FROM without an image"
                               : "FROM takes one image, and at most AS and a name behind it: "
                                 "comments have lines of their own");
        return false;
    }
    stage->name = instruction_text(i, words[2]);
    for (char *c = stage->name; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    if (is_stage_name(stage->name))
        return true;
    cleanup_free char *shown = text_foreign_str(stage->name);
    parse_error(p, i->line,
                "FROM ... AS %s: a stage's name is a letter, and then letters, digits, \"-\", "
                "\"_\" and \".\"",
                shown);
    return false;
}

static bool parse_platform(struct parse *p, const struct instruction *i, struct stage *stage)
{
    size_t value;
    for (size_t k = 0; k < i->flag_count; k++) {
        if (instruction_flag_is(&i->flags[k], "platform", &value) && value && !stage->platform) {
            stage->platform = xstrdup(i->flags[k].text + value);
            continue;
        }
        cleanup_free char *shown = text_foreign_str(i->flags[k].text);
        parse_error(p, i->line, "FROM %s: FROM takes one flag, --platform=OS/ARCH", shown);
        return false;
    }
    return true;
}

static bool fill_stage(struct parse *p, const struct instruction *i, struct stage *stage)
{
    struct span words[INSTRUCTION_WORDS];
    const size_t count = instruction_words(i, words);
    if (!parse_stage_name(p, i, words, count, stage) || !parse_platform(p, i, stage))
        return false;
    stage->written = instruction_text(i, words[0]);
    stage->from = (struct source){
        .use = DOCKERFILE_FROM,
        .line = i->line,
        .text = expand(p, i->line, "FROM", stage->written),
        .start = i->text->at[words[0].start],
        .end = i->text->at[words[0].end - 1] + 1,
    };
    stage->unset = take_ptr(p->unset);
    return stage->from.text != NULL;
}

static void parse_from(struct parse *p, const struct instruction *i)
{
    struct stage stage = {0};
    if (p->stage_count >= DOCKERFILE_STAGES_MAX)
        parse_error(p, i->line, "more than %d stages", DOCKERFILE_STAGES_MAX);
    else if (fill_stage(p, i, &stage)) {
        *array_add(p->stages, p->stage_count) = stage;
        p->broken_stage = false;
        return;
    }
    stage_release(&stage);
    p->broken_stage = p->lost_stage = true;
}

/* ---- COPY --from, RUN --mount=from ---- */

static void add_source(struct parse *p, const struct instruction *i, enum dockerfile_use use,
                       const struct mapped *text, struct span value, bool onbuild)
{
    if (value.start == value.end || p->broken_stage)
        return;
    struct stage *stage = &p->stages[p->stage_count - 1];
    struct source s = {.use = use, .line = i->line, .onbuild = onbuild};
    s.text = xstrndup(text->text + value.start, value.end - value.start);
    s.start = text->at[value.start];
    s.end = text->at[value.end - 1] + 1;
    /* With quotes or escapes in it, other text cannot simply take its place. */
    if (s.end - s.start != value.end - value.start ||
        memcmp(p->bytes + s.start, s.text, value.end - value.start) != 0)
        s.start = s.end = 0;
    *array_add(stage->sources, stage->source_count) = s;
}

static void no_variables(struct parse *p, const struct instruction *i, const char *what,
                         const char *text)
{
    cleanup_free char *shown = text_foreign_str(text);
    parse_error(p, i->line,
                "%s%s: variables are not put in here: name a stage by FROM ... AS NAME, and use "
                "that",
                what, shown);
}

static void parse_copy(struct parse *p, const struct instruction *i, bool onbuild)
{
    bool seen = false;
    size_t value;
    for (size_t k = 0; k < i->flag_count; k++) {
        const struct mapped *flag = &i->flags[k];
        if (!instruction_flag_is(flag, "from", &value))
            continue;
        if (!value || seen)
            parse_error(p, i->line, seen ? "COPY with two --from" : "COPY --from without a value");
        else if (strchr(flag->text + value, '$'))
            no_variables(p, i, "COPY --from=", flag->text + value);
        else
            add_source(p, i, DOCKERFILE_COPY, flag, (struct span){value, flag->len}, onbuild);
        seen = true;
    }
}

static void parse_mount(struct parse *p, const struct instruction *i, const struct mapped *flag,
                        size_t pos, bool onbuild)
{
    static const char from[] = "from=";
    for (bool more = flag->text[pos]; more;) {
        cleanup_mapped struct mapped field = {0};
        pos = csv_field(flag, pos, &field);
        if (pos == SIZE_MAX) {
            cleanup_free char *shown = text_foreign_str(flag->text);
            parse_error(p, i->line, "RUN %s: a quote in the wrong place", shown);
            return;
        }
        more = flag->text[pos] == ',';
        pos += more;
        if (strncasecmp(field.text, from, strlen(from)) != 0)
            continue;
        const char *value = field.text + strlen(from), *dollar = strchr(value, '$');
        if (dollar && dollar[1])
            no_variables(p, i, "RUN --mount=from=", value);
        else
            add_source(p, i, DOCKERFILE_MOUNT, &field, (struct span){strlen(from), field.len},
                       onbuild);
    }
}

static void parse_run(struct parse *p, const struct instruction *i, bool onbuild)
{
    size_t value;
    for (size_t k = 0; k < i->flag_count; k++) {
        if (!instruction_flag_is(&i->flags[k], "mount", &value))
            continue;
        if (value)
            parse_mount(p, i, &i->flags[k], value, onbuild);
        else
            parse_error(p, i->line, "RUN --mount without a value");
    }
}

/* ---- heredocs ---- */

/* false: told of, and the rest of the file is in it. */
static bool skip_heredocs(struct parse *p, const struct instruction *i)
{
    struct heredoc *heredocs;
    size_t count;
    char *why = NULL;
    if (!strstr(i->text->text, "<<") || instruction_is_json(i))
        return true;
    if (dockerfile_heredocs(i->text->text, &heredocs, &count, &why) < 0) {
        parse_error(p, i->line, "a heredoc's name: %s", why);
        free(why);
        return true;
    }
    bool ended = true;
    for (size_t k = 0; k < count && ended; k++) {
        ended = reader_skip_heredoc(&p->reader, heredocs[k].name, heredocs[k].chomp);
        if (!ended) {
            cleanup_free char *shown = text_foreign_str(heredocs[k].name);
            parse_error(p, i->line, "the heredoc that begins here has no line \"%s\" at its end",
                        shown);
        }
    }
    heredocs_free(heredocs, count);
    return ended;
}

/* ---- instructions ---- */

static bool is_one_of(const char *keyword, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(keyword, *list) == 0)
            return true;
    return false;
}

static bool is_known(struct parse *p, const struct instruction *i)
{
    static const char *const keywords[] = {
        "add",        "arg",         "cmd",    "copy",       "entrypoint", "env", "expose",
        "from",       "healthcheck", "label",  "maintainer", "onbuild",    "run", "shell",
        "stopsignal", "user",        "volume", "workdir",    NULL};
    if (is_one_of(i->keyword, keywords))
        return true;
    cleanup_free char *shown = text_foreign_str(i->keyword);
    parse_error(p, i->line, "\"%s\" is no instruction of a Dockerfile", shown);
    return false;
}

/* false: there is no going on. */
static bool parse_in_stage(struct parse *p, const struct instruction *i, bool onbuild)
{
    static const char *const with_heredocs[] = {"add", "copy", "run", NULL};
    if (strcmp(i->keyword, "copy") == 0)
        parse_copy(p, i, onbuild);
    else if (strcmp(i->keyword, "run") == 0)
        parse_run(p, i, onbuild);
    return !is_one_of(i->keyword, with_heredocs) || skip_heredocs(p, i);
}

static bool parse_onbuild(struct parse *p, const struct instruction *i)
{
    static const char *const refused[] = {"from", "maintainer", "onbuild", NULL};
    cleanup_instruction struct instruction inner = {.line = i->line};
    instruction_read(i->text, i->rest, p->reader.escape, &inner);
    if (!*inner.keyword) {
        parse_error(p, i->line, "ONBUILD without an instruction");
        return true;
    }
    if (is_one_of(inner.keyword, refused)) {
        parse_error(p, i->line, "ONBUILD does not take %s", inner.keyword);
        return true;
    }
    return parse_in_stage(p, &inner, true);
}

static bool parse_instruction(struct parse *p, const struct instruction *i)
{
    const bool in_stage = p->stage_count > 0 || p->broken_stage;
    if (!is_known(p, i))
        return true;
    if (strcmp(i->keyword, "from") == 0) {
        parse_from(p, i);
        return true;
    }
    if (strcmp(i->keyword, "arg") == 0) {
        if (!in_stage)
            parse_arg(p, i);
        return true;
    }
    if (!in_stage) {
        parse_error(p, i->line, "only ARG may stand before the first FROM");
        p->broken_stage = true;
    }
    return strcmp(i->keyword, "onbuild") == 0 ? parse_onbuild(p, i) : parse_in_stage(p, i, false);
}

static void parse_all(struct parse *p)
{
    for (;;) {
        cleanup_mapped struct mapped text = {0};
        cleanup_instruction struct instruction i = {0};
        cleanup_free char *why = NULL;
        int got = reader_instruction(&p->reader, &text, &i.line, &why);
        if (got < 0)
            parse_error(p, p->reader.line, "%s", why);
        if (got <= 0)
            return;
        instruction_read(&text, (struct span){0, text.len}, p->reader.escape, &i);
        if (!parse_instruction(p, &i) || p->ret->message_count >= DOCKERFILE_MESSAGES_MAX)
            return;
    }
}

static void parse_release(struct parse *p)
{
    for (size_t i = 0; i < p->variable_count; i++) {
        free(p->variables[i].name);
        free(p->variables[i].value);
    }
    for (size_t i = 0; i < p->stage_count; i++)
        stage_release(&p->stages[i]);
    free(p->variables);
    free(p->stages);
    free(p->unset);
}

void dockerfile_parse(const char *bytes, size_t len, const struct dockerfile_options *options,
                      struct dockerfile *ret)
{
    __attribute__((cleanup(parse_release))) struct parse p = {
        .options = options,
        .ret = ret,
        .work = DOCKERFILE_WORK_MAX,
    };
    cleanup_free char *text = NULL;
    *ret = (struct dockerfile){0};
    if (len > DOCKERFILE_SIZE_MAX) {
        parse_error(&p, 0, "more than %d MiB: not a Dockerfile", DOCKERFILE_SIZE_MAX >> 20);
        return;
    }
    if (len > 0 && memchr(bytes, '\0', len)) {
        parse_error(&p, 0, "a NUL byte: is this a text file?");
        return;
    }
    text = xstrndup(bytes ? bytes : "", len);
    p.bytes = text;
    p.reader = (struct reader){.bytes = text, .len = len, .escape = '\\'};
    parse_all(&p);
    if (p.stage_count == 0 && ret->errors == 0)
        parse_error(&p, 0, "there is no FROM in it");
    else if (!p.lost_stage) /* else half of what it would say were not so */
        stages_resolve(&p);
    if (p.work < 0)
        parse_error(&p, 0, "too much to work out: too many variables, patterns or stages");
}

void dockerfile_release(struct dockerfile *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->images[i].text);
    for (size_t i = 0; i < d->message_count; i++)
        free(d->messages[i].text);
    free(d->images);
    free(d->messages);
    *d = (struct dockerfile){0};
}

char *dockerfile_pin(const char *bytes, size_t len, const struct dockerfile *d,
                     const struct digest *digests, size_t *ret_len)
{
    char *text = NULL;
    size_t pos = 0;
    FILE *out = open_memstream(&text, ret_len);
    if (!out)
        abort();
    for (size_t i = 0; i < d->count; i++) {
        const struct dockerfile_image *image = &d->images[i];
        if (!digest_is_set(&digests[i]) || image->end == 0)
            continue;
        (void)fwrite(bytes + pos, 1, image->start - pos, out);
        fprintf(out, "%.*s@%s", (int)strcspn(image->text, "@"), image->text, digests[i].text);
        pos = image->end;
    }
    (void)fwrite(bytes + pos, 1, len - pos, out);
    if (fclose(out) != 0)
        abort();
    return text;
}
