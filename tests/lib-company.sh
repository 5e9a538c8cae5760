# shellcheck shell=bash disable=SC2034,SC2154
# For the tests with many processes on one directory, sourced after lib.sh: small images in a registry,
# two nodes (mount namespaces in which the volume stands elsewhere), and users who have only the
# volume's group in common. Without root all is one node and one user.
#   $cache             the directory, of a volume that belongs to the group
#   $images            the four, as warmer's options; $small: their digests
#   on N COMMAND...    as user N, on node N: 1, 2; there the directory is $(there N)
# users=1 before sourcing: one node, one user.

users=${users:-2}
mkdir volume
chmod 755 "$scratch" "$HOME"
volume_group=4242
if [ "$users" -eq 2 ] && { [ "$EUID" -ne 0 ] || ! unshare --mount true 2>/dev/null; }; then
    users=1
    untried "two nodes and two users: that takes root"
fi
if [ "$users" -eq 2 ]; then
    chgrp "$volume_group" volume
    chmod 2775 volume
    for node in 1 2; do
        mkdir "node$node"
        serve "node$node.log" unshare --mount --propagation private \
            sh -c "mount --bind volume node$node && echo ready && exec sleep 100000"
        declare "node$node=$!"
        wait_for "node $node" grep -q ready "node$node.log"
    done
fi
cache=$scratch/volume/cache

there() { # N
    if [ "$users" -eq 2 ]; then echo "$scratch/node$1/cache"; else echo "$cache"; fi
}

on() { # N COMMAND...
    local node=node$1 user=$((5000 + $1))
    shift
    if [ "$users" -eq 2 ]; then
        nsenter --target "${!node}" --mount --wd=/ setpriv --reuid $user --regid $user \
            --groups $volume_group -- sh -c 'umask 002; exec "$@"' sh "$@"
    else
        "$@"
    fi
}

start_small_registry
images=(--image "$registry/small:1" --image "$registry/small:2" --image "$registry/small:3"
    --image "$registry/small:4")

# ---- actors: each in the background, until it is done; what it says is in NAME.log ------------

pids=() names=()
act() { # NAME COMMAND...
    local name=$1
    shift
    "$@" >"$name.log" 2>&1 </dev/null &
    pids+=($!) names+=("$name")
}

four_warmers() { # [COMMAND...]: in front of each
    local i node
    for i in 1 2 3 4; do
        node=$((i % 2 + 1))
        act "warmer$i" on $node "$@" "$bin/warmer" --cache-dir "$(there $node)" --progress none \
            "${images[@]}"
    done
}

# All of them have succeeded, but that codes of ALLOWED are well, too.
await() { # [ALLOWED]
    local i code
    for i in "${!pids[@]}"; do
        code=0
        wait "${pids[i]}" || code=$?
        [ $code -eq 0 ] || [[ " ${1-} " = *" $code "* ]] || {
            cat "${names[i]}.log"
            fail "${names[i]}: exit $code"
        }
    done
    pids=() names=()
}

start_readers() { # FORMAT TTL GRACE
    rm -f stop
    reader_pids=()
    local node
    for node in 1 2; do
        on "$node" "$root/tests/crash/reader" "$(there "$node")" "$1" "$2" "$3" "$scratch/stop" "${small[@]}" \
            >"reader$node.log" 2>&1 </dev/null &
        reader_pids+=($!)
    done
}

hits=0
stop_readers() {
    touch stop
    local node said
    for node in 1 2; do
        wait "${reader_pids[node - 1]}" || fail "$(cat "reader$node.log")"
        read -r said _ <"reader$node.log"
        hits=$((hits + said))
    done
}

new_volume() {
    rm -rf "$cache"
    if [ "$users" -eq 2 ]; then install -d -m 2775 -g $volume_group "$cache"; else mkdir "$cache"; fi
}

expect_sound() {
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean
}

fetches() { # how often each blob was fetched since the mark
    settle_log
    requests GET '.*/blobs/.*' | grep -o 'blobs/sha256:[0-9a-f]*' | sort | uniq -c | awk '{ print $1 }'
}

# ---- a crowd: what lives 2 s and stays 3 s more comes and goes while others work on it ----------

ttl=2 grace=3
churn() { # NODE CODES COMMAND...: $turns times; these exit codes are well
    local node=$1 codes=$2 i code
    shift 2
    for ((i = 0; i < turns; i++)); do
        code=0
        on "$node" "$@" || code=$?
        [[ " $codes " = *" $code "* ]] || {
            echo "turn $i: exit $code"
            return 1
        }
        sleep 0.$((RANDOM % 10))
    done
}

# Warmers, pruners, verifiers and builders, on each node. $hits counts what the builders found.
crowd() { # [COMMAND...]: in front of each program
    local node dir warming
    new_volume
    on 1 "$bin/warmer" -c "$(there 1)" --progress none "${images[@]}" >out 2>err || fail "$(cat err)"
    hits=0
    start_readers oci $ttl $grace
    for node in 1 2; do
        dir=$(there "$node")
        warming=("$@" "$bin/warmer" -c "$dir" --progress none)
        act "warmer$node" churn "$node" 0 "${warming[@]}" --image "$registry/small:$node" \
            --image "$registry/small:3"
        act "forced$node" churn "$node" 0 "${warming[@]}" --force --image "$registry/small:$((node + 2))"
        act "pruner$node" churn "$node" "0 75" "$@" "$bin/cachedir" -c "$dir" prune \
            --cache-ttl ${ttl}s --grace ${grace}s # 75: the other one took long
        act "verifier$node" churn "$node" 0 "$@" "$bin/cachedir" -c "$dir" verify --repair
    done
    await
    stop_readers
}
