#!/usr/bin/env bash
# One call goes wrong, some for each operation (badfs-errors-all: of all kinds, at ten places): nothing bad can
# be seen afterwards, nothing good is lost, and the next run finishes and leaves nothing.
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-badfs.sh"

mount_badfs "$behind" "$volume"
start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
refs=(--image "$registry/base:1" --image "$registry/app:1")
shared=$(fetch_manifest base "$base" | jq -r '.layers[0].digest' | sed s/sha256://)

# Each kind of call, and what may come of it.
kinds=(open=ESTALE open=EIO create=ENOSPC create=EDQUOT mkdir=EDQUOT mkdir=EIO rename=EIO rename=EIO!
    rename-directory=EIO rename-directory=EIO! link=EIO link=EIO! unlink=EIO rmdir=EIO read=EIO
    read=ESTALE write=ENOSPC write=EDQUOT write=EIO fsync=EIO fsync-directory=EIO close=EIO
    close=EDQUOT chmod=EIO touch=EIO touch-directory=EIO truncate=ENOSPC list=EIO list=ESTALE
    stat=ESTALE stat=EIO)

# try NAME PROBLEMS ENTRIES COMMAND...: as in crash.sh
points=0 runs=0 turn=0
try() {
    local name=$1 problems=$2 entries=$3 kind calls k
    shift 3
    step "$name: $*"
    again
    "$@" >out 2>err || [ "$problems" = problems ] || fail "exit $?: $(cat err)"
    cp "$volume/.badfs" counts
    for kind in "${kinds[@]}"; do
        calls=$(awk -v op="${kind%%=*}" '$1 == op { print $2 }' counts)
        points=$((points + calls))
        turn=$((turn + 1))
        if [ -n "${places-}" ]; then
            for ((k = 1; k <= calls; k += calls / places + 1)); do try_one "$kind@$k+1" "$@"; done
        elif [ "$calls" -gt 0 ] && [ $((turn % 20)) -eq 0 ]; then
            try_one "$kind@$((turn * 7919 % calls + 1))+1" "$@"
        fi
    done
}

again() {
    behave
    rm -rf "$behind/cache"
    [ ! -d "$name" ] || cp -a "$name" "$behind/cache"
    behave
}

try_one() { # SWITCH COMMAND...
    local switch=$1 code=0
    shift
    again
    misbehave "$switch"
    "$@" >out 2>err || code=$?
    # 77, 73: what made the directory or a name in it is what failed.
    [[ $code =~ ^(0|1|65|66|73|74|75|77)$ ]] || fail "$switch: exit $code: $(cat err)"
    code=0
    if [ -d "$behind/cache/.basewarm" ]; then
        cachedir -c "$behind/cache" verify >out 2>err || code=$?
        [ $code -eq 0 ] || { [ $code -eq 1 ] && [ "$problems" = problems ]; } ||
            fail "$switch: verify says $code: $(cat out err)"
    fi
    behave
    code=0
    "$@" >out 2>err || code=$?
    [ $code -eq 0 ] || [ "$problems" = problems ] || fail "$switch: the next run: exit $code: $(cat err)"
    cachedir -c "$behind/cache" verify >out 2>err || fail "$switch: in the end: $(cat out)"
    expect_equal "$entries" "$(find "$behind/cache" -maxdepth 1 -name 'sha256:*' | wc -l)" \
        "entries after $switch"
    (expect_clean) || fail "$switch"
    runs=$((runs + 1))
}

try nothing sound 2 warmer --cache-dir "$cache" --jobs 1 "${refs[@]}"
try nothing sound 2 warmer --cache-dir "$cache" --jobs 1 --format docker-archive "${refs[@]}"

behave
rm -rf "$behind/cache"
warm "${refs[@]}"
cp -a "$behind/cache" fresh
try fresh sound 2 sh -c "cachedir -c '$cache' verify --repair || [ \$? -eq 1 ] || [ \$? -eq 74 ]"
touch -d '20 days ago' "$behind/cache/$base"
cp -a "$behind/cache" warm
try warm sound 2 warmer --cache-dir "$cache" --jobs 1 "${refs[@]}"
try warm sound 1 cachedir -c "$cache" prune
try warm sound 0 cachedir -c "$cache" prune --cache-ttl 1000h --max-size 1M
try warm problems 2 cachedir -c "$cache" convert --to docker-archive
cachedir -c "$behind/cache" export "$base" >base.tar 2>err || fail "export: $(cat err)"
try nothing sound 1 sh -c "cachedir -c '$cache' import <base.tar"

behave
rm -rf "$behind/cache"
cp -a warm "$behind/cache"
printf X | dd of="$behind/cache/blobs/sha256/$shared" bs=1 seek=50 conv=notrunc status=none
rm "$behind/cache/$app/index.json"
cp -a "$behind/cache" broken
try broken problems 2 warmer --cache-dir "$cache" --jobs 1 --force "${refs[@]}"
try broken problems 0 sh -c "cachedir -c '$cache' verify --repair || [ \$? -eq 1 ]"

behave
rm -rf "$behind/cache"
warm --format docker-archive "${refs[@]}"
cp -a "$behind/cache" archives
try archives sound 2 sh -c "cachedir -c '$cache' verify --repair || [ \$? -eq 1 ] || [ \$? -eq 74 ]"
try archives problems 2 cachedir -c "$cache" convert --to oci
echo "$runs errors at $points places"
