#!/usr/bin/env bash
# A registry that misbehaves on purpose: ranges and encodings of a blob's answer.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
# "small" has a layer of 3 MiB; HEAD and GET of the manifest and the config make 3 requests.

step "answers to a Range after a cut"
row 0 5 cut-first/range-star/small ""
row 0 5 cut-first/range-ignored/small "" # and what is there already is dropped
row 0 6 cut-first/range-start/small ""
row 0 6 cut-first/range-none/small ""
row 0 6 cut-first/range-garbage/small ""
row 0 6 cut-first/range-status-416/small ""
row 0 7 cut-first/range-short/small ""
row 65 5 cut-first/range-total/small "99999999"

step "Content-Encoding: the blob's own bytes, or encoded all the same"
row 0 4 gzip-said/small ""
row 0 4 gzip-said-x-gzip/small ""
row 0 5 gzip-said/cut-first/small ""
row 0 5 gzip-said/length-none/small "" # nothing shows that it is not true
row 0 4 gzip-done/small ""
row 0 4 gzip-done-chunked/small ""
row 0 9 gzip-done/cut-first/small ""
row 65 4 brotli/small "br"

end_of_table
