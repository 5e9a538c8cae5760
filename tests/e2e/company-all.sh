#!/usr/bin/env bash
# company.sh, thousands of times.
# labels: long
# timeout: 7200
rounds=200 turns=250
. "$(dirname "$0")/company.sh"
