#!/usr/bin/env bash
# Directories that the living fork's own warmer filled: listed, verified, adopted, renewed, pruned.
# An imitation of what it leaves always; the real one where $KANIKO_WARMER names its binary.
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")

# What is in $cache is kaniko's: base:1. All that we do with it.
check() {
    expect_exit 0 cachedir -c "$cache" list --json
    jq -e --arg base "$base" '.images[0] | .digest == $base and .state == "ok" and
        .platform != null and .reference == null' out >/dev/null || fail "$(cat out)"
    expect_exit 0 cachedir -c "$cache" verify
    expect_exit 0 cachedir -c "$cache" inspect "$base"

    touch -d '20 days ago' "$cache/$base"
    set_mark
    warm --image "$registry/base:1" --image "$registry/app:1"
    # What base has is taken from kaniko's entry: of app only the config and its own layer come.
    expect_requests 2 GET '.*/blobs/.*'
    [ $(($(date +%s) - $(stat -c %Y "$cache/$base"))) -lt 60 ] || fail "not renewed"
    expect_equal 755 "$(stat -c %a "$cache/$base")" "mode of the adopted entry"
    odd=$(find "$cache/$base/blobs" "$cache/blobs" -type f ! -perm 0644)
    expect_equal "" "$odd" "blobs with an odd mode"
    for blob in "$cache/$base"/blobs/sha256/*; do
        [ "$blob" -ef "$cache/blobs/sha256/$(basename "$blob")" ] || fail "$blob is stored twice"
    done
    set_mark
    warm --image "$registry/base:1"
    expect_requests 0 GET '.*'
    expect_exit 0 cachedir -c "$cache" verify

    step "a blob of theirs that rotted is not adopted, but fetched"
    rm -rf "${cache:?}"/{blobs,"$app",index.json}
    layer=$(jq -r '.layers[-1].digest' "$cache/$base/blobs/sha256/${base#sha256:}")
    printf X | dd of="$cache/$base/blobs/sha256/${layer#sha256:}" bs=1 seek=9 conv=notrunc status=none
    set_mark
    warm --image "$registry/base:1"
    expect_requests 1 GET '.*/blobs/.*'
    expect_exit 0 cachedir -c "$cache" verify

    step "a blob that others may write is copied, not linked: they cannot change it later"
    rm -rf "${cache:?}"/{blobs,index.json}
    chmod 0666 "$cache/$base/blobs/sha256/${layer#sha256:}"
    set_mark
    warm --image "$registry/app:1"
    expect_requests 2 GET '.*/blobs/.*'
    printf Y | dd of="$cache/$base/blobs/sha256/${layer#sha256:}" bs=1 seek=9 conv=notrunc status=none
    expect_equal "${layer#sha256:}  -" "$(sha256sum <"$cache/$app/blobs/sha256/${layer#sha256:}")" "the copy"
    warm --force --image "$registry/base:1" # mends the other

    step "its leftovers go with a prune, by age"
    mkdir -p "$cache/1234567890/blobs/sha256" && echo half >"$cache/1234567890/blobs/sha256/layer"
    expect_exit 0 cachedir -c "$cache" prune
    [ -d "$cache/1234567890" ] || fail "a warm of kaniko's may still be running"
    find "$cache/1234567890" -exec touch -d '3 days ago' {} +
    expect_exit 0 cachedir -c "$cache" prune
    [ ! -e "$cache/1234567890" ] || fail "a killed warm's directory stays for ever"
}

step "an imitation"
warm --image "$registry/base:1"
rm -rf "${cache:?}"/{blobs,.basewarm,index.json,oci-layout}
chmod 0700 "$cache/$base"
find "$cache/$base" -type f -size +1k -exec chmod 0600 {} +
jq -c '.manifests |= map(del(.platform, .annotations))' "$cache/$base/index.json" >index.json
cp index.json "$cache/$base/index.json"
check

if [ -n "${KANIKO_WARMER:-}" ]; then
    step "the real one"
    rm -rf "$cache"
    mkdir "$cache"
    env -i PATH=/usr/bin:/bin HOME="$HOME" "$KANIKO_WARMER" --cache-dir="$cache" \
        --image="$registry/base:1" --insecure-pull >kaniko.log 2>&1 || fail "$(cat kaniko.log)"
    check
    step "beside it: kaniko's warmer finds ours in its cache"
    env -i PATH=/usr/bin:/bin HOME="$HOME" "$KANIKO_WARMER" --cache-dir="$cache" \
        --image="$registry/base:1" --insecure-pull >kaniko.log 2>&1 || fail "$(cat kaniko.log)"
    expect_text kaniko.log 'already in cache'
    expect_exit 0 cachedir -c "$cache" verify
else
    echo "KANIKO_WARMER names no warmer: only the imitation"
fi
