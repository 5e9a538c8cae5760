/*
 * What would a builder find in this cache directory? An example of the store's public interface
 * (cachedir/cachedir.h) and of nothing else:
 *
 *     cc $(pkg-config --cflags cachedir) would-hit.c $(pkg-config --libs --static cachedir)
 *     ./a.out /cache [TTL]
 *
 * One line an entry, "hit" or "miss", its digest, the names that lead to it, and why it is a miss.
 * Exit code: 0 all are hits, 1 some are not, else that of the failure, as cachedir(1) has it.
 */
#include <cachedir/cachedir.h>
#include <cachedir/text.h>

#include <stdio.h>
#include <stdlib.h>

static void warn(void *userdata, const char *message)
{
    (void)userdata;
    fprintf(stderr, "warning: %s\n", message);
}

static int fail(struct error *err)
{
    int code = error_exit_code(err->kind);
    fprintf(stderr, "error: %s\n", err->message);
    error_clear(err);
    return code;
}

/* Why a builder that asks for this entry now does not get it; NULL: it does. */
static const char *miss(const struct cachedir_entry *entry, time_t now, int64_t ttl_ns)
{
    if (entry->state != CACHEDIR_COMPLETE)
        return entry->problem;
    return now - entry->renewed.tv_sec >= ttl_ns / NS_PER_S ? "expired" : NULL;
}

static void print_entry(const struct cachedir_entry *entry, const char *why,
                        const struct cachedir_name *names, size_t name_count)
{
    printf("%s %s", why ? "miss" : "hit", entry->digest.text);
    for (size_t i = 0; i < name_count; i++)
        if (digest_equal(&names[i].manifest, &entry->digest)) {
            char *reference = text_foreign_str(names[i].reference); /* it comes from the volume */
            printf(" %s", reference);
            free(reference);
        }
    if (why)
        printf(" (%s)", why);
    putchar('\n');
}

int main(int argc, char **argv)
{
    const struct cachedir_options options = {.warn = warn};
    struct error err = {0};
    cleanup_cachedir struct cachedir *cd = NULL;
    struct cachedir_entry *entries;
    struct cachedir_name *names;
    size_t count, name_count, misses = 0;
    int64_t ttl_ns;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s DIR [TTL]\n", argv[0]);
        return 64;
    }
    if (duration_parse(argc > 2 ? argv[2] : "336h", &ttl_ns, &err) < 0 ||
        cachedir_open(argv[1], &options, &cd, &err) < 0 ||
        cachedir_list(cd, &entries, &count, &err) < 0)
        return fail(&err);
    if (cachedir_names(cd, &names, &name_count, &err) < 0) {
        cachedir_entries_free(entries, count);
        return fail(&err);
    }
    for (size_t i = 0; i < count; i++) {
        const char *why = miss(&entries[i], cachedir_now(cd), ttl_ns);
        print_entry(&entries[i], why, names, name_count);
        misses += why != NULL;
    }
    cachedir_names_free(names, name_count);
    cachedir_entries_free(entries, count);
    return misses > 0;
}
