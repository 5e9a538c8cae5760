#!/usr/bin/env bash
# volumes.sh at more stages, and without more calls.
# labels: long
# timeout: 1800
every=1
. "$(dirname "$0")/volumes.sh"
