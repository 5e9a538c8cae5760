#!/usr/bin/env bash
# Exit codes are sysexits, as warmer(1) lists them.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

start_registry
good=$registry/base:1
missing=$registry/base:missing
dead=127.0.0.1:$(free_port)/base:1
try() { # CODE WARMER-ARGUMENT...
    local code=$1
    shift
    expect_exit "$code" warmer --cache-dir "$cache" --retries 0 "$@"
}

step "64: usage"
try 64
try 64 --no-such-flag --image "$good"
try 64 --image "$good" --jobs none
expect_exit 64 cachedir -c "$cache" no-such-command

step "0: lists that yield nothing, with a warning"
echo '# nothing' >empty
try 0 --images-file empty
[ -s err ] || fail "no warning"

step "66: no such tag, repository or list"
try 66 --image "$missing"
expect_text err "$missing"
try 66 --image "$registry/nobody/knows:1"
try 66 --images-file no-such-list
try 66 --images-file /
expect_exit 66 cachedir -c no-such-directory list

step "75: nobody answers"
try 75 --image "$dead"
expect_text err "$dead"

step "several failures have one code, and the good image is warmed all the same"
rm -rf "$cache"
try 66 --image "$missing" --image "$good"
[ -d "$cache/$(digest_of base:1 "$platform")" ] || fail "the good image is not there"
expect_text out 'failed'
try 75 --image "$missing" --image "$dead" --image "$good"

step "--fail"
try 0 --image "$missing" --image "$good" --fail all
try 66 --image "$missing" --image "$registry/base:other" --fail=all
try 0 --image "$missing" --fail never
try 64 --image a//b --fail never

step "73: the directory cannot be made"
expect_exit 73 warmer --cache-dir /dev/null/cache --image "$good"

step "1: verify found something"
printf X >>"$cache/blobs/sha256/$(blobs_of "$cache/$(digest_of base:1 "$platform")"/blobs/*/"$(
    digest_of base:1 "$platform" | cut -d: -f2)" | head -n 1 | cut -d: -f2)"
expect_exit 1 cachedir -c "$cache" verify

step "74: no space"
mkdir -p small
if unshare -rm mount -t tmpfs none small 2>/dev/null; then
    # shellcheck disable=SC2016  # for the inner shell
    expect_exit 74 unshare -rm sh -c 'mount -t tmpfs -o size=512k none small &&
        exec warmer --cache-dir small --image "$1"' sh "$registry/app:1"
    expect_text err "$registry/app:1"
else
    untried "a full disk: no namespaces here"
fi

step "77: a directory that we may not touch"
if [ "$EUID" -eq 0 ]; then
    mkdir -m 755 root-owned
    expect_exit 77 setpriv --reuid 65534 --regid 65534 --clear-groups \
        "$(command -v warmer)" --cache-dir "$scratch/root-owned" --image "$good"
    expect_text err 'root-owned'
else
    untried "another user's directory: this is not root"
fi

step "files that cannot be written: told before anything is fetched; what is there keeps its mode"
for option in --report --metrics-file; do
    rm -rf "$cache"
    try 74 --image "$good" "$option" no-such-directory/file
    expect_text err "$option no-such-directory/file: cannot be written there: No such file"
    expect_equal 1 "$(grep -c no-such-directory/file err)" "how often it is told"
    try 74 --image "$good" "$option" small
    [ ! -e "$cache" ] || fail "it went to work all the same"
    try 0 --image "$good" "$option" no-such-directory/file --fail never
    [ -d "$cache/$(digest_of base:1 "$platform")" ] || fail "--fail=never has warmed nothing"
    expect_text err "$option no-such-directory/file: cannot create"
    ln -s real link
    try 0 --image "$good" "$option" link
    { [ -L link ] && [ -s real ]; } || fail "the dangling link was replaced"
    chmod 640 real
    try 0 --image "$good" "$option" link
    expect_equal 640 "$(stat -c %a real)" "the mode"
    rm link real
done

