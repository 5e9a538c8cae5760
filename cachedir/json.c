#include "json.h"

#include "alloc.h"
#include "text.h"

#include <string.h>

/* An empty container of two bytes costs jansson 300, and each value some 50. */
static bool is_bloated(const char *bytes, size_t len)
{
    size_t containers = 0, values = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            containers++;
        else if (!in_string && c == ',')
            values++;
    }
    return containers > JSON_CONTAINERS_MAX || containers > JSON_FEW + len / 50 ||
           values > JSON_VALUES_MAX || values > JSON_FEW + len / 8;
}

bool json_can_be_read(const char *text, size_t len)
{
    return !is_bloated(text, len);
}

static json_t *parse(const void *bytes, size_t len, struct error *err)
{
    if (is_bloated(bytes, len)) {
        (void)error_set(err, ERROR_PROTOCOL, "JSON with too many objects, arrays or values");
        return NULL;
    }
    json_error_t why;
    json_t *value = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &why);
    if (!value) {
        cleanup_free char *text = text_foreign_str(why.text);
        (void)error_set(err, ERROR_PROTOCOL, "not valid JSON: line %d, column %d: %s", why.line,
                        why.column, text);
    }
    return value;
}

json_t *json_object_parse(const void *bytes, size_t len, struct error *err)
{
    json_t *value = parse(bytes, len, err);
    if (!value || json_is_object(value))
        return value;
    json_decref(value);
    (void)error_set(err, ERROR_PROTOCOL, "not a JSON object");
    return NULL;
}

json_t *json_array_parse(const void *bytes, size_t len, struct error *err)
{
    json_t *value = parse(bytes, len, err);
    if (!value || json_is_array(value))
        return value;
    json_decref(value);
    (void)error_set(err, ERROR_PROTOCOL, "not a JSON array");
    return NULL;
}

int json_check_spelling(json_t *object, const char *const *keys, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        for (const char *const *known = keys; *known; known++) {
            if (strcasecmp(key, *known) == 0 && strcmp(key, *known) != 0)
                return error_set(err, ERROR_PROTOCOL, "\"%s\" is spelled \"%s\"", *known, key);
        }
    }
    return 0;
}

const char *json_member_string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool json_member_integer(const json_t *object, const char *key, int64_t *ret)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return false;
    *ret = json_integer_value(value);
    return true;
}
