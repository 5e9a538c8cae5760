#!/usr/bin/env bash
# The likeliest mistakes, each with what the last line says, which must be enough to mend it.
# Mistakes are numbered so that their list is not shortened by accident.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

rows=0 bad_rows=0
no_such="there is no such image or tag: is the name right?"
no_access="docker login or --authfile gives credentials; or is the name wrong? Many registries \
refuse what does not exist, too"

# The last line of what was said, as text; where this machine and this run differ, by words.
last_line() {
    sed -n '$s/^time="[^"]*" level=[a-z]* msg=//p' err | sed -E -e 's/^"(.*)"$/\1/' -e 's/\\(["\\])/\1/g' \
        -e "s#${registry:-none}#REGISTRY#g; s#${front:-none}#FRONT#g; s#${main:-none}#FAULTS#g" \
        -e "s#$scratch/##g; s#[0-9.]+ [KM]iB#SIZE#g"
}

mistake() { # CODE LAST-LINE COMMAND...
    local want=$1 line=$2 code=0 got
    shift 2
    rows=$((rows + 1))
    "$@" >out 2>err </dev/null || code=$?
    got=$(last_line)
    [ "$code" -eq "$want" ] && [ "$got" = "$line" ] && return
    printf '%d: %s\n  want %d: %s\n  got  %d: %s\n' $rows "$*" "$want" "$line" "$code" "$got"
    bad_rows=$((bad_rows + 1))
}
warms() { # CODE LAST-LINE WARMER-ARGUMENT...
    local code=$1 line=$2
    shift 2
    mistake "$code" "$line" warmer -c cache --progress none --retries 0 "$@"
}
failed() { # CODE REASON IMAGE WARMER-ARGUMENT...
    local code=$1 reason=$2 image=$3
    shift 3
    warms "$code" "1 of 1 image failed: $reason" -i "$image" "$@"
}

start_registry
good=$registry/base:1

step "command lines"
warms 64 'nothing to warm: give --image REF, --images-file FILE or --dockerfile FILE'
warms 64 'unexpected "REGISTRY/base:1": images are given by --image' "$good"
warms 64 '-image: long options have two dashes: --image' -image "$good"
warms 64 'unknown option --imagefile: did you mean --images-file?' --imagefile list
warms 64 '--image needs a value: --image REF' --image
warms 64 '--cache-ttl: bad duration "14d": the units are ns, us, ms, s, m and h (a day is 24h)' \
    -i "$good" --cache-ttl 14d
warms 64 '--max-size: bad size "lots": a number is missing, write it like 500M, 10G or 1.5Gi' \
    -i "$good" --max-size lots
warms 64 '--max-size: bad size "0": it must be more than 0; without the option there is no limit' \
    -i "$good" --max-size 0
mistake 64 '--max-size: bad size "0K": it must be more than 0; without the option there is no limit' \
    cachedir -c cache prune --max-size 0K
warms 64 '--registry-mirror "https://mirror": must be one host[:port], without http:// or https://' \
    -i "$good" --registry-mirror https://mirror
warms 64 '--platform: bad platform "amd64": write it like linux/amd64 or linux/arm/v7' \
    -i "$good" --platform amd64
warms 64 '--platform "linux/amd64,linux/arm64": one platform only: repeat --platform for each' \
    -i "$good" --platform linux/amd64,linux/arm64
warms 64 '--report -: stdout has the table: name a file' -i "$good" --report -
warms 64 '--report and --metrics-file name the same file' -i "$good" --report told --metrics-file told
warms 64 'unexpected "list": images are given by --image, and commands like list and prune to cachedir' list
mistake 64 'unknown command "verfiy": did you mean "cachedir verify"?' cachedir -c cache verfiy
mistake 64 'unknown command "rm": did you mean "cachedir remove"?' cachedir rm "$good"
mistake 64 'unknown command "help": did you mean "cachedir --help"?' cachedir help
mistake 64 'unknown command "help": did you mean "cachedir list --help"?' cachedir help list
mistake 64 'import takes no operand: "base.tar": the tar comes from stdin: cachedir import < FILE' \
    cachedir -c cache import base.tar
