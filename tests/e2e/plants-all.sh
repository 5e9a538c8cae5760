#!/usr/bin/env bash
# plants.sh with each thing at each name.
# labels: long
# timeout: 3600
every=1
. "$(dirname "$0")/plants.sh"
