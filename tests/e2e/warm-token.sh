#!/usr/bin/env bash
# Bearer tokens: one a repository, for the stored login, shared by all workers, renewed on 401.
# threads: short
. "$(dirname "$0")/../lib.sh"

tokens() { grep -c '"GET /token.* 200' "$token_log" || true; }

step "a stored login gets one token a repository"
start_token_server --user alice:hush-token
start_registry
write_login "$HOME/.docker/config.json" "$registry" alice hush-token
warm --image "$registry/base:1" --image "$registry/app:1" --image "$registry/base:docker"
expect_equal 2 "$(tokens)" "tokens"
expect_text "$token_log" 'scope=repository(:|%3A)app(:|%3A)pull[ &]'
expect_exit 0 cachedir -c "$cache" verify

step "a wrong password, and no login at all: 77, and the image is named"
write_login "$HOME/.docker/config.json" "$registry" alice hush-wrong
expect_exit 77 warmer --cache-dir other --image "$registry/base:1"
expect_text err "$registry/base:1"
rm "$HOME/.docker/config.json"
expect_exit 77 warmer --cache-dir other --image "$registry/base:1"
expect_exit 0 find other -maxdepth 1 -name 'sha256:*'
expect_equal "" "$(cat out)" "entries"

step "tokens that die while the layers are fetched are renewed"
stop_server "$token_server_pid"
stop_server "$registry_pid"
rm token.port
start_token_server --lifetime 2 --say 300 --field access_token
start_registry short
start_nginx <<<'limit_rate 1m;'
rm -rf "$cache"
warm --jobs 1 --image "$front/base:1" --image "$front/app:1"
expect_exit 0 cachedir -c "$cache" verify
settle_log
[ "$(requests GET '.*/blobs/.*' | grep -c '" 401 ')" -gt 0 ] || fail "no token died: no test"
[ "$(tokens)" -le 8 ] || fail "$(tokens) tokens were fetched"