mistake 64 'list takes no operand: "cache": the directory is given by --cache-dir' cachedir list cache
mistake 64 '"./cache" is no image: the directory is given by --cache-dir' cachedir verify ./cache
mistake 64 'bad digest "sha256:0123": at least 12 of its digits are needed, in lower case' \
    cachedir -c cache inspect sha256:0123

step "references"
warms 64 '--image: bad image reference "Debian:12": repository names are lower case' -i Debian:12
warms 64 '--image: bad image reference "https://REGISTRY/base:1": an image reference has no scheme like https:// in front' \
    -i "https://$good"
warms 64 '--image: the reference is empty' -i ''
warms 64 '--image: bad image reference "REGISTRY/base:1,REGISTRY/app:1": there is a comma in it: repeat --image for each' \
    -i "$good,$registry/app:1"

step "lists and Dockerfiles"
warms 66 'list no-such-list: there is no such file' --images-file no-such-list
printf '%s\n' "$good" "$good $registry/app:1" >list
warms 64 'list:2: "REGISTRY/base:1 REGISTRY/app:1": unexpected "REGISTRY/app:1": a line is a reference, and at most one platform=os/arch[/variant][,...] after it' \
    --images-file list
printf '"%s"\n' "$good" >list
warms 64 'list:1: bad image reference ""REGISTRY/base:1"": write it without quotes' --images-file list
printf '%s,%s\n' base:1 app:1 >list
warms 64 'list:1: bad image reference "base:1,app:1": there is a comma in it: one in a line' --images-file list
echo '# nothing yet' >empty
warms 0 'the list of images is empty: nothing to do (a list has one reference a line, a Dockerfile FROM)' \
    --images-file empty
printf 'FORM debian\n' >Dockerfile
warms 64 'Dockerfile:1: "form" is no instruction of a Dockerfile' -d Dockerfile
# shellcheck disable=SC2016  # for the Dockerfile
printf 'ARG TAG\nFROM $IMAGE\n' >Dockerfile
warms 64 'Dockerfile:2: FROM $IMAGE: only "" remains, because there is no value for IMAGE: give --build-arg NAME=VALUE' \
    -d Dockerfile
printf 'FROM %s AS base\n' "$good" >Dockerfile
warms 64 'Dockerfile: no stage is called "final"; there are: base' -d Dockerfile --target final

step "names and registries"
failed 66 "REGISTRY/base:nope: manifest: HEAD http://REGISTRY/v2/base/manifests/nope: 404 Not Found: $no_such" \
    "$registry/base:nope"
failed 66 "REGISTRY/bsae:1: manifest: HEAD http://REGISTRY/v2/bsae/manifests/1: 404 Not Found: $no_such" \
    "$registry/bsae:1"
failed 65 "REGISTRY/base:1: no image for platform windows/amd64; available: linux/amd64, linux/arm64/v8, linux/arm/v7" \
    "$good" --platform windows/amd64
warms 66 "1 of 2 images failed: REGISTRY/base:nope: manifest: HEAD http://REGISTRY/v2/base/manifests/nope: 404 Not Found: $no_such" \
    -i "$good" -i "$registry/base:nope"
failed 75 '127.0.0.1:1/base:1: manifest: HEAD http://127.0.0.1:1/v2/base/manifests/1: cannot connect to 127.0.0.1 port 1: Connection refused (is a registry there, and the port right?)' \
    127.0.0.1:1/base:1
if unshare -rn true 2>/dev/null; then
    mistake 75 '1 of 1 image failed: registry.example/base:1: manifest: HEAD https://registry.example/v2/base/manifests/1: no such host: registry.example (is it spelled right, does DNS work here?)' \
        unshare -rn "$bin/warmer" -c cache --progress none --retries 0 -i registry.example/base:1
else
    untried "no DNS: no namespaces here"
fi

step "credentials and certificates"
echo '{"auths": ' >login.json
warms 78 'login.json: line 2, column 0: not JSON: it ends too early' -i "$good" --authfile login.json
warms 78 '--registry-certificate for REGISTRY: ca.pem: No such file or directory' \
    -i "$good" --registry-certificate "$registry=ca.pem"
