#!/usr/bin/env bash
# neighbours.sh, many rounds.
# labels: long
# timeout: 3600
rounds=20
. "$(dirname "$0")/neighbours.sh"
