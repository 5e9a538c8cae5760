#!/usr/bin/env bash
# One big layer from a server that is slow for each connection: idle connections share it, by closed
# ranges, and hardly a byte comes twice.
# threads: short
. "$(dirname "$0")/../lib.sh"

size=$((96 << 20))
start_empty_registry registry "$scratch/registry"
"$root/tests/make-images" --layer-size 96Mi --push "http://$registry" >list
start_nginx <<<'limit_rate 4m;'
fetch_manifest big "$(awk '$1 == "big:1" && $2 != "-" { print $3 }' list)" >big.json
layer=$(jq -r '.layers[0].digest' big.json)

for format in oci docker-archive; do
    step "format $format"
    : >"$nginx_log"
    rm -rf "$cache"
    warm --format $format --image "$front/big:1"
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean

    grep "blobs/$layer" "$nginx_log" >requests
    cat requests
    parts=$(grep -c '" 206 ' requests)
    [ "$parts" -ge 3 ] || fail "the layer came in $((parts + 1)) parts"
    bytes=$(awk '{ sum += $10 } END { print sum }' requests)
    [ "$bytes" -ge $size ] || fail "only $bytes bytes came"
    [ "$bytes" -le $((size + size / 10)) ] || fail "$bytes bytes came for a layer of $size"
done
