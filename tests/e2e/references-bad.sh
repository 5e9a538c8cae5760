#!/usr/bin/env bash
# Bad references are all reported at once, before anything is asked or made.
. "$(dirname "$0")/../lib.sh"

start_registry
cat >list <<LIST
$registry/base:1
# a comment
Upper/case
two words
LIST
bad=("a//b" "repo:" ":tag" "repo@sha256:12" "repo@md5:d41d8cd98f00b204e9800998ecf8427e" "repo:t/"
    "host:99999999/x" "http://host/x" "")

step "each is named, with exit 64, and nothing was requested"
arguments=()
for reference in "${bad[@]}"; do arguments+=("--image=$reference"); done
set_mark
expect_exit 64 warmer --cache-dir "$cache" --image "$registry/app:1" "${arguments[@]}" \
    --images-file list
for reference in "${bad[@]}" Upper/case "two words"; do
    grep -qF -- "$reference" err || fail "not reported: '$reference'"
done
expect_equal "" "$(cat out)" "stdout"
expect_requests 0 'HEAD|GET' '.*'
[ ! -e "$cache" ] || fail "the directory was made"

step "control characters come out escaped"
expect_exit 64 warmer --cache-dir "$cache" --image $'bad\e[31mred'
if grep -q $'\e\[31m' err; then fail "an escape sequence went through"; fi

step "--check-args says the same and no more"
expect_exit 64 warmer --check-args --image a//b
expect_exit 0 warmer --check-args --image "$registry/base:1"
expect_requests 0 'HEAD|GET' '.*'
