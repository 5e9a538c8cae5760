#!/usr/bin/env bash
# Expired and broken entries are made whole, and only what is broken is fetched.
. "$(dirname "$0")/../lib.sh"

start_registry
image=$registry/app:1
key=$(digest_of app:1 "$platform")
entry=$cache/$key
warm --image "$image"
mapfile -t blobs < <(blobs_of "$entry/blobs/sha256/${key#sha256:}" | sed s/sha256://)
layer=$(jq -r '.layers[-1].digest' "$entry/blobs/sha256/${key#sha256:}" | sed s/sha256://)

# Break the entry, see that `cachedir verify` finds it, mend it by warming, and count blob GETs.
mend() { # GETS WHAT COMMAND...
    local gets=$1 what=$2
    shift 2
    step "$what"
    "$@"
    expect_exit 1 cachedir -c "$cache" verify
    expect_text out "$key|$layer"
    set_mark
    warm --image "$image"
    expect_requests "$gets" GET '.*/blobs/.*'
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean
}

mend 1 "a blob is missing everywhere" rm "$entry/blobs/sha256/$layer" "$cache/blobs/sha256/$layer"
mend 0 "a blob is missing in the entry, the pool has it" rm "$entry/blobs/sha256/$layer"
mend 1 "a blob is short" truncate -s -1 "$entry/blobs/sha256/$layer"
mend 0 "the entry's index.json is gone" rm "$entry/index.json"
mend 0 "the entry's index.json is no JSON" sh -c "echo '{' >'$entry/index.json'"
mend 0 "the manifest is missing" rm "$entry/blobs/sha256/${key#sha256:}" \
    "$cache/blobs/sha256/${key#sha256:}"
mend "${#blobs[@]}" "nothing is left but the entry's name" \
    find "$cache/blobs" "$entry" -mindepth 1 -delete
mend 0 "a blob is a symlink, which a builder refuses" \
    ln -sf "../../../blobs/sha256/$layer" "$entry/blobs/sha256/$layer"

step "a wrong byte in a file of the right size: --force finds it and fetches that blob"
printf X | dd of="$entry/blobs/sha256/$layer" bs=1 seek=100 conv=notrunc status=none
expect_exit 1 cachedir -c "$cache" verify
set_mark
warm --image "$image" --force
expect_requests 1 GET '.*/blobs/.*'
expect_exit 0 cachedir -c "$cache" verify

step "--force on a good entry fetches nothing"
set_mark
warm --image "$image" --force
expect_requests 0 GET '.*/blobs/.*'

step "an expired entry is renewed, not fetched"
touch -d '20 days ago' "$entry"
set_mark
warm --image "$image"
expect_requests 0 GET '.*'
[ $(($(date +%s) - $(stat -c %Y "$entry"))) -lt 60 ]

step "with the registry gone nothing is renewed: 75"
touch -d '2 days ago' "$entry"
stop_server "$registry_pid"
expect_exit 75 warmer --cache-dir "$cache" --image "$image" --retries 0
[ $(($(date +%s) - $(stat -c %Y "$entry"))) -gt 86400 ] || fail "renewed without asking"
