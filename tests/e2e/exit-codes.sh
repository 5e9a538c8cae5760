#!/usr/bin/env bash
# Exit codes are sysexits, as warmer(1) lists them.
. "$(dirname "$0")/../lib.sh"

start_registry
good=$registry/base:1
missing=$registry/base:missing
dead=127.0.0.1:$(free_port)/base:1
try() { # CODE WARMER-ARGUMENT...
    local code=$1
    shift
    expect_exit "$code" warmer --cache-dir "$cache" --retries 0 "$@"
}

step "64: usage"
try 64
try 64 --no-such-flag --image "$good"
try 64 --image "$good" --jobs none
expect_exit 64 cachedir -c "$cache" no-such-command

step "0: lists that yield nothing, with a warning"
echo '# nothing' >empty
try 0 --images-file empty
[ -s err ] || fail "no warning"

step "66: no such tag, repository or list"
try 66 --image "$missing"
expect_text err "$missing"
try 66 --image "$registry/nobody/knows:1"
try 66 --images-file no-such-list
expect_exit 66 cachedir -c no-such-directory list

step "75: nobody answers"
try 75 --image "$dead"
expect_text err "$dead"

step "several failures have one code, and the good image is warmed all the same"
rm -rf "$cache"
try 66 --image "$missing" --image "$good"
[ -d "$cache/$(digest_of base:1 "$platform")" ] || fail "the good image is not there"
expect_text out 'failed'
try 75 --image "$missing" --image "$dead" --image "$good"

step "--fail"
try 0 --image "$missing" --image "$good" --fail all
try 66 --image "$missing" --image "$registry/base:other" --fail=all
try 0 --image "$missing" --fail never
try 64 --image a//b --fail never

step "73: the directory cannot be made"
expect_exit 73 warmer --cache-dir /dev/null/cache --image "$good"

step "1: verify found something"
printf X >>"$cache/blobs/sha256/$(blobs_of "$cache/$(digest_of base:1 "$platform")"/blobs/*/"$(
    digest_of base:1 "$platform" | cut -d: -f2)" | head -n 1 | cut -d: -f2)"
expect_exit 1 cachedir -c "$cache" verify

step "74: no space"
mkdir -p small
if unshare -rm mount -t tmpfs none small 2>/dev/null; then
    # shellcheck disable=SC2016  # for the inner shell
    expect_exit 74 unshare -rm sh -c 'mount -t tmpfs -o size=512k none small &&
        exec warmer --cache-dir small --image "$1"' sh "$registry/app:1"
    expect_text err "$registry/app:1"
else
    untried "a full disk: no namespaces here"
fi

step "77: a directory that we may not touch"
if [ "$EUID" -eq 0 ]; then
    mkdir -m 755 root-owned
    expect_exit 77 setpriv --reuid 65534 --regid 65534 --clear-groups \
        "$(command -v warmer)" --cache-dir "$scratch/root-owned" --image "$good"
    expect_text err 'root-owned'
else
    untried "another user's directory: this is not root"
fi
