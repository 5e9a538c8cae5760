#!/usr/bin/env bash
# Many at once on a directory where locks do not help: the volume refuses them, or whoever holds them
# is dead or stopped. All is right then, only done more than once. (company-locks-all: more of it.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-company.sh"
rounds=${rounds:-1} turns=${turns:-2}

for error in ENOLCK EOPNOTSUPP; do
    refuse=("$bin/refuse-calls" "flock=$error" --)
    "${refuse[@]}" true || {
        untried "locks that are refused: no seccomp here"
        break
    }
    step "flock says $error: an empty directory and four warmers, $rounds times"
    for ((round = 1; round <= rounds; round++)); do
        new_volume
        set_mark
        start_readers oci 3600 3600
        four_warmers "${refuse[@]}"
        await
        stop_readers
        for i in 1 2 3 4; do
            expect_text "warmer$i.log" 'this volume has no locks'
        done
        most=$(fetches | sort -n | tail -n 1)
        [ "$most" -le 4 ] || fail "a blob was fetched $most times by four"
        expect_equal 9 "$(fetches | wc -l)" "blobs fetched"
        expect_sound
    done
    step "the same with a crowd"
    crowd "${refuse[@]}"
    [ $hits -gt 0 ] || fail "no build ever found an entry"
    expect_sound
done

step "the lock that kaniko's warmer takes is held for ever"
new_volume
warm --image "$registry/small:1"
rm -rf "${cache:?}/${small[0]}"
serve holder.log flock "$cache/.warmer-locks/${small[0]}.lock" sh -c 'echo held && exec sleep 1000'
wait_for "the lock" grep -q held holder.log
warm --stall-timeout 1s --image "$registry/small:1"
expect_text err 'its lock is held, but nobody seems to work on it'
expect_sound

step "a warmer that was stopped holds the locks of what it fetches"
start_nginx <<<'limit_rate 500;' # 10 KiB take 20 s
new_volume
warmer --cache-dir "$cache" --progress none --image "$front/small:1" >stopped.log 2>&1 </dev/null &
stopped=$!
wait_for "its first bytes" bash -c "[ -n \"\$(find '$cache/.basewarm/partial' -type f -size +0)\" ]"
kill -STOP $stopped
code=0
warmer --cache-dir "$cache" --progress none --stall-timeout 1s --image "$registry/small:1" \
    --image "$registry/small:2" >out 2>err </dev/null || code=$?
kill -CONT $stopped # before anything can fail: who is stopped cannot be ended
expect_equal 0 $code "the exit code of the other"
expect_text err 'the lock of sha256:[0-9a-f]* is held, but nobody writes it'
expect_exit 0 cachedir -c "$cache" verify
wait $stopped || fail "the one that was stopped: exit $?: $(cat stopped.log)"
expect_sound
echo "$((rounds * 2)) rounds and $((turns * 16)) runs without locks, 2 with locks of the dead"
