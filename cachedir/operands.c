/* What the commands are given to work on: references and digests, whole or as `list` shows them. */
#include "alloc.h"
#include "command.h"
#include "reference.h"
#include "text.h"

#include <string.h>

#define ALGORITHM "sha256:"
#define DIGITS_MIN (DIGEST_SHORT_SIZE - sizeof ALGORITHM) /* of a digest: as many as are shown */
#define DIGITS_MAX 64
#define LIST_SHOWS "\"cachedir list\" shows what is there"
#define NAMED_MAX 4 /* so many are named where there are more */

int command_no_operands(const char *name, const char *hint, char **operands, struct error *err)
{
    if (!*operands)
        return 0;
    cleanup_free char *shown = text_foreign_str(*operands);
    return error_set(err, ERROR_USAGE, "%s takes no operand: \"%s\": %s", name, shown, hint);
}

/* The digits of a digest, or of its beginning, with the algorithm in front or not; NULL: it is
 * none. */
static const char *digits_of(const char *operand)
{
    const size_t front = strncmp(operand, ALGORITHM, strlen(ALGORITHM)) ? 0 : strlen(ALGORITHM);
    const char *digits = operand + front;
    const size_t len = strspn(digits, "0123456789abcdef");
    return !digits[len] && len >= DIGITS_MIN && len <= DIGITS_MAX ? digits : NULL;
}

static int check_operand(const char *operand, struct error *err)
{
    cleanup_reference struct reference ref = {0};
    struct digest digest;
    if (digits_of(operand) || digest_parse(operand, &digest, NULL) == 0)
        return 0;
    const bool is_path = *operand == '/' || *operand == '.';
    if (!is_path && strncmp(operand, ALGORITHM, strlen(ALGORITHM)) != 0)
        return reference_parse(operand, &ref, err);
    cleanup_free char *shown = text_foreign_str(operand);
    return is_path
               ? error_set(err, ERROR_USAGE, "\"%s\" is no image: " COMMAND_HINT_DIRECTORY, shown)
               : error_set(
                     err, ERROR_USAGE,
                     "bad digest \"%s\": at least %zu of its digits are needed, in lower case",
                     shown, DIGITS_MIN);
}

int command_check_operands(char **operands, struct error *err)
{
    for (; *operands; operands++)
        if (check_operand(*operands, err) < 0)
            return -1;
    return 0;
}

static void add_digest(struct digest **list, size_t *count, const struct digest *digest)
{
    for (size_t i = 0; i < *count; i++)
        if (digest_equal(&(*list)[i], digest))
            return;
    *array_add(*list, *count) = *digest;
}

/* "a", "a, b", "a, b and 3 more": `text` is its beginning, and the n-th, from 0, is added. Owned.
 */
static char *add_word(char *text, size_t n, const char *word)
{
    char *longer = xasprintf("%s%s%s", text, n ? ", " : "", word);
    free(text);
    return longer;
}

static char *add_rest(char *text, size_t count)
{
    if (count <= NAMED_MAX)
        return text;
    char *longer = xasprintf("%s and %zu more", text, count - NAMED_MAX);
    free(text);
    return longer;
}

static int no_entry(struct cachedir *cd, const char *digest, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "no entry %s in %s: " LIST_SHOWS, digest,
                     cachedir_path(cd));
}

/* The one entry whose digest begins so. */
static int find_digits(struct cachedir *cd, const char *digits, struct digest *ret,
                       struct error *err)
{
    struct cachedir_entry *entries;
    size_t entry_count, count = 0;
    char *all = xstrdup("");
    if (cachedir_list(cd, &entries, &entry_count, err) < 0) {
        free(all);
        return -1;
    }
    for (size_t i = 0; i < entry_count; i++) {
        if (strncmp(digest_hex(&entries[i].digest), digits, strlen(digits)) != 0)
            continue;
        *ret = entries[i].digest;
        if (count < NAMED_MAX)
            all = add_word(all, count, ret->text);
        count++;
    }
    cachedir_entries_free(entries, entry_count);
    cleanup_free char *named = add_rest(all, count);
    if (count > 1)
        return error_set(err, ERROR_USAGE, ALGORITHM "%s is the beginning of several: %s", digits,
                         named);
    cleanup_free char *shown = xasprintf(ALGORITHM "%s", digits);
    return count == 1 ? 0 : no_entry(cd, shown, err);
}

