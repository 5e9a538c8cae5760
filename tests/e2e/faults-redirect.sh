#!/usr/bin/env bash
# A registry that misbehaves on purpose: redirects, object stores, layers with URLs. (Where requests
# may go inside a network: faults-reach.sh.)
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

make_certificates
start_faults --certificate server.pem --key server.key
export SSL_CERT_FILE=$scratch/ca.pem
write_login "$HOME/.docker/config.json" "$main" alice secret
# "tiny" takes HEAD and GET of the manifest, the config and one layer; each redirect is one more.
# The server complains when Authorization arrives at a store.

step "followed"
row 0 6 to-other/tiny ""
row 0 8 auth-basic/to-other/tiny ""
saw 2 'GET /store/.* 200 '
row 0 8 auth-basic/to-tls_other/tiny ""
row 0 9 auth-login/to-other/tiny ""
row 0 6 to-main/tiny ""
row 0 6 relative/tiny ""
row 0 6 manifest-to-other/tiny ""
row 0 6 "$tls/to-tls_other/tiny" "" --registry-certificate "$tls=$scratch/ca.pem"
row 0 15 auth-basic/hops-5/tiny ""
row 0 24 hops-10/tiny ""

step "not for ever"
row 65 24 hops-11/tiny "more than 10 redirects"
row 65 24 loop/tiny "more than 10 redirects"
saw -22 '/loop/.*blobs'

step "not everywhere"
row 77 4 "$tls/to-main/tiny" "[Hh][Tt][Tt][Pp][Ss] to [Hh][Tt][Tt][Pp]|plain"
saw 0 ' main '
for kind in userinfo ftp file garbage port empty long; do
    row 65 4 location-$kind/tiny "redirect"
    saw 0 ' other '
done
row 65 4 location-none/tiny "redirect"
for kind in metadata metadata-decimal metadata-mapped; do
    row 77 4 location-$kind/tiny "169.254.169.254.*may not go"
done

step "a store that has faults of its own"
row 0 10 to-other/cut/small ""
row 0 8 to-other/cut-first/range-ignored/small ""
row 0 8 to-other/wrong-byte-1/small "once more"
row 0 8 to-other/stall-1/small "" --stall-timeout 1s
row 0 10 to-other/status-503-1/small ""
row 75 12 to-other/status-500/small "500"
row 66 8 to-other/status-404/small "404"
row 65 6 to-other/html/small "announced"

step "URLs that are good once, and for a while"
row 0 6 signed-1/tiny ""
row 0 14 signed-1/cut/small ""
saw 0 '/presigned/.* 403 '
row 0 10 signed-0/tiny "" # the first is over when it is used: a new one
saw 2 '/presigned/.* 403 '
row 77 10 to-other/stale-403/tiny "403.*expired"
row 65 10 to-other/stale-400/tiny "400.*ExpiredToken"

step "a store that is itself a registry, with a token server"
row 0 12 to-other/auth-plain/tiny ""
saw 1 ' other GET /token/' # one for both blobs: it is one repository

step "layers with URLs"
row 0 5 foreign-https ""
saw 1 ' tls GET /store/foreign-https/blobs/.* 200 1000 - -'
row 0 7 auth-basic/foreign-https ""
row 66 4 foreign-https "404" --foreign-layers=false
row 77 4 foreign-plain "only https"
saw 0 ' other '
row 65 4 foreign-userinfo "user"
row 65 4 foreign-file "http"
row 77 4 foreign-metadata "169.254.169.254.*may not go"

end_of_table
