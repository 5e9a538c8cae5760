#!/usr/bin/env bash
# Azure's registries: service principal, workload identity, managed identity; the exchange and the
# refresh at the registry; against a server that checks the assertions. And GitLab CI's variables.
# threads: long
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/clouds.sh"

start_clouds
host=team.azurecr.io
export AZURE_POD_IDENTITY_AUTHORITY_HOST=http://$clouds/azure

step "the instance's managed identity, exchanged and refreshed at the registry"
try 0 "Azure, for Azure's managed identity" --image "$host/app:1"
expect_seen 1 'GET /azure/metadata/identity/oauth2/token 200'
expect_seen 1 "POST http://$host/oauth2/exchange 200"
expect_seen 2 "POST http://$host/oauth2/token 200" # a token a repository
expect_exit 0 cachedir -c "$cache" verify
cloud_set no-role=yes
try 77 'Identity not found'
cloud_set no-role= down=/azure/metadata
try 75 "Azure's managed identity.*503"
cloud_set down= silent=/azure/metadata
try 77 'no answer within 1s' --retries 0
cloud_set silent=
export IDENTITY_ENDPOINT=http://$clouds/azure/app IDENTITY_HEADER=hush-azure-app-header
try 0 "Azure, for Azure's managed identity"
expect_seen 1 'GET /azure/app 200'
unset IDENTITY_ENDPOINT IDENTITY_HEADER

step "a service principal"
export AZURE_AUTHORITY_HOST=http://$clouds/azure/ AZURE_CLIENT_ID=the-client AZURE_TENANT_ID=the-tenant
export AZURE_CLIENT_SECRET=hush-azure-client-secret
try 0 "Azure, for the service principal of AZURE_CLIENT_SECRET"
expect_seen 1 'POST /azure/the-tenant/oauth2/v2.0/token 200'
expect_seen 0 /azure/metadata
AZURE_CLIENT_SECRET=hush-wrong try 77 'invalid_client: AADSTS7000215'
AZURE_TENANT_ID=../other try 77 'AADSTS90002'
AZURE_AUTHORITY_HOST=http://login.example/ try 78 'AZURE_AUTHORITY_HOST must be an https URL'
unset AZURE_CLIENT_SECRET

step "workload identity: Entra ID checks the pod's token, which is read again when it is needed"
export AZURE_FEDERATED_TOKEN_FILE=$scratch/federated
mint federated aud=api://AzureADTokenExchange sub=system:serviceaccount:warm:warm
try 0 "Azure, for the workload identity of AZURE_FEDERATED_TOKEN_FILE"
expect_seen 1 'oauth2/v2.0/token 200 assertion'
mint federated aud=api://AzureADTokenExchange iat=-700 exp=-60
try 77 'invalid_client: Invalid JWT: it has expired'
cloud_set skew=-300 # the same token, where it is not yet too late
try 0 ""
cloud_set skew=0
rm federated
try 78 'AZURE_FEDERATED_TOKEN_FILE: .*federated is not there'
mint federated aud=api://AzureADTokenExchange

step "a refresh token that is refused is exchanged anew"
cloud_set uses=1
try 0 "" --image "$host/app:1" --jobs 1
[ "$(seen '/oauth2/exchange 200')" -gt 1 ] || fail "no token was used up: no test"
cloud_set uses=0

step "nothing is asked for anybody else's registry, nor when it was not chosen"
try 77 "" --credential-helpers google
expect_seen 0 /azure/
for host in azurecr.io.evil.example team.notazurecr.io; do
    try 77 ""
    expect_seen 0 /azure/
done

step "GitLab CI's variables, for the registry that they name"
host=registry.gitlab.example:5050
export CI_REGISTRY=$host CI_REGISTRY_USER=the-user CI_REGISTRY_PASSWORD=hush-gitlab-password
try 0 "GitLab CI's CI_REGISTRY_USER"
try 77 "" --credential-helpers acr
host=registry.gitlab.example try 77 ""
unset CI_REGISTRY_PASSWORD
try 77 "neither CI_REGISTRY_USER and CI_REGISTRY_PASSWORD nor CI_JOB_TOKEN are set"
CI_JOB_TOKEN=hush-gitlab-job try 0 "GitLab CI's CI_JOB_TOKEN"
host=gitlab.example
CI_DEPENDENCY_PROXY_SERVER=gitlab.example:443 CI_DEPENDENCY_PROXY_USER=gitlab-ci-token \
    CI_DEPENDENCY_PROXY_PASSWORD=hush-gitlab-job try 0 "GitLab CI's CI_DEPENDENCY_PROXY_USER"
