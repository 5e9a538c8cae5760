#!/usr/bin/env bash
# clang-tidy over the programs, as .clang-tidy says, but for its slow half, the path-sensitive
# analyzer, which tidy-paths.sh adds. What passed once is remembered by its preprocessed text, so
# that only what changed is looked at again.
# timeout: 600
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BASEWARM_BUILD:-build/dev}
export build seen=$build/tidy checks=${1:--clang-analyzer-*}
mkdir -p "$seen"

look() { # FILE
    local key
    # shellcheck disable=SC2086  # several flags
    key=$({ echo "$checks" && cat .clang-tidy && clang -E -P -D_GNU_SOURCE -DBASEWARM_VERSION='""' -I. $cflags "$1"; } |
        sha256sum | cut -c1-64)
    [ ! -e "$seen/$key" ] || return 0
    # The compilation database holds gcc's warnings as well.
    clang-tidy -p "$build" --quiet --checks="$checks" --extra-arg=-Wno-unknown-warning-option "$1" 2>&1 |
        grep -v 'warnings\? generated\|^Suppressed\|^Use -header' >"$seen/$key.log" || true
    if [ -s "$seen/$key.log" ]; then
        cat "$seen/$key.log"
        rm "$seen/$key.log"
        return 1
    fi
    mv "$seen/$key.log" "$seen/$key"
}
export -f look
cflags=$(pkg-config --cflags libcurl libcrypto jansson)
export cflags
find cachedir warmer -name '*.c' -print0 | xargs -0 -P "$(nproc)" -I '{}' bash -c 'look {}'
