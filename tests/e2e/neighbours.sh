#!/usr/bin/env bash
# kaniko's own warmers at work on the directory at the same time: an imitation of what they do, and
# the real ones where KANIKO_WARMER (osscontainertools/kaniko) and KANIKO_WARMER_ORIG (archived kaniko)
# name them. Ours never fails, what it leaves is whole, and it mends what they break. (neighbours-all: many
# rounds.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
users=1 # what they make is for nobody else to read
. "$root/tests/lib-company.sh"
rounds=${rounds:-1}

pinned=()
for i in 1 2 3 4; do
    pinned+=("$registry/small:$i@${small[i - 1]}")
done
imitation() { # KIND: warm all
    "$root/tests/crash/neighbour" "$1" "$cache" "${small[@]/#/$registry/small@}"
}
real() { # BINARY [VARIABLE=VALUE]
    env -i PATH=/usr/bin:/bin HOME="$HOME" "${@:2}" "$1" --cache-dir="$cache" --insecure-pull \
        "${pinned[@]/#/--image=}"
}
ours() { warmer --cache-dir "$cache" --progress none "$@" "${images[@]}"; }

is_sound() { # FORMAT: after one more run of ours
    expect_exit 0 ours --format "$1"
    expect_exit 0 cachedir -c "$cache" verify
    expect_clean
    expect_equal 4 "$(find "$cache" -maxdepth 1 -name 'sha256:*' ! -name '*.json' | wc -l)" entries
}

# together NAME FORMAT CODES COMMAND...: CODES of theirs are well
rounds_run=0
together() {
    local name=$1 format=$2 codes=$3 round
    shift 3
    for ((round = 0; round < rounds; round++)); do
        step "$name beside ours, $format, with one image of four"
        new_volume
        warm --format "$format" --image "$registry/small:1" # nobody is in doubt about the format
        start_readers "$format" 3600 3600
        act theirs "$@"
        act ours ours --format "$format"
        await "$codes"
        stop_readers
        is_sound "$format"

        step "and with two of them broken, while ours hashes and prunes"
        start_readers "$format" 3600 3600
        break_half "$format"
        act theirs "$@"
        act again "$@"
        act ours ours --format "$format" --force
        act pruner cachedir -c "$cache" prune
        await "$codes"
        stop_readers
        is_sound "$format"
        rounds_run=$((rounds_run + 2))
    done
}

# So that a builder misses them: what it reads at the moment is not touched.
break_half() { # FORMAT
    local digest
    for digest in "${small[@]:0:2}"; do
        if [ "$1" = oci ]; then rm -f "$cache/$digest/index.json"; else rm -f "$cache/$digest"{,.json}; fi
    done
}

# They kill builds themselves: no builders here.
takes_over() { # NAME COMMAND...
    local name=$1
    shift
    step "$name makes tars of our entries while ours mends them"
    new_volume
    expect_exit 0 ours
    act theirs "$@"
    act ours ours
    act again ours --force
    await
    is_sound oci
    rounds_run=$((rounds_run + 1))
}

together "an imitation of the fork's warmer" oci "" imitation fork
together "an imitation of archived kaniko's warmer" docker-archive "" imitation archived
together "an imitation of archived kaniko's warmer" oci 1 imitation archived # it says "file exists"
takes_over "an imitation of the fork's warmer" imitation fork-tar

if [ -n "${KANIKO_WARMER:-}" ]; then
    together "the fork's warmer" oci "" real "$KANIKO_WARMER"
    takes_over "the fork's warmer" real "$KANIKO_WARMER" FF_KANIKO_OCI_WARMER=false
else
    untried "the fork's warmer itself: KANIKO_WARMER names none"
fi
if [ -n "${KANIKO_WARMER_ORIG:-}" ]; then
    together "archived kaniko's warmer" docker-archive "" real "$KANIKO_WARMER_ORIG"
    together "archived kaniko's warmer" oci "0 1" real "$KANIKO_WARMER_ORIG"
else
    untried "archived kaniko's warmer itself: KANIKO_WARMER_ORIG names none"
fi
echo "$rounds_run rounds with a neighbour"
