#!/usr/bin/env bash
# Every shell script passes shellcheck; every Python script compiles
set -euo pipefail
cd "$(dirname "$0")/../.."
mapfile -t scripts < <(grep -rlE --exclude-dir={.git,build,node_modules,cache} '^#!.*\b(bash|sh)$' .)
shellcheck tests/lib.sh "${scripts[@]}"
mapfile -t scripts < <(grep -rlE --exclude-dir={.git,build,node_modules,cache} '^#!.*\bpython3$' .)
python3 - "${scripts[@]}" <<'PY'
import sys
for path in sys.argv[1:]:
    compile(open(path, encoding="utf-8").read(), path, "exec")
PY
