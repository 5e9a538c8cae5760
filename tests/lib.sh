# shellcheck shell=bash disable=SC2034  # many variables are for the tests
# For the end-to-end tests: sourced by tests/e2e/NAME.sh, which then has
#   $scratch       an empty directory; removed when the test passes
#   $cache         $scratch/cache, which does not exist yet
#   warmer, cachedir, crane, ...   on $PATH
# and the functions below. Servers listen on free loopback ports, write their logs to $scratch, and
# end with the test, even one that is killed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${BASEWARM_BIN:-$root/build/dev/bin}
test_name=$(basename "$0" .sh)
scratch=$(dirname "$bin")/scratch/$test_name
export PATH=$bin:$root/build/tools/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin # Debian's tools first
cache=$scratch/cache

# A sanitizer's finding must never look like one of the programs' exit codes.
export ASAN_OPTIONS=exitcode=99 LSAN_OPTIONS=exitcode=99
export UBSAN_OPTIONS=halt_on_error=1:exitcode=99:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=99
# What the caller's own set-up could change.
unset DOCKER_CONFIG DOCKER_AUTH_CONFIG REGISTRY_AUTH_FILE XDG_RUNTIME_DIR XDG_CONFIG_HOME
unset SSL_CERT_FILE SSL_CERT_DIR FF_KANIKO_OCI_WARMER KANIKO_REGISTRY_MAP KANIKO_REGISTRY_MIRROR
unset HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy all_proxy ALL_PROXY
export HOME=$scratch/home LC_ALL=C.UTF-8 OTEL_TRACES_EXPORTER=none
umask 022

rm -rf "$scratch"
mkdir -p "$HOME"
cd "$scratch"

# ---- saying ----------------------------------------------------------------------------------

step() { printf '== %s\n' "$*"; }

fail() {
    trap - ERR
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

skip() { # ctest takes 77 for skipped; tests/run shows the reason
    printf 'skipped: %s\n' "$*"
    exit 77
}

# A part that cannot be tried here; tests/run shows that, too.
untried() { printf 'not tried: %s\n' "$*"; }

finish() {
    local code=$? pid
    trap - EXIT ERR
    for pid in $(jobs -p); do
        stop_server "$pid"
    done
    case $code in
    0 | 77) cd / && rm -rf "$scratch" ;;
    *)
        printf '\n%s failed (exit %d); what it left is in %s\n' "$test_name" "$code" "$scratch"
        [ ! -s "$scratch/err" ] || { echo '-- the last program said:' && tail -n 30 "$scratch/err"; }
        exit 1
        ;;
    esac
    exit "$code"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND" >&2' ERR
set -o errtrace

# ---- expecting -------------------------------------------------------------------------------

# Every secret of the tests begins with "hush-"; and the three ways in which base64 says that.
secret_words='hush-|aHVzaC|h1c2gt|odXNoL'

# Run a program; its exit code must be CODE, and it says no secret. stdout is left in $scratch/out, stderr in $scratch/err.
expect_exit() { # CODE COMMAND...
    local want=$1 code=0
    shift
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
    ! grep -aqE -- "$secret_words" "$scratch/out" "$scratch/err" || fail "a secret is told: $*"
    [ "$code" -eq "$want" ] || {
        cat "$scratch/out"
        fail "exit $code where $want was due: $*"
    }
}

expect_text() { # FILE REGEX
    grep -qE -- "$2" "$1" || {
        cat "$1"
        fail "$1 does not say: $2"
    }
}

expect_no_text() { # FILE REGEX
    ! grep -E -- "$2" "$1" || fail "$1 must not say: $2"
}

expect_equal() { # WANT GOT WHAT
    [ "$1" = "$2" ] || fail "$(printf '%s:\n  want %s\n  got  %s' "$3" "$1" "$2")"
}

# Warm into $cache from the registry; succeeds.
warm() { expect_exit 0 warmer --cache-dir "$cache" --progress none "$@"; }

