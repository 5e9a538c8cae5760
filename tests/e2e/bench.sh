#!/usr/bin/env bash
# The benchmark runs, at sizes whose figures mean nothing: every case and contestant is in the table and
# in the JSON, and the README's part is written from it.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

cases=(cold tls big throttled rtt again pinned memory verify deep entries start-up archive)

step "every case, one round"
expect_exit 0 "$root/tests/bench" "${cases[@]}" --rounds 1 --unique 2Mi --big 3Mi --huge 4Mi --tags 3 --entries 20 \
    --loud --bin "$bin" --work "$scratch/work" --json result.json
expect_equal "${cases[*]}" "$(jq -r '[.cases[].case] | join(" ")' result.json)" "cases"
for case in "${cases[@]}"; do
    expect_text out "^$case +[a-z].* [0-9]+\.[0-9]{3}-[0-9]+\.[0-9]{3} "
    expect_text out "^$case .* (met|missed|not tried: no .*)$"
done
expect_equal 0 "$(jq '[.cases[].samples[][] | select(.wall <= 0 or .rss <= 0 or .code != 0)] | length' result.json)" "bad samples"
[ -z "$(ls "$scratch/work")" ] || fail "left: $(ls "$scratch/work")"

step "what has nothing to do with time holds at any size"
aim() { # REGEX: its verdict
    jq -r --arg says "$1" '.cases[].aims[] | select(.aim | test($says)) | .verdict' result.json
}
expect_equal met "$(aim '^5 tags: 5 requests')" "requests of 5 tags"
expect_equal met "$(aim '^5 tags: no GET')" "GETs of 5 tags"
expect_equal met "$(aim '^many tags: one request')" "requests of many tags"
expect_equal met "$(aim '^pinned: 0 requests')" "requests of what is pinned"
expect_equal met "$(aim '^fresh: 0 requests')" "requests of what is fresh"

step "a spread that crosses its aim shows nothing"
python3 - "$root/tests/benchmark" <<'PY'
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import report
for values, verdict in (([0.9, 0.95, 1.0], "met"), ([0.9, 0.95, 1.01], "not shown"), ([1.01, 1.2, 1.5], "missed"),
                        ([0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 7], "met"), ([0.5, 0.9, 0.9, 0.9, 0.9, 7, 7], "not shown")):
    assert report.judge(values, 1.0) == verdict, (values, verdict, report.judge(values, 1.0))
PY

step "the README's part"
printf 'above\n<!-- benchmark: written by tests/bench --readme -->\nold\n<!-- benchmark: end -->\nbelow\n' >page
"$root/tests/bench" --readme result.json --page page
expect_text page '^above$'
expect_text page '^below$'
expect_text page '^\| five images that share layers, HTTP \| .* \| (met|missed) \|$'
expect_no_text page '^old$'

step "only a directory of its own is emptied"
mkdir precious
touch precious/photograph
expect_exit 1 "$root/tests/bench" start-up --bin "$bin" --work precious
[ -e precious/photograph ] || fail "a directory of somebody else's was emptied"
