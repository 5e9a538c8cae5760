#include "tar.h"

#include "alloc.h"
#include "text.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BLOCK 16384

const struct tar_member *tar_find(const struct tar_members *members, const char *name)
{
    for (size_t i = 0; i < members->count; i++)
        if (strcmp(members->list[i].name, name) == 0)
            return &members->list[i];
    return NULL;
}

void tar_members_release(struct tar_members *members)
{
    for (size_t i = 0; i < members->count; i++)
        free(members->list[i].name);
    free(members->list);
    *members = (struct tar_members){0};
}

static int64_t padded(int64_t size)
{
    return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

static int damaged(struct archive *a, struct error *err)
{
    const int failed = archive_errno(a);
    if (failed == EIO || failed == ESTALE)
        return error_errno(err, failed, "cannot read it");
    cleanup_free char *why = text_foreign_str(archive_error_string(a));
    return error_set(err, ERROR_PROTOCOL, "not a whole tar: %s", *why ? why : "it ends too early");
}

/* Where its bytes are follows from where the next member begins: headers may have any length. */
static int add_member(struct archive *a, struct archive_entry *entry, int64_t file_size,
                      struct tar_members *ret, struct error *err)
{
    const char *name = archive_entry_pathname(entry);
    const int64_t size = archive_entry_size(entry), header = archive_read_header_position(a);
    const bool plain = archive_entry_filetype(entry) == AE_IFREG && !archive_entry_hardlink(entry);

    if (!name)
        name = ""; /* not to be had in this locale: nothing that is looked for */
    if (strlen(name) > TAR_NAME_LENGTH_MAX)
        return error_set(err, ERROR_PROTOCOL, "a tar with a name of %zu bytes", strlen(name));
    if (ret->count >= TAR_MEMBERS_MAX)
        return error_set(err, ERROR_PROTOCOL, "a tar with more than %d members", TAR_MEMBERS_MAX);
    struct tar_member member = {.name = xstrdup(name), .offset = -1};
    if (archive_read_data_skip(a) != ARCHIVE_OK) {
        free(member.name);
        return damaged(a, err);
    }
    const int64_t end = archive_filter_bytes(a, 0);
    if (plain && archive_entry_sparse_count(entry) == 0 && size >= 0 && size <= file_size) {
        member.offset = end - padded(size);
        member.size = size;
    }
    if (member.offset >= 0 &&
        (member.offset < header + TAR_BLOCK || member.offset + size > file_size)) {
        free(member.name);
        return error_set(err, ERROR_PROTOCOL, "not a whole tar: it is cut short");
    }
    *array_add(ret->list, ret->count) = member;
    return 0;
}

int tar_scan(int fd, struct tar_members *ret, struct error *err)
{
    struct stat st;
    struct archive_entry *entry;
    int r = -1, next;

    *ret = (struct tar_members){0};
    if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_set(err, ERROR_IO, "a tar that is not a regular file");
    struct archive *a = archive_read_new();
    if (!a)
        abort(); /* out of memory */
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_open_fd(a, fd, READ_BLOCK) != ARCHIVE_OK) {
        (void)damaged(a, err);
        goto out;
    }
    while ((next = archive_read_next_header(a, &entry)) == ARCHIVE_OK || next == ARCHIVE_WARN)
        if (add_member(a, entry, st.st_size, ret, err) < 0)
            goto out;
    r = next == ARCHIVE_EOF ? 0 : damaged(a, err);
out:
    archive_read_free(a);
    return r;
}

/* ---- writing: POSIX ustar ---- */

#define FIELD_NAME 0
#define FIELD_MODE 100
#define FIELD_OWNER 108
#define FIELD_GROUP 116
#define FIELD_SIZE 124
#define FIELD_TIME 136
#define FIELD_CHECKSUM 148
#define FIELD_TYPE 156
#define FIELD_MAGIC 257
#define FIELD_VERSION 263
#define OCTAL_SIZE_MAX INT64_C(077777777777)

static void put_octal(char *field, int digits, uint64_t value)
{
    for (int i = digits - 1; i >= 0; i--, value /= 8)
        field[i] = (char)('0' + value % 8);
}

/* What does not fit in octal is binary, as GNU writes it and everybody reads it. */
static void put_size(char *field, uint64_t size)
{
    if (size <= OCTAL_SIZE_MAX) {
        put_octal(field, 11, size);
        return;
    }
    for (int i = 11; i > 0; i--, size /= 256)
        field[i] = (char)(size % 256);
    field[0] = (char)0x80;
}

static void put_header(char ret[TAR_BLOCK], const char *name, int64_t size, char type)
{
    unsigned sum = 0;
    memset(ret, 0, TAR_BLOCK);
    (void)snprintf(ret + FIELD_NAME, FIELD_MODE, "%s", name);
    put_octal(ret + FIELD_MODE, 7, 0644);
    put_octal(ret + FIELD_OWNER, 7, 0);
    put_octal(ret + FIELD_GROUP, 7, 0);
    put_size(ret + FIELD_SIZE, (uint64_t)size);
    put_octal(ret + FIELD_TIME, 11, 0);
    ret[FIELD_TYPE] = type;
    (void)snprintf(ret + FIELD_MAGIC, 6, "ustar");
    put_octal(ret + FIELD_VERSION, 2, 0);
    memset(ret + FIELD_CHECKSUM, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)ret[i];
    put_octal(ret + FIELD_CHECKSUM, 6, sum);
    ret[FIELD_CHECKSUM + 6] = '\0';
}

void tar_header(char ret[TAR_BLOCK], const char *name, int64_t size)
{
    put_header(ret, name, size, '0');
}

/* A record says its own length: "LENGTH path=...\n". */
size_t tar_long_header(char ret[TAR_HEADER_MAX], const char *name, int64_t size)
{
    const size_t rest = strlen(" path=") + strlen(name) + 1;
    size_t len = rest, digits = 0;
    if (strlen(name) < FIELD_MODE) {
        tar_header(ret, name, size);
        return TAR_BLOCK;
    }
    do {
        digits++;
        cleanup_free char *number = xasprintf("%zu", rest + digits);
        if (strlen(number) == digits)
            len = rest + digits;
    } while (len == rest);
    memset(ret, 0, TAR_HEADER_MAX);
    put_header(ret, "name", (int64_t)len, 'x');
    (void)snprintf(ret + TAR_BLOCK, TAR_BLOCK, "%zu path=%s\n", len, name);
    tar_header(ret + 2 * (size_t)TAR_BLOCK, name, size); /* as much of it as goes in */
    return TAR_HEADER_MAX;
}

/* One record of an extended header: "LENGTH comment=...\n", LENGTH being all of it. */
void tar_padding(char *ret, size_t len)
{
    if (len == 0)
        return;
    char *body = ret + TAR_BLOCK;
    const size_t record = len - TAR_BLOCK;
    put_header(ret, "padding", (int64_t)record, 'x');
    memset(body, '-', record);
    cleanup_free char *key = xasprintf("%zu comment=", record);
    for (size_t i = 0; key[i]; i++)
        body[i] = key[i];
    body[record - 1] = '\n';
}
