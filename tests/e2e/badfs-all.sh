#!/usr/bin/env bash
# badfs.sh with every job on each volume.
# labels: long
# timeout: 1800
every=1
. "$(dirname "$0")/badfs.sh"