start_nginx tls <<<''
failed 78 "registry.localhost:$front_port/base:1: manifest: HEAD https://registry.localhost:$front_port/v2/base/manifests/1: the server's certificate is not trusted: unable to get local issuer certificate; --registry-certificate HOST=FILE adds its CA, --skip-tls-verify-registry HOST takes any" \
    "registry.localhost:$front_port/base:1"
start_faults
failed 77 "FAULTS/manifest-status-403/tiny:1: manifest: GET http://FAULTS/v2/manifest-status-403/tiny/manifests/1: 403 Forbidden: SOMETHING: says the registry; no credentials for FAULTS were found: there is no credentials file in any of the usual places: $no_access" \
    "$main/manifest-status-403/tiny:1"
failed 75 "FAULTS/later-all-4000/tiny:1: the registry says to come back in 1h6m, which is beyond --retry-max-time: manifest: HEAD http://FAULTS/v2/later-all-4000/tiny/manifests/1: 429 Too Many Requests" \
    "$main/later-all-4000/tiny:1" --retries 3
failed 75 "FAULTS/later-all-99999999/tiny:1: the registry says to come back in 720h or more, which is beyond --retry-max-time: manifest: HEAD http://FAULTS/v2/later-all-99999999/tiny/manifests/1: 429 Too Many Requests" \
    "$main/later-all-99999999/tiny:1" --retries 3

step "the directory"
mistake 73 'cannot make the cache directory /dev/null/cache: Not a directory' \
    warmer -c /dev/null/cache -i "$good"
mistake 73 'cannot make the cache directory /dev/null/a/b: /dev/null/a: Not a directory' \
    warmer -c /dev/null/a/b -i "$good"
mistake 66 'there is no cache directory no-such-cache: is --cache-dir right?' \
    cachedir -c no-such-cache list
mistake 66 '/etc is no cache directory: nothing was ever warmed there: is --cache-dir right?' \
    cachedir -c /etc verify
warms 64 'cache holds the format oci, not docker-archive: "cachedir convert --to docker-archive" changes that without fetching' \
    -i "$good" --format docker-archive
mistake 66 'no image docker.io/library/debian:12 in cache: "cachedir list" shows what is there' \
    cachedir -c cache inspect debian:12
mistake 66 'no image REGISTRY/base:latest in cache: there is REGISTRY/base:1' \
    cachedir -c cache remove "$registry/base"
mistake 66 'no entry sha256:000000000000 in cache: "cachedir list" shows what is there' \
    cachedir -c cache inspect 000000000000
mkdir cache/sha256:0123456789ab{0..1}"$(printf '%051d' 0)"
mistake 64 "sha256:0123456789ab is the beginning of several: sha256:0123456789ab0$(printf '%051d' 0), sha256:0123456789ab1$(printf '%051d' 0)" \
    cachedir -c cache inspect sha256:0123456789ab
rmdir cache/sha256:0123456789ab*
warms 1 "--max-size or --min-free cannot be met: what --keep names, what is in use, or what others have on the volume is too much" \
    -i "$good" --max-size 1K --keep '*'
warms 1 '1 of 1 image is not warm, or not current: run it without --check' -i "$registry/app:1" --check
if [ "$EUID" -eq 0 ]; then
    mkdir -m 755 roots
    mistake 77 'roots: not writable for uid 65534 (owner 0, mode 0755, or mounted read-only): run once as root, chown it, or set fsGroup' \
        setpriv --reuid 65534 --regid 65534 --clear-groups "$bin/warmer" -c "$scratch/roots" -i "$good"
else
    untried "another user's directory: this is not root"
fi
mkdir -p small
if unshare -rm mount -t tmpfs none small 2>/dev/null; then
    # shellcheck disable=SC2016  # for the inner shell
    mistake 74 '1 of 1 image failed: REGISTRY/app:1: SIZE are needed and SIZE are free in small: make room, or allow --prune, --max-size or --min-free to do it' \
        unshare -rm sh -c 'mount -t tmpfs -o size=512k none small &&
            exec warmer --progress none -c small --image "$1"' sh "$registry/app:1"
else
    untried "a full disk: no namespaces here"
fi

[ "$rows" -ge 60 ] || fail "only $rows mistakes"
[ "$bad_rows" -eq 0 ] || fail "$bad_rows of $rows last lines are not as they should be"
echo "$rows mistakes"
