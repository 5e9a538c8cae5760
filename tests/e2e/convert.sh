#!/usr/bin/env bash
# A directory changes its format and back: without a request, with the same clocks, whatever kills it.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

start_registry
wanted=(--image "$registry/base:1" --image "$registry/app:1" --image "$registry/base:docker")
warm "${wanted[@]}"
days=0
for entry in "$cache"/sha256:*; do
    touch -d "-$((++days)) days" "$entry"
done
clocks() { (cd "$cache" && stat -c '%n %Y' sha256:*); }
clocks >want

all_is_well() { # FORMAT
    expect_equal "$1" "$(cat "$cache/.basewarm/format")" "the format"
    clocks | diff want -
    expect_exit 0 cachedir -c "$cache" verify --deep
    expect_exit 0 cachedir -c "$cache" list --json
    jq -e '[.images[].reference] | length == 3 and all' out >/dev/null || fail "$(cat out)"
    set_mark
    warm --format "$1" "${wanted[@]}"
    expect_requests 3 HEAD '.*/manifests/.*'
    expect_requests 3 'HEAD|GET' '.*'
    while read -r entry seconds; do
        touch -d "@$seconds" "$cache/$entry"
    done <want
}

step "to docker-archive, and back"
set_mark
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
expect_requests 0 'HEAD|GET' '.*'
expect_text out "^converted $(digest_of app:1 "$platform") \($registry/app:1, "
expect_text err '^3 converted \(.*\), 0 already docker-archive, 0 kept$'
[ -z "$(find "$cache" -maxdepth 1 -name 'blobs' -o -maxdepth 1 -name '*.json')" ]
all_is_well docker-archive
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
expect_text err '^0 converted \(0 B\), 3 already docker-archive, 0 kept$'
expect_exit 0 cachedir -c "$cache" convert --to oci
all_is_well oci
expect_clean

step "what a conversion has not come to yet keeps its name and its life, whoever repairs or prunes"
for format in docker-archive oci; do
    echo $format >"$cache/.basewarm/format" # a kill there leaves this
    expect_exit 1 cachedir -c "$cache" verify --repair
    expect_equal 3 "$(grep -c "^sha256:.*: good, but in the other format" out)" "left alone"
    expect_exit 1 cachedir -c "$cache" prune --keep '*' --max-size 1
    clocks | diff want -
    expect_exit 0 cachedir -c "$cache" convert --to $format
    expect_text err '^3 converted'
    all_is_well $format
done

step "usage"
expect_exit 64 cachedir -c "$cache" convert
expect_exit 64 cachedir -c "$cache" convert --to tar
expect_exit 66 cachedir -c "$scratch/nowhere" convert --to oci

# Kill it at many moments. After each, whatever stands under a digest is whole, in one of the formats.
step "killed at many moments"
for format in docker-archive oci; do
    killed=0
    for ((ms = 20; ms < 400; ms += 19)); do
        code=0
        (timeout -s KILL "0.$(printf %03d $ms)" cachedir -c "$cache" convert --to $format) \
            >/dev/null 2>&1 || code=$?
        [ $code -ne 137 ] || killed=$((killed + 1))
        expect_equal "$(cut -d' ' -f1 want)" "$(cd "$cache" && printf '%s\n' sha256:*)" "entries"
        for entry in "$cache"/sha256:*; do
            if [ -d "$entry" ]; then
                cmp -s <(jq -r '.manifests[0].digest' "$entry/index.json") <(basename "$entry")
            else
                tar --force-local -xOf "$entry" "blobs/sha256/${entry##*:}" | sha256sum |
                    grep -q "${entry##*:}"
            fi
        done
    done
    [ $killed -gt 0 ] || fail "it was never killed"
    expect_exit 0 cachedir -c "$cache" convert --to $format
    expect_exit 0 cachedir -c "$cache" verify
    all_is_well $format
done

step "what is broken stays, is named, and is mended by a warm"
app=$(digest_of app:1 "$platform")
rm "$cache/$app/index.json"
expect_exit 1 cachedir -c "$cache" convert --to docker-archive
expect_text out "^kept $app .*: it is broken: index.json is missing"
warm --image "$registry/app:1"
[ -f "$cache/$app" ]
expect_exit 0 cachedir -c "$cache" verify
