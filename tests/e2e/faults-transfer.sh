#!/usr/bin/env bash
# A registry that misbehaves on purpose: layers that are cut or do not come.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
size=$((3 << 20)) # of the layer of "small"; HEAD and GET of the manifest and the config make 3 requests

step "bodies that are cut"
row 0 6 cut/small ""
[ "$(sent blobs/)" -le $((size + (1 << 20))) ] || bad "$(sent blobs/) bytes for a layer of $size"
row 0 6 reset/small ""
row 0 6 cut-twice-no-range/small ""
row 75 10 cut-no-range/small "no ranges" --retries 4
[ "$(sent blobs/)" -le $((5 * size)) ] || bad "$(sent blobs/) bytes for a layer of $size"
row 75 6 cut-early/small "cut before the end"
row 0 5 cut-in-headers/small ""
row 0 8 no-answer-1/small ""
row 75 3 no-answer/small "without an answer"
row 0 6 manifest-cut-1/small ""
row 75 6 manifest-cut/small "cut before the end"

step "bodies that do not come"
row 0 5 stall-1/small "" --stall-timeout 1s
row 0 5 trickle-1/small "" --stall-timeout 1s
row 0 5 silent-1/small "" --stall-timeout 1s
row 75 5 trickle/small "stalled" --retries 1 --stall-timeout 1s
row 75 5 silent/small "stalled" --retries 1 --stall-timeout 1s
row 75 3 manifest-stall/small "stalled" --retries 0 --stall-timeout 1s

end_of_table
