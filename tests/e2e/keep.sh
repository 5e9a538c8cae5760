#!/usr/bin/env bash
# Looking after a directory by hand and by cron: inspect, du, prune, remove, doctor, and a warmer that
# prunes and makes room.
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1" --image "$registry/app:1"
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")

json() { # FILTER
    jq -e --arg base "$base" --arg app "$app" "$1" "$scratch/out" >/dev/null ||
        fail "$1 does not hold: $(cat "$scratch/out")"
}

step "inspect: the builder's key, hit or miss and why"
expect_exit 0 cachedir -c "$cache" inspect "$registry/base:1"
expect_text out "Key: +$base"
expect_text out 'Builder: +hit'
expect_exit 0 cachedir -c "$cache" inspect --json "$base"
json '.schema == "basewarm.inspect/1" and .images[0].hit and .images[0].key == $base'
touch -d '350 hours ago' "$cache/$base" # past the TTL, within the grace
expect_exit 1 cachedir -c "$cache" inspect "$base"
expect_text out 'miss: expired'
expect_exit 66 cachedir -c "$cache" inspect nothing/here:1
expect_exit 64 cachedir -c "$cache" inspect

step "a digest may be typed as list shows it, with sha256: or without"
expect_exit 0 cachedir -c "$cache" list
short=$(awk -v image="$registry/app:1" '$1 == image { print $3 }' out)
expect_equal "${app:0:19}" "$short" "what list shows"
for digits in "$short" "${short#*:}" "${app:0:40}" "${app#*:}"; do
    expect_exit 0 cachedir -c "$cache" inspect "$digits"
    expect_text out "Key: +$app"
    expect_exit 0 cachedir -c "$cache" verify "$digits"
    expect_text err '^1 entry'
    cachedir -c "$cache" export "$digits" >by-digits.tar
    cachedir -c "$cache" export "$app" | cmp - by-digits.tar
done

step "du counts each file once"
expect_exit 0 cachedir -c "$cache" du --json
json '.schema == "basewarm.du/1" and .entries.count == 2'
files=$(find "$cache"/blobs "$cache"/sha256:* -type f -printf '%i %s\n' | sort -u |
    awk '{ n += $2 } END { printf "%d", n }')
expect_equal "$files" "$(jq .total_bytes out)" "total"

step "prune: a dry run says what the real one does"
touch -d '16 days ago' "$cache/$app"
expect_exit 0 cachedir -c "$cache" prune --dry-run
cp out dry
[ -d "$cache/$app" ] || fail "a dry run removed something"
expect_exit 0 cachedir -c "$cache" prune
diff dry out
expect_text out "expired $app"
[ ! -e "$cache/$app" ] || fail "it is still there"
[ -d "$cache/$base" ] || fail "within the grace, and gone"
expect_exit 0 cachedir -c "$cache" verify
expect_exit 0 cachedir -c "$cache" prune --json
json '.schema == "basewarm.prune/1" and .limits_met and .removed == []'

step "a limit is met by evicting, which is said aloud; --keep wins, and then it is not met: 1"
expect_exit 1 cachedir -c "$cache" prune --max-size 1K --keep "$registry/*"
expect_text err 'cannot be met'
expect_exit 0 cachedir -c "$cache" prune --max-size 1K
expect_text err 'base:1: evicted .*[0-9]+[smhd].* after its last renewal: .*build that uses it may fail'
expect_equal "" "$(find "$cache" -maxdepth 1 -name 'sha256:*')" "entries left"
expect_exit 64 cachedir -c "$cache" prune --min-free 200%
expect_exit 64 cachedir -c "$cache" prune --max-size lots

step "remove, by reference and by digest"
warm --image "$registry/base:1" --image "$registry/app:1"
expect_exit 66 cachedir -c "$cache" remove "$app" nothing/here:1
[ -d "$cache/$app" ] || fail "a typo cost an entry"
expect_exit 0 cachedir -c "$cache" remove "${app:0:19}"
[ ! -e "$cache/$app" ] || fail "it is still there"
expect_exit 0 cachedir -c "$cache" verify
expect_exit 0 cachedir -c "$cache" list --quiet
expect_equal "$base" "$(cat out)" "list --quiet"

step "doctor"
expect_exit 0 cachedir -c "$cache" doctor --json
json '.schema == "basewarm.doctor/1" and .usable and any(.findings[]; .check == "hard links")'
expect_clean

