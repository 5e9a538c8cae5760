#!/usr/bin/env bash
# A large layer from a slow server: idle connections share it, and what a killed run has fetched is not
# fetched again.
# threads: short
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
mib=$((1 << 20))
size=$((72 * mib))

step "idle connections take over the tail"
row 0 0 slow-8/big ""
saw 1 'big/blobs/.* 200 [0-9]{5}'
parts=$(grep -cE 'big/blobs/.* 206 ' log || true)
[ "$parts" -ge 3 ] || bad "the layer came in $((parts + 1)) parts"
[ "$(sent blobs/)" -le $((size + 8 * mib)) ] || bad "$(sent blobs/) bytes for a layer of $size"

step "a server without ranges keeps its one stream"
row 0 8 range-ignored/slow-16/big "" # four, and four that asked at once:
saw -4 'big/blobs/.* bytes='         # until one has found out
[ "$(sent blobs/)" -le $((size + 8 * mib)) ] || bad "$(sent blobs/) bytes for a layer of $size"

step "a server that refuses whoever would share keeps its one stream"
for status in 403 404 500; do
    row 0 25 range-status-$status/slow-16/big ""
    [ "$(sent blobs/)" -le $((size + 8 * mib)) ] || bad "$(sent blobs/) bytes for a layer of $size"
done

step "killed in the middle"
bytes_sent() { curl -sS "http://$main/__sent"; }
for jobs in 1 8; do
    rm -rf "$cache"
    curl -sS "http://$main/__reset"
    warmer --cache-dir "$cache" --progress none --jobs $jobs --image "$main/slow-8/big:1" >out 2>err &
    pid=$!
    while [ "$(bytes_sent)" -lt $((40 * mib)) ]; do
        kill -0 $pid || fail "it ended by itself"
        sleep 0.05
    done
    kill -9 $pid
    wait $pid 2>/dev/null || true
    first=$(bytes_sent)
    [ -z "$(find "$cache" -maxdepth 1 -name 'sha256:*')" ] || fail "an entry stands there"
    expect_exit 0 cachedir -c "$cache" verify
    keep_cache=1 row 0 0 big ""
    most=$((size - first + 16 * mib + 4 * mib)) # 4 MiB may have been under way
    expect_clean
    echo "$jobs jobs: $first bytes before, $(sent blobs/) after"
    [ "$(sent blobs/)" -le $most ] || bad "$(sent blobs/) bytes after the kill, $first before"
done

step "the partial file is damaged meanwhile: wrong bytes cost a refetch, never a wrong blob"
rm -rf "$cache"
expect_exit 77 warmer --cache-dir "$cache" --image "$main/cut-first/range-status-403/small:1"
partial=$(find "$cache/.basewarm/partial" -type f ! -name '*.ranges')
printf X | dd of="$partial" bs=1 seek=1000 conv=notrunc status=none
keep_cache=1 row 0 4 small "once more"

end_of_table
