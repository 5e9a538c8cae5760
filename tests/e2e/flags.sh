#!/usr/bin/env bash
# Each flag is run, and does something: what --help lists is what is tried here.
# timeout: 400
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

# These have tests of their own, which need more than a registry.
elsewhere=(warmer:credential-helpers warmer:alias-index)
commands_elsewhere=(export import)

tried=("${elsewhere[@]}")
flag() { # PROGRAM:NAME...: the flags that the next lines try
    tried+=("$@")
    step "$*"
}
try() { # CODE WARMER-ARGUMENT...
    local code=$1
    shift
    expect_exit "$code" warmer -c "$cache" --progress none --retries 0 "$@"
}
has() { [ -d "$cache/$(digest_of "$1" "${2:-$platform}")" ] || fail "$1 ${2:-} is not there"; }
has_not() { [ ! -e "$cache/$(digest_of "$1" "${2:-$platform}")" ] || fail "$1 ${2:-} is there"; }
empty() { rm -rf "$cache"; }
entries() { find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l; }

start_registry
base=$registry/base:1
app=$registry/app:1
start_faults

flag warmer:image warmer:cache-dir
for arguments in "-i $base -c" "-i$base -c" "--image=$base --cache-dir" "--image $base --cache-dir"; do
    empty
    # shellcheck disable=SC2086  # words
    expect_exit 0 warmer $arguments "$cache"
    has base:1
done

flag warmer:images-file
printf '%s\n' "$base" "$app # both" >list
empty
try 0 --images-file list
has app:1

flag warmer:dockerfile warmer:build-arg warmer:target warmer:pinned-dockerfile
# shellcheck disable=SC2016  # for the Dockerfile
printf '%s\n' 'ARG TAG=none' "FROM $registry/base:\$TAG AS one" "FROM $app AS two" >Dockerfile
empty
try 0 -d Dockerfile --build-arg TAG=1 --target one --pinned-dockerfile pinned
has base:1
has_not app:1
expect_text pinned "^FROM $registry/base:.*@$(digest_of base:1 "$platform") AS one"

flag warmer:shard warmer:shards
empty
for i in 0 1 2; do try 0 --images-file list --shard $i/3; done
has base:1
has app:1
empty
JOB_COMPLETION_INDEX=0 try 0 --images-file list --shards 1
has app:1

flag warmer:platform warmer:customPlatform warmer:custom-platform
for option in platform customPlatform custom-platform; do
    empty
    try 0 -i "$base" --$option linux/amd64 --$option=linux/arm64
    has base:1 linux/amd64
    has base:1 linux/arm64/v8
done

flag warmer:format
empty
try 0 -i "$base" --format docker-archive
[ -f "$cache/$(digest_of base:1 "$platform")" ] || fail "no archive"

flag warmer:force
empty
try 0 -i "$base"
entry=$cache/$(digest_of base:1 "$platform")
blob=$(find "$entry/blobs" -type f -size +100k | head -n 1)
printf X | dd of="$blob" bs=1 seek=50 conv=notrunc status=none
try 0 -i "$base"
expect_exit 1 cachedir -c "$cache" verify
try 0 -i "$base" --force
expect_exit 0 cachedir -c "$cache" verify

flag warmer:fresh-for
set_mark
try 0 -i "$base" --fresh-for 1h
expect_requests 0 HEAD '.*'

flag warmer:registry-map warmer:registry-mirror warmer:skip-default-registry-fallback
empty
try 0 -i registry.example/base:1 --registry-map "registry.example=$registry"
has base:1
try 66 -i registry.example/nothing:1 --registry-map "registry.example=$registry" \
    --skip-default-registry-fallback
expect_no_text err 'no such host'
try 66 -i nothing:1 --registry-mirror "$registry" --skip-default-registry-fallback
expect_text err "$registry/v2/library/nothing"

