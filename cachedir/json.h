/*
 * Reading JSON that strangers wrote: bounded in size by the caller, no duplicate keys (readers
 * differ in which they take), no NUL inside strings. jansson does the work.
 */
#pragma once

#include "error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a text may hold: memory is taken for values, not for bytes. Beyond JSON_FEW of each there
 * must be 50 bytes of text for an object or array, and 8 for another value: what names digests has
 * more. */
#define JSON_FEW 10000
#define JSON_CONTAINERS_MAX 400000 /* objects and arrays */
#define JSON_VALUES_MAX 1000000

/* A new reference to an object. ERROR_PROTOCOL names line and column. */
json_t *json_object_parse(const void *bytes, size_t len, struct error *err);
/* The same for an array. */
json_t *json_array_parse(const void *bytes, size_t len, struct error *err);

/* Would those two take so many objects, arrays and values? So that nobody writes what he cannot
 * read back. */
bool json_can_be_read(const char *text, size_t len);

/* The builder's decoder takes "Layers" for "layers", and the last of both: where we would read one
 * thing and the builder another, nobody could say what has been verified. `keys` ends with NULL. */
int json_check_spelling(json_t *object, const char *const *keys, struct error *err);

/* A string member; NULL when it is absent or no string. Borrowed. */
const char *json_member_string(const json_t *object, const char *key);
/* An integer member; false when it is absent or no integer (1.0 is none). */
bool json_member_integer(const json_t *object, const char *key, int64_t *ret);

static inline void json_decref_p_(json_t **j)
{
    json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(json_decref_p_)))
