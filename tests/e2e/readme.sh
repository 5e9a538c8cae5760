#!/usr/bin/env bash
# The output that README.md shows is what the programs print: each command of its blocks of type
# "console" is run, and what it prints compared. README_WRITE=1 puts it there instead.
. "$(dirname "$0")/../lib.sh"

start_registry
page=$root/README.md

# Other machines' images have other digests and sizes, and all take their time.
normal() { sed -E -e 's/sha256:[0-9a-f.]+|\b[0-9a-f]{64}\b|sha\.\.[0-9a-f]+/DIGEST/g' -e 's/[0-9]+(\.[0-9]+)? ?([KMGT]i)?B\b/SIZE/g' \
    -e 's/[0-9]{4}-[0-9-]+T[0-9:]+Z/TIME/g' -e 's/\b[0-9]+(\.[0-9]+)?(ms|s|m|h|d)([0-9.]+(ms|s|m|h))?\b/AGE/g' \
    -e 's/ [0-9]+\.[0-9]\b/ SECONDS/g' -e 's/  [0-9]+  / BYTES /' -e 's/[0-9]+ (blobs|layers)/N \1/g' -e 's/ +/ /g'; }

# A registry of the name's length, so that tables stay tables.
run_line() { # COMMAND-LINE as in the README: its output as one sees it there
    local line=${1//hub.example.org/$registry}
    line=${line//\/cache/$cache}
    { (eval "$line") 2>&1 </dev/null || true; } |
        sed -E "s#$registry#hub.example.org#g; s#http://hub#https://hub#g; s#$cache#/cache#g; s#linux/(arm64/v8)#linux/amd64#g"
}

# The README again, with what the commands print now. Blocks are run in their order.
rewrite() {
    local line in_block='' skip=''
    while IFS= read -r line; do
        case $line in
        '```console') in_block=yes skip='' ;;
        '```') in_block='' skip='' ;;
        '$ '*)
            if [ -n "$in_block" ]; then
                printf '%s\n' "$line"
                run_line "${line#??}"
                skip=yes
                continue
            fi
            ;;
        esac
        [ -n "$in_block" ] && [ -n "$skip" ] || printf '%s\n' "$line"
    done <"$page"
}

rewrite >now
[ "$(grep -c '^\$ ' now)" -ge 4 ] || fail "README.md has no blocks to run"
if [ -n "${README_WRITE-}" ]; then
    cp now "$page"
    exit 0
fi
# Images are pulled at once, so that any may be the first.
diff <(normal <"$page" | sort) <(normal <now | sort) || fail "README.md shows what is not so: README_WRITE=1 $0"
