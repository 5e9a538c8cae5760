#!/usr/bin/env bash
# What people use reads what we wrote, and finds what the registry has.
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1" --image "$registry/app:1" --image "$registry/base:docker"

step "skopeo reads the root by reference, byte for byte"
for name in base app; do
    digest=$(digest_of $name:1 "$platform")
    skopeo inspect --raw "oci:$cache:$registry/$name:1" >got.json
    fetch_manifest $name "$digest" | cmp - got.json
    skopeo copy -q "oci:$cache:$registry/$name:1" "dir:copy-$name"
    for blob in $(blobs_of got.json); do
        curl -fsS "http://$registry/v2/$name/blobs/$blob" | cmp - "copy-$name/${blob#sha256:}"
    done
done

step "umoci unpacks it, and it runs"
umoci unpack --rootless --image "$cache:$registry/app:1" bundle >umoci.log 2>&1 || {
    cat umoci.log
    fail "umoci unpack"
}
expect_equal "$platform" "$(cat bundle/rootfs/etc/platform)" "platform inside"
[ "$EUID" -ne 0 ] || expect_equal "app on $platform" "$(chroot bundle/rootfs /app/run)" "app/run"

step "crane reads docker-typed ones, and pushes the same digest"
if command -v crane >/dev/null; then
    digest=$(digest_of base:docker "$platform")
    start_empty_registry second "$scratch/second"
    crane push --insecure "$cache/$digest" "$registry/copy:docker" >crane.log 2>&1 || {
        cat crane.log
        fail "crane push"
    }
    expect_equal "$digest" "$(crane digest --insecure "$registry/copy:docker")" "digest after crane"
else
    skip "crane, from another suite of Debian, could not be had; the steps before passed"
fi
