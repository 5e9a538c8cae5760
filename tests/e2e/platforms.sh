#!/usr/bin/env bash
# Which manifest of an index is taken, and what several platforms leave behind.
. "$(dirname "$0")/../lib.sh"

start_registry
image=$registry/base:1

entries() { # DIRECTORY
    (cd "$1" && printf '%s\n' sha256:*) | sort
}

picks() { # PLATFORM WANTED-CHILD
    rm -rf "$cache"
    warm --image "$image" --platform "$1"
    expect_equal "$(digest_of base:1 "$2")" "$(entries "$cache")" "entries for $1"
}

step "os and architecture decide; the variant only where one is asked for"
picks linux/arm64 linux/arm64/v8
picks linux/arm64/v8 linux/arm64/v8
picks linux/arm linux/arm/v7
picks linux/amd64 linux/amd64

step "none that fits: 65, and what there is instead"
for platform in linux/arm/v6 linux/s390x unknown/unknown; do
    expect_exit 65 warmer --cache-dir none --image "$image" --platform "$platform"
    expect_text err "linux/arm/v7"
done

step "kaniko's name of the option, and several platforms at once"
rm -rf "$cache"
warm --image "$image" --customPlatform=linux/amd64 --custom-platform linux/arm/v7
expect_equal "$( (digest_of base:1 linux/amd64 && digest_of base:1 linux/arm/v7) | sort)" \
    "$(entries "$cache")" "entries for two platforms"

step "the root names them by an index of ours, of just those"
index=$(jq -r '.manifests[0].digest' "$cache/index.json")
expect_equal 1 "$(jq '.manifests | length' "$cache/index.json")" "descriptors of the root"
expect_equal "$(entries "$cache")" \
    "$(jq -r '.manifests[].digest' "$cache/blobs/sha256/${index#sha256:}" | sort)" "index of ours"
expect_exit 0 skopeo inspect --raw "oci:$cache:$image"
expect_exit 0 cachedir -c "$cache" verify

step "a list may say its own platforms; one image twice is one image"
rm -rf "$cache"
cat >list <<LIST
# images for the ARM builders
$image platform=linux/arm64,linux/arm/v7

$image platform=linux/arm64   # again
LIST
warm --images-file list
expect_equal "$( (digest_of base:1 linux/arm64/v8 && digest_of base:1 linux/arm/v7) | sort)" \
    "$(entries "$cache")" "entries of the list"

step "a manifest that is no index is taken whatever its platform, with a warning"
rm -rf "$cache"
warm --image "$registry/base:plain" --platform linux/s390x
expect_equal "$(digest_of base:plain plain)" "$(entries "$cache")" "entry of base:plain"
expect_text err 's390x'

step "pinned to an index: the platform's manifest, and a warning about builders that miss"
rm -rf "$cache"
warm --image "$registry/base@$(digest_of base:1)" --platform linux/amd64
expect_equal "$(digest_of base:1 linux/amd64)" "$(entries "$cache")" "entry by the index's digest"
expect_text err 'index'
