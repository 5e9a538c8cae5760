#!/usr/bin/env bash
# Killed at a system call that changes the directory, some of them for each operation (crash-all: at
# every one): afterwards nothing that can be seen is bad, and the next run finishes and leaves nothing.
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-crash.sh"

# try NAME PROBLEMS ENTRIES COMMAND...
#   NAME      of the directory to begin with (may be missing)
#   PROBLEMS  verify may say 1 after the kill: something was wrong before, or is half converted
#   ENTRIES   so many are there in the end
# The command, killed at one call after another; then once more, to its end.
points=0 runs=0
try() {
    local name=$1 problems=$2 entries=$3 calls code k step=1
    shift 3
    again() { rm -rf "$cache" && { [ ! -d "$name" ] || cp -a "$name" "$cache"; }; }
    again
    kill-at 0 "$@" >out 2>err 3>calls || fail "$name: exit $?: $*"
    calls=$(cat calls)
    points=$((points + calls))
    [ -n "${every-}" ] || step=$((calls / 8 + 1))
    step "$name: $* ($calls calls, every ${step}.)"
    for ((k = 1; k <= calls; k += step)); do
        again
        code=0
        kill-at $k "$@" >out 2>err 3>calls || code=$?
        [ $code -eq 137 ] || [ $code -eq 0 ] || fail "call $k: exit $code"
        code=0
        if [ -d "$cache" ] && [ -d "$cache/.basewarm" ]; then
            cachedir -c "$cache" verify >out 2>err || code=$?
            [ $code -eq 0 ] || { [ $code -eq 1 ] && [ "$problems" = problems ]; } ||
                fail "call $k: verify says $code: $(cat out)"
        fi
        code=0
        "$@" >out 2>err || code=$?
        [ $code -eq 0 ] || [ "$problems" = problems ] || fail "call $k: the next run: exit $code"
        cachedir -c "$cache" verify >out 2>err || fail "call $k: in the end: $(cat out)"
        expect_equal "$entries" "$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)" \
            "entries after call $k"
        (expect_clean) || fail "call $k"
        locks=$(find "$cache/.basewarm/locks" -name 'run-*')
        [ -z "$locks" ] || fail "call $k: left behind: $locks"
        runs=$((runs + 1))
    done
}

try nothing sound 2 warmer --cache-dir "$cache" --jobs 1 "${images[@]}"
try nothing sound 2 warmer --cache-dir "$cache" --jobs 1 --format docker-archive "${images[@]}"

rm -rf "$cache"
warm "${images[@]}"
touch -d '20 days ago' "$cache/$one"
cp -a "$cache" warm
try warm sound 2 warmer --cache-dir "$cache" --jobs 1 "${images[@]}"
try warm sound 1 cachedir -c "$cache" prune
try warm sound 0 cachedir -c "$cache" prune --cache-ttl 1000h --max-size 8K
try warm problems 2 cachedir -c "$cache" convert --to docker-archive
try warm sound 0 sh -c "cachedir -c '$cache' remove $one || [ ! -e '$cache/$one' ]
    cachedir -c '$cache' remove $two || [ ! -e '$cache/$two' ]"

rm -rf "$cache"
cp -a warm "$cache"
printf X | dd of="$cache/blobs/sha256/$shared" bs=1 seek=50 conv=notrunc status=none
rm "$cache/$two/index.json"
cp -a "$cache" broken
try broken problems 2 warmer --cache-dir "$cache" --jobs 1 --force "${images[@]}"
try broken problems 0 sh -c "cachedir -c '$cache' verify --repair || [ \$? -eq 1 ]"

rm -rf "$cache"
warm --format docker-archive "${images[@]}"
cp -a "$cache" archives
try archives problems 2 cachedir -c "$cache" convert --to oci

rm -rf "$cache"
warm --alias-index "${images[@]}"
cp -a "$cache" aliases
cachedir -c "$cache" export "$registry/small:1" "$registry/small:2" 2>err >oci.tar
cachedir -c "$cache" export --format docker-archive "$registry/small:1" 2>err >docker.tar
try nothing sound 4 warmer --cache-dir "$cache" --jobs 1 --alias-index "${images[@]}"
try aliases problems 4 cachedir -c "$cache" convert --to docker-archive
try aliases sound 0 cachedir -c "$cache" prune --cache-ttl 1000h --max-size 8K
try nothing sound 4 sh -c "cachedir -c '$cache' import <oci.tar"
try nothing sound 2 sh -c "cachedir -c '$cache' import <docker.tar"
echo "$runs kills at $points calls"
