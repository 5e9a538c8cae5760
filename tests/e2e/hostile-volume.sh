#!/usr/bin/env bash
# What another tenant may have put where our own things are due: readers do without, who writes says
# what to remove, and nothing outside is touched.
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1"
cp -a "$cache" good
mkdir outside
echo theirs >outside/file
again() { rm -rf "$cache" && cp -a good "$cache"; }

for name in stage trash partial locks aliases; do
    for kind in link file; do
        step ".basewarm/$name is a $kind"
        again
        rm -r "$cache/.basewarm/$name"
        if [ $kind = file ]; then
            echo theirs >"$cache/.basewarm/$name"
        else
            ln -s "$PWD/outside" "$cache/.basewarm/$name"
        fi
        for command in list verify du; do
            expect_exit 0 cachedir -c "$cache" $command
        done
        expect_exit 74 warmer --cache-dir "$cache" --image "$registry/base:1"
        expect_text err "$cache/.basewarm/$name is no directory: remove it"
        expect_equal "file theirs" "$(ls outside) $(cat outside/file)" "what is outside"
        rm "$cache/.basewarm/$name"
        warm --image "$registry/base:1"
    done
done

for kind in directory fifo device huge; do
    step "index.json is a $kind"
    again
    rm "$cache/index.json"
    case $kind in
    directory) mkdir -p "$cache/index.json/sub" ;;
    fifo) mkfifo "$cache/index.json" ;;
    device) mknod "$cache/index.json" c 1 5 2>/dev/null || mkfifo "$cache/index.json" ;;
    huge) truncate -s 1T "$cache/index.json" ;;
    esac
    for command in list verify prune; do
        expect_exit 0 timeout 20 cachedir -c "$cache" $command
    done
    warm --image "$registry/base:1"
    expect_equal 1 "$(jq '.manifests | length' "$cache/index.json")" "names in index.json"
    expect_clean
done
