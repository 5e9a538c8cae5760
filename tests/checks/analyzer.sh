#!/usr/bin/env bash
# The programs compile under gcc's -fanalyzer without a word
# timeout: 900
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BASEWARM_BUILD:-build/dev}/analyzer
command -v ninja >/dev/null && export CMAKE_GENERATOR=Ninja
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
# gcc 12 loses track of clean-up attributes in loops and cries "uninitialized"; clang looks for that
# without the fault (tidy.sh).
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Debug -DBASEWARM_ANALYZER=ON -DBASEWARM_TESTS=OFF \
    -DCMAKE_C_FLAGS=-Wno-analyzer-use-of-uninitialized-value >/dev/null
cmake --build "$build"
