#!/usr/bin/env bash
# Format docker-archive: what stands on the disk, what other tools make of it, what the registry is
# asked, and that broken archives are mended.
# threads: long
# timeout: 240
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
fetch_manifest base "$base" >base.json
fetch_manifest app "$app" >app.json

step "two images that share layers: each blob is fetched once"
umask 077 # what is published must be readable by other users all the same
set_mark
warm --format docker-archive --image "$registry/base:1" --image "$registry/app:1"
umask 022
for blob in $( (blobs_of base.json && blobs_of app.json) | sort -u); do
    expect_requests 1 GET "[a-z]+/blobs/$blob"
done
expect_clean
expect_equal "$(printf '%s\n' "$app" "$base" | sort)" "$(ls "$cache")" "the directory"
expect_equal docker-archive "$(cat "$cache/.basewarm/format")" "the format"

step "an archive holds what the registry has, byte for byte, manifest.json first"
for image in base app; do
    archive=$cache/${!image}
    expect_equal 644 "$(stat -c %a "$archive")" "mode of $archive"
    tar --force-local -tf "$archive" >members
    expect_equal manifest.json "$(head -1 members)" "first member"
    expect_equal "blobs/sha256/${!image#sha256:}" "$(tail -1 members)" "last member"
    (blobs_of $image.json && echo "${!image}") | sed 's/^sha256:/blobs\/sha256\//' >want
    diff <(sort want) <(sed 1d members | sort)
    rm -rf inside && mkdir inside
    tar --force-local -xf "$archive" -C inside
    cmp $image.json "inside/blobs/sha256/${!image#sha256:}"
    (cd inside/blobs/sha256 && sha256sum -- *) | awk '$1 != $2 { exit 1 }'
    jq -e --slurpfile manifest $image.json '.[0] as $i |
        [$i.Layers[] | sub("blobs/sha256/"; "sha256:")] == [$manifest[0].layers[].digest] and
        ([$i.LayerSources[] | .digest] | sort) == ([$manifest[0].layers[].digest] | sort) and
        all($i.LayerSources[]; .mediaType == "application/vnd.docker.image.rootfs.diff.tar.gzip")' \
        inside/manifest.json >/dev/null || fail "manifest.json: $(cat inside/manifest.json)"
    python3 - "$archive" <<'PYTHON'
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    large = [m for m in tar if m.size >= 65536]
assert large and all(m.offset_data % 4096 == 0 for m in large), large
PYTHON
done

step "skopeo and crane read it"
ln -s "$cache/$app" app.tar
skopeo inspect --config docker-archive:app.tar >got.json
expect_equal "$(jq -r .config.digest app.json)" "sha256:$(skopeo inspect --raw docker-archive:app.tar |
    jq -r .config.digest | cut -d: -f2)" "config"
jq -e '.os == "linux"' got.json >/dev/null
skopeo copy -q docker-archive:app.tar oci:copied:app
umoci unpack --rootless --image copied:app bundle >umoci.log 2>&1 || {
    cat umoci.log
    fail "umoci unpack"
}
expect_equal "$platform" "$(cat bundle/rootfs/etc/platform)" "platform inside"
! command -v crane >/dev/null || crane validate --tarball app.tar

step "cachedir agrees"
expect_exit 0 cachedir -c "$cache" verify --deep
expect_exit 0 cachedir -c "$cache" list --json
jq -e --arg base "$base" --arg reference "$registry/base:1" --arg platform "$platform" \
    'any(.images[]; .reference == $reference and .digest == $base and .state == "ok" and
     .platform == $platform)' out >/dev/null || fail "list --json: $(cat out)"
expect_exit 0 cachedir -c "$cache" inspect "$registry/app:1"
expect_exit 0 cachedir -c "$cache" du --json
jq -e --argjson size "$(cat "$cache"/sha256:* | wc -c)" '.total_bytes == $size' out >/dev/null ||
    fail "du: $(cat out)"

step "warm again: one HEAD an image, no GET, renewed and not replaced"
touch -d '3 days ago' "$cache/$base"
inode=$(stat -c %i "$cache/$base")
set_mark
warm --image "$registry/base:1" --image "$registry/app:1" # the directory knows its format
expect_requests 2 HEAD '.*/manifests/1'
expect_requests 2 'HEAD|GET' '.*'
[ $(($(date +%s) - $(stat -c %Y "$cache/$base"))) -lt 60 ] || fail "not renewed"
expect_equal "$inode" "$(stat -c %i "$cache/$base")" "inode"
set_mark
FF_KANIKO_OCI_WARMER=false warm --image "$registry/base@$base"
expect_requests 0 'HEAD|GET' '.*'