# No entry in the making, no trash, no partial download.
expect_clean() { # [DIRECTORY]
    local left
    left=$(cd "${1:-$cache}" && find .basewarm/stage .basewarm/trash .basewarm/partial \
        -mindepth 1 2>/dev/null) || true
    [ -z "$left" ] || fail "left behind: $left"
}

now_ms() { date +%s%3N; }

# ---- images ----------------------------------------------------------------------------------

# Made once for all tests: $images/layout, $images/registry (docker-registry's storage), and
# $images/list, what make-images listed.
images=$(dirname "$bin")/images
prepare_images() {
    mkdir -p "$images"
    (
        flock 9
        registry_extra=
        [ "$images/list" -nt "$root/tests/make-images" ] || {
            rm -rf "$images/layout" "$images/registry"
            start_empty_registry images "$images/registry"
            "$root/tests/make-images" --layout "$images/layout" --push "http://$registry" \
                >"$images/list.new"
            mv "$images/list.new" "$images/list"
            stop_server "$registry_pid"
        }
    ) 9>"$images/lock"
}

# The digest that make-images gave an image: of the index, or of one platform's manifest.
digest_of() { # NAME:TAG [PLATFORM]
    awk -v name="$1" -v where="${2:--}" '$1 == name && $2 == where { print $3 }' "$images/list"
}

case $(uname -m) in
x86_64) platform=linux/amd64 ;;
aarch64) platform=linux/arm64/v8 ;;
*) platform=linux/$(uname -m) ;;
esac

manifest_types=application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json
manifest_types+=,application/vnd.docker.distribution.manifest.list.v2+json
manifest_types+=,application/vnd.docker.distribution.manifest.v2+json
fetch_manifest() { # REPOSITORY DIGEST|TAG
    curl -fsS -H "Accept: $manifest_types" "http://$registry/v2/$1/manifests/$2"
}

# The digests of a manifest's config and layers, each once.
blobs_of() { # MANIFEST-FILE
    jq -r '.config.digest, .layers[].digest' "$1" | sort -u
}

# ---- servers ---------------------------------------------------------------------------------

serve() { # LOG COMMAND...: in the background, until this shell ends, however it ends
    local log=$1
    shift
    setpriv --pdeathsig KILL "$@" >>"$log" 2>&1 </dev/null &
}

