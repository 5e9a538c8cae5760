#!/usr/bin/env bash
# badfs-errors.sh with every kind of error at ten places of each operation.
# labels: long
# timeout: 7200
places=10
. "$(dirname "$0")/badfs-errors.sh"
