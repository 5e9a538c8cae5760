#!/usr/bin/env bash
# Many at once on one directory: warmers, pruners, verifiers and builds, on two nodes, as two users
# with one group. Each blob is fetched once, nothing fails, and no build sees a file short or missing.
# (company-all: thousands of rounds.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$root/tests/lib-company.sh"
rounds=${rounds:-1} turns=${turns:-3}

step "$rounds times: an empty directory, four warmers, a pruner and two builders"
for ((round = 1; round <= rounds; round++)); do
    new_volume
    set_mark
    start_readers oci 3600 3600
    four_warmers
    act pruner on 1 "$bin/cachedir" -c "$(there 1)" prune
    await 66 # which prune says of a directory that was never used
    stop_readers
    expect_equal "1 1 1 1 1 1 1 1 1" "$(fetches | xargs)" "fetches of each blob, round $round"
    expect_sound
done
echo "$rounds rounds, each of 9 blobs was fetched once; $hits builds"

step "$turns turns each of eight, with entries that live for $ttl s"
crowd
[ $hits -gt 0 ] || fail "no build ever found an entry"
expect_sound
echo "$((turns * 8)) runs beside $hits builds"
