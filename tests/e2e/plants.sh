#!/usr/bin/env bash
# Another tenant puts something of his own at a name that we use: each name that runs of ours were seen
# to use, and in turn one of the things that it may be (plants-all: every one). Nothing outside is
# touched, nothing hangs, what is in the way is named or replaced.
# timeout: 600
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

strace -o /dev/null true 2>/dev/null || skip "no strace here"
start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
refs=(--jobs 1 --progress none --image "$registry/base:1" --image "$registry/app:1")

# ---- which names -----------------------------------------------------------------------------

watch() {
    ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 strace -f -y -s 4096 -A -o calls \
        -e trace=file,desc "$@" >out 2>err || fail "$*: $(cat err)"
}

names_of() { # FORMAT
    rm -rf "$cache" calls
    watch warmer --cache-dir "$cache" --format "$1" "${refs[@]}"
    touch -d '30 days ago' "$cache/$base"
    watch cachedir -c "$cache" verify
    watch cachedir -c "$cache" prune
    watch cachedir -c "$cache" export "$app"
    watch warmer --cache-dir "$cache" --alias-index "${refs[@]}"
    python3 "$root/tests/badfs/made-names.py" "$cache" <calls >"names-$1"
}

# ---- what is planted -------------------------------------------------------------------------

kinds=(file-link directory-link dangling-link fifo device directory hard-link)

renew_outside() {
    rm -rf outside
    mkdir -p outside/sub
    head -c 100 /dev/urandom >outside/file
    touch -d '2020-01-01' outside/file outside/sub outside
}
# A hard link's own times are whoever's may write the directory.
look_outside() {
    stat -c '%n %a %s %i' outside outside/sub outside/file
    [ "$kind" = hard-link ] || stat -c '%n %Y' outside outside/sub outside/file
    sha256sum outside/file
    ls -A outside outside/sub
}

plant() { # KIND PATH
    rm -rf "$2"
    mkdir -p "$(dirname "$2")"
    case $1 in
    file-link) ln -s "$scratch/outside/file" "$2" ;;
    directory-link) ln -s "$scratch/outside/sub" "$2" ;;
    dangling-link) ln -s "$scratch/outside/made" "$2" ;;
    fifo) mkfifo "$2" ;;
    device) mknod "$2" c 1 5 2>/dev/null || mkfifo "$2" ;; # /dev/zero
    directory) mkdir "$2" && echo theirs >"$2/theirs" ;;
    hard-link) ln outside/file "$2" ;;
    esac
}

run() { # COMMAND...: sets $code
    code=0
    timeout 60 "$@" >out 2>err </dev/null || code=$?
    [[ $code =~ ^(0|1|64|65|66|73|74|75|77)$ ]] || fail "$kind at $name: exit $code: $*: $(cat err)"
}

planted=0 replaced=0 refused=0
try() { # FORMAT NAME KIND
    local format=$1 name=$2 kind=$3 before
    rm -rf "$cache"
    cp -a "good-$format" "$cache"
    renew_outside
    plant "$kind" "$cache/$name"
    before=$(look_outside)
    run cachedir -c "$cache" list
    run cachedir -c "$cache" verify
    run warmer --cache-dir "$cache" "${refs[@]}"
    if [ $code -eq 0 ]; then
        replaced=$((replaced + 1))
        run cachedir -c "$cache" verify
        # What stands beside the warmed images is not ours to remove; verify names it, or the alias
        # whose record was there.
        [ $code -eq 0 ] || grep -qFf <(tr / '\n' <<<"$name" | grep ... && ls "good-$format/.basewarm/aliases") out ||
            fail "$kind at $name: $(cat out)"
    else
        refused=$((refused + 1))
        grep -qFf <(tr / '\n' <<<"$name" | grep ...) err || fail "$kind at $name: it is not named: $(cat err)"
    fi
    for command in "verify --repair" prune "remove $app" "convert --to $other"; do
        # shellcheck disable=SC2086  # words
        run cachedir -c "$cache" $command
    done
    [ "$before" = "$(look_outside)" ] || fail "$kind at $name: outside: $(diff <(echo "$before") <(look_outside))"
    planted=$((planted + 1))
}

# ---- all of them -----------------------------------------------------------------------------

turn=0
for format in oci docker-archive; do
    other=$([ $format = oci ] && echo docker-archive || echo oci)
    names_of $format
    rm -rf "$cache"
    warm --alias-index --format $format "${refs[@]}"
    cp -a "$cache" good-$format
    step "format $format: $(wc -l <names-$format) names"
    while read -r name; do
        for kind in "${kinds[@]}"; do
            turn=$((turn + 1))
            [ $((turn % ${every:-29})) -ne 0 ] || try $format "$name" "$kind"
        done
    done <names-$format
done
echo "$planted plants at $(cat names-* | sort -u | wc -l) names: $replaced replaced or passed by, $refused refused"
