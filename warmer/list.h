/*
 * The list of wanted images: from --image, --images-file and --dockerfile.
 *
 * A list file holds one reference a line. "#" at the start of a line or after a blank begins a
 * comment, and blank lines are skipped. After the reference, "platform=os/arch[/variant][,...]"
 * names platforms of its own.
 *
 * Whatever is wrong is told at once, so that one run suffices to mend a list.
 */
#pragma once

#include "cachedir/platform.h"
#include "cachedir/reference.h"

#include <stddef.h>

#define LIST_SIZE_MAX (16 << 20)  /* bytes of one list file */
#define LIST_PLATFORMS_MAX 64     /* of one line */
#define LIST_WANTED_MAX (1 << 17) /* images times platforms */

struct wanted { /* one image for one platform */
    struct reference reference;
    struct platform platform;
    bool explicit_platform; /* its line names it, or there are several: worth showing */
    char *origin;           /* "--image", "images.txt:12", "stdin:3", "Dockerfile:1" */
};

struct wanted_list {
    struct wanted *items; /* in the order in which they were first named, each once */
    size_t count;
    void *seen;      /* tsearch(3) tree of what is in it */
    struct pin *pin; /* with --pinned-dockerfile: what is written in the end (pin.h) */
};

struct list_reader {
    const struct platform *platforms; /* for references that name none */
    size_t platform_count;            /* at least 1 */
    /* Told everything that is wrong, one line each: safe to print. */
    void (*problem)(void *userdata, const char *message);
    void *userdata;
};

/* One reference. An empty one is a problem. `origin` is copied. */
void list_add(struct wanted_list *list, struct list_reader *reader, const char *text,
              const char *origin);
/* The bytes of a list file; `origin` is its name, as safe text. */
void list_parse(struct wanted_list *list, struct list_reader *reader, const char *bytes, size_t len,
                const char *origin);
/* Open, read, parse: a file, a pipe, or "-" for stdin. ERROR_NOT_FOUND when there is none; what is
 * wrong inside is a problem, not an error. */
int list_read(struct wanted_list *list, struct list_reader *reader, const char *path,
              struct error *err);

/*
 * All that the options name: --image in order, then the files, then the Dockerfiles. No images at
 * all is success. One thing wrong is the error; several are told to `problem`, and the error sums
 * them up. Its kind is that of a file that cannot be read, else ERROR_USAGE. What is odd, but not
 * wrong, is told to `warning`.
 */
struct settings;
struct list_listener { /* one safe line at a time */
    void (*problem)(void *userdata, const char *message);
    void (*warning)(void *userdata, const char *message);
    void *userdata;
};
int list_load(const struct settings *settings, const struct list_listener *listener,
              struct wanted_list *ret, struct error *err);

/* Keep those of the index-th of `count` parts, from 0: by the sha256 of the reference's full name,
 * so that each image is in one part, always the same, whatever else is in the list. */
void list_shard(struct wanted_list *list, unsigned index, unsigned count);

void wanted_list_release(struct wanted_list *list);
#define cleanup_wanted_list __attribute__((cleanup(wanted_list_release)))
