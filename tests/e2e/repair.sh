#!/usr/bin/env bash
# `cachedir verify --repair` and what comes after: what can be mended from here is mended, the rest
# leaves the builder's sight, and the next warm fetches only that.
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1" --image "$registry/app:1"
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
of_app=$(jq -r '.layers[-1].digest' "$cache/blobs/sha256/${app#sha256:}" | sed s/sha256://)
shared=$(jq -r '.layers[0].digest' "$cache/blobs/sha256/${app#sha256:}" | sed s/sha256://)

repair() { # WHAT COMMAND...
    step "$1"
    shift
    touch -d '3 days ago' "$cache/$base" "$cache/$app"
    "$@"
    expect_exit 1 cachedir -c "$cache" verify --repair
}

rewarm() { # BLOBS-FETCHED
    set_mark
    warm --image "$registry/base:1" --image "$registry/app:1"
    expect_requests "$1" GET '.*/blobs/.*'
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean
}

repair "a name lost in one entry: mended from the pool, and its clock stays" \
    rm "$cache/$app/blobs/sha256/$of_app"
expect_text out 'mended from what is here'
age=$(($(date +%s) - $(stat -c %Y "$cache/$app")))
[ $age -gt 86400 ] || fail "repairing renewed the entry"
expect_exit 0 cachedir -c "$cache" verify
rewarm 0

repair "an index.json that says nonsense: made anew" sh -c "echo nonsense >'$cache/$app/index.json'"
expect_text out 'mended from what is here'
rewarm 0

repair "a blob that rotted, of one entry: out of sight; the other stays" \
    sh -c "printf X | dd of='$cache/$app/blobs/sha256/$of_app' bs=1 seek=50 conv=notrunc status=none"
expect_text out "$app: taken out of the builder's sight"
[ ! -e "$cache/$app" ] || fail "the broken one is still in sight"
[ -d "$cache/$base" ] || fail "the wrong one went"
[ ! -e "$cache/blobs/sha256/$of_app" ] || fail "the rotten blob is still in the pool"
expect_exit 0 cachedir -c "$cache" verify
rewarm 1

repair "a blob that rotted, of both: both out of sight, and one blob is fetched" \
    sh -c "printf X | dd of='$cache/blobs/sha256/$shared' bs=1 seek=50 conv=notrunc status=none"
[ -z "$(find "$cache" -maxdepth 1 -name 'sha256:*')" ] || fail "a broken entry is still in sight"
expect_exit 0 cachedir -c "$cache" verify
rewarm 1

for rotten in "$app" "$base"; do
    [ "$rotten" = "$app" ] && good=$base || good=$app
    repair "the pool lost it and one entry rotted: the other's copy is good" sh -c "
        cp '$cache/blobs/sha256/$shared' good && rm '$cache/blobs/sha256/$shared' &&
        rm '$cache/$good/blobs/sha256/$shared' && cp good '$cache/$good/blobs/sha256/$shared' &&
        printf X | dd of='$cache/$rotten/blobs/sha256/$shared' bs=1 seek=50 conv=notrunc status=none"
    expect_text out "$rotten: mended"
    expect_exit 0 cachedir -c "$cache" verify
    rewarm 0
done

step "nothing to repair: 0"
expect_exit 0 cachedir -c "$cache" verify --repair
