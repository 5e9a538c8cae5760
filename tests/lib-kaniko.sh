# shellcheck shell=bash disable=SC2034,SC2154
# For the tests that build with a real executor, sourced after lib.sh and need_executor BINARY:
# `build FROM` and `expect_hit DIGEST`. A hit is four things at once: the executor says that it found
# the digest, does not say that reading it failed, succeeds, and no blob was asked of the registry.

need_executor() { # BINARY [ENVIRONMENT]: what runs from now on
    [ "$EUID" -eq 0 ] || skip "only root can make the executor's chroot"
    unshare --mount --pid --fork true 2>/dev/null || skip "no namespaces here"
    executor=$(realpath -e "$1")
    executor_environment=${2:-}
}

# The executor unpacks the base over /: it gets a root, mounts, processes, and, offline, a network
# of its own. A fresh cache repository each time, or a cached RUN hides that nothing was unpacked.
# shellcheck disable=SC2016  # for the inner shell
executor_in_chroot='
    set -eu
    mount --bind "$1" root/cache && mount -o remount,bind,ro root/cache
    mount --bind workspace root/workspace
    mount --bind layers root/layers
    mount -t proc proc root/proc
    mount -t tmpfs -o mode=755 tmpfs root/dev
    mknod -m 666 root/dev/null c 1 3
    mknod -m 666 root/dev/urandom c 1 9
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root $2 chroot root /kaniko/executor --force --no-push \
        --cache=true --cache-repo=oci:/layers --cache-dir=/cache --ignore-path=/cache \
        --context=dir:///workspace --dockerfile=/workspace/Dockerfile --insecure --insecure-pull \
        --log-format=text -v info'

build() { # FROM [UNSHARE-OPTION]...
    rm -rf --one-file-system root workspace layers
    mkdir -p root/{proc,dev,cache,workspace,layers,kaniko} workspace layers
    cp "$executor" root/kaniko/executor
    printf 'FROM %s\nRUN echo built on $(cat /etc/platform) >/made && cat /made\n' "$1" \
        >workspace/Dockerfile
    shift
    set_mark_if_up
    code=0
    timeout -k 5 100 unshare --mount --propagation private --pid --fork --kill-child "$@" \
        bash -c "$executor_in_chroot" chroot "$directory" "$executor_environment" \
        >executor.log 2>&1 </dev/null || code=$?
}

# Whether the last build was a hit on DIGEST; says why not.
hit() { # DIGEST
    local why=
    grep -q "Found $1 in local cache" executor.log || why+=" not found in the cache;"
    ! grep -q 'Error while retrieving image from cache' executor.log || why+=" unreadable;"
    [ $code -eq 0 ] || why+=" exit $code;"
    grep -q "built on $platform" executor.log || why+=" RUN did not run on it;"
    if [ -n "$registry" ]; then
        settle_log
        [ -z "$(requests GET '.*/blobs/.*')" ] || why+=" blobs were fetched;"
    fi
    grep -E "Found $1|$platform|Error" executor.log | sed 's/^/    /' || true
    [ -z "$why" ] || {
        echo "no hit:$why"
        return 1
    }
}

expect_hit() { # DIGEST
    hit "$1" || {
        cat executor.log
        fail "no hit"
    }
}

set_mark_if_up() { [ -z "$registry" ] || set_mark; }
