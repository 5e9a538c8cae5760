#!/usr/bin/env bash
# shellcheck disable=SC2154  # listeners' names, which start_faults sets
# A registry that misbehaves on purpose: mirrors, which stand in for each other at every request.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

make_certificates
start_faults --certificate server.pem --key server.key
# The original is $other, which is good; the mirror is $main, below a path that says what is wrong.
# "tiny" takes HEAD and GET of the manifest, the config and one layer: 4 requests.
mirror() { # CODE REQUESTS MIRROR-FAULT IMAGE REGEX [OPTION...]
    local code=$1 most=$2 fault=$3 image=$4 words=$5
    shift 5
    row "$code" "$most" "$other/pub/$image" "$words" --registry-map "$other=$main/$fault" "$@"
}

step "a good mirror"
mirror 0 4 pub tiny ""
saw 0 ' other '
KANIKO_REGISTRY_MAP="$other=$main" row 0 4 "$other/pub/tiny" ""
saw 0 ' other '
saw 4 ' main .* /v2/pub/tiny/'

step "what the mirror lacks comes from the original"
mirror 0 6 manifest-status-404 tiny ""
saw 2 ' other .*/manifests/'
saw 2 ' main .*/blobs/'
mirror 0 5 status-404 small ""
saw 1 ' other '
saw 1 ' other GET /v2/pub/small/blobs/.* 200 3145728'
mirror 66 4 manifest-status-404 no-such-image "404.*; .*404"

step "a mirror that fails in the middle: the original goes on where it stopped"
mirror 0 5 cut small ""
saw 1 ' other GET .*bytes=1048576-3145727'
mirror 0 5 stall small "" --stall-timeout 1s
saw 1 ' other GET .*bytes=1048576-3145727'
mirror 0 5 cut-early small ""
mirror 0 5 status-500 small ""
mirror 0 5 short small ""
mirror 0 5 html small ""
mirror 0 5 trickle small "" --stall-timeout 1s

step "wrong bytes: once more, then from the next"
mirror 0 6 wrong-byte small "once more"
saw 2 ' main GET .* 200 3145728'
saw 1 ' other GET .* 200 3145728'
mirror 0 5 wrong-byte-1 small "once more"
saw 0 ' other '
digest=$(curl -fsS -H "Accept-Encoding: identity" "http://$main/v2/tiny/manifests/1" | sha256sum | cut -d' ' -f1)
mirror 0 5 other-bytes "tiny@sha256:$digest" ""
mirror 0 7 page tiny ""
mirror 0 7 page-digest tiny ""

step "a mirror that is down, or wants to be left alone, holds up nobody"
mirror 0 8 status-503 small ""
mirror 0 8 manifest-status-503 tiny ""
mirror 0 12 later-all-4000 many ""
saw -3 ' main '
row 0 11 "$other/pub/many" "" --registry-map "$other=$dead" -v debug
saw -3 ' dead '
said 1 "$dead: going on to the next place"
row 0 11 "$other/pub/many" "" --registry-map "$other=127.0.0.1:$(free_port)"
row 0 4 "$other/pub/tiny" "" --registry-map "$other=no-such-host.invalid"
row 75 0 no-such-host.invalid/tiny "no such host" --retries 1
mirror 75 12 status-503 status-503/small "503"

step "a mirror that we may not use: said, and the original asked"
mirror 0 8 auth-bare tiny ""
said 1 "$main cannot be used"
row 0 4 "$other/pub/tiny" "$tls cannot be used.*certificate" --registry-map "$other=$tls"

step "credentials are for the host that they are stored for"
write_login "$HOME/.docker/config.json" "$other" alice secret
row 0 9 "$other/auth-basic/tiny" "" --registry-map "$other=$main"
saw 0 ' main .*Basic_'
write_login "$HOME/.docker/config.json" "$main" alice secret
row 77 6 "$other/auth-basic/tiny" "" --registry-map "$other=$main/manifest-status-404"
saw 0 ' other .*Basic_'
rm "$HOME/.docker/config.json"

step "several, in their order; and without the original"
row 0 6 "$other/pub/tiny" "" --registry-map "$other=$main/manifest-status-404;$other=$main/pub"
saw 0 ' other '
mirror 66 1 manifest-status-404 tiny "404" --skip-default-registry-fallback
saw 0 ' other '

step "Docker Hub's names"
hub=(--skip-default-registry-fallback)
row 0 4 docker.io/tiny "" "${hub[@]}" --registry-mirror "$main/pub"
saw 4 ' main .* /v2/pub/library/tiny/'
row 0 4 docker.io/pub/tiny "" "${hub[@]}" --registry-mirror "$main"
saw 4 ' main .* /v2/pub/tiny/'
row 0 4 index.docker.io/library/tiny "" "${hub[@]}" --registry-map "index.docker.io=$main"
saw 4 ' main .* /v2/library/tiny/'
KANIKO_REGISTRY_MIRROR=$main row 0 4 docker.io/tiny "" "${hub[@]}"
saw 4 ' main .* /v2/library/tiny/'
row 0 0 docker.io/tiny "" "${hub[@]}" --registry-mirror "$main/manifest-status-404" --registry-mirror "$other"
saw 2 ' other .* /v2/library/tiny/manifests'

end_of_table
