#!/usr/bin/env bash
# crash.sh at every call.
# labels: long
# timeout: 5400
every=1
. "$(dirname "$0")/crash.sh"