step "the warmer prunes after warming, and says so in the report"
warm --image "$registry/app:1"
touch -d '16 days ago' "$cache/$app"
warm --image "$registry/base:1" --prune --report report.json
[ ! -e "$cache/$app" ] || fail "it is still there"
jq -e '.pruned.expired.count == 1 and .pruned.limits_met' report.json >/dev/null ||
    fail "$(cat report.json)"
expect_exit 1 warmer --cache-dir "$cache" --image "$registry/base:1" --max-size 1K --keep '*'

step "--superseded: what its tag has left"
fetch_manifest base docker >docker.json
fetch_manifest base 1 | curl -fsS -X PUT -T - "http://$registry/v2/base/manifests/moving" \
    -H 'Content-Type: application/vnd.oci.image.index.v1+json'
rm -rf "$cache"
warm --image "$registry/base:moving"
curl -fsS -X PUT -T docker.json "http://$registry/v2/base/manifests/moving" \
    -H 'Content-Type: application/vnd.docker.distribution.manifest.list.v2+json'
warm --image "$registry/base:moving"
touch -d '2 days ago' "$cache/$base"
touch -d '25 hours ago' "$cache"/sha256:*/index.json
touch -d '49 hours ago' "$cache/$base/index.json"
expect_exit 0 cachedir -c "$cache" prune
[ -d "$cache/$base" ] || fail "went without being asked for"
expect_exit 0 cachedir -c "$cache" prune --superseded --grace 26h
[ -d "$cache/$base" ] || fail "went while a build may use it"
expect_exit 0 cachedir -c "$cache" prune --superseded
expect_text out "superseded $base"
if [ "$(stat -c %W "$cache/index.json")" -gt 0 ]; then
    for ref in 1 docker; do
        fetch_manifest base $ref | curl -fsS -X PUT -T - "http://$registry/v2/base/manifests/moving" \
            -H "Content-Type: $(fetch_manifest base $ref | jq -r .mediaType)"
        warm --cache-dir archives --format docker-archive --image "$registry/base:moving"
    done
    touch -d '2 days ago' "archives/$base"
    sleep 2.1 # so that the second one is older than a second
    expect_exit 0 cachedir -c archives prune --superseded
    expect_no_text out superseded
    expect_exit 0 cachedir -c archives prune --superseded --grace 1s
    expect_text out "superseded $base"
else
    untried "the same of archives: this volume does not know when a file was made"
fi

step "no room: said before the first byte; with --prune what is over makes room"
if mkdir small && mount -t tmpfs -o size=6m tmpfs small 2>/dev/null; then
    trap 'umount "$scratch/small"; finish' EXIT
    dd if=/dev/zero of=small/ballast bs=1M count=5 status=none
    set_mark
    expect_exit 74 warmer --cache-dir small/cache --image "$registry/base:1"
    expect_text err 'are needed and .* are free in small/cache'
    expect_requests 0 GET '.*/blobs/.*'
    rm small/ballast
    expect_exit 0 warmer --cache-dir small/cache --image "$registry/base:1"
    # A blob that nothing names any more, long ago, in the way of the next image.
    dd if=/dev/urandom of=small/unused bs=1M count=2 status=none
    unused=small/cache/blobs/sha256/$(sha256sum small/unused | cut -d' ' -f1)
    mv small/unused "$unused" && touch -d '16 days ago' "$unused"
    expect_exit 74 warmer --cache-dir small/cache --image "$registry/app:1"
    expect_clean small/cache
    expect_exit 0 warmer --cache-dir small/cache --image "$registry/app:1" --prune
    [ ! -e "$unused" ] || fail "the unused blob is still there"
    expect_exit 0 cachedir -c small/cache verify

    step "the same in format docker-archive, where a layer that is here is copied"
    umount small
    mount -t tmpfs -o size=12m tmpfs small
    warmer_small() { warmer --cache-dir small/cache --format docker-archive "$@"; }
    expect_exit 0 warmer_small --image "$registry/base:docker" --image "$registry/app:1"
    touch -d '60 days ago' "small/cache/$(digest_of base:docker "$platform")"
    free=$(df -k --output=avail small | tail -1)
    head -c $((free - 1500))K /dev/zero >small/ballast # less than the layers that base:1 shares
    set_mark
    expect_exit 74 warmer_small --image "$registry/base:1"
    expect_text err 'are needed and .* are free in small/cache'
    expect_requests 0 GET '.*/blobs/.*'
    expect_exit 0 warmer_small --image "$registry/base:1" --prune
    expect_exit 0 cachedir -c small/cache verify
else
    echo "no tmpfs may be mounted here: not tried"
fi
