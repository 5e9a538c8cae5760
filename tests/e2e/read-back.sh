#!/usr/bin/env bash
# What people use reads what we wrote, and finds what the registry has.
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1" --image "$registry/app:1"

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
if [ "$EUID" -eq 0 ]; then
    expect_equal "app on $platform" "$(chroot bundle/rootfs /app/run)" "app/run"
else
    untried "running it: only root may chroot"
fi
