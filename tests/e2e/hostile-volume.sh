#!/usr/bin/env bash
# What another tenant may have put where our own things are due, or into them: readers do without, who
# writes says what to remove, and nothing outside is touched. (hostile-volume-all: more of it;
# plants.sh: something else at each of our names.)
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

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

# ---- texts -----------------------------------------------------------------------------------

entry=$(find good -maxdepth 1 -name 'sha256:*' -printf '%f')
esc=$(printf '\033[31m')
nested=$(python3 -c 'print("[" * 100000)')
many=$(python3 -c 'print("{\"schemaVersion\":2,\"manifests\":[" + ",".join(["{}"] * 100000) + "]}")')
texts=('' 'null' '[]' '{}' '"' 'true' '{"manifests":1}' '{"manifests":[null]}' "$nested" "$many"
    '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../../outside/file","size":7}]}'
    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"$esc\",\"digest\":\"$entry\",\"size\":-1}]}"
    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$entry\",\"size\":9223372036854775807}]}"
    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$entry\",\"size\":1e400}]}"
    "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"$entry\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\\u0000b\\u001b[2J\\nc\"}}]}"
    $'{"a\xff":"\xc3\x28"}' "oci$esc" "0-9223372036854775807 -5-3 $esc")

# No control character of theirs reaches a terminal.
expect_printable() {
    ! LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]' out err || fail "$*: a control character: $(cat -v out err)"
}

hostile() { # COMMAND...: whatever it says, it says it printably, and soon
    local code=0
    timeout 60 "$@" >out 2>err </dev/null || code=$?
    [[ $code =~ ^(0|1|64|65|66|73|74)$ ]] || fail "exit $code: $*: $(cat -v err)"
    expect_printable "$@"
}

tried=0 turn=0
for file in index.json oci-layout .basewarm/format ".basewarm/partial/${entry#*:}.ranges" \
    ".basewarm/aliases/${entry#*:}" "$entry/index.json" "$entry/oci-layout"; do
    step "absurd texts in $file"
    for text in "${texts[@]}"; do
        turn=$((turn + 1))
        [ $((turn % ${every:-6})) -eq 0 ] || continue
        tried=$((tried + 1))
        again
        printf '%s' "$text" >"$cache/$file"
        hostile cachedir -c "$cache" list
        hostile cachedir -c "$cache" verify
        hostile cachedir -c "$cache" prune
        hostile warmer --cache-dir "$cache" --progress none --image "$registry/base:1"
        [ "$file" != .basewarm/format ] || rm "$cache/.basewarm/format"
        warm --image "$registry/base:1"
        expect_exit 0 cachedir -c "$cache" verify
        expect_clean
        expect_equal "file theirs" "$(ls outside) $(cat outside/file)" "what is outside"
    done
done

# ---- names -----------------------------------------------------------------------------------

step "names with control characters, and names that look like ours"
again
other=sha256:$(printf '%064d' 1)
upper=sha256:$(printf '%064d' 1 | tr 1 A)
long=$(printf '%0255d' 7)
names=("evil${esc}name" $'new\nline' $'\xff\xfe' sha256: sha256:.. sha256:zz "$upper" "sha256:${long:7}" "$long" .. ...
    "-rf" "*" "sha512:$(printf '%0128d' 1)" "$other.json")
for directory in . blobs blobs/sha256 "$entry" "$entry/blobs" "$entry/blobs/sha256" .basewarm .basewarm/stage \
    .basewarm/trash .basewarm/partial .basewarm/locks .basewarm/aliases .warmer-locks; do
    for name in "${names[@]}"; do
        [ "$name" = .. ] || mkdir -p -- "$cache/$directory/$name/below${esc}"
        tried=$((tried + 1))
    done
done
mkdir "$cache/$other"
touch "$cache/$other/index.json"
for command in list "list --json" "verify" du prune "verify --repair" list; do
    # shellcheck disable=SC2086  # words
    hostile cachedir -c "$cache" $command
    [ "$command" != verify ] || { expect_text out 'evil\\x1b|evil\\u001b|evil.*name' && expect_text out "$other"; }
done
warm --image "$registry/base:1"
expect_printable warm

step "a hard link to a blob of ours that its owner writes to later"
again
layer=$(find "$cache/blobs/sha256" -type f -size +100k | head -n 1)
ln "$layer" outside/link
expect_exit 0 cachedir -c "$cache" verify
printf X | dd of=outside/link bs=1 seek=9 conv=notrunc status=none
expect_exit 1 cachedir -c "$cache" verify
expect_text out "${layer##*/}.*damaged"
warm --image "$registry/base:1" --force
expect_exit 0 cachedir -c "$cache" verify
printf Y | dd of=outside/link bs=1 seek=10 conv=notrunc status=none
expect_exit 0 cachedir -c "$cache" verify
rm outside/link
echo "$tried texts and names"
