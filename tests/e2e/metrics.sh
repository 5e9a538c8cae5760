#!/usr/bin/env bash
# --metrics-file: what a run did, for Prometheus.
. "$(dirname "$0")/../lib.sh"

start_registry
good=$registry/base:1
missing=$registry/base:missing
file=metrics.prom

run() { # CODE ARGUMENT...
    local code=$1
    shift
    expect_exit "$code" warmer -c "$cache" --progress none --retries 0 --report report \
        --metrics-file "$file" "$@"
    # Every sample has a name, labels and one value: timestamps are refused by the collector.
    ! grep -vE '^(# (HELP|TYPE) basewarm_[a-z_]+ .+|basewarm_[a-z_]+(\{[^}]*\})? -?[0-9.]+)$' "$file" ||
        fail "not Prometheus' format"
    promtool check metrics <"$file" || fail "promtool finds fault with it"
    expect_equal "$(jq .exit_code report)" "$(value exit_code)" "exit code"
    [ -z "$(find . -maxdepth 1 -name '.warmer*')" ] || fail "a temporary file is left"
}

value() { # NAME: of a sample, without basewarm_
    awk -v name="basewarm_$1" '$1 == name { print $2 }' "$file"
}

step "pulled, failed"
run 66 -i "$good" -i "$missing"
expect_equal 1 "$(value 'images{result="pulled"}')" pulled
expect_equal 1 "$(value 'images{result="failed"}')" failed
expect_equal 1 "$(value 'failures{error="not_found"}')" "not found"
expect_equal 66 "$(value exit_code)" "exit code"
expect_equal "$(jq .totals.bytes_fetched report)" "$(value fetched_bytes)" "bytes"
expect_equal "$(jq .requests.blobs report)" "$(value 'requests{kind="blob"}')" "requests"
labels="reference=\"$good\",platform=\"linux/"
grep -qE "^basewarm_image_warm\{${labels}[^\"]*\"\} 1$" "$file" || fail "the image is not warm"
grep -qE "^basewarm_image_warm\{${labels/"$good"/"$missing"}[^\"]*\"\} 0$" "$file" || fail "it is warm"

step "renewed: the file is replaced, and nothing of the old run stays"
ln -s "$file" link
file=./link
run 0 -i "$good"
[ -L link ] || fail "the symlink is gone"
expect_equal 1 "$(value 'images{result="renewed"}')" renewed
expect_equal 0 "$(value 'images{result="failed"}')" failed
expect_equal "" "$(value 'failures{error="not_found"}')" "not found"
expect_no_text "$file" missing
expect_no_text "$file" pruned

step "pruned: what the limits cost stands apart"
warm -i "$registry/app:1" -i "$registry/base:docker"
run 1 -i "$good" --max-size 1 --keep "$good" # cannot be met
expect_text err 'app:1: evicted to meet the limits, [0-9]+[smhd].* after its last renewal'
expect_equal "$(jq .pruned.evicted.count report)" "$(value 'pruned_entries{reason="evicted"}')" evicted
[ "$(value 'pruned_entries{reason="evicted"}')" -eq 2 ] || fail "two should be evicted"
[ "$(value 'pruned_bytes{reason="evicted"}')" -gt 0 ] || fail "evicting freed nothing"
expect_equal 0 "$(value 'pruned_entries{reason="expired"}')" expired
expect_equal 0 "$(value limits_met)" "limits met"
run 0 -i "$good" --prune
expect_equal 0 "$(value 'pruned_entries{reason="evicted"}')" evicted
expect_equal 1 "$(value limits_met)" "limits met"

step "an image that the limits cost again is not warm"
run 74 -i "$good" -i "$registry/app:1" --max-size 1K
expect_text err '2 of 2 images failed, .*: evicted again: --max-size or --min-free leave no room'
expect_equal 2 "$(value 'images{result="failed"}')" failed
expect_equal 2 "$(jq '[.images[] | select(.result == "failed" and .error == "no-space")] | length' report)" "in the report"
run 0 -i "$good"

step "a run that could not begin says so, too"
touch no-directory
expect_exit 73 warmer -c no-directory -i "$good" --metrics-file "$file"
expect_equal 73 "$(value exit_code)" "exit code"

step "a file that cannot be written is an error of its own"
expect_exit 74 warmer -c "$cache" -i "$good" --metrics-file no/such/directory/file
expect_text err '--metrics-file no/such/directory/file: cannot be written there'
