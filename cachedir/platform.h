/*
 * Platforms (OCI image-spec, image-index.md#image-index-property-descriptions), matched the way
 * kaniko's registry library matches them: a better matcher would only make the builder miss.
 */
#pragma once

#include "error.h"

#include <stdbool.h>

struct platform {
    char *os;
    char *architecture;
    char *variant;    /* NULL or "" when there is none */
    char *os_version; /* NULL or "" when there is none; "os/arch[/variant][:osversion]" */
};

/* "linux/arm/v7" and the like, as typed by hand: not normalised. ERROR_USAGE names what is wrong.
 */
int platform_parse(const char *text, struct platform *ret, struct error *err);
/* The machine's own, normalised as kaniko's executor does: arm64 has no variant, arm is arm/v7. */
void platform_host(struct platform *ret);
/* Owned text, "os/arch[/variant][:osversion]"; as foreign as the platform is. */
char *platform_format(const struct platform *p);
/* Does an index's child `have` satisfy `want`? os and architecture must be equal; variant and
 * os_version count only when `want` has them. "unknown/unknown" never matches. */
bool platform_matches(const struct platform *have, const struct platform *want);
bool platform_equal(const struct platform *a, const struct platform *b);
void platform_copy(struct platform *to, const struct platform *from);
void platform_release(struct platform *p);
#define cleanup_platform __attribute__((cleanup(platform_release)))
