#!/usr/bin/env bash
# The house's rules that a machine can check
set -uo pipefail
shopt -s lastpipe # so that forbid, at the end of pipes, can remember
cd "$(dirname "$0")/../.." || exit
build=${BASEWARM_BUILD:-build/dev}
broken=0

forbid() { # RULE: on stdin, what breaks it
    local found
    found=$(cat)
    [ -z "$found" ] || {
        printf '%s:\n%s\n\n' "$1" "$found"
        broken=1
    }
}

# The sources without comments and strings, once: what is left of them calls functions.
bare=$(mktemp -d)
trap 'rm -rf "$bare"' EXIT
python3 - "$bare" <<'PY'
import pathlib, re, sys
for room in "cachedir", "warmer":
    for path in pathlib.Path(room).rglob("*.[ch]"):
        text = re.sub(r"""'(?:\\.|[^'\\])'|"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/""", '""',
                      path.read_text(), flags=re.S)
        copy = pathlib.Path(sys.argv[1], path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
PY

calls() { # FUNCTION|FUNCTION... FILE...: calls of them
    local names=$1
    shift
    (cd "$bare" && grep -HE "(^|[^A-Za-z0-9_.>])($names) *\(" "$@")
}

mapfile -t sources < <(find cachedir warmer -name '*.[ch]')
mapfile -t library < <(find cachedir -maxdepth 1 -name '*.c' ! -name 'main.c' ! -name 'cmd-*.c')

# Two rooms, one arrow.
grep -n '#include.*warmer/' -r cachedir | forbid "cachedir/ knows nothing of warmer/"
grep -lE '#include <curl/' -r cachedir warmer | grep -vE '^warmer/(http|trust|proxy)[-a-z]*\.[ch]$' |
    forbid "Only the transport includes curl"
nm -u "$build/cachedir/libcachedir.a" | grep -E ' (curl_.*|socket|connect|getaddrinfo)$' |
    forbid "libcachedir opens no network connection"
objdump -p "$build/bin/cachedir" | grep 'NEEDED.*libcurl' | forbid "cachedir does not link curl"

calls 'strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof|gmtime|localtime|ctime|asctime|mktemp|tmpnam|tempnam|system|popen|alloca|rand|random|setjmp|longjmp' \
    "${sources[@]}" | forbid "Banned functions"
calls 'sleep|usleep|nanosleep|clock_nanosleep' "${sources[@]}" |
    grep -vE '^cachedir/(names|prune)\.c:' | # a bounded wait for a lock, in small steps
    forbid "Waiting is interruptible: no bare sleep"
printf '%s\n' "${sources[@]}" | grep -v '/alloc\.[ch]$' | {
    mapfile -t others
    calls 'malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf|vasprintf' "${others[@]}"
} | forbid "Allocation aborts: alloc.h's functions"
calls 'printf|vprintf|puts|putchar|perror|exit|_exit' "${library[@]}" |
    forbid "Library code neither prints nor exits"
grep -nE 'fprintf\((stderr|stdout)' "${library[@]}" |
    grep -vE '^cachedir/(alloc|digest)\.c:' | # where memory or OpenSSL fails, which aborts
    forbid "Library code does not print"

find cachedir warmer tests -name '*.[ch]' -exec wc -l {} + | awk '$1 > 600 && $2 != "total"' |
    forbid "A file over 600 lines is two"
grep -nE 'TODO|FIXME|XXX' -r cachedir warmer | forbid "Nothing is left to do"

exit $broken
