#!/usr/bin/env bash
# A registry that misbehaves on purpose: statuses, Retry-After and headers.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_faults
# "small" has a layer of 3 MiB; HEAD and GET of the manifest and the config make 3 requests.

step "statuses"
row 0 6 status-503-2/small ""
row 75 6 status-503/small "503.*says the registry"
for number in 408 425 429 500 502 504; do
    row 0 5 status-$number-1/small ""
done
row 66 4 status-404/small "404.*says the registry"
row 65 4 status-400/small "400.*says the registry"
row 65 4 status-501/small "501"
row 65 4 status-204/small "204"
row 65 4 status-206/small "206"
row 77 5 status-403/small "403.*says the registry"

step "Retry-After"
waited() { # FROM TO: seconds between the layer's first and second request
    awk -v from="$1" -v to="$2" '/blobs/ && ($5 == 429 || $5 == 503) { first = $1 }
        /blobs/ && $5 == 200 && $6 > 1000 { gap = $1 - first } END { exit !(gap >= from && gap <= to) }' log ||
        bad "waited for another time than $1 s to $2 s: $(cat log)"
}
row 0 5 later-1/small ""
waited 0.95 10
row 0 5 later-date-2/small "" # the date is of the server's own clock
waited 0.95 10
row 0 5 later-0/small ""
row 75 4 later-4000/small "1h6m.*beyond --retry-max-time"
row 75 1 later-all-4000/small "1h6m.*beyond --retry-max-time"
row 0 5 later--5/small ""
row 0 5 later-soon/small ""

step "headers"
row 65 1 headers-many/tiny "headers"
row 65 1 headers-long/tiny "header"
row 65 1 headers-endless/tiny "headers"
row 65 1 no-http/tiny "not HTTP"
row 0 4 warn/tiny ""
said 1 'warns: .*this repository is going away'
said 1 'warns: .*\\x1b\[31mred|warns: .*\\e\[31mred'

end_of_table