step "65: wrong bytes, not an image, no such platform"
. "$root/tests/faults.sh"
start_faults
try 65 --image "$good" --platform plan9/amd64
try 65 --image "$main/wrong-byte/small:1"
try 65 --image "$main/no-http/tiny:1"

step "75: 429, 503, --timeout, a lock"
try 75 --image "$main/later-all-1/tiny:1"
try 75 --image "$main/manifest-status-503/tiny:1"
try 75 --image "$main/trickle/small:1" --timeout 1s
(
    flock 9
    expect_exit 75 cachedir -c "$cache" prune
    expect_exit 75 warmer -c "$cache" --image "$good" --prune
) 9>>"$cache/.basewarm/prune.lock"

step "77 and 78: refused; a configuration that cannot be used"
try 77 --image "$main/manifest-status-403/tiny:1"
echo nonsense >login.json
try 78 --image "$good" --authfile login.json
try 78 --image "$good" --registry-certificate "$registry=login.json"
DOCKER_AUTH_CONFIG='{' try 78 --image "$good"

step "--check: 0 warm and current, 1 not, 75 could not ask; and it changes nothing"
rm -rf "$cache"
try 66 --image "$good" --check # there is no directory at all
try 0 --image "$good"
state() { find "$cache" -name .basewarm -prune -o -type f -printf '%p %T@ %s\n' | sort; }
before=$(state)
try 0 --image "$good" --check
try 1 --image "$good" --image "$registry/app:1" --check
try 75 --image "$good" --image "$dead" --check
try 66 --image "$good" --image "$missing" --check
try 0 --image "$missing" --check --fail never
try 65 --image "$good" --platform plan9/amd64 --check
try 64 --image "$good" --check --dry-run
try 64 --image "$good" --check --prune

step "--dry-run: what the run itself would say, as far as asking tells; and it changes nothing"
try 0 --image "$good" --image "$registry/app:1" --dry-run
expect_text out 'app:1 .* planned'
try 66 --image "$missing" --dry-run
try 75 --image "$dead" --dry-run
try 77 --image "$main/manifest-status-403/tiny:1" --dry-run
try 0 --image "$good" --dry-run --max-size 1K
expect_text err 'would be evicted'
try 1 --image "$good" --dry-run --max-size 1K --keep '*'
expect_equal "$before" "$(state)" "the directory"

step "cachedir: 0 and 1 as each command says, 64, 66"
expect_exit 0 cachedir -c "$cache" inspect "$good"
touch -d '350 hours ago' "$cache/$(digest_of base:1 "$platform")"
expect_exit 1 cachedir -c "$cache" inspect "$good"
expect_exit 0 cachedir -c "$cache" prune --dry-run
expect_exit 1 cachedir -c "$cache" prune --max-size 1 --keep '*' --dry-run
expect_exit 66 cachedir -c "$cache" remove "$registry/app:1"

step "a directory of other things is 66 to all that look after one; an empty one, a fresh volume, is well"
mkdir -p others/things fresh/lost+found
tree() { find others fresh | sort; }
before=$(tree)
for command in list "inspect $good" verify 'verify --repair' prune 'prune --dry-run' "remove $good" \
    "export $good" du 'convert --to oci'; do
    # shellcheck disable=SC2086  # words
    expect_exit 66 cachedir -c others $command
    expect_text err 'others is no cache directory'
    case $command in inspect* | remove* | export*) code=66 ;; convert*) continue ;; *) code=0 ;; esac
    # shellcheck disable=SC2086  # words
    expect_exit $code cachedir -c fresh $command
    expect_text err 'fresh is empty: nothing was warmed there yet'
done
expect_exit 0 cachedir -c others doctor
expect_equal "$before" "$(tree)" "the directories"

for command in list inspect verify prune remove du convert doctor; do
    expect_exit 64 cachedir -c "$cache" $command --no-such-option
    operands=()
    case $command in
    inspect | remove) operands=("$good") ;;
    convert) operands=(--to oci) ;;
    esac
    expect_exit 66 cachedir -c no-such-cache $command "${operands[@]}"
done
