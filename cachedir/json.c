#include "json.h"

#include "alloc.h"
#include "text.h"

json_t *json_object_parse(const void *bytes, size_t len, struct error *err)
{
    json_error_t why;
    json_t *value = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &why);
    if (!value) {
        cleanup_free char *text = text_foreign_str(why.text);
        (void)error_set(err, ERROR_PROTOCOL, "not valid JSON: line %d, column %d: %s", why.line,
                        why.column, text);
        return NULL;
    }
    if (!json_is_object(value)) {
        json_decref(value);
        (void)error_set(err, ERROR_PROTOCOL, "not a JSON object");
        return NULL;
    }
    return value;
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