step "another format is refused, and the way out is named"
expect_exit 64 warmer --cache-dir "$cache" --format oci --image "$registry/base:1"
expect_text err 'cachedir convert --to oci'
mkdir oci
warm --cache-dir oci --image "$registry/base:1"
FF_KANIKO_OCI_WARMER=F expect_exit 64 warmer --cache-dir oci --image "$registry/base:1"
expect_text err 'cachedir convert --to docker-archive'

# Break app's archive, see that `cachedir verify` finds it, mend it by warming, count blob GETs.
mend() { # GETS WHAT WARMER-OPTIONS COMMAND...
    local gets=$1 what=$2 options=$3
    shift 3
    step "$what"
    "$@"
    expect_exit 1 cachedir -c "$cache" verify
    expect_text out "$app"
    set_mark
    # shellcheck disable=SC2086  # words
    warm $options --image "$registry/app:1"
    expect_requests "$gets" GET '.*/blobs/.*'
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean
}
overwrite() { printf X | dd of="$cache/$app" bs=1 seek="$1" conv=notrunc status=none; }

mend 1 "cut within the last layer" "" truncate -s -100000 "$cache/$app"
mend 2 "nothing is left of it: what base has is copied" "" sh -c "echo no tar >'$cache/$app'"
mend 1 "a wrong byte in the last layer: --force finds it" --force \
    overwrite $(($(stat -c %s "$cache/$app") - 500000))
mend 2 "a directory stands there" "" sh -c "rm '$cache/$app' && mkdir -p '$cache/$app/blobs'"

step "--force on good archives fetches and replaces nothing"
inode=$(stat -c %i "$cache/$app")
set_mark
warm --force --image "$registry/app:1" --image "$registry/base:1"
expect_requests 0 GET '.*/blobs/.*'
expect_equal "$inode" "$(stat -c %i "$cache/$app")" "inode"

step "prune and remove"
touch -d '20 days ago' "$cache/$app"
expect_exit 0 cachedir -c "$cache" prune
[ ! -e "$cache/$app" ] || fail "an expired archive stays"
expect_exit 0 cachedir -c "$cache" remove "$registry/base:1"
expect_equal "" "$(ls "$cache")" "the directory"
expect_clean

step "stopped in the middle of a layer, the next run goes on there"
start_nginx <<<'limit_rate 300k;'
warmer --cache-dir "$cache" --progress none --jobs 1 --image "$front/app:1" >out 2>err </dev/null &
warmer_pid=$!
some_landed() { [ "$(du -sk "$cache/.basewarm/partial" | cut -f1)" -gt 600 ]; }
wait_for "a part of a layer" some_landed
kill -TERM $warmer_pid
! wait $warmer_pid || fail "the warmer was through before it was stopped"
[ ! -e "$cache/$app" ] || fail "visible before it was whole"
expect_exit 0 cachedir -c "$cache" verify
warm --image "$front/app:1"
layers=$(jq '[.layers[].size] | add' app.json)
bytes=$(grep -E '"GET .*/blobs/' "$nginx_log" | awk '{ sum += $10 } END { print sum }')
[ "$bytes" -lt $((layers + 400000)) ] || fail "$bytes bytes came for layers of $layers"
grep -q '" 206 ' "$nginx_log" || fail "no range was asked for"
expect_exit 0 cachedir -c "$cache" verify
expect_clean

step "two warmers, two images that share layers: each blob is fetched once"
rm -rf "$cache"
set_mark
pids=()
for image in base:1 app:1; do
    warmer --cache-dir "$cache" --format docker-archive --progress none --image "$front/$image" \
        >"out-$image" 2>"err-$image" </dev/null &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "$(cat err-*)"
done
twice=$(requests GET '.*/blobs/.*' | grep -o 'sha256:[0-9a-f]*' | sort | uniq -d)
expect_equal "" "$twice" "blobs fetched twice"
expect_requests 5 GET '.*/blobs/.*' # a config each, two layers of base, one more of app
expect_exit 0 cachedir -c "$cache" verify
expect_clean
