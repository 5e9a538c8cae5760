# shellcheck shell=bash disable=SC2034,SC2154
# For the tests of images and releases: sourced after lib.sh. Without a daemon and without a pull:
# buildah in a chroot, on a base that mmdebstrap makes, and runc. What is built once stays in $store,
# beside the programs.

store=$(dirname "$bin")/image-store
buildah=(buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs)
base=docker.io/library/debian:bookworm-slim

need_image_tools() {
    local tool
    [ "$EUID" -eq 0 ] || skip "only root can build and run the image here"
    for tool in buildah runc mmdebstrap umoci; do
        command -v $tool >/dev/null || skip "no $tool here"
    done
    unshare --mount --pid --net --fork true 2>/dev/null || skip "no namespaces here"
    exec 8>"$store.lock" # one test at a time has the store
    flock 8
}

# The Dockerfile's FROM, made from Debian's packages. Rebuilt weekly, for its security updates.
prepare_base() {
    mkdir -p "$store"
    # By apt's own helper: it goes through the proxy that apt is told of.
    /usr/lib/apt/apt-helper -o Acquire::Retries=0 -o Acquire::http::Timeout=20 download-file \
        http://deb.debian.org/debian/dists/bookworm/main/source/Release "$scratch/source-release" >"$scratch/apt.log" 2>&1 ||
        skip "no Debian sources from here: $(tail -n 1 "$scratch/apt.log")"
    if [ -n "$(find "$store" -maxdepth 1 -name base-made -mtime -7)" ] &&
        "${buildah[@]}" inspect --type image $base >/dev/null 2>&1; then
        return
    fi
    local container
    rm -f "$store/base.tar"
    mmdebstrap --quiet --variant=minbase bookworm "$store/base.tar" 2>"$scratch/mmdebstrap.log" ||
        skip "no base image: $(tail -n 1 "$scratch/mmdebstrap.log")"
    container=$("${buildah[@]}" from scratch)
    "${buildah[@]}" add --quiet "$container" "$store/base.tar" / >/dev/null
    "${buildah[@]}" commit --quiet "$container" $base >/dev/null
    "${buildah[@]}" rm "$container" >/dev/null
    rm "$store/base.tar"
    touch "$store/base-made"
}

# $store/NAME is then an OCI layout with the image "image".
build_image() { # NAME [BUILDAH-OPTION]...
    local name=$1
    shift
    "${buildah[@]}" bud --isolation chroot --pull-never --layers --timestamp 0 --quiet --file "$root/k8s/Dockerfile" \
        --build-arg "BUILDPLATFORM=linux/$(dpkg --print-architecture)" --tag "localhost/$name" "$@" "$root" >"$scratch/build-$name.log" 2>&1 || {
        tail -n 40 "$scratch/build-$name.log"
        fail "$name: the image does not build"
    }
    rm -rf "${store:?}/$name"
    "${buildah[@]}" push --quiet "localhost/$name" "oci:$store/$name:image" >"$scratch/push.log" 2>&1
}

image_digest() { jq -r '.manifests[0].digest' "$store/$1/index.json"; }
image_manifest() { cat "$store/$1/blobs/sha256/$(image_digest "$1" | cut -d: -f2)"; }
image_config() { cat "$store/$1/blobs/sha256/$(image_manifest "$1" | jq -r .config.digest | cut -d: -f2)"; }

# A bundle from an image, as the kubelet would have it run: the root read-only, no capabilities, no
# new privileges. Its network is the caller's. $scratch/NAME is then the bundle.
make_bundle() { # IMAGE NAME
    rm -rf "${scratch:?}/$2"
    umoci unpack --image "$store/$1:image" "$scratch/$2" >"$scratch/umoci.log" 2>&1
    edit_bundle "$2" '
        .root.readonly = true
        | .process.terminal = false
        | .process.noNewPrivileges = true
        | .process.capabilities = {bounding: [], effective: [], permitted: [], inheritable: [], ambient: []}
        | .linux.namespaces |= map(select(.type != "network"))
        | del(.linux.resources)'
}

edit_bundle() { # NAME JQ-OPTION... FILTER
    local bundle=$scratch/$1
    shift
    jq "$@" <"$bundle/config.json" >"$bundle/config.new"
    mv "$bundle/config.new" "$bundle/config.json"
}

mount_into() { # NAME SOURCE DESTINATION [ro]
    edit_bundle "$1" --arg from "$2" --arg to "$3" --arg mode "${4:-rw}" \
        '.mounts += [{source: $from, destination: $to, type: "bind", options: ["bind", $mode]}]'
}

# Run a bundle with these arguments after its image's ENTRYPOINT, or, with "--", in its place. As
# expect_exit, stdout and stderr are left in $scratch/out and err.
run_bundle() { # CODE NAME ARGUMENT...
    local code=$1 name=$2
    shift 2
    set_arguments "$name" "$@"
    expect_exit "$code" runc --root "$scratch/runc" run --bundle "$scratch/$name" "$name-$RANDOM$RANDOM"
}

set_arguments() { # NAME ARGUMENT...
    local name=$1 words
    shift
    [ -e "$scratch/$name/entrypoint" ] || jq -c '.process.args' "$scratch/$name/config.json" >"$scratch/$name/entrypoint"
    if [ "${1:-}" = -- ]; then
        shift
        echo '[]' >"$scratch/$name/entrypoint.now"
    else
        cp "$scratch/$name/entrypoint" "$scratch/$name/entrypoint.now"
    fi
    words=$(printf '%s\n' "$@" | jq -R . | jq -cs .) # jq takes what begins with -- for its own
    edit_bundle "$name" --slurpfile entry "$scratch/$name/entrypoint.now" --argjson words "$words" \
        '.process.args = $entry[0] + $words'
}

# A commit of the tree as it is, in a repository of its own, always of the same date.
make_commit() { # DIRECTORY
    mkdir "$1"
    tar -C "$root" --exclude=./build --exclude=./.git --exclude=./cache --mode=u=rwX,go=rX -cf - . | tar -C "$1" -xf -
    local git=(git -C "$1" -c user.name=test -c user.email=test)
    "${git[@]}" init -q
    "${git[@]}" add -A
    GIT_AUTHOR_DATE='2026-01-02T03:04:05Z' GIT_COMMITTER_DATE='2026-01-02T03:04:05Z' \
        "${git[@]}" commit -q -m 'as it is'
}
