#!/usr/bin/env bash
# cmake/release without its images (those are image.sh's): twice, in two places, the same bytes; lintian
# finds nothing in the packages; they are installed, used and removed; the bill of materials names
# what is linked.
# labels: long
# timeout: 1200
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-image.sh"

for tool in lintian dpkg-shlibdeps file git; do
    command -v $tool >/dev/null || skip "no $tool here"
done

step "two releases of one commit"
make_commit one
git clone -q one another-directory
for directory in one another-directory; do
    (cd $directory && umask 027 && cmake/release --only packages "$scratch/out-$directory") >"$directory.log" 2>&1 ||
        fail "release: $(tail -n 20 $directory.log)"
done
cat out-one/SHA256SUMS
diff out-one/SHA256SUMS out-another-directory/SHA256SUMS || fail "two builds, two results"
(cd out-one && sha256sum --quiet --check SHA256SUMS)
expect_exit 73 one/cmake/release --only packages out-one # never into what is there already
version=$(sed -n 's/.*project(basewarm VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
expect_equal 5 "$(find out-one -type f | wc -l)" "files: source, two packages, bill of materials, sums"

step "lintian"
lintian --fail-on error,warning --tag-display-limit 0 out-one/*.deb >lintian.log 2>&1 || fail "$(cat lintian.log)"

step "the bill of materials"
jq -e '
    .spdxVersion == "SPDX-2.3" and .creationInfo.created == "2026-01-02T03:04:05Z"
    and ([.packages[].SPDXID] as $known | all(.relationships[];
        (.spdxElementId, .relatedSpdxElement) | IN($known[], "SPDXRef-DOCUMENT")))
    and ([.packages[].SPDXID] | length == (unique | length))' "out-one/basewarm-$version-deb.spdx.json" >/dev/null ||
    fail "not SPDX as it should be"
for library in curl jansson libarchive libzstd openssl zlib; do
    jq -e --arg name $library '.packages[] | select(.name == $name) | .versionInfo != ""' \
        "out-one/basewarm-$version-deb.spdx.json" >/dev/null || fail "it does not name $library"
done

step "installed, used, removed"
[ "$EUID" -eq 0 ] || {
    untried "installing: this is not root"
    exit 0
}
unshare --mount true 2>/dev/null || {
    untried "installing: no namespaces here"
    exit 0
}
# Into a copy of this system that is thrown away: an overlay over / in memory.
cat >install.sh <<'SH'
set -eu
mount -t tmpfs none layers
mkdir layers/upper layers/work
mount -t overlay overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work system || exit 77
mount --bind packages system/mnt
chroot system sh -eux <<'IN'
dpkg -i /mnt/*.deb
/usr/bin/warmer --version
/usr/bin/cachedir --version
zcat /usr/share/man/man1/warmer.1.gz | grep -q images
test -e /usr/share/zsh/vendor-completions/_warmer
test -e /usr/share/bash-completion/completions/cachedir
gcc -std=gnu11 -o /tmp/would-hit /mnt/would-hit.c $(pkg-config --cflags --libs --static cachedir)
mkdir /tmp/nothing
/tmp/would-hit /tmp/nothing
dpkg --purge libcachedir-dev basewarm
test ! -e /usr/bin/warmer
test ! -e /usr/share/doc/basewarm
test ! -e /usr/include/cachedir
IN
SH
mkdir layers system packages
cp out-one/*.deb "$root/tests/example/would-hit.c" packages
code=0
unshare --mount --propagation private sh install.sh >out 2>err </dev/null || code=$?
if [ $code -eq 77 ]; then
    untried "installing: $(tail -n 1 err)"
    exit 0
fi
[ $code -eq 0 ] || fail "installing: $(cat out)"
expect_text out "warmer \(basewarm\) $version"
