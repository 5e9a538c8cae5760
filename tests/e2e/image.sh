#!/usr/bin/env bash
# The container image, k8s/Dockerfile: built twice, the same bytes; small; nothing in it but what is
# meant to be; for arm64, too. Then tests/k8s/image-runs runs it, in a network of its own.
# labels: long
# timeout: 7200
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-image.sh"

need_image_tools
prepare_base

step "it builds"
build_image basewarm
build_image basewarm-debug --target debug
build_image basewarm-kaniko --target kaniko

step "below 10 MB, for each registry that it is pulled from"
for image in basewarm basewarm-kaniko; do
    size=$(image_manifest $image | jq '[.layers[].size] | add')
    echo "$image: $size bytes compressed"
    [ "$size" -lt 10000000 ] || fail "$image has $size bytes"
done

step "what is in it"
make_bundle basewarm listed
(cd listed/rootfs && find . ! -type d | sort) >got
printf '%s\n' ./etc/group ./etc/nsswitch.conf ./etc/passwd ./etc/ssl/certs/ca-certificates.crt \
    ./usr/bin/cachedir ./usr/bin/warmer >want
diff want got || fail "other files than these are in the image"
for program in warmer cachedir; do
    readelf -lW "listed/rootfs/usr/bin/$program" >elf
    expect_no_text elf 'INTERP|GNU_STACK.*RWE'
    expect_text elf 'GNU_RELRO'
    expect_text <(readelf -hW "listed/rootfs/usr/bin/$program") 'DYN' # position independent
done
image_config basewarm >config
expect_equal '["/usr/bin/warmer"]' "$(jq -c .config.Entrypoint config)" entrypoint
expect_equal '65532:65532' "$(jq -r .config.User config)" user
expect_equal "$(sed -n 's/.*project(basewarm VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")" \
    "$(jq -r '.config.Labels."org.opencontainers.image.version"' config)" version

step "it runs"
unshare --net "$root/tests/k8s/image-runs" || fail "it does not run as it should"

step "arm64, by cross build"
build_image basewarm-arm64 --platform linux/arm64
expect_equal arm64 "$(image_config basewarm-arm64 | jq -r .architecture)" architecture
make_bundle basewarm-arm64 arm64
expect_text <(readelf -hW arm64/rootfs/usr/bin/warmer) 'AArch64'
if command -v qemu-aarch64-static >/dev/null; then
    start_registry
    expect_exit 0 qemu-aarch64-static arm64/rootfs/usr/bin/warmer --cache-dir "$cache" --image "$registry/app:1" \
        --platform linux/arm64 --platform linux/amd64
    expect_exit 0 qemu-aarch64-static arm64/rootfs/usr/bin/cachedir verify -c "$cache"
    expect_exit 0 cachedir verify --deep -c "$cache" # what they left is what these would have left
else
    untried "the arm64 programs: no qemu-aarch64-static"
fi

step "what cmake/release makes of it"
make_commit tree
BASEWARM_IMAGE_STORE=$store expect_exit 0 tree/cmake/release --only images "$scratch/released"
version=$(image_config basewarm | jq -r '.config.Labels."org.opencontainers.image.version"')
for name in basewarm basewarm-debug basewarm-kaniko; do
    mkdir $name
    tar -C $name -xf "released/$name-$version.oci.tar"
    index=$name/blobs/$(jq -r '.manifests[0].digest' $name/index.json | tr : /)
    expect_equal "amd64 arm64" "$(jq -r '[.manifests[].platform.architecture] | sort | join(" ")' "$index")" platforms
    [ $name != basewarm ] ||
        expect_equal "$(image_digest basewarm)" "$(jq -r '.manifests[] |
            select(.platform.architecture == "'"$(dpkg --print-architecture)"'") | .digest' "$index")" "digest of the released image"
done
expect_equal "curl glibc jansson libarchive libzstd nghttp2 openssl zlib" \
    "$(jq -r '[.packages[1:][].name] | join(" ")' "released/basewarm-$version-image.spdx.json")" "what is linked"
jq -e '[.relationships[].relationshipType] - ["DESCRIBES", "STATIC_LINK"] == []' "released/basewarm-$version-image.spdx.json" >/dev/null
(cd released && sha256sum --quiet --check SHA256SUMS)

step "built again from nothing, it is the same"
build_image basewarm-again --no-cache
expect_equal "$(image_digest basewarm)" "$(image_digest basewarm-again)" "digest of the second build"

"$root/tests/k8s/image-recipe" --same || {
    "$root/tests/k8s/image-recipe" --write
    untried "leaving k8s/recipe.sha256 as it was: the recipe is new, and works; commit that file"
}
