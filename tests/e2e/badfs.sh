#!/usr/bin/env bash
# On volumes that misbehave, each in its own way: what works there, what is said, and that nothing bad
# can be seen, nor anything left once the volume is good again. (badfs-all: every job on each.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-badfs.sh"

mount_badfs "$behind" "$volume"
start_registry
base=$(digest_of base:1 "$platform")
fetch_manifest base "$base" >base.json
refs=(--jobs 1 --image "$registry/base:1" --image "$registry/app:1")
switches=0

# 0, or 1 where something is wrong with what can be seen.
judge() { cachedir -c "$behind/cache" verify >judged 2>&1; }

begin() { # SWITCHES
    step "$1"
    behave
    rm -rf "$behind/cache" "$behind/other"
    misbehave "$1"
    switches=$((switches + 1))
}

expect_faults() { [ "$(faults)" -gt 0 ] || fail "it never misbehaved"; }

doctor_says() { # LINE EXIT
    expect_exit "$2" cachedir -c "$cache" doctor
    expect_text out "$1"
}

# The volume is good again: the next run mends what is to be mended, and leaves nothing.
end() {
    behave
    warm "${refs[@]}"
    judge || fail "in the end: $(cat judged)"
    expect_clean
}

every_job() {
    expect_exit 0 cachedir -c "$cache" list
    expect_text out 'app:1 .*complete|app:1 .*ok|app:1'
    skopeo inspect --raw "oci:$cache:$registry/base:1" | cmp - base.json
    cachedir -c "$cache" export "$base" >"$volume/base.tar" 2>err || fail "export: $(cat err)"
    expect_exit 0 sh -c "cachedir -c '$volume/other' import <'$volume/base.tar'"
    expect_exit 0 cachedir -c "$behind/other" verify
    expect_exit 0 cachedir -c "$cache" convert --to docker-archive
    judge || fail "converted: $(cat judged)"
    expect_exit 0 cachedir -c "$cache" convert --to oci
    judge || fail "and back: $(cat judged)"
    # A layer of both goes bad.
    local layer
    layer=$(jq -r '.layers[0].digest' base.json)
    for file in "$behind/cache/blobs/sha256/${layer#*:}" "$behind"/cache/sha256:*/blobs/sha256/"${layer#*:}"; do
        printf X | dd of="$file" bs=1 seek=50 conv=notrunc status=none
    done
    expect_exit 1 cachedir -c "$cache" verify --repair
    judge || fail "repaired: $(cat judged)"
    warm "${refs[@]}"
    judge || fail "warmed again: $(cat judged)"
    [ -n "${keeps_no_time-}" ] || touch -d '30 days ago' "$behind/cache/$base"
    expect_exit 0 cachedir -c "$cache" prune
    expect_text out "expired $base"
    judge || fail "pruned: $(cat judged)"
}

works() { # SWITCHES [WORDS [DOCTOR]]: everything does, with these words; what doctor says of it
    begin "$1"
    warm "${refs[@]}"
    [ -z "${2-}" ] || expect_text err "$2"
    judge || fail "warmed: $(cat judged)"
    warm "${refs[@]}"
    expect_text out '2 images: 2 renewed'
    [ -z "${3-}" ] || doctor_says "$3" 0
    expect_faults
    [ -z "${every-}" ] || every_job
    end
}

fails() { # SWITCHES EXIT WORDS [DOCTOR [EXIT]]: warming does, with these words
    begin "$1"
    expect_exit "$2" warmer --cache-dir "$cache" --progress none "${refs[@]}"
    expect_faults
    expect_text err "$3"
    judge || fail "after the failure: $(cat judged)"
    [ -z "${4-}" ] || doctor_says "$4" "${5-1}"
    end
}

# ---- what it cannot do -----------------------------------------------------------------------

for error in EPERM EOPNOTSUPP; do
    works "link=$error" "no hard links .*: every entry keeps a copy" '^hard links +weaker +no: .* a copy'
done
works "links=2"
works "link=EIO!" '' '^hard links +good'
for error in EOPNOTSUPP EIO EPERM; do
    works "rename-directory=$error" "no renaming of directories .*index.json last" \
        '^renaming directories +weaker +no: .* in place'
done
works "exchange=EINVAL" '' '^exchanging names +good +no: .* a moment'
works "rename=EIO! rename-directory=EIO!" '' '^renaming directories +good +yes'
for error in ENOLCK EOPNOTSUPP ENOSYS; do
    works "lock=$error" "no locks .*: right all the same" '^locks +weaker +no: .* the same work twice'
done
for how in EPERM ENOTSUP ignored; do
    works "chmod=$how" '' '^modes +weaker +no: .* decide who reads'
done
works "fsync-directory=EINVAL" '' '^syncing +weaker +no: Invalid argument'
keeps_no_time=1
works "touch-directory=ignored directory-time=0" \
    "does not keep the times of directories: .* --format docker-archive" \
    '^touching directories +weaker +no: .* --format docker-archive'
keeps_no_time=

step "175 names a file"
begin "links=175"
warm "${refs[@]}"
layer=$(jq -r '.layers[0].digest' base.json)
for ((i = 0; i < 200; i++)); do
    ln "$behind/cache/blobs/sha256/${layer#*:}" "$behind/name-$i"
done
rm -rf "$behind/cache/$base"
warm "${refs[@]}"
expect_no_text err "no hard links"
expect_equal 1 "$(stat -c %h "$behind/cache/$base/blobs/sha256/${layer#*:}")" "names of a copied blob"
manifest=$behind/cache/$base/blobs/sha256/${base#*:}
[ "$(stat -c %h "$manifest")" -gt 1 ] || fail "others are still linked"
rm "$behind"/name-*
end

# ---- what it refuses, and what goes wrong ----------------------------------------------------

for error in EINVAL ENOENT EACCES; do
    fails "colon=$error" 73 "refuses a colon in a name .* mapposix" '^colons in names +bad +no: .* mapposix'
done
for error in ENOSPC EDQUOT EIO; do
    fails "write=$error@1000000B" 74 "layer sha256:.*: cannot write .*$(errno_words "$error")" \
        "^writing +bad +no: $(errno_words "$error")"
done
fails "fsync=EIO" 74 "cannot write .*Input/output error" '^writing +bad'
fails "close=EDQUOT" 74 "cannot write .*Disk quota exceeded" '^writing +bad +no: Disk quota'
fails "create=EROFS" 77 "Read-only file system"
fails "touch-directory=EPERM" 77 "cannot renew sha256:.*Operation not permitted" '^touching directories +weaker' 0
for error in EIO ESTALE; do
    fails "rename=$error" 74 "cannot write .*$(errno_words "$error")"
done

step "an error while reading is no reason to throw away"
behave
for error in EIO ESTALE; do
    misbehave "read=$error"
    before=$(ls -ld --time-style=full-iso "$behind"/cache/sha256:*)
    for command in verify "verify --repair" prune; do
        code=0
        # shellcheck disable=SC2086  # two words
        cachedir -c "$cache" $command >out 2>err || code=$?
        [[ $code == 1 || $code == 74 ]] || fail "$command: exit $code"
    done
    expect_equal "$before" "$(ls -ld --time-style=full-iso "$behind"/cache/sha256:*)" "the entries"
    expect_faults
    switches=$((switches + 1))
done
end
echo "$switches switches"
