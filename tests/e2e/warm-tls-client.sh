#!/usr/bin/env bash
# A registry that wants to see a client certificate, over HTTP/1.1 and HTTP/2.
. "$(dirname "$0")/../lib.sh"

start_registry
make_certificates
nginx_server="ssl_client_certificate $scratch/ca.pem; ssl_verify_client on;"
start_nginx tls http2 </dev/null
issue() { # NAME: NAME.pem and NAME.key, of the CA that the server trusts
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE -keyout "$1.key" \
        -out "$1.pem" 2>/dev/null
}
issue builder
issue other
host=registry.localhost:$front_port
image=$host/base:1
ca=(--registry-certificate "$host=$scratch/ca.pem")

refused() { # CODE WARMER-OPTION...
    local code=$1
    shift
    expect_exit "$code" warmer --cache-dir refused --retries 0 --image "$image" "${ca[@]}" "$@"
    [ ! -e "refused/$(digest_of base:1 "$platform")" ] || fail "an entry was published"
}

protocols() { sed -n 's/.* \(HTTP\/[0-9.]*\)" .*/\1/p' "$nginx_log" | sort | uniq -c | sed 's/^ *//'; }

for option in --http2=false --http2; do
    step "with its certificate, $option"
    : >"$nginx_log"
    rm -rf "$cache"
    warm --image "$image" --image "$host/app:1" "${ca[@]}" $option \
        --registry-client-cert "$host=$scratch/builder.pem,$scratch/builder.key"
    expect_exit 0 cachedir -c "$cache" verify
    protocols >spoken
    cat spoken
    [ "$option" = --http2 ] && version=2.0 || version=1.1
    expect_equal "HTTP/$version" "$(sed 's/^[0-9]* //' spoken)" "protocols"
done

step "without one, or with a stranger's"
refused 77
expect_text err "SSL certificate"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=stranger" -keyout stranger.key \
    -out stranger.pem 2>/dev/null
refused 77 --registry-client-cert "$host=$scratch/stranger.pem,$scratch/stranger.key"

step "one that cannot be used: 78, before anything is asked"
: >"$nginx_log"
refused 78 --registry-client-cert "$host=$scratch/builder.pem,$scratch/other.key"
expect_text err "other.key"
refused 78 --registry-client-cert "$host=$scratch/builder.pem,$scratch/missing.key"
expect_text err "missing.key"
expect_equal "" "$(cat "$nginx_log")" "requests"
