#!/usr/bin/env bash
# company-locks.sh, more of it.
# labels: long
# timeout: 3600
rounds=30 turns=60
. "$(dirname "$0")/company-locks.sh"
