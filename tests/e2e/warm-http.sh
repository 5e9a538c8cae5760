#!/usr/bin/env bash
# The main job over plain HTTP: what stands on the disk, and what the registry was asked.
# threads: short
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")

step "two images that share layers: each blob is fetched once"
umask 077 # what is published must be readable by other users all the same
set_mark
warm --image "$registry/base:1" --image "$registry/app:1"
expect_text out "$base"
fetch_manifest base "$base" >base.json
fetch_manifest app "$app" >app.json
for blob in $( (blobs_of base.json && blobs_of app.json) | sort -u); do
    expect_requests 1 GET "[a-z]+/blobs/$blob"
done
expect_requests 0 GET ".*/$(digest_of base:1 linux/arm/v7)"
expect_requests 0 'HEAD|GET' ".*/$(digest_of base:1 unknown/unknown)"

step "the entries hold what the registry has, byte for byte, and nothing else"
for entry in base app; do
    directory=$cache/${!entry}
    cmp "$entry.json" "$directory/blobs/sha256/${!entry#sha256:}"
    (blobs_of $entry.json && echo "${!entry}") | sed 's/^sha256:/blobs\/sha256\//' >want
    printf '%s\n' oci-layout index.json >>want
    (cd "$directory" && find . -type f -printf '%P\n') | sort >got
    diff <(sort want) got
    (cd "$directory/blobs/sha256" && sha256sum -- *) | awk '$1 != $2 { exit 1 }'
    jq -e --arg digest "${!entry}" --argjson size "$(stat -c %s $entry.json)" \
        '(.manifests | length) == 1 and (.manifests[0] | .digest == $digest and .size == $size
         and .mediaType == "application/vnd.oci.image.manifest.v1+json")' "$directory/index.json"
    jq -e '.imageLayoutVersion == "1.0.0"' "$directory/oci-layout"
done >/dev/null

step "modes are 0755 and 0644 whatever the umask; blobs are hard links to the pool"
odd=$(find "$cache" -path "$cache/.basewarm" -prune -o -path "$cache/.warmer-locks" -prune -o \
    \( -type d ! -perm 0755 -o -type f ! -perm 0644 -o ! -type d ! -type f \) -print)
expect_equal "" "$odd" "names with an odd mode or type"
expect_equal 1777 "$(stat -c %a "$cache/.warmer-locks")" "mode of .warmer-locks"
while read -r blob; do
    [ "$blob" -ef "$cache/blobs/sha256/$(basename "$blob")" ] || fail "$blob is not the pool's"
done < <(find "$cache"/sha256:* -path '*/blobs/sha256/*')

step "the root is a layout that names both references"
expect_equal "$registry/app:1 $app $registry/base:1 $base" "$(jq -r '.manifests
    | sort_by(.annotations["org.opencontainers.image.ref.name"])[]
    | .annotations["org.opencontainers.image.ref.name"], .digest' "$cache/index.json" |
    paste -sd ' ')" "index.json of the root"
expect_clean

step "cachedir agrees"
expect_exit 0 cachedir -c "$cache" verify
expect_exit 0 cachedir -c "$cache" list --json
cp out list.json
jq -e --arg base "$base" --arg reference "$registry/base:1" '.schema == "basewarm.list/1" and
    any(.images[]; .reference == $reference and .digest == $base and .state == "ok")' \
    list.json >/dev/null || fail "list --json: $(cat list.json)"

step "warm again: one HEAD an image, no GET, and the life of the entries begins anew"
touch -d '3 days ago' "$cache/$base"
set_mark
warm --image "$registry/base:1" --image "$registry/app:1"
expect_requests 2 HEAD '.*/manifests/1'
expect_requests 2 'HEAD|GET' '.*'
age=$(($(date +%s) - $(stat -c %Y "$cache/$base")))
[ $age -lt 60 ] || fail "the entry was not renewed: it is $age s old"

step "pinned by the platform's digest: no request at all"
set_mark
warm --image "$registry/base@$base" --image "$registry/app:1@$app"
expect_requests 0 'HEAD|GET' '.*'

step "a tag that moved: the new image is fetched, and the report says so"
move_tag() { # TAG-IN-BASE TYPE
    fetch_manifest base "$1" | curl -fsS -X PUT -T - -H "Content-Type: application/vnd.$2+json" \
        "http://$registry/v2/base/manifests/moved"
}
move_tag 1 oci.image.index.v1
warm --image "$registry/base:moved"
move_tag docker docker.distribution.manifest.list.v2
set_mark
warm --image "$registry/base:moved"
expect_text out "moved from $base to $(digest_of base:docker "$platform")"
expect_requests 0 GET '.*/blobs/.*' # the docker-typed manifest names the same blobs
[ -d "$cache/$base" ] && [ -d "$cache/$(digest_of base:docker "$platform")" ]
