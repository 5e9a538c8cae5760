#!/usr/bin/env bash
# Several runs share a list: each image is warmed by one of them, always the same.
. "$(dirname "$0")/../lib.sh"

start_registry
for i in $(seq 12); do
    echo "$registry/base:1 platform=linux/amd64,linux/arm64" # twice is once
    echo "$registry/nobody/image-$i"
done >list
printf '%s\n' "$registry/app:1" "$registry/base:plain" "$registry/base:docker" >>list

# The references that a shard takes, from what it reports: most do not exist.
shard() { # ARGUMENT...
    warmer -c "$cache" --progress none --fail never --retries 0 --images-file list --report report \
        "$@" >out 2>err || fail "exit $?"
    jq -r '.images[] | .reference + " " + .platform' report | sort
}

step "the parts are the whole, and disjoint"
shard >all
[ "$(wc -l <all)" -eq 17 ] || fail "$(wc -l <all) images of 17"
for n in 1 2 3 5; do
    for ((i = 0; i < n; i++)); do
        shard --shard "$i/$n" >"part-$i"
        expect_text err "shard $i of $n: $(wc -l <"part-$i") of 17 images"
    done
    sort part-* >union
    cmp all union
    rm part-*
done

step "JOB_COMPLETION_INDEX says the same"
shard --shard 2/5 >want
JOB_COMPLETION_INDEX=2 shard --shards 5 >got
cmp want got
expect_exit 64 warmer -c "$cache" -i xy --shards 5
expect_text err JOB_COMPLETION_INDEX
expect_exit 64 env JOB_COMPLETION_INDEX=5 warmer -c "$cache" -i xy --shards 5

step "an image's part does not depend on what else is in the list"
shard --shard 1/3 | grep -v nobody >want || true
cp list whole
grep -v nobody whole >list
shard --shard 1/3 >got
cmp want got

step "a shard that gets nothing succeeds"
echo "$registry/base:1" >list
for i in 0 1 2 3 4; do
    expect_exit 0 warmer -c "$cache" --images-file list --shard "$i/5" --metrics-file "metrics-$i"
done
cat metrics-? >metrics
expect_equal 1 "$(grep -c '^basewarm_image_warm' metrics)" "shards that had the image"
expect_equal 5 "$(grep -c '^basewarm_exit_code 0$' metrics)" "shards that said how it went"

step "a shard must not prune: it does not know the others' images"
for option in --prune --max-size=1G --min-free=1%; do
    expect_exit 64 warmer -c "$cache" --images-file list --shard 0/5 "$option"
    expect_text err 'does not know the others'
done
