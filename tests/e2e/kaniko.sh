#!/usr/bin/env bash
# kaniko's executor builds on what was warmed. Runs when $KANIKO_EXECUTOR names the binary of a
# kaniko that reads the OCI format (osscontainertools/kaniko).
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-kaniko.sh"

[ -n "${KANIKO_EXECUTOR:-}" ] || skip "KANIKO_EXECUTOR names no executor"
need_executor "$KANIKO_EXECUTOR"

start_registry
base=$(digest_of base:1 "$platform")
docker=$(digest_of base:docker "$platform")
directory=$cache
warm --image "$registry/base:1" --image "$registry/base:docker" --image "$registry/app:1"

step "FROM by tag"
build "$registry/base:1"
expect_hit "$base"
build "$registry/base:docker"
expect_hit "$docker"
build "$registry/app:1"
expect_hit "$(digest_of app:1 "$platform")"

step "an empty directory is no hit, or this test could not fail"
mkdir empty
directory=$scratch/empty
build "$registry/base:1"
! hit "$base" || fail "a hit without an entry"
directory=$cache

step "an entry that was mended is a hit"
rm "$cache/$base/index.json"
warm --image "$registry/base:1"
build "$registry/base:1"
expect_hit "$base"

step "entries that were converted from archives are hits"
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
expect_exit 0 cachedir -c "$cache" convert --to oci
build "$registry/app:1"
expect_hit "$(digest_of app:1 "$platform")"

step "FROM by digest, as --pinned-dockerfile writes it, with the registry stopped and no network"
printf 'ARG TAG=1\nFROM %s/base:${TAG}\n' "$registry" >Dockerfile
warm --alias-index --image "$registry/app:1"
warm --dockerfile Dockerfile --pinned-dockerfile Dockerfile.pinned
pinned=$(sed -n 's/^FROM //p' Dockerfile.pinned)
expect_equal "$registry/base:1@$base" "$pinned" "pinned reference"
stop_server "$registry_pid"
registry=
build "$pinned" --net
expect_hit "$base"

step "FROM pinned to an index, through the alias, there"
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
expect_exit 0 cachedir -c "$cache" convert --to oci
build "${pinned%%/*}/app:1@$(digest_of app:1)" --net
expect_hit "$(digest_of app:1)"
build "${pinned%%/*}/base:1@$(digest_of base:1)" --net
! hit "$(digest_of base:1)" || fail "a hit without an alias"

step "the same on the other side of the air gap"
cachedir -c "$cache" export "${pinned%%/*}/app:1" "$base" | cachedir -c "$scratch/gap" import
directory=$scratch/gap
build "$pinned" --net
expect_hit "$base"
build "${pinned%%/*}/app:1@$(digest_of app:1)" --net
expect_hit "$(digest_of app:1)"
