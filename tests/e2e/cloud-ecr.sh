#!/usr/bin/env bash
# Amazon's registries: every place that AWS' credentials come from, against a server that checks the
# signature; clocks, expiry, refusal; and nobody else's registry.
# threads: long
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/clouds.sh"

start_clouds
host=123456789012.dkr.ecr.eu-west-1.amazonaws.com
export AWS_ENDPOINT_URL_ECR=http://$clouds/aws/ecr AWS_ENDPOINT_URL_STS=http://$clouds/aws/sts
export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://$clouds/aws/imds
static_keys() { export AWS_ACCESS_KEY_ID=AKIDSTATIC AWS_SECRET_ACCESS_KEY=hush-aws-static-secret; }
no_keys() { unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; }

step "static keys of the environment; one token serves all images"
static_keys
try 0 "AWS ECR, for the environment's AWS_ACCESS_KEY_ID" --image "$host/app:1"
expect_seen 1 'POST /aws/ecr/ 200 .*GetAuthorizationToken by AKIDSTATIC'
expect_exit 0 cachedir -c "$cache" verify

step "keys that are wrong: refused, without the words that quote what was sent"
AWS_SECRET_ACCESS_KEY=hush-wrong try 77 'InvalidSignatureException: The request signature we calculated'
expect_no_text err 'Canonical'
AWS_ACCESS_KEY_ID=AKIDOTHER try 77 'UnrecognizedClientException'
AWS_SESSION_TOKEN=hush-session try 77 'AWS ECR'

step "a clock that differs from the cloud's by more than a signature may"
for skew in 1000 -1000; do
    cloud_set skew=$skew
    try 0 ""
    expect_seen 1 'POST /aws/ecr/ 400'
    expect_seen 1 'POST /aws/ecr/ 200'
done
cloud_set skew=0

step "a token that has expired is asked for again"
cloud_set uses=2
try 0 ""
[ "$(seen 'POST /aws/ecr/ 200')" -gt 1 ] || fail "no token expired: no test"
[ "$(seen ' 403 ')" -gt 0 ] || fail "no token expired: no test"
cloud_set uses=0

step "a cloud in trouble is worth another try, and stands in the way of no public image"
cloud_set down=/aws/ecr
try 75 "503"
try 0 "" --image "$registry/base:1" --fail all
cloud_set down=

step "a profile of the shared files"
no_keys
mkdir -m 700 aws
cat >aws/credentials <<'INI'
# the usual
[default]
aws_access_key_id = AKIDOTHER
aws_secret_access_key = hush-other

[warm]
aws_access_key_id=AKIDSTATIC
aws_secret_access_key=hush-aws-static-secret
INI
chmod 600 aws/credentials
AWS_SHARED_CREDENTIALS_FILE=$scratch/aws/credentials AWS_PROFILE=warm try 0 "AWS' profile warm"
expect_no_text err 'everybody may read'
chmod 644 aws/credentials
AWS_SHARED_CREDENTIALS_FILE=$scratch/aws/credentials AWS_PROFILE=warm try 0 "aws/credentials.*everybody may read it"
AWS_SHARED_CREDENTIALS_FILE=$scratch/aws/credentials try 77 UnrecognizedClientException
AWS_SHARED_CREDENTIALS_FILE=$scratch/aws/absent try 78 "AWS_SHARED_CREDENTIALS_FILE: .*absent is not there"
mkdir "$HOME/.aws"
printf '[default]\nregion = x\n[profile warm]\nsso_session = corp\n' >"$HOME/.aws/config"
AWS_PROFILE=warm try 77 "profile warm has sso_session.*docker-credential-ecr-login"
rm -r "$HOME/.aws"

step "web identity: STS checks the token of the pod"
export AWS_ROLE_ARN=arn:aws:iam::123456789012:role/warm AWS_WEB_IDENTITY_TOKEN_FILE=$scratch/web
mint web aud=sts.amazonaws.com sub=pod
try 0 "AWS' web identity"
expect_seen 1 'POST /aws/sts/ 200'
expect_seen 1 'POST /aws/ecr/ 200 .* by ASIA'
mint web aud=sts.amazonaws.com iat=-700 exp=-60
try 77 'InvalidIdentityToken.*expired'
mint web aud=somebody.else
try 77 'InvalidIdentityToken'
AWS_ROLE_ARN=arn:aws:iam::123456789012:role/other try 77 'AccessDenied'
rm web
try 78 'AWS_WEB_IDENTITY_TOKEN_FILE: .*web is not there'
unset AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE

step "pod identity: the agent, by a URI of this machine, and the token that names the pod"
export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://$clouds/aws/agent
printf 'hush-aws-agent-token\n' >agent-token
AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$scratch/agent-token try 0 "AWS' container credentials"
AWS_CONTAINER_AUTHORIZATION_TOKEN=hush-wrong try 77 "AWS' container credentials"
AWS_CONTAINER_CREDENTIALS_FULL_URI=http://agent.example/ try 78 'FULL_URI must be https'
unset AWS_CONTAINER_CREDENTIALS_FULL_URI

step "the instance's role, by IMDSv2, in a second"
try 0 "AWS' instance role"
expect_seen 1 'PUT /aws/imds/latest/api/token 200'
expect_seen 1 'GET /aws/imds/.*/the-role 200'
cloud_set no-role=yes
try 77 'this instance has no role'
cloud_set no-role= silent=/aws/imds
try 77 'no answer within 1s' --retries 0
expect_seen 1 /aws/imds
cloud_set silent=
AWS_EC2_METADATA_DISABLED=true try 77 AWS_EC2_METADATA_DISABLED
expect_seen 0 /aws/
AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:$(free_port) try 77 'cannot connect'

step "--credential-helpers chooses, and nothing is asked for anybody else's registry"
static_keys
try 77 "no credentials for $host" --credential-helpers env --credential-helpers google
expect_seen 0 /aws/
try 77 "" --credential-helpers ""
expect_seen 0 /aws/
try 0 "" --credential-helpers ecr
for host in 12345678901.dkr.ecr.eu-west-1.amazonaws.com 123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example; do
    try 77 ""
    expect_seen 0 '/aws/'
done

step "ECR Public has an API of its own"
host=public.ecr.aws
cloud_set service=ecr-public region=us-east-1
AWS_ENDPOINT_URL_ECR_PUBLIC=http://$clouds/aws/ecr try 0 "AWS ECR"
expect_seen 1 'SpencerFrontendService.GetAuthorizationToken by AKIDSTATIC'
