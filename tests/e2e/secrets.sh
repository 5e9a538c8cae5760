#!/usr/bin/env bash
# No secret in anything that the programs write, at any level and in any form: logs, tables, reports,
# metrics, the directory, command lines.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/clouds.sh"

start_clouds
mkdir -m 700 wrote helpers secret
config=$HOME/.docker/config.json
runs=0

# Warm, and keep all that was written: the directory, the report, the metrics, both streams.
write() { # CODE OPTION...
    local want=$1 code=0 format
    shift
    for format in text json; do
        runs=$((runs + 1))
        warmer --cache-dir "wrote/cache-$runs" -v trace --log-format $format --log-timestamp --retries 1 \
            --report "wrote/report-$runs" --metrics-file "wrote/metrics-$runs" --progress plain "$@" \
            >"wrote/out-$runs" 2>"wrote/err-$runs" </dev/null || code=$?
        expect_equal "$want" "$code" "exit code of $*"
    done
}

step "files: Basic, an identity token, a registry token; good and bad"
host=gitlab.example
insecure=(--insecure-registry "$host" --insecure-registry eu-docker.pkg.dev --insecure-registry team.azurecr.io
    --insecure-registry 123456789012.dkr.ecr.eu-west-1.amazonaws.com)
write_login "$config" "$host" the-user hush-gitlab-password
grep -qE "$secret_words" "$config" || fail "the search finds nothing: no test"
write 0 "${insecure[@]}" --image "$host/base:1"
write_login "$config" "$host" the-user hush-wrong
write 77 "${insecure[@]}" --image "$host/base:1"
for kind in identitytoken registrytoken; do
    jq -n --arg host team.azurecr.io --arg kind $kind '{auths: {($host): {($kind): "hush-of-a-file"}}}' >"$config"
    write 77 "${insecure[@]}" --image team.azurecr.io/base:1
done
DOCKER_AUTH_CONFIG='{"auths":{"gitlab.example":{"auth":"hush-no-base64"}}}' write 78 --image "$host/base:1"
printf '{"auths": {"a.io": {"password": hush-unquoted}}}' >"$config"
write 78 --image "$host/base:1"
rm "$config"
KANIKO_GITLAB_EXAMPLE_USER=the-user KANIKO_GITLAB_EXAMPLE_PASSWORD=hush-gitlab-password \
    write 0 "${insecure[@]}" --image "$host/base:1"

step "helpers: what they answer, what they trace, and how they fail"
cat >helpers/docker-credential-traces <<'SH'
#!/bin/bash -x
echo '{"Username":"the-user","Secret":"hush-gitlab-password"}'
[ -z "$FAIL" ] || exit 1
SH
chmod 755 helpers/docker-credential-traces
echo '{"credsStore":"traces"}' >"$config"
PATH=$scratch/helpers:$PATH write 0 "${insecure[@]}" --image "$host/base:1"
FAIL=yes PATH=$scratch/helpers:$PATH write 75 "${insecure[@]}" --image "$host/base:1"
rm "$config"

step "clouds: what they take, and what they refuse"
export AWS_ENDPOINT_URL_ECR=http://$clouds/aws/ecr GCE_METADATA_HOST=$clouds
export AZURE_POD_IDENTITY_AUTHORITY_HOST=http://$clouds/azure AZURE_AUTHORITY_HOST=http://$clouds/azure
export AWS_EC2_METADATA_DISABLED=true AWS_ACCESS_KEY_ID=AKIDSTATIC
all=(--image 123456789012.dkr.ecr.eu-west-1.amazonaws.com/base:1 --image eu-docker.pkg.dev/base:1
    --image team.azurecr.io/base:1)
AWS_SECRET_ACCESS_KEY=hush-aws-static-secret write 0 "${insecure[@]}" "${all[@]}"
cloud_set no-role=yes
AWS_SECRET_ACCESS_KEY=hush-wrong AWS_SESSION_TOKEN=hush-$(printf 'x%.0s' {1..400}) AZURE_CLIENT_ID=the-client \
    AZURE_TENANT_ID=the-tenant AZURE_CLIENT_SECRET=hush-wrong write 77 "${insecure[@]}" "${all[@]}"

step "a proxy's password, and a link that is a secret itself"
HTTP_PROXY=http://user:hush-proxy@$clouds HTTPS_PROXY=http://user:hush-proxy@$clouds \
    write 77 "${insecure[@]}" --image "$host/base:1"
start_nginx <<NGINX
if (\$uri ~ /blobs/) { return 307 http://$registry\$uri?X-Signature=hush-presigned; }
NGINX
write 0 --image "$front/base:1"
grep -q hush-presigned "$registry_log" || fail "the link was not followed: no test"
stop_server "$registry_pid"
write 75 --image "$front/app:1"

step "command lines: ours, and the helper's"
cat >helpers/docker-credential-waits <<'SH'
#!/bin/bash
echo $$ >helper.pid
exec sleep 1000
SH
chmod 755 helpers/docker-credential-waits
jq -n --arg host "$host" '{credHelpers: {($host): "waits"}}' >"$config"
PATH=$scratch/helpers:$PATH warmer --cache-dir wrote/cache --insecure-registry "$host" --image "$host/base:1" \
    >wrote/out 2>wrote/err </dev/null &
pid=$!
wait_for "the helper's start" test -s helper.pid
tr '\0' ' ' <"/proc/$pid/cmdline" >wrote/cmdline
expect_text wrote/cmdline "$host/base:1"
kill "$pid"
wait "$pid" || true

step "nothing of it was written"
found=$(grep -raoE -- ".{0,40}($secret_words)" wrote || true)
[ -z "$found" ] || fail "secrets were written: $found"
expect_equal "$((2 * runs))" "$(find wrote -name 'out-*' -o -name 'err-*' | wc -l)" "files searched"
