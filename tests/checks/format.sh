#!/usr/bin/env bash
# Every C file stands as clang-format writes it: `clang-format -i FILE` mends it.
set -euo pipefail
cd "$(dirname "$0")/../.."
find cachedir warmer tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
