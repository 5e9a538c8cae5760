#!/usr/bin/env bash
# Google's registries: key files of every kind and the metadata server, against a server that checks
# the assertions; clocks, expiry, refusal; and nobody else's registry.
# threads: long
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/clouds.sh"

start_clouds
host=eu-docker.pkg.dev
export GCE_METADATA_HOST=$clouds
key=$scratch/key.json
key_file() { # FILTER: of jq, on a service account's key
    jq -n --rawfile pem account.key --arg url "http://$clouds/google" "
        {type: \"service_account\", client_email: \"warm@project.example\", private_key_id: \"k1\",
         private_key: \$pem, token_uri: (\$url + \"/token\")} | $1" >"$key"
    chmod 600 "$key"
}

step "the metadata server's token; one serves all of Google's registries"
try 0 "Google's metadata server" --image "gcr.io/app:1" --insecure-registry gcr.io
expect_seen 1 'GET /computeMetadata/.* 200'
expect_exit 0 cachedir -c "$cache" verify
cloud_set no-role=yes
try 77 "GOOGLE_APPLICATION_CREDENTIALS is not set, and Google's metadata server"
cloud_set no-role= down=/computeMetadata
try 75 "Google's metadata server.*503"
cloud_set down= silent=/computeMetadata
try 77 'no answer within 1s' --retries 0
expect_seen 1 /computeMetadata
cloud_set silent=

step "a service account's key; the server checks the signature"
export GOOGLE_APPLICATION_CREDENTIALS=$key
key_file .
try 0 "credentials for $host: Google, for $key"
expect_seen 1 'POST /google/token 200 .*jwt-bearer'
expect_seen 0 /computeMetadata
key_file '.client_email = "other@project.example"'
try 77 'invalid_grant: Invalid JWT: wrong iss'
openssl genrsa -out other.key 2048 2>/dev/null
key_file ". as \$all | \"$(sed 's/$/\\n/' other.key | tr -d '\n')\" as \$other | \$all | .private_key = \$other"
try 77 'invalid_grant: Invalid JWT Signature'

step "a clock that differs from Google's by more than an assertion may"
key_file .
for skew in 4000 -4000; do
    cloud_set skew=$skew
    try 0 ""
    expect_seen 1 'POST /google/token 400'
    expect_seen 1 'POST /google/token 200'
done
cloud_set skew=0

step "a token that is refused is asked for again"
cloud_set uses=1
try 0 "" --image "$host/app:1" --jobs 1
[ "$(seen 'POST /google/token 200')" -gt 1 ] || fail "no token was used up: no test"
cloud_set uses=0

step "key files that are none"
chmod 644 "$key"
try 0 'key.json holds secrets, and everybody may read it'
for row in 'del(.private_key)|private_key is missing' '.private_key = "x"|no RSA key' \
    '.type = "odd"|no way is known for the type odd' 'del(.type)|type is missing' \
    '.token_uri = "http://tokens.example/"|token_uri must be an https URL'; do
    key_file "${row%%|*}"
    try 78 "${row#*|}"
    expect_seen 0 '/google/'
done
echo '{' >"$key"
try 78 'key.json: line 2, column 0: not JSON'
rm "$key"
try 78 'key.json is not there'

step "an external account: a token of another identity provider, from a file or a URL"
audience=//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k
external() { # SOURCE [FILTER]
    jq -n --arg url "http://$clouds/google" --arg audience "$audience" --arg dir "$scratch" "
        {type: \"external_account\", audience: \$audience,
         subject_token_type: \"urn:ietf:params:oauth:token-type:jwt\",
         token_url: (\$url + \"/token\"), credential_source: $1} | ${2:-.}" >"$key"
    chmod 600 "$key"
}
mint subject aud=$audience sub=pod
external '{file: ($dir + "/subject")}'
try 0 "Google, for $key"
expect_seen 1 'POST /google/token 200 .*token-exchange'
jq -n --rawfile token subject '{id_token: $token}' >subject.json
external '{file: ($dir + "/subject.json"), format: {type: "json", subject_token_field_name: "id_token"}}' \
    '.service_account_impersonation_url = ($url + "/iam")'
try 0 "Google, for $key"
expect_seen 1 'POST /google/iam 200'
external "{url: \"http://$clouds/__mint?aud=$audience\", headers: {\"X-Purpose\": \"test\"}}"
try 0 "Google, for $key"
mint subject aud=$audience iat=-700 exp=-60
external '{file: ($dir + "/subject")}'
try 77 'invalid_grant: Invalid JWT: it has expired'
external '{file: ($dir + "/absent")}'
try 78 'credential_source: .*absent is not there'
external '{environment_id: "aws1", url: "http://169.254.169.254/"}'
try 78 'only a file or a url is understood'

step "a user's credentials"
user() {
    jq -n --arg url "http://$clouds/google/token" --arg refresh "$1" '{type: "authorized_user", token_uri: $url,
        client_id: "the-client", client_secret: "hush-google-client", refresh_token: $refresh}' >"$key"
    chmod 600 "$key"
}
user hush-google-refresh
try 0 "Google, for $key"
user hush-wrong
try 77 invalid_grant

step "nothing is asked for anybody else's registry, nor when it was not chosen"
unset GOOGLE_APPLICATION_CREDENTIALS
try 77 "" --credential-helpers ecr
expect_seen 0 /computeMetadata
for host in gcr.io.evil.example notgcr.io pkg.dev.example; do
    try 77 ""
    expect_seen 0 /computeMetadata
done
