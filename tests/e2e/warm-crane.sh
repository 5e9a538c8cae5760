#!/usr/bin/env bash
# go-containerregistry's own registry, whose ranges differ from others': open ones are refused.
# threads: long
. "$(dirname "$0")/../lib.sh"

command -v crane >/dev/null || skip "crane, a package of another suite of Debian, could not be had"

start_empty_registry registry "$scratch/registry"
"$root/tests/make-images" --layer-size 64Mi --push "http://$registry" >list
source=$registry
registry=127.0.0.1:$(free_port)
serve crane.log crane registry serve --address "$registry"
wait_for "crane's start" curl -sf -o /dev/null "http://$registry/v2/"
for image in big:1 base:1; do
    crane copy --insecure "$source/$image" "$registry/$image" 2>/dev/null
done
start_nginx <<<'limit_rate 6m;'

step "warmed, the big layer in parts"
warm --image "$front/big:1" --image "$front/base:1"
expect_exit 0 cachedir -c "$cache" verify
expect_clean
expect_equal 2 "$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)" "entries"
grep -c '" 206 ' "$nginx_log" >parts || fail "nothing came by a range"
expect_no_text "$nginx_log" '" 416 '

step "and again, by one HEAD a tag"
: >"$nginx_log"
warm --image "$front/big:1" --image "$front/base:1"
expect_equal 2 "$(grep -c 'HEAD /v2/[a-z]*/manifests/1 ' "$nginx_log")" "HEADs"
expect_equal 0 "$(grep -c '"GET ' "$nginx_log" || true)" "GETs"
