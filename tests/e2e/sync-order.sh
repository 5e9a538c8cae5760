#!/usr/bin/env bash
# The order of what reaches the disk, from a trace of the system calls: a file is synced before it
# is renamed, a directory before the entry appears, and the entry appears by one rename.
. "$(dirname "$0")/../lib.sh"

start_registry
strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"
# Leaks cannot be looked for under a tracer. Two platforms: then the root's index is a blob of ours.
ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 expect_exit 0 strace -f -y -o trace \
    -e trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdirat,openat,openat2 \
    warmer --cache-dir "$cache" --image "$registry/base:1" --image "$registry/app:1" \
    --platform linux/arm/v7 --platform "$platform"
python3 "$root/tests/check-sync-order" "$cache" trace
