#!/usr/bin/env bash
# Two nodes of one volume that tell each other late what they did, as on NFS, and deleted files that
# stay while they are open.
# timeout: 300
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-badfs.sh"

mount_badfs "$behind" "$volume"
mount_badfs "$behind" "$scratch/other"
start_registry
base=$(digest_of base:1 "$platform")
refs=(--jobs 1 --image "$registry/base:1" --image "$registry/app:1")
other() { warmer --cache-dir "$scratch/other/cache" --progress none --jobs 1 "$@"; }
good() {
    expect_exit 0 cachedir -c "$behind/cache" verify
    expect_clean "$behind/cache"
}

step "the other node does not see what is there yet, and warms it, too"
mkdir "$behind/cache"
printf 'late=20000' >"$scratch/other/.badfs"
expect_exit 1 other --check "${refs[@]}"
warm "${refs[@]}"
[ -e "$behind/cache/$base" ] || fail "it is not there"
[ ! -e "$scratch/other/cache/$base" ] || fail "it is not late"
expect_exit 0 other "${refs[@]}"
good
expect_equal 2 "$(find "$behind/cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries"

step "two nodes at once, each late"
for format in oci docker-archive; do
    rm -rf "$behind/cache"
    mkdir "$behind/cache"
    misbehave "late=2000"
    printf 'late=2000' >"$scratch/other/.badfs"
    warmer --cache-dir "$cache" --progress none --format $format "${refs[@]}" >one 2>&1 &
    one=$!
    other --format $format "${refs[@]}" >two 2>&1 || fail "the other node: $(cat two)"
    wait $one || fail "the one node: $(cat one)"
    good
done

step "one prunes and removes what the other saw a moment ago"
rm -rf "$behind/cache"
misbehave "late=20000"
printf 'late=20000' >"$scratch/other/.badfs"
warm "${refs[@]}"
expect_exit 0 cachedir -c "$scratch/other/cache" list
expect_exit 0 cachedir -c "$cache" remove "$base"
expect_exit 0 cachedir -c "$scratch/other/cache" list
expect_exit 0 other "${refs[@]}"
good
expect_equal 2 "$(find "$behind/cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries"

step "deleted files stay while they are open"
umount "$volume"
rm -rf "$behind/cache"
mount_badfs "$behind" "$volume" --silly
warm "${refs[@]}"
good
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
good
expect_exit 0 cachedir -c "$cache" convert --to oci
good
printf X | dd of="$behind/cache/blobs/sha256/${base#*:}" bs=1 seek=50 conv=notrunc status=none
expect_exit 1 cachedir -c "$cache" verify --repair
warm "${refs[@]}"
expect_exit 0 cachedir -c "$cache" remove "$base"
good
left=$(find "$behind" -name '.fuse_hidden*')
[ -z "$left" ] || fail "left behind: $left"
echo "3 switches: late, late on both nodes, silly"
