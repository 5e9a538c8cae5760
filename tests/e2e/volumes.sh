#!/usr/bin/env bash
# On real file systems: full ones at every stage, ones that share blocks, layers over layers,
# read-only ones; on kernels that lack calls, with other people's files and strange clocks.
# (volumes-all: at more stages, and without more calls.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

[ "$EUID" -eq 0 ] || skip "only root can mount"
if [ -z "${IN_NAMESPACE-}" ]; then
    unshare --mount true 2>/dev/null || skip "no mount namespaces here"
    IN_NAMESPACE=1 exec unshare --mount --propagation private "$root/tests/e2e/$test_name.sh"
fi
start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
refs=(--jobs 1 --image "$registry/base:1" --image "$registry/app:1")
fetch_manifest base "$base" >base.json
layer=$(jq -r '.layers[0].digest' base.json)
layer=blobs/sha256/${layer#*:}
mkdir volume
cache=$scratch/volume/cache
tried=0

good() { # [DIRECTORY]
    expect_exit 0 cachedir -c "${1:-$cache}" verify
    expect_clean "${1:-$cache}"
}

# A file system in a file. false: not to be had here.
mount_image() { # SIZE COMMAND...: mkfs
    rm -f image
    truncate -s "$1" image
    shift
    "$@" image >mkfs.log 2>&1 && mount -o loop image volume 2>>mkfs.log
}

# ---- full ones -------------------------------------------------------------------------------

# Warm on a volume with room for so much, then with room enough.
full() { # WHAT GIVE-ROOM COMMAND...: mounts it on volume
    local what=$1 give_room=$2 code=0
    shift 2
    "$@" || fail "cannot mount: $*"
    warmer --cache-dir "$cache" --progress none --format "$format" "${refs[@]}" >out 2>err || code=$?
    case $code in
    74)
        expect_text err '[Nn]o space|room|free|does not fit|needs'
        failed=$((failed + 1))
        ;;
    0) ;;
    *) fail "$what: exit $code: $(cat err)" ;;
    esac
    if [ -d "$cache/.basewarm" ]; then
        expect_exit 0 cachedir -c "$cache" verify
        expect_exit 0 cachedir -c "$cache" list
    fi
    $give_room
    warm --format "$format" "${refs[@]}"
    good
    umount volume
    tried=$((tried + 1))
}

for format in oci docker-archive; do
    failed=0
    step "a tmpfs that is full after so many files ($format)"
    for inodes in ${every+3 4 6 7 8 9 10 12 13 14 15 18 20 22 26 28 30 33 40} 5 11 16 24; do
        full "$inodes inodes" "mount -o remount,nr_inodes=10k volume" \
            mount -t tmpfs -o "size=64m,nr_inodes=$inodes" none volume
    done
    step "a tmpfs that is full after so many bytes ($format)"
    for size in ${every+4k 8k 16k 32k 128k 1m 2m 4m 5m 6m} 64k 3m; do
        full "$size" "mount -o remount,size=64m volume" mount -t tmpfs -o "size=$size" none volume
    done
    [ $failed -ge 5 ] || fail "only $failed were full"
done

