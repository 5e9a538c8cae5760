#!/usr/bin/env bash
# The power fails at any moment: whatever the disk may hold then, a builder sees nothing bad, and the
# next run finishes and leaves nothing. tests/crash/power-loss says which states are made. Here it
# fails at every 15th call, and after the last one of each command one state is gone on with
# (power-loss-all: at every call, and with one for each).
# timeout: 900
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-crash.sh"
every=${every:-15} disk=${disk:-1000} # the last point is always one

# try NAME ENTRIES [OPTION...] -- COMMAND...: from the directory NAME on (may be missing)
calls=0 states=0 gone_on=0
try() {
    local name=$1 entries=$2 said=()
    shift 2
    rm -rf "$cache"
    if [ -d "$name" ]; then cp -a "$name" "$cache"; else mkdir "$cache"; fi
    step "$name: ${*//"$scratch/"/}"
    "$root/tests/crash/power-loss" --disk "$disk" --every "$every" --out trace --entries "$entries" "$cache" "$@" \
        >counts || fail "$name: $(cat counts)"
    read -r -a said <counts
    echo "${said[0]} calls, ${said[1]} states, ${said[2]} gone on with"
    calls=$((calls + said[0])) states=$((states + said[1])) gone_on=$((gone_on + said[2]))
}
warming=(warmer --cache-dir "$cache" --jobs 1 --progress none)

try nothing 2 -- "${warming[@]}" "${images[@]}"
try nothing 2 -- "${warming[@]}" --format docker-archive "${images[@]}"

rm -rf "$cache"
warm "${images[@]}"
touch -d '20 days ago' "$cache/$one"
cp -a "$cache" warm
try warm 2 -- "${warming[@]}" "${images[@]}"
try warm 1 -- cachedir -c "$cache" prune
try warm 0 -- cachedir -c "$cache" prune --cache-ttl 1000h --max-size 8K
try warm 2 --problems -- cachedir -c "$cache" convert --to docker-archive
try warm 0 -- sh -c "cachedir -c '$cache' remove $one || [ ! -e '$cache/$one' ]
    cachedir -c '$cache' remove $two || [ ! -e '$cache/$two' ]"

rm -rf "$cache"
cp -a warm "$cache"
printf X | dd of="$cache/blobs/sha256/$shared" bs=1 seek=50 conv=notrunc status=none
rm "$cache/$two/index.json"
cp -a "$cache" broken
try broken 2 --problems -- "${warming[@]}" --force "${images[@]}"
try broken 0 --problems -- cachedir -c "$cache" verify --repair

step "entries under the digests of indexes, too"
aliases=(--alias "${small_indexes[0]}" --alias "${small_indexes[1]}")
try warm 4 "${aliases[@]}" -- "${warming[@]}" --alias-index "${images[@]}"
rm -rf "$cache"
warm --alias-index "${images[@]}"
cp -a "$cache" aliases
cachedir -c "$cache" export "$registry/small:1" "$registry/small:2" 2>err >oci.tar
cachedir -c "$cache" export --format docker-archive "$registry/small:1" 2>err >docker.tar
try aliases 4 --problems "${aliases[@]}" -- cachedir -c "$cache" convert --to docker-archive
try aliases 0 "${aliases[@]}" -- cachedir -c "$cache" prune --cache-ttl 1000h --max-size 8K

rm -rf "$cache"
warm --alias-index --format docker-archive "${images[@]}"
cp -a "$cache" archives
try archives 4 --problems "${aliases[@]}" -- cachedir -c "$cache" convert --to oci
try archives 0 "${aliases[@]}" -- cachedir -c "$cache" prune --cache-ttl 1000h --max-size 8K

try nothing 4 "${aliases[@]}" -- sh -c "cachedir -c '$cache' import <oci.tar"
try nothing 2 "${aliases[@]}" -- sh -c "cachedir -c '$cache' import <docker.tar"
echo "$states states of the disk after a power failure at every $every. of $calls calls; $gone_on gone on with"
