/*
 * A blob of 16 bytes, for the tests that fetch one.
 */
#pragma once

#include "scripted.h"

#include "cachedir/text.h"

#define DIGEST "sha256:deadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33fdeadb33f"
#define BLOB "/v2/a/b/blobs/" DIGEST
#define BYTES "0123456789abcdef" /* what everybody serves */
#define SIZE 16

#define NO_OPTIONS ((struct registry_options){0})

/* How the last call went. */
static struct error failed;
static struct registry_try how;

struct got {
    char bytes[SIZE + 1]; /* '.' where nothing came */
    int64_t enough_at;    /* say "enough" there; 0: never */
    bool fail;
    int64_t next; /* where the next piece must begin */
};

static int sink(void *userdata, int64_t offset, const void *data, size_t len, struct error *err)
{
    struct got *got = userdata;
    if (got->fail)
        return error_set(err, ERROR_NO_SPACE, "the disk is full");
    assert_int_equal(offset, got->next);
    assert_true(offset >= 0 && offset + (int64_t)len <= SIZE);
    memcpy(got->bytes + offset, data, len);
    got->next += (int64_t)len;
    return got->enough_at && got->next >= got->enough_at;
}

static inline int fetch_from(struct scripted *s, const struct descriptor *blob, struct got *got,
                             int64_t start, int64_t end)
{
    memset(got->bytes, '.', SIZE);
    got->bytes[SIZE] = '\0';
    got->next = start;
    error_clear(&failed);
    return registry_blob(s->client, &s->ref, blob, start, end, NULL, sink, got, &how, &failed);
}

static struct descriptor descriptor(void)
{
    static char type[] = "application/octet-stream";
    struct descriptor blob = {.media_type = type, .size = SIZE};
    assert_int_equal(digest_parse(DIGEST, &blob.digest, NULL), 0);
    return blob;
}

static inline int fetch(struct scripted *s, struct got *got, int64_t start, int64_t end)
{
    struct descriptor blob = descriptor();
    return fetch_from(s, &blob, got, start, end);
}

static int scripted_blob_teardown(void **state)
{
    (void)state;
    error_clear(&failed);
    return 0;
}