flag warmer:insecure-pull warmer:insecure-registry
# A name that does not count as local, so that HTTPS is spoken unless these say otherwise.
name=registry.localhost:${registry#*:}
for option in --insecure-pull "--insecure-registry=$name"; do
    empty
    try 0 -i "$name/base:1" "$option"
    has base:1
done

flag warmer:skip-tls-verify-pull warmer:skip-tls-verify-registry warmer:registry-certificate
start_nginx tls <<<""
name=registry.localhost:$front_port
try 78 -i "$name/base:1"
for option in --skip-tls-verify-pull "--skip-tls-verify-registry=$name" \
    "--registry-certificate=$name=$scratch/ca.pem"; do
    empty
    try 0 -i "$name/base:1" "$option"
    has base:1
done

flag warmer:registry-client-cert
try 78 -i "$name/base:1" --skip-tls-verify-pull --registry-client-cert "$name=ca.pem,none.key"
try 0 -i "$name/base:1" --skip-tls-verify-pull --registry-client-cert "$name=server.pem,server.key"

flag warmer:authfile warmer:anonymous-retry
write_login login.json "$main" alice secret
try 0 -i "$main/auth-basic/tiny:1" --authfile login.json
write_login wrong.json "$main" alice wrong
try 77 -i "$main/auth-basic/tiny:1" --authfile wrong.json
try 77 -i "$main/auth-stale-login/tiny:1" --authfile wrong.json --anonymous-retry=false
try 0 -i "$main/auth-stale-login/tiny:1" --authfile wrong.json

flag warmer:foreign-layers
try 66 -i "$main/foreign-plain:1" --foreign-layers=false
try 77 -i "$main/foreign-plain:1" # it goes there, and sees that it is not encrypted
expect_text err 'only https'

flag warmer:http2
for value in true false; do
    empty
    try 0 -i "$name/base:1" --skip-tls-verify-pull --http2=$value
    has base:1
done

flag warmer:retries warmer:retry-max-time
empty
try 75 -i "$main/status-503-1/small:1"
try 0 -i "$main/status-503-1/small:1" --retries 1
curl -sS "http://$main/__reset"
empty
try 75 -i "$main/later-4000/small:1" --retries 5 --retry-max-time 1s
expect_text err 'beyond --retry-max-time'

flag warmer:stall-timeout warmer:timeout
try 75 -i "$main/silent/small:1" --stall-timeout 1s
try 75 -i "$main/trickle/small:1" --timeout 1s
expect_text err '--timeout is reached'

flag warmer:jobs warmer:jobs-per-host
empty
for option in --jobs --jobs-per-host; do
    try 64 -i "$base" $option 0
    try 0 -i "$base" -i "$app" $option 1
done

flag warmer:check warmer:dry-run warmer:check-args
empty
try 0 -i "$base"
try 0 -i "$base" --check
try 1 -i "$app" --check
try 0 -i "$app" --dry-run
expect_text out planned
try 0 -i "$app" --check-args
has_not app:1

flag warmer:prune warmer:cache-ttl warmer:grace warmer:max-size warmer:min-free warmer:keep
for option in "--prune" "--prune --cache-ttl 1h" "--prune --cache-ttl 1h --grace 0" "--max-size 1K" \
    "--min-free 100%" "--max-size 1K --keep *app:1"; do
    empty
    try 0 -i "$app"
    touch -d '3 hours ago' "$cache/$(digest_of app:1 "$platform")"
    # shellcheck disable=SC2086  # words, and no files are meant
    (set -f && warmer -c "$cache" --progress none -i "$base" $option >out 2>err </dev/null) || true
    case $option in
    --prune | "--prune --cache-ttl 1h" | *keep*) has app:1 ;;
    *) has_not app:1 ;;
    esac
done

flag warmer:fail
empty
try 66 -i "$base" -i "$registry/base:missing"
for policy in all never; do try 0 -i "$base" -i "$registry/base:missing" --fail $policy; done

flag warmer:progress warmer:verbosity warmer:log-format warmer:log-timestamp
expect_exit 0 warmer -c "$cache" -i "$base" --progress plain
expect_text err 'base:1: started'
try 0 -i "$base"
[ ! -s err ] || fail "--progress none says something"
try 0 -i "$base" -v debug
[ -s err ] || fail "-v debug says nothing"
try 66 -i "$registry/base:missing" -v panic
[ ! -s err ] || fail "-v panic says something"
try 66 -i "$registry/base:missing" --log-format json
jq -e 'select(.level == "error").msg' err >/dev/null
try 66 -i "$registry/base:missing" --log-format color --log-timestamp
expect_text err '\[[0-9]{4}-[0-9-]+T[0-9:]+Z\]'
try 66 -i "$registry/base:missing" --log-format color --log-timestamp=false
expect_text err '\[[0-9]{4}\]'

