#!/usr/bin/env bash
# power-loss.sh at every call, and one state for each is gone on with.
# labels: long
# timeout: 7200
every=1 disk=1
. "$(dirname "$0")/power-loss.sh"
