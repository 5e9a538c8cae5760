/*
 * Amazon's registries, taken from their names.
 */
#pragma once

#include <stdbool.h>

struct ecr_host {
    char region[32];
    const char *service; /* "ecr", "ecr-public": what is signed for */
    const char *domain;  /* of the region's other endpoints: "amazonaws.com" */
    char endpoint[128];  /* of the API: "https://api.ecr.eu-west-1.amazonaws.com" */
    bool is_public;
};

/* false: it is none of theirs. Pure. */
bool ecr_host_parse(const char *registry, struct ecr_host *ret);
