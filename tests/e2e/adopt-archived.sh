#!/usr/bin/env bash
# Directories that archived kaniko's warmer filled: listed, verified, adopted, renewed, pruned. Runs
# when $KANIKO_WARMER_ORIG names its binary; what it leaves is imitated by unit-archive.
. "$(dirname "$0")/../lib.sh"

[ -n "${KANIKO_WARMER_ORIG:-}" ] || skip "KANIKO_WARMER_ORIG names no warmer"

start_registry
base=$(digest_of base:1 "$platform")
docker=$(digest_of base:docker "$platform")
app=$(digest_of app:1 "$platform")
kaniko() { # IMAGE...
    mkdir -p "$cache"
    env -i PATH=/usr/bin:/bin HOME="$HOME" "$KANIKO_WARMER_ORIG" --cache-dir="$cache" \
        --insecure-pull "${@/#/--image=}" >kaniko.log 2>&1 || fail "$(cat kaniko.log)"
}
kaniko "$registry/base:1" "$registry/base:docker"
[ -f "$cache/$base" ] && [ -f "$cache/$base.json" ]

step "listed, verified, not changed"
find "$cache" -printf '%p %i %s %m %T@\n' | sort >before
expect_exit 0 cachedir -c "$cache" list --json
jq -e --arg base "$base" --arg platform "$platform" '(.images | length) == 2 and
    any(.images[]; .digest == $base and .state == "ok" and .platform == $platform)' out \
    >/dev/null || fail "$(cat out)"
expect_exit 0 cachedir -c "$cache" verify --deep
expect_exit 0 cachedir -c "$cache" inspect "$base"
expect_exit 0 cachedir -c "$cache" du
find "$cache" -printf '%p %i %s %m %T@\n' | sort | diff before -

step "renewed, and what it has is not fetched"
touch -d '20 days ago' "$cache/$base"
inode=$(stat -c %i "$cache/$base")
set_mark
warm --image "$registry/base:1" --image "$registry/app:1"
expect_requests 2 GET '.*/blobs/.*' # of app the config and its own layer
[ $(($(date +%s) - $(stat -c %Y "$cache/$base"))) -lt 60 ] || fail "not renewed"
expect_equal "$inode" "$(stat -c %i "$cache/$base")" "inode"
expect_equal "644 644" "$(stat -c %a "$cache/$base" "$cache/$base.json" | paste -sd ' ')" "modes"
expect_text err 'registries refuse'
[ ! -e "$cache/$app.json" ] || fail "a .json beside ours"
set_mark
warm --image "$registry/base:1"
expect_requests 0 GET '.*'
expect_exit 0 cachedir -c "$cache" verify

step "beside it: kaniko's warmer finds ours in its cache"
kaniko "$registry/app:1"
expect_text kaniko.log 'already in cache'
expect_exit 0 cachedir -c "$cache" verify

step "one that rotted is mended, and its .json goes"
layer=$(jq -r '.layers[-1].digest' "$cache/$docker.json")
printf X | dd of="$cache/$docker" bs=1 seek=200000 conv=notrunc status=none
expect_exit 1 cachedir -c "$cache" verify
set_mark
warm --force --image "$registry/base:docker"
expect_requests 0 GET '.*/blobs/.*' # the other archives hold it, too
[ ! -e "$cache/$docker.json" ] || fail "the .json stays beside our archive"
expect_exit 0 cachedir -c "$cache" verify
tar --force-local -tf "$cache/$docker" | grep -q "blobs/sha256/${layer#sha256:}"

step "pruned, the .json with it, and its leftovers by age"
echo half >"$cache/warmingImage.123"
expect_exit 0 cachedir -c "$cache" prune
[ -e "$cache/warmingImage.123" ] || fail "a warm of kaniko's may still be running"
touch -d '3 days ago' "$cache/warmingImage.123"
touch -d '20 days ago' "$cache/$base"
expect_exit 0 cachedir -c "$cache" prune
expect_equal "" "$(find "$cache" -name "$base*")" "what is left of an expired entry"
[ ! -e "$cache/warmingImage.123" ] || fail "a killed warm's file stays for ever"
