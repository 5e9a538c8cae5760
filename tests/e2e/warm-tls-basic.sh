#!/usr/bin/env bash
# HTTPS with a private CA, and Basic auth.
. "$(dirname "$0")/../lib.sh"

start_registry
printf 'alice:%s\n' "$(openssl passwd -apr1 secret)" >passwords
start_nginx tls <<CONF
auth_basic registry;
auth_basic_user_file $scratch/passwords;
CONF
# Not a name that counts as local, so that nothing is ever sent in the clear.
host=registry.localhost:$front_port
image=$host/base:1
entry=$(digest_of base:1 "$platform")
write_login login/config.json "$host" alice secret

refused() { # CODE WARMER-OPTION...
    local code=$1
    shift
    rm -rf refused
    expect_exit "$code" warmer --cache-dir refused --retries 0 --image "$image" "$@"
    [ "$code" -eq 78 ] || expect_text err "$image"
    expect_no_text err 'secret|guess'
    [ ! -e "refused/$entry" ] || fail "an entry was published"
}

step "the CA in a file for this registry, the login in DOCKER_CONFIG"
DOCKER_CONFIG=login warm --image "$image" --registry-certificate "$host=$scratch/ca.pem"
expect_exit 0 cachedir -c "$cache" verify
[ -d "$cache/$entry" ]

step "the CA in SSL_CERT_FILE, the login in --authfile"
rm -rf "$cache"
SSL_CERT_FILE=$scratch/ca.pem warm --image "$image" --authfile login/config.json

step "no verification, for this registry or for all"
for option in "--skip-tls-verify-registry=$host" --skip-tls-verify-pull; do
    rm -rf "$cache"
    DOCKER_CONFIG=login warm --image "$image" "$option"
done

step "a CA that did not sign it, or none: refused, and no password leaves"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=Another CA" -keyout /dev/null \
    -out wrong-ca.pem 2>/dev/null
: >"$nginx_log"
DOCKER_CONFIG=login refused 78 --registry-certificate "$host=$scratch/wrong-ca.pem"
expect_text err "$image.*certificate"
DOCKER_CONFIG=login refused 78
expect_text err "$image.*certificate"
expect_equal "" "$(cat "$nginx_log")" "requests"

step "an insecure registry that speaks TLS: its certificate is verified all the same"
DOCKER_CONFIG=login refused 78 --insecure-registry "$host"
expect_text err "$image.*certificate"

step "a CA file that is none: 78"
echo "no certificate" >junk.pem
DOCKER_CONFIG=login refused 78 --registry-certificate "$host=$scratch/junk.pem"
DOCKER_CONFIG=login refused 78 --registry-certificate "$host=$scratch/missing.pem"

step "a wrong password, or none: 77"
write_login wrong/config.json "$host" alice guess
DOCKER_CONFIG=wrong refused 77 --skip-tls-verify-pull
refused 77 --skip-tls-verify-pull

step "a login is for the registry that it is stored for"
write_login other/config.json registry.localhost:1 alice secret
DOCKER_CONFIG=other refused 77 --skip-tls-verify-pull

step "a config.json that does not parse: 78, with the place"
mkdir broken
echo '{"auths": {' >broken/config.json
DOCKER_CONFIG=broken expect_exit 78 warmer --cache-dir "$cache" --image "$image"
expect_text err 'config.json'
