#!/usr/bin/env bash
# Executors that read docker-archives build on what was warmed: archived kaniko's, which
# $KANIKO_EXECUTOR_ORIG names, and that of osscontainertools/kaniko with its switch off, which
# $KANIKO_EXECUTOR names.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-kaniko.sh"

[ -n "${KANIKO_EXECUTOR_ORIG:-}${KANIKO_EXECUTOR:-}" ] ||
    skip "KANIKO_EXECUTOR_ORIG and KANIKO_EXECUTOR name no executor"
directory=$cache

check() { # BINARY [ENVIRONMENT]
    need_executor "$@"
    start_registry "registry-${1##*/}"
    local base docker app pinned
    base=$(digest_of base:1 "$platform")
    docker=$(digest_of base:docker "$platform")
    app=$(digest_of app:1 "$platform")
    rm -rf "$cache"
    warm --format docker-archive --image "$registry/base:1" --image "$registry/base:docker" \
        --image "$registry/app:1"

    step "FROM by tag"
    build "$registry/base:1"
    expect_hit "$base"
    build "$registry/base:docker"
    expect_hit "$docker"
    build "$registry/app:1"
    expect_hit "$app"

    step "an empty directory is no hit"
    mkdir -p empty
    directory=$scratch/empty
    build "$registry/base:1"
    ! hit "$base" || fail "a hit without an entry"
    directory=$cache

    step "an archive that was mended is a hit"
    truncate -s -100000 "$cache/$app"
    warm --image "$registry/app:1"
    build "$registry/app:1"
    expect_hit "$app"

    step "converted, from archives that were made here and from entries that were"
    expect_exit 0 cachedir -c "$cache" convert --to oci
    expect_exit 0 cachedir -c "$cache" convert --to docker-archive
    build "$registry/app:1"
    expect_hit "$app"

    warm --alias-index --image "$registry/app:1"

    step "FROM by digest, with the registry stopped and no network"
    pinned=$registry/base:1@$base
    stop_server "$registry_pid"
    registry=
    build "$pinned" --net
    expect_hit "$base"

    step "FROM pinned to an index, through the alias, there"
    expect_exit 0 cachedir -c "$cache" convert --to oci
    expect_exit 0 cachedir -c "$cache" convert --to docker-archive
    build "${pinned%%/*}/app:1@$(digest_of app:1)" --net
    expect_hit "$(digest_of app:1)"
    build "${pinned%%/*}/base:1@$(digest_of base:1)" --net
    ! hit "$(digest_of base:1)" || fail "a hit without an alias"

    step "the same on the other side of the air gap"
    rm -rf "$scratch/gap"
    cachedir -c "$cache" export --format docker-archive "${pinned%%/*}/app:1" "$base" |
        cachedir -c "$scratch/gap" import --format docker-archive
    directory=$scratch/gap
    build "$pinned" --net
    expect_hit "$base"
    build "${pinned%%/*}/app:1@$(digest_of app:1)" --net
    expect_hit "$(digest_of app:1)"

    step "what came without the registry's manifest is found by the digest that it has here"
    cachedir -c "$cache" export --format docker-archive "$app" >plain.tar
    rm -rf "$scratch/gap" unpacked && mkdir unpacked && tar xf plain.tar -C unpacked
    rm "unpacked/blobs/sha256/${app#*:}"
    tar cf - -C unpacked . | cachedir -c "$scratch/gap" import --format docker-archive >out
    made=$(sed -n 's/^imported \(sha256:[0-9a-f]*\) .*/\1/p' out)
    [ "$made" != "$app" ]
    build "${pinned%%/*}/app@$made" --net
    expect_hit "$made"
    directory=$cache
}

[ -z "${KANIKO_EXECUTOR_ORIG:-}" ] || check "$KANIKO_EXECUTOR_ORIG"
[ -z "${KANIKO_EXECUTOR:-}" ] || check "$KANIKO_EXECUTOR" FF_KANIKO_OCI_WARMER=false
