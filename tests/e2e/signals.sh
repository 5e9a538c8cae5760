#!/usr/bin/env bash
# SIGINT and SIGTERM stop within a second, whatever a worker is waiting for; the exit code is
# 128 + n, the table is printed, and the directory is clean.
# threads: short
# alone: it measures time
. "$(dirname "$0")/../lib.sh"

limit=1500 # ms: one second, and what a sanitizer and a busy machine add

# Start the warmer, wait until it is seen waiting, send the signal, and look at what is left.
stops() { # SIGNAL CODE READY-COMMAND IMAGE [COMMAND-PREFIX]...
    local signal=$1 want=$2 ready=$3 image=$4 pid code=0 start took
    shift 4
    rm -rf "$cache"
    "$@" "$bin/warmer" --cache-dir "$cache" --image "$image" >out 2>err </dev/null &
    pid=$!
    wait_for "the warmer's waiting" bash -c "$ready" ready "$pid"
    start=$(now_ms)
    kill -s "$signal" "$pid"
    wait "$pid" || code=$?
    took=$(($(now_ms) - start))
    expect_equal "$want" "$code" "exit code on SIG$signal"
    [ "$took" -le $limit ] || fail "SIG$signal took $took ms"
    echo "stopped after $took ms"
    expect_text out "$image" # the table
    [ -z "$(find "$cache" -path '*/.basewarm/stage/*' 2>/dev/null)" ] || fail "a stage was left"
    [ -z "$(find "$cache" -maxdepth 1 -name 'sha256:*' 2>/dev/null)" ] || fail "an entry was made"
}

connected='ss -Htnp state established | grep -q "pid=$1,"'

step "a registry that takes the connection and says nothing"
serve silent.log python3 "$root/tests/servers/silent.py" accept accept.port
wait_for "the silent server's start" test -s accept.port
silent=127.0.0.1:$(cat accept.port)
stops TERM 143 "$connected" "$silent/base:1"
stops INT 130 "$connected" "$silent/base:1"

step "a connect that hangs"
serve silent.log python3 "$root/tests/servers/silent.py" full full.port
wait_for "the full server's start" test -s full.port
stops TERM 143 'ss -Htnp state syn-sent | grep -q "pid=$1,"' "127.0.0.1:$(cat full.port)/base:1"

step "a layer that trickles; what was fetched of it is kept, and used by the next run"
start_registry
start_nginx <<<'limit_rate 200k;'
stops TERM 143 "test -n \"\$(find '$cache/.basewarm/partial' -size +100k)\"" "$front/base:1"
[ -n "$(find "$cache/.basewarm/partial" -type f -size +100k)" ] || fail "nothing was kept"
set_mark
warm --image "$registry/base:1"
settle_log
[ "$(requests GET '.*/blobs/.*' | grep -c '" 206 ')" -gt 0 ] || fail "the transfer was not resumed"
expect_exit 0 cachedir -c "$cache" verify
expect_clean

step "a resolver that never answers"
# A network of its own, with a name server that swallows queries.
cat >resolver.sh <<'SH'
ip link set lo up
echo 'nameserver 127.0.0.1' >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
setpriv --pdeathsig KILL python3 "$1" dns dns.port 53 &
until [ -s dns.port ]; do sleep 0.05; done
shift
exec "$@"
SH
if unshare -rmn true 2>/dev/null; then
    stops TERM 143 'awk "\$3 == \"0100007F:0035\" { found = 1 } END { exit !found }" "/proc/$1/net/udp"' registry.example/base:1 \
        unshare -rmn bash resolver.sh "$root/tests/servers/silent.py"
else
    untried "a silent resolver: no namespaces here"
fi
