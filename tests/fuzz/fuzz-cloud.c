/* What clouds read: hosts, AWS' files and URIs. The first line is a section and a key. */
#include "warmer/cloud-aws.h"
#include "warmer/cloud-ecr.h"
#include "warmer/cloud-internal.h"

#include "cachedir/alloc.h"
#include "fuzz.h"

#include <string.h>

static void check_profile(const char *text, size_t len)
{
    const char *line = memchr(text, '\n', len);
    if (!line)
        return;
    size_t head = (size_t)(line - text);
    cleanup_free char *section = xstrndup(text, head);
    char *key = strchr(section, ' ');
    if (!key)
        return;
    *key++ = '\0';
    cleanup_secret char *value = aws_profile_value(line + 1, len - head - 1, section, key);
    if (value)
        CHECK(*value && !strchr(value, '\n') && strlen(value) <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xstrndup((const char *)data, size);
    cleanup_free char *bytes = xmalloc(size + 1); /* and not a byte more */
    if (size > 0)
        memcpy(bytes, data, size);
    check_profile(bytes, size);

    struct ecr_host host;
    if (ecr_host_parse(text, &host)) {
        CHECK(*host.region && strlen(host.region) < sizeof host.region);
        CHECK(strncmp(host.endpoint, "https://", 8) == 0 && strstr(host.endpoint, host.region));
        CHECK(cloud_of(text) == &cloud_ecr);
    }
    if (cloud_url_keeps_secrets(text))
        CHECK(aws_container_uri_is_good(text));
    return 0;
}
