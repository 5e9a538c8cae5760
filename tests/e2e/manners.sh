#!/usr/bin/env bash
# What every option and command owes its user: help, version, streams, widths.
. "$(dirname "$0")/../lib.sh"

helps() { # COMMAND...
    expect_exit 0 "$@" --help
    [ -s out ] || fail "$* --help says nothing"
    [ ! -s err ] || fail "$* --help writes to stderr"
    cp out help
    expect_exit 0 "$@" -h
    cmp out help
    awk 'length > 80 { print; bad = 1 } END { exit bad }' help || fail "$* --help: over 80 columns"
}

step "--help, -h, --version"
helps warmer
expect_text help 'images-file'
expect_text help 'registry-map'
helps cachedir
helps cachedir list
helps cachedir verify
for program in warmer cachedir; do
    expect_exit 0 $program --version
    expect_text out "$(sed -n 's/.*project(basewarm VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")"
done

step "errors go to stderr, name the culprit and point to --help"
expect_exit 64 warmer --no-such-flag
[ ! -s out ] || fail "an error on stdout"
expect_text err 'no-such-flag'
expect_exit 64 warmer -image x
expect_text err '--image'

step "kaniko's spellings"
for arguments in '-i xy' '-ixy' '--image=xy' '--image xy' '--image=xy --force' '--image=xy --force=true' \
    '-i xy -c dir' '-i xy --skip-tls-verify-pull=false' '-i xy --cache-ttl 336h' '-i xy -v debug' \
    '-i xy --registry-map a=b;c=d' '-i xy --log-format json --log-timestamp' \
    '-i xy --registry-mirror m --skip-default-registry-fallback' '-i xy --insecure-pull' \
    '-i xy --insecure-registry h:1 --skip-tls-verify-registry h:1'; do
    # shellcheck disable=SC2086  # words
    expect_exit 0 warmer --check-args $arguments
done

step "cachedir --check-args: what was typed is looked at, and nothing else"
for arguments in 'verify --repair' 'verify debian:12' 'prune --min-free 10% --keep debian:*' 'list -c no-such-directory' \
    'convert --to oci' 'remove xy'; do
    # shellcheck disable=SC2086  # words
    expect_exit 0 cachedir $arguments --check-args
    [ ! -s out ] || fail "cachedir $arguments --check-args did more"
done
for arguments in 'verify --quick --deep' 'verify a//b' 'prune --min-free much' 'list xy' 'du xy' 'doctor xy' \
    'inspect' 'inspect a b' 'convert' 'remove' 'remove a//b' 'verify --mend'; do
    # shellcheck disable=SC2086  # words
    expect_exit 64 cachedir $arguments --check-args
done

step "--log-format json: one object a line"
expect_exit 75 warmer -c "$cache" --image "127.0.0.1:$(free_port)/xy" --retries 0 --log-format json
jq -e . err >/dev/null || {
    cat err
    fail "not JSON"
}