step "an ext4 that is full"
format=oci
ext4_full() {
    mount_image 16m mkfs.ext4 -q -m 0 -N "${1:-500}" && {
        [ $# -gt 0 ] || head -c "$(($(stat -f -c '%a * %S' volume) - 3000000))" /dev/zero >volume/ballast
    }
}
if mount_image 16m mkfs.ext4 -q; then
    umount volume
    full "3 MB" "rm volume/ballast" ext4_full
else
    untried "ext4: no loop devices here"
fi

# ---- ones that share blocks ------------------------------------------------------------------

shares_blocks() { filefrag -v "$1" | grep -q shared; }

for type in btrfs xfs; do
    step "$type: a copy is a reflink"
    if ! mount_image 400m "mkfs.$type" -q; then
        untried "$type: $(tail -n 1 mkfs.log)"
        continue
    fi
    tried=$((tried + 1))
    warm "${refs[@]}"
    expect_exit 0 cachedir -c "$cache" doctor
    expect_text out '^reflinks +good +yes'
    expect_exit 0 cachedir -c "$cache" convert --to docker-archive
    good
    sync -f volume
    for entry in "$base" "$app"; do
        shares_blocks "$cache/$entry" || fail "$entry has its own bytes: $(filefrag -v "$cache/$entry")"
    done
    expect_exit 0 cachedir -c "$cache" convert --to oci
    good
    expect_exit 0 without linkat=EPERM cachedir -c "$cache" export "$base"
    mv out base.tar
    expect_exit 0 without linkat=EPERM sh -c "cachedir -c volume/imported import <base.tar"
    good volume/imported
    sync -f volume
    shares_blocks "volume/imported/$base/$layer" || fail "the imported layer has its own bytes"
    umount volume
done

# ---- layers over layers ----------------------------------------------------------------------

step "overlayfs: entries in the lower layer are renewed, mended, pruned"
mount -t tmpfs none volume
mkdir volume/{lower,upper,work,merged}
expect_exit 0 warmer --cache-dir volume/lower/cache --progress none "${refs[@]}"
printf X | dd of="volume/lower/cache/$layer" bs=1 seek=50 conv=notrunc status=none
touch -d '30 days ago' "volume/lower/cache/$base"
(cd volume/lower && find . -type f -exec sha256sum {} + | sort) >lower.before
if mount -t overlay -o lowerdir=volume/lower,upperdir=volume/upper,workdir=volume/work none volume/merged; then
    cache=$scratch/volume/merged/cache
    tried=$((tried + 1))
    expect_exit 0 cachedir -c "$cache" prune
    expect_text out "expired $base"
    [ ! -e "$cache/$base" ] || fail "it is still there"
    expect_exit 1 cachedir -c "$cache" verify --repair
    [ ! -e "$cache/$app" ] || fail "a broken entry is still there"
    warm "${refs[@]}"
    good
    expect_exit 0 cachedir -c "$cache" convert --to docker-archive
    good
    expect_exit 0 cachedir -c "$cache" convert --to oci
    good
    umount volume/merged
    (cd volume/lower && find . -type f -exec sha256sum {} + | sort) | cmp - lower.before
    cache=$scratch/volume/cache
else
    untried "overlayfs cannot be mounted here"
fi
umount volume

# ---- read-only -------------------------------------------------------------------------------

step "a read-only volume serves what reads, and says why it does not what writes"
mount -t tmpfs none volume
warm "${refs[@]}"
mount -o remount,ro volume
for command in list verify "verify --quick" "verify --deep" du "inspect $base" "export $base" doctor; do
    # shellcheck disable=SC2086  # words
    expect_exit 0 cachedir -c "$cache" $command
done
expect_exit 0 warmer --cache-dir "$cache" --check "${refs[@]}"
expect_exit 0 warmer --cache-dir "$cache" --dry-run "${refs[@]}"
for command in prune "remove $base" "verify --repair" "convert --to docker-archive"; do
    # shellcheck disable=SC2086  # words
    expect_exit 77 cachedir -c "$cache" $command
    expect_text err 'mounted read-only'
done
expect_exit 77 warmer --cache-dir "$cache" "${refs[@]}"
expect_text err 'mounted read-only'
umount volume
tried=$((tried + 1))

# ---- kernels that lack calls -----------------------------------------------------------------

more='openat2=ENOSYS renameat2=ENOSYS renameat2=EPERM copy_file_range=ENOSYS copy_file_range=EPERM
    fallocate=EOPNOTSUPP faccessat2=ENOSYS flock=ENOSYS linkat=ENOSYS'
for lacks in ${every+$more} openat2=EPERM \
    openat2=ENOSYS,renameat2=ENOSYS,copy_file_range=ENOSYS,fallocate=ENOSYS,faccessat2=ENOSYS; do
    step "without $lacks"
    rm -rf "$cache"
    for format in oci docker-archive; do
        [ ! -e "$cache" ] || expect_exit 0 without "$lacks" cachedir -c "$cache" convert --to $format
        expect_exit 0 without "$lacks" warmer --cache-dir "$cache" --progress none --format $format "${refs[@]}"
        good
    done
    touch -d '30 days ago' "$cache/$base"
    expect_exit 0 without "$lacks" cachedir -c "$cache" prune
    expect_text out "expired $base"
    expect_exit 0 without "$lacks" cachedir -c "$cache" convert --to oci
    good
    tried=$((tried + 1))
done

# ---- other people's files --------------------------------------------------------------------

step "umask 077: the others can read all the same"
rm -rf "$cache"
(umask 077 && warm "${refs[@]}")
closed=$(find "$cache" -not -path '*/.basewarm/*' \( -type f -not -perm -444 -o -type d -not -perm -555 \))
[ -z "$closed" ] || fail "not for all to read: $closed"
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
chmod 755 "$scratch" volume
expect_exit 0 "${nobody[@]}" "$bin/cachedir" -c "$cache" verify
tried=$((tried + 1))

step "another uid's entries: read, named when they cannot be touched, shared with a group"
expect_exit 77 "${nobody[@]}" "$bin/warmer" --cache-dir "$cache" --progress none "${refs[@]}"
expect_text err "not writable for uid 65534 \(owner 0, mode 0755"
find "$cache" -type d -exec chmod 777 {} +
expect_exit 0 "${nobody[@]}" "$bin/warmer" --cache-dir "$cache" --progress none "${refs[@]}"
good
chmod 755 "$cache/$base"
rm "$cache/$base/index.json"
expect_exit 0 "${nobody[@]}" "$bin/warmer" --cache-dir "$cache" --progress none "${refs[@]}"
good
chmod 700 "$cache/$app"
expect_exit 0 "${nobody[@]}" "$bin/warmer" --cache-dir "$cache" --progress none "${refs[@]}"
expect_text err "app:1: the entry is broken and must be mended: .* \(owner 0, mode 0700\)"
expect_text err "what another uid left broken could not be removed: ./.basewarm-trash-"
expect_equal 65534 "$(stat -c %u "$cache/$app")" "the new entry's owner"
rm -rf "$cache"
mkdir "$cache"
chmod 2775 "$cache"
chgrp 65532 "$cache"
for uid in 1001 1002; do # one fsGroup
    expect_exit 0 setpriv --reuid $uid --regid $uid --groups 65532 "$bin/warmer" --cache-dir "$cache" \
        --progress none "${refs[@]}"
    expect_no_text err 'level=(warning|error)'
done
expect_text out '2 images: 2 renewed'
expect_exit 0 setpriv --reuid 1002 --regid 1002 --groups 65532 "$bin/cachedir" -c "$cache" remove "$base"
good
tried=$((tried + 1))

# ---- clocks ----------------------------------------------------------------------------------

# What stands there when the clock is set to then.
clock_goes() { find "$cache" -exec touch -h -d "$1" {} +; }

step "the clock is set back: everything is from the future"
rm -rf "$cache"
warm "${refs[@]}"
mkdir -p "$cache/.basewarm/trash/old"
clock_goes '+10 days'
expect_exit 0 cachedir -c "$cache" list
expect_exit 0 cachedir -c "$cache" verify
expect_exit 0 cachedir -c "$cache" prune --json
expect_equal 2 "$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries after the prune"
warm "${refs[@]}"
expect_text out '2 images: 2 renewed'
[ "$(stat -c %Y "$cache/$base")" -le "$(($(date +%s) + 5))" ] || fail "it is still from the future"
step "the clock is set forward: everything is old, and a warm comes before a prune"
clock_goes '2001-01-01'
warm "${refs[@]}"
expect_exit 0 cachedir -c "$cache" prune
good
expect_equal 2 "$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries after the prune"
clock_goes '1970-01-01 00:00:01 UTC'
expect_exit 0 cachedir -c "$cache" prune
good
expect_equal 0 "$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries after 54 years"
tried=$((tried + 2))
echo "$tried volumes"
