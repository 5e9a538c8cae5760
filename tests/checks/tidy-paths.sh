#!/usr/bin/env bash
# clang-tidy with everything that .clang-tidy names, the path-sensitive analyzer included.
# labels: long
# timeout: 1200
set -euo pipefail
exec "$(dirname "$0")/tidy.sh" 'clang-analyzer-*,-clang-analyzer-security.insecureAPI.*'
