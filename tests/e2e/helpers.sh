#!/usr/bin/env bash
# Credential helpers: asked for what the files leave to them, asked again when the registry refuses
# what they said, and ended with all their children.
# threads: short
# alone: it measures time
. "$(dirname "$0")/../lib.sh"

config=$HOME/.docker/config.json
mkdir -p "$HOME/.docker" helpers
export PATH=$scratch/helpers:$PATH

helper() { # NAME: the script is on stdin; each run adds a line to NAME.runs
    {
        printf '#!/bin/bash\ncd %s\ncat >>%s.runs; echo >>%s.runs\n' "$scratch" "$1" "$1"
        cat
    } >"helpers/docker-credential-$1"
    chmod 755 "helpers/docker-credential-$1"
}
runs() { wc -l <"$1.runs"; }

printf 'alice:%s\n' "$(openssl passwd -apr1 hush-two)" >users
start_registry
start_nginx <<NGINX
auth_basic realm;
auth_basic_user_file $scratch/users;
NGINX

step "the helper that is named for the registry; its answer serves all images"
helper good <<'SH'
echo '{"ServerURL":"x","Username":"alice","Secret":"hush-two"}'
SH
jq -n --arg host "$front" '{credHelpers: {($host): "good"}}' >"$config"
warm -v trace --image "$front/base:1" --image "$front/app:1"
expect_equal "$front" "$(cat good.runs)" "what the helper was asked for"
expect_text err "credentials for $front: docker-credential-good"

step "one that has rotated meanwhile is asked again"
helper turns <<'SH'
[ "$(wc -l <turns.runs)" -gt 1 ] && word=two || word=one
echo '{"Username":"alice","Secret":"hush-'$word'"}'
SH
echo '{"credsStore":"turns"}' >"$config"
rm -rf "$cache"
warm --jobs 4 --image "$front/base:1" --image "$front/app:1" --image "$front/base:docker"
expect_equal 2 "$(runs turns)" "runs of the helper"
expect_no_text err warn

step "one that fails: going on without it, and worth another try if that does not do"
helper fails <<<'echo the vault is sealed; exit 1'
jq -n --arg a "$front" --arg b "$registry" '{credHelpers: {($a): "fails", ($b): "fails"}}' >"$config"
expect_exit 0 warmer --cache-dir other --image "$registry/base:1"
[ ! -e fails.runs ] || fail "asked for a registry that does not want to know"
expect_exit 75 warmer --cache-dir other --retries 1 --image "$front/base:1"
expect_text err 'docker-credential-fails: exit code 1: the vault is sealed'
expect_equal 1 "$(runs fails)" "runs of the helper"
jq -n --arg host "$front" '{credHelpers: {($host): "absent"}}' >"$config"
expect_exit 78 warmer --cache-dir other --image "$front/base:1"
expect_text err 'docker-credential-absent is not in \$PATH'
helper none <<<'echo credentials not found in native keychain; exit 1'
jq -n --arg host "$front" '{credHelpers: {($host): "none"}}' >"$config"
expect_exit 77 warmer --cache-dir other --image "$front/base:1"
expect_text err 'docker-credential-none has none'

step "a password without a username is no credential, and that is said"
jq -n --arg host "$front" '{auths: {($host): {password: "hush-two"}}}' >"$config"
expect_exit 77 warmer --cache-dir other --image "$front/base:1"
expect_text err "config.json: .*$front.*: a password without a username is no credential"

is_gone() { [ ! -d "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }
hang() { # PREFIX...: start the warmer; its helper hangs. Sets $pid, $helper, $child
    rm -f hangs.*
    "$@" warmer --cache-dir other --image "$front/base:1" >out 2>err </dev/null &
    pid=$!
    wait_for "the helper's start" test -s hangs.child
    helper=$(cat hangs.pid) child=$(cat hangs.child)
}
helper hangs <<'SH'
trap '' TERM INT HUP
echo $$ >hangs.pid
sleep 1000 &
echo $! >hangs.new
mv hangs.new hangs.child
wait
SH
echo '{"credsStore":"hangs"}' >"$config"
for signal in TERM INT; do
    step "SIG$signal ends a helper that hangs, with its children"
    hang env
    begun=$(now_ms) code=0
    kill -s $signal "$pid"
    wait "$pid" || code=$?
    took=$(($(now_ms) - begun))
    [ $code -gt 128 ] || fail "exit $code"
    [ $took -lt 1500 ] || fail "it took $took ms"
    expect_text err 'base:1: manifest: .*stopped'
    expect_no_text err '\<401\>|no credentials'
    wait_for "the helper's end" is_gone "$helper"
    wait_for "the child's end" is_gone "$child"
done

step "SIGKILL of ours ends the helper, too"
hang env
kill -9 "$pid"
wait "$pid" || true
wait_for "the helper's end" is_gone "$helper"
kill -9 "$child"

step "as PID 1 we reap what helpers leave"
helper leaves <<'SH'
(setsid sleep 0.5 & echo >left; sleep 1000 &)
echo '{"Username":"alice","Secret":"hush-two"}'
SH
echo '{"credsStore":"leaves"}' >"$config"
serve silent.log python3 "$root/tests/servers/silent.py" accept accept.port
wait_for "the silent server's start" test -s accept.port
if unshare -rpf --kill-child true 2>/dev/null; then
    rm -rf other
    unshare -rpf --kill-child "$bin/warmer" --cache-dir other --image "$front/base:1" \
        --image "127.0.0.1:$(cat accept.port)/base:1" >out 2>err </dev/null &
    pid=$!
    wait_for "the first image" grep -q "base:1: pulled" err
    [ -e left ] || fail "the helper left nobody"
    init=$(pgrep -P "$pid")
    wait_for "the end of all children" bash -c "! pgrep -P $init"
    kill "$init"
    wait "$pid" || true
else
    untried "PID 1: no namespaces here"
fi

step "our memory is not for others: no core dumps, no debuggers"
as=(env)
[ "$(id -u)" != 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
mkdir -m 777 theirs
"${as[@]}" "$bin/warmer" --cache-dir theirs/cache --image "127.0.0.1:$(cat accept.port)/base:1" \
    >out 2>err </dev/null &
pid=$!
wait_for "the run's start" test -d theirs/cache/.basewarm
expect_equal 0 "$(stat -c %u "/proc/$pid/environ")" "owner of what only a dumpable process shows"
kill "$pid"
wait "$pid" || true
