# shellcheck shell=bash disable=SC2034,SC2154  # variables of lib.sh, and for the tests
# For the tests that trace programs on small images, sourced after lib.sh.
#   $images            two of them, as warmer's options; $one and $two: their digests
#   $shared            the hex of a layer that both have

kill-at 0 true 2>/dev/null || skip "ptrace is not allowed here"
export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 # which needs ptrace itself
start_small_registry
one=${small[0]} two=${small[1]}
images=(--image "$registry/small:1" --image "$registry/small:2")
shared=$(fetch_manifest small "$one" | jq -r '.layers[0].digest' | sed s/sha256://)