/* ---- names ---- */

static bool stands(struct cachedir *cd, const struct digest *digest)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    return cachedir_look(cd, digest, &entry, NULL) == 0 && entry.state != CACHEDIR_ABSENT;
}

/* The other tags of its repository that are here; "" when there are none. Owned. */
static char *other_tags(struct cachedir *cd, const struct reference *ref,
                        const struct cachedir_name *names, size_t name_count)
{
    char *text = xstrdup("");
    size_t count = 0;
    for (size_t i = 0; i < name_count; i++) { /* they are sorted */
        cleanup_reference struct reference other = {0};
        if ((i > 0 && strcmp(names[i].reference, names[i - 1].reference) == 0) ||
            reference_parse(names[i].reference, &other, NULL) < 0 ||
            strcmp(other.registry, ref->registry) != 0 ||
            strcmp(other.repository, ref->repository) != 0 || !stands(cd, &names[i].manifest))
            continue;
        if (count < NAMED_MAX)
            text = add_word(text, count, other.familiar);
        count++;
    }
    return add_rest(text, count);
}

static int no_image(struct cachedir *cd, const struct reference *ref,
                    const struct cachedir_name *names, size_t name_count, struct error *err)
{
    cleanup_free char *others = other_tags(cd, ref, names, name_count);
    return error_set(err, ERROR_NOT_FOUND, "no image %s in %s: %s%s", ref->name, cachedir_path(cd),
                     *others ? "there is " : LIST_SHOWS, others);
}

static int add_named(struct cachedir *cd, const struct reference *ref, struct digest **list,
                     size_t *count, struct error *err)
{
    struct cachedir_name *names;
    size_t name_count;
    bool found = false;
    if (cachedir_names(cd, &names, &name_count, err) < 0)
        return -1;
    for (size_t i = 0; i < name_count; i++)
        if (strcmp(names[i].reference, ref->name) == 0) {
            add_digest(list, count, &names[i].manifest);
            found = true;
        }
    int r = found ? 0 : no_image(cd, ref, names, name_count, err);
    cachedir_names_free(names, name_count);
    return r;
}

static int find_digest(struct cachedir *cd, const char *operand, const char *digits,
                       struct digest *ret, struct error *err)
{
    cleanup_cachedir_entry struct cachedir_entry entry = {0};
    if (digest_parse(operand, ret, NULL) < 0)
        return find_digits(cd, digits, ret, err);
    if (cachedir_look(cd, ret, &entry, err) < 0)
        return -1;
    return entry.state != CACHEDIR_ABSENT ? 0 : no_entry(cd, ret->text, err);
}

int command_entries(struct cachedir *cd, const char *operand, struct digest **list, size_t *count,
                    char **ret_name, struct error *err)
{
    cleanup_reference struct reference ref = {0};
    const char *digits = digits_of(operand);
    struct digest digest;
    const bool is_digest = digits || digest_parse(operand, &digest, NULL) == 0;
    if (ret_name)
        *ret_name = NULL;
    if (reference_parse(operand, &ref, is_digest ? NULL : err) == 0 &&
        add_named(cd, &ref, list, count, is_digest ? NULL : err) == 0) {
        /* Digits alone may be a name, too, and then they are. */
        if (ret_name)
            *ret_name = xstrdup(ref.name);
        return 0;
    }
    if (!is_digest || find_digest(cd, operand, digits, &digest, err) < 0)
        return -1;
    add_digest(list, count, &digest);
    return 0;
}
