#!/usr/bin/env bash
# power-loss.sh at every call, going on with hundreds of the states.
# labels: long
# timeout: 7200
every=1 disk=300
. "$(dirname "$0")/power-loss.sh"
