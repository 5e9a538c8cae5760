#!/usr/bin/env bash
# hostile-volume.sh with every text in every file.
# labels: long
# timeout: 1800
every=1
. "$(dirname "$0")/hostile-volume.sh"
