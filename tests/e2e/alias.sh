#!/usr/bin/env bash
# --alias-index: entries also under the digests of indexes: refused, made, renewed, mended, converted,
# removed before what they stand for.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
index=$(digest_of base:1)
app=$(digest_of app:1 "$platform")
other=linux/arm/v7
hit() { expect_exit 0 cachedir -c "$cache" inspect "$1"; }
age() { touch -d "$2" "$cache/$1"; }
young() { [ $(($(date +%s) - $(stat -c %Y "$cache/$1"))) -lt 120 ]; }

for format in oci docker-archive; do
    rm -rf "$cache"
    step "$format: two platforms of one index are refused before anything is asked"
    set_mark
    expect_exit 64 warmer -c "$cache" --format $format --alias-index --image "$registry/base:1" \
        --platform "$platform" --platform $other
    expect_text err 'base:1 is wanted for two platforms'
    expect_requests 0 'GET|HEAD' '.*'

    step "$format: made, and found under both digests"
    warm --format $format --alias-index --image "$registry/base:1" --image "$registry/app:1" \
        --image "$registry/base:plain"
    if [ $format = oci ]; then
        expect_no_text err 'cache-repo'
    else
        expect_text err 'give each a --cache-repo of its own'
    fi
    hit "$index"
    expect_text out "^Alias of: +$base$"
    expect_text out "^Reference: +$registry/base:1 "
    hit "$base"
    expect_text out "^Alias: +$index$"
    expect_exit 0 cachedir -c "$cache" list --json
    jq -e --arg index "$index" --arg base "$base" \
        '[.images[] | select(.digest == $index)] == [.images[] | select(.alias_of == $base)]' out >/dev/null
    expect_exit 0 cachedir -c "$cache" list
    expect_text out ' ok alias$'
    expect_exit 0 cachedir -c "$cache" verify --deep
    size=$(du -s --apparent-size "$cache" | cut -f1)
    [ "$size" -lt $((2 * $(du -s --apparent-size "$images/registry" | cut -f1))) ]

    step "$format: again: one request a tag, and nothing is fetched"
    set_mark
    warm --format $format --alias-index --image "$registry/base:1" --image "$registry/app:1"
    expect_requests 2 HEAD '.*'
    expect_requests 2 'GET|HEAD' '.*'
    warm --check --alias-index --image "$registry/base:1"

    step "$format: the other platform, in another run and by another name, fetches nothing"
    set_mark
    expect_exit 64 warmer -c "$cache" --alias-index --image "$registry/base@$index" --platform $other
    expect_text err "cachedir remove $index"
    expect_requests 0 GET '.*/blobs/.*'
    warm --image "$registry/base:1" --platform $other
    hit "$index"
    expect_text out "^Alias of: +$base$"

    step "$format: pinned to an index: a warning without the alias, none with it, no request"
    set_mark
    warm --image "$registry/base@$index"
    expect_no_text err 'archived kaniko'
    warm --image "$registry/app@$(digest_of app:1)" --image "$registry/base:docker@$(digest_of base:docker)"
    expect_text err 'base:docker@.* is pinned to an index: .* with --alias-index'
    expect_no_text err 'app@.* is pinned to an index'
    set_mark
    warm --alias-index --image "$registry/base@$index"
    expect_requests 0 'GET|HEAD' '.*'

    step "$format: renewed with its entry, whatever the flags"
    age "$base" '-3 days'
    age "$index" '-3 days'
    warm --image "$registry/base:1"
    young "$index"
    young "$base"
    age "$base" '-3 days'
    age "$index" '-3 days'
    warm --image "$registry/base@$base"
    young "$index"

    step "$format: lost, and made again; the index is asked for only if it is not kept"
    rm -rf "${cache:?}/$index"
    expect_exit 1 warmer -c "$cache" --check --alias-index --image "$registry/base:1"
    set_mark
    warm --alias-index --image "$registry/base:1"
    expect_requests 0 GET '.*'
    hit "$index"
    rm -rf "${cache:?}/$index" "$cache/.basewarm/aliases/${index#*:}"
    set_mark
    warm --alias-index --image "$registry/base:1"
    expect_requests 1 GET '.*/manifests/.*'
    expect_requests 0 GET '.*/blobs/.*'
    hit "$index"

    step "$format: a record that proves nothing makes it a broken entry, which is mended"
    printf '{"manifest":"%s","indexes":["{}"]}' "$base" >"$cache/.basewarm/aliases/${index#*:}"
    expect_exit 1 cachedir -c "$cache" inspect "$index"
    expect_exit 1 cachedir -c "$cache" verify
    warm --alias-index --image "$registry/base:1"
    hit "$index"
    expect_exit 0 cachedir -c "$cache" verify

    step "$format: rot is mended in both, without the network"
    if [ $format = oci ]; then
        blob=$(fetch_manifest base "$base" | jq -r '.layers[1].digest')
        printf rot | dd of="$cache/$index/blobs/sha256/${blob#*:}" bs=1 seek=100 conv=notrunc status=none
        expect_exit 1 cachedir -c "$cache" verify --repair
        [ ! -e "$cache/$index" ] && [ ! -e "$cache/$base" ]
        warm --alias-index --image "$registry/base:1" --image "$registry/app:1"
    else
        rm "$cache/$index"
        head -c 100000 /dev/urandom >"$cache/$index"
        expect_exit 1 cachedir -c "$cache" verify --repair
    fi
    hit "$index"
    expect_exit 0 cachedir -c "$cache" verify

    step "$format: prune takes the alias first, with its entry, and whenever it is expired itself"
    age "$index" '-30 days'
    expect_exit 0 cachedir -c "$cache" prune --dry-run
    if [ $format = oci ]; then
        expect_text out "$index"
        expect_no_text out "$base"
        age "$base" '-30 days'
    fi
    expect_exit 0 cachedir -c "$cache" prune
    expect_equal "$index $base" "$(grep -oE "$index|$base" out | xargs)" "what went, in order"
    [ ! -e "$cache/$index" ] && [ ! -e "$cache/$base" ]
    [ ! -e "$cache/.basewarm/aliases/${index#*:}" ]
    hit "$app"

    step "$format: a limit takes them together, the oldest first; --keep names both"
    warm --alias-index --image "$registry/base:1"
    age "$app" '-2 days'
    age "$(digest_of app:1)" '-1 hour'
    age "$base" '-1 day'
    expect_exit 1 cachedir -c "$cache" prune --max-size 1K --keep "$registry/base:1"
    [ ! -e "$cache/$app" ] && [ ! -e "$cache/$(digest_of app:1)" ]
    hit "$index"
    hit "$base"

    step "$format: converted, with its entry"
    to=oci
    [ $format = docker-archive ] || to=docker-archive
    expect_exit 0 cachedir -c "$cache" convert --to $to
    hit "$index"
    expect_text out "^Alias of: +$base$"
    expect_exit 0 cachedir -c "$cache" verify
    expect_exit 0 cachedir -c "$cache" convert --to $format
    hit "$index"
    expect_exit 0 cachedir -c "$cache" verify

    step "$format: removed alone, and with its entry"
    expect_exit 0 cachedir -c "$cache" remove "$index"
    [ ! -e "$cache/$index" ]
    hit "$base"
    warm --alias-index --image "$registry/base:1"
    expect_exit 0 cachedir -c "$cache" remove "$registry/base:1"
    [ ! -e "$cache/$index" ] && [ ! -e "$cache/$base" ]
    [ -z "$(ls "$cache/.basewarm/aliases")" ]
    expect_clean
    expect_exit 0 cachedir -c "$cache" verify
done
