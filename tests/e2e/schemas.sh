#!/usr/bin/env bash
# What the programs write as JSON is what docs/schemas says, whatever state the directory is in.
. "$(dirname "$0")/../lib.sh"

answers() { # CODE SCHEMA COMMAND [ARGUMENT]...
    local code=$1 schema=$2
    shift 2
    expect_exit "$code" cachedir -c "$cache" "$@" --json
    "$root/tests/check-schema" "$schema" out || fail "cachedir $*"
}
holds() { # FILTER
    jq -e --arg base "$base" --arg app "$app" "$1" out >/dev/null || fail "$1: $(cat out)"
}
writes() { # CODE WARMER-ARGUMENT...
    local code=$1
    shift
    rm -f report.json
    expect_exit "$code" warmer -c "$cache" --progress none --retries 0 --report report.json "$@"
    "$root/tests/check-schema" report report.json || fail "warmer $*"
    expect_equal "$code" "$(jq .exit_code report.json)" "exit code in the report"
}

step "the schemas are schemas, and refuse what they must"
for schema in "$root"/docs/schemas/*-1.json; do
    name=$(basename "$schema" -1.json)
    echo "{\"schema\": \"basewarm.$name/1\"}" >wrong.json
    code=0
    "$root/tests/check-schema" "$name" wrong.json >refused || code=$?
    expect_equal 1 "$code" "$name: an object that lacks everything"
    expect_text refused "is a required property"
done

step "--report: pulled, failed, renewed, moved"
start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
writes 66 -i "$registry/base:1" -i "$registry/app:1" -i "$registry/base:missing"
writes 0 -i "$registry/base:1" --fresh-for 1h
writes 1 -i "$registry/base:docker" --check
writes 0 -i "$registry/base:docker" --dry-run
writes 75 -i "127.0.0.1:$(free_port)/xy"
writes 0 -i "$registry/base:1" --prune
expect_exit 0 warmer -c "$cache" -i "$registry/base:1" -i "$registry/app:1" --progress none
expect_exit 73 warmer -c "$cache/oci-layout" -i "$registry/base:1" --report report.json
"$root/tests/check-schema" report report.json
jq -e '.error' report.json >/dev/null || fail "what ended the run is not in the report"

step "list, inspect, du, doctor, verify of a good directory"
answers 0 list list
answers 0 inspect inspect "$base"
answers 0 inspect inspect "$registry/base:1"
answers 0 du du
answers 0 doctor doctor
for how in "" --quick --deep; do
    # shellcheck disable=SC2086  # none or one
    answers 0 verify verify $how
    holds '.problems == [] and .repaired == [] and .entries == 2'
done
holds '.mode == "deep" and .layers_unpacked > 0 and .bytes_unpacked > 0'

step "of an expired one, and of a broken one"
touch -d '350 hours ago' "$cache/$base"
answers 1 inspect inspect "$base"
holds '.images[0].state == "expired" and (.images[0].hit | not)'
layer=$(jq -r '.layers[-1].digest' "$cache/blobs/sha256/${app#sha256:}")
rm "$cache/$app/blobs/sha256/${layer#sha256:}"
answers 0 list list
holds '[.images[].state] | sort == ["broken", "expired"]'
answers 1 inspect inspect "$app"
holds '.images[0].problem and ([.images[0].blobs[] | select(.present | not)] | length == 1)'
answers 1 verify verify --quick
holds '[.problems[].where] == [$app]'
answers 1 verify verify --repair
holds '.repaired == [{"where": $app, "result": "mended"}]'
printf X | dd of="$cache/blobs/sha256/${layer#sha256:}" bs=1 seek=50 conv=notrunc status=none
answers 1 verify verify --repair
holds 'any(.repaired[]; .where == $app and .result == "removed")'
answers 0 verify verify
echo "{}" >"$cache/blobs/sha256/stray"
mkdir -p "$cache/.basewarm/trash/x" "$cache/.basewarm/partial"
echo partial >"$cache/.basewarm/partial/$(printf 0%.0s {1..64})"
answers 0 du du
holds '.partials.count == 1 and .leftovers.count == 1'

step "prune, dry and real, within and beyond its limits"
warm -i "$registry/app:1"
answers 0 prune prune --dry-run
holds '.dry_run and .reasons.leftover.count == 1'
answers 1 prune prune --max-size 1 --keep '*'
holds '.limits_met | not'
answers 0 prune prune --max-size 1
holds '.limits_met and .reasons.evicted.count == 2 and
    ([.removed[] | select(.reason == "evicted") | .path] | sort == ([$base, $app] | sort))'

step "remove"
warm -i "$registry/app:1" -i "$registry/base:1"
answers 0 remove remove "$app" "$registry/base:1"
holds '[.removed[].digest] == [$app, $base] and .freed == ([.removed[].freed] | add) and .freed > 0'
answers 0 list list
holds '.images == []'
