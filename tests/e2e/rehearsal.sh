#!/usr/bin/env bash
# A dress rehearsal: namespaces and bind mounts play the cluster. The Indexed Job's shards fill a
# volume at once, the CronJob's container warms and prunes it in a loop, the init containers of
# several Pods start together, and kaniko's executor, where KANIKO_EXECUTOR names one, builds from
# the read-only mount, with the registry up, then down. What runs are the containers of k8s/: their
# arguments, uid, mounts.
# timeout: 400
. "$(dirname "$0")/../lib.sh"
. "$root/tests/lib-kaniko.sh"

[ "$EUID" -eq 0 ] || skip "only root can play the kubelet"
unshare --mount --pid --fork true 2>/dev/null || skip "no namespaces here"
chmod 755 "$(dirname "$bin")" "$scratch" # uid 65532 comes by

start_registry
base=$(digest_of base:1 "$platform")
mkdir -m 2775 volume etc
chown 0:65532 volume # as fsGroup leaves it
for i in $(seq 6); do
    skopeo copy -q --all --src-tls-verify=false --dest-tls-verify=false \
        "docker://$registry/app:1" "docker://$registry/team/app:$i" </dev/null
done
{
    echo "$registry/base:1"
    for i in $(seq 6); do echo "$registry/team/app:$i"; done
    echo "$registry/base:docker"
} >etc/images.txt

# The arguments of a container of ours, one a line. Its image list is the one above.
arguments() { # FILE KIND/NAME
    python3 - "$root/k8s/$1" "$2" <<'PY'
import sys, yaml
kind, name = sys.argv[2].split("/")
for doc in yaml.safe_load_all(open(sys.argv[1])):
    if (doc["kind"], doc["metadata"]["name"]) == (kind, name):
        spec = doc["spec"].get("jobTemplate", doc)["spec"]
        spec = spec.get("template", {"spec": spec})["spec"]
        container = (spec.get("initContainers") or spec["containers"])[0]
        print(*container["args"], sep="\n")
PY
}

# One Pod: its own mounts and processes, the volume at /cache, uid 65532 with fsGroup, no
# capabilities, no new privileges, everything else read-only.
# shellcheck disable=SC2016  # for the inner shell
as_pod='
    set -eu
    mount -t tmpfs none /mnt && mkdir /mnt/cache /mnt/etc /mnt/programs
    mount --bind "$1/volume" /mnt/cache && mount --bind "$1/etc" /mnt/etc && mount --bind "$2" /mnt/programs
    mount -o remount,bind,ro /mnt/etc && mount -o remount,bind,ro /mnt/programs
    shift 2
    exec setpriv --reuid 65532 --regid 65532 --groups 65532 --bounding-set=-all --inh-caps=-all --no-new-privs "$@"'
pod() { # COMMAND...
    unshare --mount --propagation private --pid --fork --kill-child bash -c "$as_pod" pod "$scratch" "$bin" "$@"
}

# The container's arguments with its paths made those of pod().
in_pod() { # PROGRAM ARGUMENT...
    local program=$1
    shift
    local words=("${@/--cache-dir=\/cache/--cache-dir=/mnt/cache}")
    pod "/mnt/programs/$program" "${words[@]/\/etc\/basewarm/\/mnt/etc}"
}

mapfile -t shards < <(arguments components/prefill-shards/job.yaml Job/basewarm-prefill-shards)
mapfile -t refresh < <(arguments base/cronjob-refresh.yaml CronJob/basewarm-refresh)
mapfile -t verify < <(arguments base/cronjob-verify.yaml CronJob/basewarm-verify)
mapfile -t init < <(arguments examples/pod-kaniko.yaml Pod/build-with-kaniko)

wait_all() { # WHAT: every background job but the servers
    local pid code=0
    for pid in "${pods[@]}"; do
        wait "$pid" || code=$?
        [ $code -eq 0 ] || fail "$1: exit $code: $(cat pod-*.err)"
    done
    pods=()
}

step "the Indexed Job: four shards at once"
pods=()
set_mark
for i in 0 1 2 3; do
    JOB_COMPLETION_INDEX=$i in_pod warmer "${shards[@]}" >"pod-$i.out" 2>"pod-$i.err" &
    pods+=($!)
done
wait_all "a shard"
expect_exit 0 in_pod cachedir list --json --cache-dir=/mnt/cache
jq -r '.images[] | select(.state == "ok") | .reference' out | sort >got
sort etc/images.txt >want
diff want got || fail "the shards did not make the whole list"
expect_equal "$(jq -r '.images[].digest' out | sort -u | wc -l)" \
    "$(find volume -maxdepth 1 -name 'sha256:*' | wc -l)" entries
settle_log
requests GET '.*/blobs/.*' | grep -o '/blobs/[^ ?]*' | sort | uniq -d >twice
[ ! -s twice ] || fail "fetched more than once: $(cat twice)"

step "init containers of five Pods start together, beside the CronJob's container in a loop"
rm -rf volume/* volume/.[a-z]*
for i in 1 2 3; do
    in_pod warmer "${refresh[@]}" || exit
done >pod-loop.out 2>pod-loop.err &
pods+=($!)
for i in 1 2 3 4 5; do
    in_pod warmer "${init[@]/debian:bookworm-slim/$registry/base:1}" >"pod-$i.out" 2>"pod-$i.err" &
    pods+=($!)
done
wait_all "an init container, or the refresh"
cat pod-loop.out
expect_text pod-loop.out 'renewed|fresh'
expect_exit 0 in_pod cachedir "${verify[@]}"
expect_clean volume

step "a Pod that was killed half way leaves nothing that the next does not mend"
rm -rf volume/* volume/.[a-z]*
in_pod warmer "${refresh[@]}" >pod-loop.out 2>pod-loop.err &
killed=$!
wait_for "the first blob" bash -c 'find volume -path "*/blobs/sha256/*" -o -path "*/partial/*" | grep -q .'
pkill -KILL -P $killed # unshare, and with it all that runs in there
wait $killed 2>/dev/null || true
expect_exit 0 in_pod warmer "${refresh[@]}"
expect_exit 0 in_pod cachedir "${verify[@]}"

step "a registry that is down blocks no build"
stop_server "$registry_pid"
down=("${init[@]/debian:bookworm-slim/$registry/base:1}")
expect_exit 0 in_pod warmer "${down[@]/--fresh-for=15m/--retries=0}"
expect_text out failed
[ -e "volume/$base/index.json" ] || fail "the entry is gone"

[ -n "${KANIKO_EXECUTOR:-}" ] || {
    untried "the executor: KANIKO_EXECUTOR names none"
    exit 0
}
need_executor "$KANIKO_EXECUTOR"
directory=$scratch/volume
step "kaniko builds from the read-only mount: no registry"
name=$registry
registry=
build "$name/base:1@$base" --net
expect_hit "$base"

step "... and with it"
start_empty_registry again "$scratch/registry"
in_pod warmer --cache-dir=/mnt/cache --image="$registry/base:1" >out 2>err || fail "cannot warm"
build "$registry/base:1"
expect_hit "$base"
