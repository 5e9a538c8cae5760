#!/usr/bin/env bash
# The programs compile under gcc's -fanalyzer without a word
# timeout: 900
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BASEWARM_BUILD:-build/dev}/analyzer
command -v ninja >/dev/null && export CMAKE_GENERATOR=Ninja
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Debug -DBASEWARM_ANALYZER=ON -DBASEWARM_TESTS=OFF \
    >/dev/null
cmake --build "$build"
