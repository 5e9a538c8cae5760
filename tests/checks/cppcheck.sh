#!/usr/bin/env bash
# cppcheck over the programs
set -euo pipefail
cd "$(dirname "$0")/../.."
cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
    --std=c11 -D_GNU_SOURCE -D__linux__ -I. -j "$(nproc)" --suppress=missingIncludeSystem \
    --suppress=unknownMacro --suppress=preprocessorErrorDirective cachedir warmer
