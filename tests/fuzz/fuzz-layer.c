/* The first byte picks the limits, the rest is the layer's file. */
#include "cachedir/layer.h"

#include "cachedir/fs.h"
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_text(const char *text)
{
    for (; text && *text; text++)
        CHECK((unsigned char)*text >= ' ' && *text != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (size == 0)
        return 0;
    const unsigned pick = *data++;
    size--;
    const struct layer_limits limits = {
        .ratio = pick & 1 ? 10 : 1000,
        .unpacked = pick & 2 ? 4096 : 4 << 20,
        .members = pick & 4 ? 2 : 10000,
        .name = pick & 8 ? 8 : 4096,
        .header = pick & 16 ? 512 : 1 << 20,
        .window = pick & 32 ? 10 : 20,
    };
    if (fd < 0)
        fd = memfd_create("layer", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && fs_pwrite_all(fd, data, size, 0) == 0);

    struct digest digest;
    cleanup_error struct error err = {0};
    cleanup_layer struct layer layer = {0};
    digest_of(data, size, &digest);
    CHECK(layer_check(fd, WHOLE_FILE, &digest, (int64_t)size, &limits, NULL, &layer, &err) == 0);
    CHECK(err.kind == ERROR_NONE);
    check_text(layer.problem);
    check_text(layer.not_checked);
    CHECK(layer.members <= limits.members + 1);
    if (digest_is_set(&layer.diff_id)) {
        CHECK(layer.unpacked <= limits.unpacked);
        CHECK(layer.unpacked <= (int64_t)size * limits.ratio);
        CHECK(!layer.not_checked);
    } else {
        CHECK(layer.problem || layer.not_checked);
    }
    return 0;
}
