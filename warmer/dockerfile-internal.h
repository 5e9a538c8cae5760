/*
 * What the parts of the Dockerfile parser share:
 *
 *     dockerfile-lines.c   bytes --> instructions, each a line that knows where its bytes stood
 *     dockerfile-parts.c   an instruction's keyword, flags and words
 *     dockerfile-words.c   words: variables, quotes, escapes; the names of heredocs
 *     dockerfile-pattern.c ${variable#pattern} and the like
 *     dockerfile-stages.c  which stage or image a name means, and what a stage needs
 *     dockerfile.c         instructions --> stages --> images
 *
 * Nothing here holds a NUL: such files are refused at once, so text is a string.
 */
#pragma once

#include "dockerfile.h"

#include <stdint.h>

/* ---- dockerfile-lines.c ---- */

struct mapped { /* text, and where each of its bytes stands in the file */
    char *text; /* always ends with a NUL */
    size_t *at;
    size_t len;
};
void mapped_add(struct mapped *m, const char *bytes, size_t len, size_t at);
void mapped_release(struct mapped *m);
#define cleanup_mapped __attribute__((cleanup(mapped_release)))

struct reader {
    const char *bytes;
    size_t len, pos;
    size_t line; /* of the last line read, from 1 */
    char escape; /* \ or ` */
    bool directives_over;
    unsigned directives_seen;
};
/* The next instruction, its continuation lines joined. 1; 0 at the end; -1 with *ret_why (owned).
 */
int reader_instruction(struct reader *r, struct mapped *ret, size_t *ret_line, char **ret_why);
/* Behind the line that ends a heredoc. false: there is none. */
bool reader_skip_heredoc(struct reader *r, const char *name, bool chomp);

/* As Go's unicode.IsSpace: the length of the space at p, 0 when there is none. */
size_t space_at(const char *p);
/* [\t\v\f\r ], at which BuildKit splits. */
bool is_blank(char c);
/* [*start, *end) without spaces around it. */
void trim_spaces(const char *text, size_t *start, size_t *end);

/* ---- dockerfile-parts.c ---- */

struct span { /* [start, end) of a text */
    size_t start, end;
};

struct instruction {
    const struct mapped *text;
    size_t line;
    char *keyword;        /* lower case */
    struct mapped *flags; /* "--name=value", without quotes and escapes */
    size_t flag_count;
    struct span rest; /* without spaces around it */
};

/* Keyword, flags, the rest. */
void instruction_read(const struct mapped *text, struct span span, char escape,
                      struct instruction *ret);
void instruction_release(struct instruction *i);
#define cleanup_instruction __attribute__((cleanup(instruction_release)))
char *instruction_text(const struct instruction *i, struct span s); /* owned */

/* Is the flag "--name=..."? Then *ret_value is where its value begins; 0: it has none. */
bool instruction_flag_is(const struct mapped *flag, const char *name, size_t *ret_value);
/* One field of CSV: from pos on, *ret without quotes. What is behind it; SIZE_MAX: malformed. */
size_t csv_field(const struct mapped *flag, size_t pos, struct mapped *ret);

/* The next word of ARG, from *pos on: quotes keep spaces in it, and stay. Owned; NULL: no more. */
char *instruction_word(const struct instruction *i, size_t *pos, char escape);
/* The words of FROM. Returns how many there are, counted no further than one too many. */
#define INSTRUCTION_WORDS 3
size_t instruction_words(const struct instruction *i, struct span words[INSTRUCTION_WORDS]);
/* ["a", "b"]: no shell, no heredocs. */
bool instruction_is_json(const struct instruction *i);

/* ---- dockerfile-words.c ---- */

struct expansion {
    char escape;
    /* The value of a variable; NULL: it has none. */
    const char *(*value)(void *userdata, const char *name);
    /* Told of variables that have no value, nor a default beside them. */
    void (*unset)(void *userdata, const char *name);
    void *userdata;
    int64_t *work; /* what is left of DOCKERFILE_WORK_MAX */
};
/* Variables, quotes and escapes resolved. Owned; NULL with *ret_why (owned, safe to print). */
char *dockerfile_expand(const struct expansion *how, const char *text, char **ret_why);

struct heredoc {
    char *name;
    bool chomp; /* <<-: tabs before the last line */
};
/* The heredocs that a line begins, in order. -1 with *ret_why (owned). */
int dockerfile_heredocs(const char *line, struct heredoc **ret, size_t *ret_count, char **ret_why);
void heredocs_free(struct heredoc *heredocs, size_t count);

/* ---- dockerfile-pattern.c ---- */

enum pattern_do {
    PATTERN_PREFIX_SHORT, /* ${v#p} */
    PATTERN_PREFIX_LONG,  /* ${v##p} */
    PATTERN_SUFFIX_SHORT, /* ${v%p} */
    PATTERN_SUFFIX_LONG,  /* ${v%%p} */
    PATTERN_REPLACE,      /* ${v/p/r} */
    PATTERN_REPLACE_ALL,  /* ${v//p/r} */
};
/* Owned; NULL with *ret_why, a literal. */
char *pattern_apply(enum pattern_do what, const char *value, const char *pattern,
                    const char *replacement, int64_t *work, const char **ret_why);

/* ---- dockerfile-stages.c ---- */

struct source { /* FROM X, COPY --from=X, RUN --mount=from=X */
    enum dockerfile_use use;
    size_t line;
    char *text;
    size_t start, end;
    bool onbuild;
};

struct stage {
    char *name; /* lower case; NULL: none */
    struct source from;
    char *written;  /* FROM's reference before variables were put in */
    char *unset;    /* the variables without a value in it: "A, B"; NULL: none */
    char *platform; /* of --platform; NULL: none */
    struct source *sources;
    size_t source_count;
    bool needed;
};

struct parse {
    const struct dockerfile_options *options;
    const char *bytes;
    struct reader reader;
    struct dockerfile *ret;
    int64_t work;
    struct variable {
        char *name;
        char *value;
    } * variables;
    size_t variable_count;
    struct stage *stages;
    size_t stage_count;
    char *unset;       /* what the expansion at hand met: "A, B" */
    bool broken_stage; /* the stage at hand has no FROM that can be read */
    bool lost_stage;   /* ... nor had one before it */
};

/* Keep a message, in the order of the lines. */
void parse_error(struct parse *p, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void parse_warning(struct parse *p, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* false: too much. */
bool parse_work(struct parse *p, size_t steps);

/* Mark the stages that are needed, and fill ret->images. */
void stages_resolve(struct parse *p);
void stage_release(struct stage *s);
