#!/usr/bin/env bash
# ./quickstart on a copy of the tree: twice, and once for images of one's own through a mapped
# registry. It needs no network, leaves no process behind, and says what to do next.
# timeout: 400
. "$(dirname "$0")/../lib.sh"

mkdir tree
tar -C "$root" --exclude=./build --exclude=./.git --exclude=./cache -cf - . | tar -C tree -xf -
cd tree

quickstart() { # WARMER-ARGUMENT...
    expect_exit 0 ./quickstart "$@"
    cp "$scratch/out" "$scratch/said"
    cat "$scratch/said"
    expect_exit 0 build/release/bin/cachedir -c cache verify
}

step "as a newcomer types it"
started=$(now_ms)
quickstart
own=$(sed -n 's|^127.0.0.1:\([0-9]*\)/base:1 .*|\1|p' "$scratch/said")
! curl -s -o /dev/null "http://127.0.0.1:$own/v2/" || fail "quickstart's registry still runs"
took=$((($(now_ms) - started) / 1000))
echo "took $took s"
for word in 'base:1' 'app:1' '--cache=true' '--cache-dir=' 'FROM .*@sha256:'; do
    expect_text "$scratch/said" "$word"
done
expect_equal 2 "$(find cache -maxdepth 1 -name 'sha256:*' | wc -l)" "entries"

step "again: all is warm already"
quickstart
expect_text "$scratch/said" 'renewed|fresh'

step "images of one's own, through a mapped registry"
rm -rf cache
start_registry
for name in debian:bookworm-slim node:22; do
    skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false \
        "docker://$registry/base:1" "docker://$registry/library/$name"
done
set_mark
quickstart --image debian:bookworm-slim --image node:22 --registry-map "docker.io=$registry"
expect_requests 1 HEAD 'library/node/manifests/22'
expect_text "$scratch/said" 'debian:bookworm-slim'
expect_equal 1 "$(find cache -maxdepth 1 -name 'sha256:*' | wc -l)" "entries"

step "a failure of the warmer is quickstart's"
expect_exit 66 ./quickstart --image "$registry/no/such:image"