stop_server() { # PID
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

wait_for() { # WHAT COMMAND...: up to 10 s
    local what=$1 i
    shift
    for ((i = 0; i < 200; i++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    fail "$what did not happen within 10 s"
}

free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Sets $registry (HOST:PORT), $registry_pid and $registry_log. $registry_extra is more YAML.
registry_extra=
start_empty_registry() { # NAME STORAGE
    registry_log=$scratch/$1.log
    cat >"$scratch/$1.yml" <<YAML
version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: $2}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "127.0.0.1:0", secret: none}
$registry_extra
YAML
    serve "$registry_log" docker-registry serve "$scratch/$1.yml"
    registry_pid=$!
    wait_for "docker-registry's start" grep -q 'listening on 127' "$registry_log"
    registry=127.0.0.1:$(sed -n 's/.*listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$registry_log")
    mark=0
}

start_registry() { # [NAME]: with all images of make-images in it
    local name=${1:-registry}
    prepare_images
    cp -a "$images/registry" "$scratch/$name"
    start_empty_registry "$name" "$scratch/$name"
}

# A registry with make-images' small images, and $small: the digests of this machine's small:1, ...
start_small_registry() {
    mkdir -p "$scratch/storage"
    start_empty_registry registry "$scratch/storage"
    "$root/tests/make-images" --small --push "http://$registry" >"$scratch/list"
    mapfile -t small < <(awk '$2 != "-" { print $3 }' "$scratch/list")
    mapfile -t small_indexes < <(awk '$2 == "-" { print $3 }' "$scratch/list")
}

# ---- what a server saw -----------------------------------------------------------------------

# The log is written after the answer, so a request of our own tells when all before are in it.
settle_log() {
    local sign=mark-$RANDOM$RANDOM
    curl -sS -o /dev/null "http://$registry/v2/?$sign"
    wait_for "the registry's log line" grep -q "\"GET /v2/?$sign" "$registry_log"
}

set_mark() { # requests are counted from here
    settle_log
    mark=$(wc -l <"$registry_log")
}

requests() { # METHOD PATH-REGEX: as lines of the log since the mark
    tail -n "+$((mark + 1))" "$registry_log" | grep -E "\"($1) /v2/($2)[? ]" | grep -v '?mark-' || true
}

expect_requests() { # COUNT METHOD PATH-REGEX
    local got
    settle_log
    got=$(requests "$2" "$3" | wc -l)
    [ "$got" -eq "$1" ] || {
        requests "$2" "$3"
        fail "$got requests $2 $3 where $1 were due"
    }
}

# A private CA, ca.pem, and a server's certificate of it: server.pem, server.key.
make_certificates() {
    local new=(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2)
    "${new[@]}" -subj "/CN=Test CA" -keyout ca.key -out ca.pem 2>/dev/null
    "${new[@]}" -subj "/CN=registry" -CA ca.pem -CAkey ca.key \
        -addext basicConstraints=critical,CA:FALSE \
        -addext subjectAltName=DNS:localhost,DNS:registry.localhost,DNS:registry.test,IP:127.0.0.1,IP:127.0.0.2 \
        -keyout server.key -out server.pem 2>/dev/null
}

# nginx in front of the registry, plain or with TLS (and HTTP/2); directives for its location / on
# stdin, $nginx_server holds more for its server. Sets $front (127.0.0.1:PORT; localhost and registry.localhost are in the
# certificate, too), $front_port and $nginx_log.
nginx_server=
start_nginx() { # [tls [http2]]
    local tls=${1:-} http2=${2:-} directives
    directives=$(cat)
    [ -z "$tls" ] || make_certificates
    nginx_log=$scratch/nginx.log
    mkdir -p nginx
    front_port=$(free_port)
    front=127.0.0.1:$front_port
    cat >nginx.conf <<CONF
daemon off;
master_process off;
pid $scratch/nginx/pid;
error_log $scratch/nginx-error.log;
events {}
http {
    access_log $nginx_log;
    client_body_temp_path $scratch/nginx/body;
    proxy_temp_path $scratch/nginx/proxy;
    fastcgi_temp_path $scratch/nginx/fastcgi;
    uwsgi_temp_path $scratch/nginx/uwsgi;
    scgi_temp_path $scratch/nginx/scgi;
    server {
        listen 127.0.0.1:$front_port${tls:+ ssl}${http2:+ http2};
        $nginx_server
        ${tls:+ssl_certificate $scratch/server.pem;}
        ${tls:+ssl_certificate_key $scratch/server.key;}
        location / {
            proxy_pass http://$registry;
            proxy_set_header Host \$http_host;
            $directives
        }
    }
}
CONF
    serve nginx-error.log nginx -e "$scratch/nginx-error.log" -c "$scratch/nginx.conf"
    wait_for "nginx's start" curl -sk -o /dev/null "http${tls:+s}://$front/"
}

# A token server for the registry that is started next (it sets $registry_extra): see
# servers/token-server.py for the options. Sets $token_server and $token_log.
start_token_server() { # OPTION...
    token_log=$scratch/token.log
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Token issuer" \
        -keyout token.key -out token.pem 2>/dev/null
    serve "$token_log" python3 "$root/tests/servers/token-server.py" \
        --key token.key --certificate token.pem --port-file token.port "$@"
    wait_for "the token server's start" test -s token.port
    token_server_pid=$!
    token_server=127.0.0.1:$(cat token.port)
    registry_extra="auth: {token: {realm: \"http://$token_server/token\", service: test-registry,
  issuer: test-issuer, rootcertbundle: $scratch/token.pem}}"
}

# docker's config.json with one login.
write_login() { # FILE REGISTRY USER PASSWORD
    mkdir -p "$(dirname "$1")"
    jq -n --arg host "$2" --arg auth "$(printf %s:%s "$3" "$4" | base64 -w0)" \
        '{auths: {($host): {auth: $auth}}}' >"$1"
    chmod 600 "$1"
}
