#!/usr/bin/env bash
# A registry that misbehaves on purpose: layers with wrong bytes and lengths, and whom that concerns.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
# "small" has a layer of 3 MiB; HEAD and GET of the manifest and the config make 3 requests.

step "wrong bytes: once more in one piece from one place, then the image fails"
row 0 5 wrong-byte-1/small "once more"
row 65 5 wrong-byte/small "sha256:"
saw 2 'small/blobs/.* 200 3145728'
row 0 6 cut-first/wrong-in-ranges/small "once more"
row 65 4 html/small "announced"

step "lengths that lie"
row 65 4 short/small "announced"
row 65 4 long/small "announced"
row 75 7 short-chunked/small "ended at byte|cut before"
row 75 7 short-of-said/small "cut before the end"
row 0 4 endless/small ""
row 0 4 endless-of-said/small ""
row 0 4 length-none/small ""
row 0 4 length-huge/small "" # as if there were none: what counts is the blob's own
row 0 4 length-twice/small ""
row 65 4 length-negative/small "Content-Length"
row 75 6 chunks-malformed/small ""

step "one image that fails takes no other with it, not even one that shares the layer"
for bad in wrong-byte status-404 status-403 short silent; do
    for other in slow-4 late; do # which comes while the first is at it, or when it has failed
        rm -rf "$cache"
        code=0
        warmer --cache-dir "$cache" --retries 0 --stall-timeout 1s --image "$main/$bad/small:1" \
            --image "$main/tiny:1" --image "$main/$other/small:1" >out 2>err || code=$?
        expect_text out 'tiny.*pulled'
        expect_text out "$other/small.*pulled"
        expect_exit 0 cachedir -c "$cache" verify
        expect_clean
    done
done

end_of_table
