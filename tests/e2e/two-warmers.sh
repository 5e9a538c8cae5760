#!/usr/bin/env bash
# Two warmers at once on one directory: each blob is fetched once in all, and both succeed.
# threads: short
. "$(dirname "$0")/../lib.sh"

start_registry
start_nginx <<<'limit_rate 1m;' # so that they do meet
pids=()
for i in 1 2; do
    warmer --cache-dir "$cache" --progress none --image "$front/base:1" --image "$front/app:1" \
        >"out$i" 2>"err$i" </dev/null &
    pids+=($!)
done
for i in 1 2; do
    wait "${pids[i - 1]}" || {
        cat "out$i" "err$i"
        fail "warmer $i: exit $?"
    }
done

twice=$(requests GET '.*/blobs/.*' | grep -o 'sha256:[0-9a-f]*' | sort | uniq -d)
expect_equal "" "$twice" "blobs fetched twice"
expect_requests 5 GET '.*/blobs/.*' # a config each, two layers of base, one more of app
expect_exit 0 cachedir -c "$cache" verify
expect_clean
