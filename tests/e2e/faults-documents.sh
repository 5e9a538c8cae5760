#!/usr/bin/env bash
# A registry that misbehaves on purpose: what stands in manifests and indexes.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
# "tiny" takes HEAD and GET of the manifest, the config and one layer: 4 requests.

step "indexes"
row 0 5 indexed ""
row 0 6 nested-2 ""
row 65 0 nested-6 "indexes within indexes"
row 0 5 attestation-first ""
if [ "$platform" = linux/amd64 ]; then
    row 0 5 no-platform ""
fi
row 65 2 no-platform "available: linux/amd64" --platform linux/s390x
row 65 2 other-platform "available: linux/s390x"
row 0 5 unknown-child ""

step "images that are unusual"
row 0 4 duplicate-layers ""
row 0 3 embedded "" # in the manifest itself
row 0 4 embedded-wrong ""
row 0 4 empty-layer ""
row 0 4 sha512 "sha512:.*cannot read"

step "wrong bytes, at every hop"
row 65 5 child-wrong "sha256:"
row 65 5 child-longer "announced|longer"
row 65 5 child-shorter "announced"
digest=$(curl -fsS -H "Accept-Encoding: identity" "http://$main/v2/tiny/manifests/1" | sha256sum | cut -d' ' -f1)
row 65 3 "other-bytes/tiny@sha256:$digest" "sha256:"
row 0 4 "other-bytes-1/tiny@sha256:$digest" ""

step "manifests that are none"
row 65 2 schema1 "schema 1.*rebuild"
row 65 2 artifact "artifact"
row 65 2 both-kinds "both"
for kind in negative-size huge-size huger-size fractional-size text-size no-size; do
    row 65 2 $kind "size|JSON"
done
for kind in path-in-digest path-as-algorithm upper-case-digest unknown-algorithm; do
    row 65 2 $kind "digest"
done
row 65 4 size-too-small "announced"
row 65 4 size-too-large "announced"
row 65 4 two-sizes "sizes"
row 65 2 many-layers "5000 layers"
row 65 2 deep-json "JSON"
row 65 2 no-json "JSON"
row 65 2 no-utf8 "JSON"
row 65 2 empty "JSON"

step "manifests that do not end"
row 65 2 huge-manifest "at most 4194304"
[ "$(sent manifests/)" -le $((9 << 20)) ] || bad "$(sent manifests/) bytes were read"
row 65 3 manifest-endless/tiny "4194304 bytes|more than"
[ "$(sent manifests/)" -le $((20 << 20)) ] || bad "$(sent manifests/) bytes were read"

step "the registry's words are shown, but not as it wrote them"
row 66 0 control-characters/tiny 'RED'
said 0 $'\e|\a|\302\233'
[ "$(wc -L <err)" -le 700 ] || bad "a line of $(wc -L <err) characters"

end_of_table
