#!/usr/bin/env bash
# A registry that misbehaves on purpose: challenges, token servers, credentials.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

make_certificates
start_faults --certificate server.pem --key server.key
config=$HOME/.docker/config.json
login() { write_login "$config" "$main" alice secret; }
# "tiny" takes HEAD and GET of the manifest, the config and one layer; the challenge costs the first
# request again, and the token is one more: 6 requests.

step "anonymous tokens, whatever the challenge looks like"
for kind in plain no-scope placeholder two-headers one-header odd realm-relative access-token \
    no-expiry odd-expiry; do
    row 0 6 auth-$kind/tiny ""
    saw 1 " /token/"
done
row 0 8 auth-wide/tiny "" # the second challenge wants more
row 77 2 auth-bare/tiny "does not say how"
row 77 7 auth-malformed/tiny "does not say how"
row 77 7 auth-never/tiny "401"

step "a login: for the token server of the registry that it is stored for"
row 77 4 auth-login/tiny "not found, or no access"
login
row 0 6 auth-login/tiny ""
row 0 6 auth-basic/tiny ""
row 0 7 auth-post/tiny ""
write_login "$config" "$main" alice wrong-secret
row 77 8 auth-login/tiny "401.*incorrect username"
row 77 8 auth-basic/tiny "$config"
row 0 8 auth-stale-login/tiny "trying without" # the credential is stale, and the image is public
row 77 5 auth-stale-login/tiny "401" --anonymous-retry=false
login
row 77 6 auth-denied/tiny "no such user"
jq -n --arg host "$main" '{auths: {($host): {identitytoken: "refresh-me"}}}' >"$config"
row 0 6 auth-refresh/tiny ""
saw 1 'POST /token/'
row 0 7 auth-refresh-get/tiny ""
mkdir helpers # a user "<token>" of a helper's is the same
cat >helpers/docker-credential-refresh <<'SH'
#!/bin/sh
echo '{"Username":"<token>","Secret":"refresh-me"}'
SH
chmod 755 helpers/docker-credential-refresh
jq -n --arg host "$main" '{credHelpers: {($host): "refresh"}}' >"$config"
PATH=$scratch/helpers:$PATH row 0 6 auth-refresh/tiny ""
saw 1 'POST /token/'
jq -n --arg host "$main" '{auths: {($host): {registrytoken: "refresh-me"}}}' >"$config"
row 0 7 auth-plain/tiny "trying without"
row 77 3 auth-plain/tiny "401" --anonymous-retry=false

step "where a login never goes"
login
row 77 2 auth-realm-other/tiny "not encrypted.*not sent there" --anonymous-retry=false
saw 0 ' other '
row 0 6 auth-realm-other/tiny "trying without.*not encrypted.*not sent there"
saw 1 ' other GET /token/.* -$'
write_login "$config" "$tls" alice secret
export SSL_CERT_FILE=$scratch/ca.pem
row 77 2 "$tls/auth-realm-plain/tiny" "https to http|not encrypted"
saw 0 ' main '
row 0 6 "$tls/auth-login/tiny" ""
login
row 0 6 auth-realm-tls/tiny "" # from http to https it may
rm "$config"
row 0 6 auth-realm-other/tiny "" # nobody's token is no secret
row 65 2 auth-realm-userinfo/tiny "user"
row 65 2 auth-realm-file/tiny "http"
row 77 2 auth-realm-metadata/tiny "169.254.169.254.*may not go"
unset SSL_CERT_FILE

step "tokens that die"
row 0 0 auth-short/slow-1/many "" --jobs 1
saw -8 ' /token/'
saw -8 ' 401 '
[ "$(grep -c ' /token/' log)" -ge 2 ] || bad "no token died: no test"
row 0 0 auth-dies-400/many ""
row 0 0 auth-dies-403/many ""
saw -6 ' /token/'

step "token servers in trouble"
row 0 8 auth-down-once/tiny ""
row 75 9 auth-down/tiny "502"
row 65 2 auth-portal/tiny "no JSON"
row 65 2 auth-nothing/tiny "no token"
row 65 2 auth-injected/tiny "cannot stand in a header"
row 65 2 auth-huge/tiny "65536"

end_of_table
