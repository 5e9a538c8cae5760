#!/usr/bin/env bash
# crane reads docker-typed images as well, from an entry and from the root, and pushes what the
# registry had.
. "$(dirname "$0")/../lib.sh"

command -v crane >/dev/null || skip "crane, a package of another suite of Debian, could not be had"

start_registry
warm --image "$registry/base:docker" --image "$registry/app:1"
digest=$(digest_of base:docker "$platform")

start_empty_registry second "$scratch/second"
step "an entry"
expect_exit 0 crane push --insecure "$cache/$digest" "$registry/entry:1"
expect_equal "$digest" "$(crane digest --insecure "$registry/entry:1")" "digest after crane"

step "the whole root, as one index"
expect_exit 0 crane push --insecure --index "$cache" "$registry/root:1"
expect_equal "$(jq -c '[.manifests[].digest]' "$cache/index.json")" \
    "$(fetch_manifest root 1 | jq -c '[.manifests[].digest]')" "the root's manifests after crane"
