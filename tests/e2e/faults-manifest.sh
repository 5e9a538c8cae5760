#!/usr/bin/env bash
# A registry that misbehaves on purpose: HEAD, Content-Type, and pages instead of manifests.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
# "tiny" takes HEAD and GET of the manifest, the config and one layer: 4 requests.

step "HEAD"
for kind in head-405 head-501 head-404 head-no-digest digest-sha512 digest-garbage digest-md5; do
    [ $kind = head-404 ] || row 0 4 $kind/tiny ""
done
row 0 5 head-wrong-digest/tiny "" # nothing is to be had under that digest: by tag, then
row 0 5 digest-wrong/tiny ""
row 66 1 head-404/tiny "404"
row 77 2 manifest-status-403/tiny "403.*says the registry" # HEAD has no body that says why
row 75 3 manifest-status-503/tiny "503"
row 66 1 manifest-status-404/tiny "404"
row 66 1 tiny:no-such-tag "404"
row 66 1 pub/no-such-image "404"

step "Content-Type"
for kind in plain html json none parameters capitals octets; do
    row 0 4 kind-$kind/tiny ""
    row 0 4 kind-$kind/typeless ""
    row 0 5 kind-$kind/indexed ""
done
row 65 2 kind-index/tiny "calls itself"
digest=$(curl -fsS -H "Accept-Encoding: identity" "http://$main/v2/tiny/manifests/1" | sha256sum | cut -d' ' -f1)
row 0 3 "kind-index/tiny@sha256:$digest" "calls itself"
row 0 3 "kind-html/tiny@sha256:$digest" ""
row 65 3 page/tiny "JSON"
row 65 4 page-digest/tiny "sha256:|JSON" # and the digest that was asked for in its header
row 65 2 "page/tiny@sha256:$digest" "sha256:"
row 0 4 gzip-manifest/tiny ""
row 0 5 gzip-manifest/indexed ""
row 0 4 gzip-said-manifest/tiny ""
row 65 3 gzip-bomb/tiny "bytes come out"

end_of_table