flag warmer:report warmer:metrics-file
try 0 -i "$base" --report report.json --metrics-file metrics.prom
jq -e '.schema' report.json >/dev/null
expect_text metrics.prom '^basewarm_exit_code 0'

flag warmer:help warmer:version warmer:completion
expect_exit 0 warmer --help
expect_exit 0 warmer --version
expect_exit 0 warmer --completion fish

# ---- cachedir ----

for command in list inspect verify prune remove du convert doctor; do
    flag cachedir-$command:{cache-dir,verbosity,log-format,log-timestamp,check-args,help}
    expect_exit 0 cachedir $command --help
    expect_text out "^Usage: cachedir $command "
    operands=()
    case $command in
    inspect | remove) operands=("$base") ;;
    convert) operands=(--to docker-archive) ;;
    esac
    expect_exit 66 cachedir --cache-dir no-such $command "${operands[@]}" -v panic
    [ ! -s err ] || fail "-v panic says something"
    expect_exit 0 cachedir -c no-such $command "${operands[@]}" --check-args
    expect_exit 66 cachedir -c no-such $command "${operands[@]}" --log-format color --log-timestamp
    expect_text err '\[[0-9]{4}-[0-9-]+T[0-9:]+Z\]'
done

empty
try 0 -i "$base" -i "$app"
for command in list inspect verify prune remove du doctor; do
    flag cachedir-$command:json
    operands=()
    case $command in inspect | remove) operands=("$app") ;; esac
    expect_exit 0 cachedir -c "$cache" $command "${operands[@]}" --json
    jq -e --arg schema "basewarm.$command/1" '.schema == $schema' out >/dev/null
done

flag cachedir-list:quiet cachedir-list:cache-ttl cachedir-inspect:cache-ttl
expect_exit 0 cachedir -c "$cache" list -q
expect_equal "$(digest_of base:1 "$platform")" "$(cat out)" "list -q"
touch -d '3 hours ago' "$cache/$(digest_of base:1 "$platform")"
expect_exit 0 cachedir -c "$cache" list --cache-ttl 1h
expect_text out expired
expect_exit 1 cachedir -c "$cache" inspect "$base" --cache-ttl 1h

flag cachedir-verify:{quick,deep,repair}
for option in --quick --deep --repair; do expect_exit 0 cachedir -c "$cache" verify $option; done
expect_exit 64 cachedir -c "$cache" verify --quick --deep

flag cachedir-prune:{dry-run,cache-ttl,grace,keep,max-size,min-free,superseded}
expect_exit 0 cachedir -c "$cache" prune --cache-ttl 1h
has base:1
expect_exit 0 cachedir -c "$cache" prune --cache-ttl 1h --grace 1h --dry-run
expect_text out '^expired '
has base:1
expect_exit 0 cachedir -c "$cache" prune --cache-ttl 1h --grace 1h --keep "$registry/*"
expect_exit 1 cachedir -c "$cache" prune --max-size 1K --keep "$registry/*"
expect_exit 1 cachedir -c "$cache" prune --min-free 100% --keep "$registry/*"
expect_exit 0 cachedir -c "$cache" prune --superseded
has base:1
expect_exit 0 cachedir -c "$cache" prune --max-size 1K
has_not base:1

flag cachedir-convert:to
try 0 -i "$base"
expect_exit 0 cachedir -c "$cache" convert --to docker-archive
[ -f "$cache/$(digest_of base:1 "$platform")" ] || fail "no archive"

step "what was tried is what there is"
flags_of() { # NAME COMMAND...: NAME:FLAG for what its --help lists
    local name=$1
    shift
    "$@" --help | sed -nE 's/^  (-.,|   ) --([a-zA-Z0-9-]+).*/\2/p' | sed "s/^/$name:/"
}
{
    flags_of warmer warmer
    echo warmer:customPlatform # shown in a sentence only
    echo warmer:custom-platform
    printf '%s\n' "${elsewhere[@]}"
    for command in $(cachedir --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
        [[ " ${commands_elsewhere[*]} " == *" $command "* ]] || flags_of "cachedir-$command" cachedir "$command"
    done
} >listed.all
sort -u listed.all >listed
printf '%s\n' "${tried[@]}" | sort -u >tried
diff tried listed || fail "< is tried here and unknown, > is known and not tried here"
wc -l <tried
