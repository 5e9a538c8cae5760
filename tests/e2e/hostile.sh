#!/usr/bin/env bash
# A registry that sends terminal control, line ends, C1 and what is no UTF-8: it comes out escaped,
# in one line, wherever it is told: log in each format, table, report, metrics, termination log.
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

export NO_COLOR=1 # the colours of the log are its own
start_faults

# Kubernetes' file, in a /dev of our own.
cat >with-termination-log.sh <<'SH'
mkdir -p old
mount --rbind /dev old && mount -t tmpfs none /dev || exit 99
for device in null zero random urandom; do
    : >/dev/$device && mount --bind old/$device /dev/$device || exit 99
done
: >/dev/termination-log
"$@"
code=$?
cat /dev/termination-log >termination.json
exit $code
SH
if unshare -rm true 2>/dev/null; then
    within=(unshare -rm sh with-termination-log.sh)
else
    within=()
    untried "the termination log: no namespaces here"
fi

# Nothing but printable text and line ends, as UTF-8.
is_clean() { # FILE
    [ -s "$1" ] || fail "$1 is empty"
    iconv -f UTF-8 -t UTF-8 "$1" >/dev/null 2>&1 || fail "$1 is not UTF-8"
    ! LC_ALL=C grep -nP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]' "$1" ||
        fail "$1 holds control characters"
}

try() { # FAULT REGEX
    local format line
    for format in text color json; do
        rm -f report.json metrics.prom termination.json
        expect_exit "${3:-77}" "${within[@]}" "$bin/warmer" -c "$cache" --progress none --retries 0 \
            --log-format $format --report report.json --metrics-file metrics.prom \
            -i "$main/$1/tiny:1"
        for file in out err report.json metrics.prom ${within:+termination.json}; do
            is_clean "$file"
            ! grep -qE '^(level|")?=?error msg=forged' "$file" || fail "a line was forged in $file"
        done
        expect_text err "$2"
        jq -e '.images[0].reason' report.json >reason
        jq -r . reason | grep -qE "$2" || fail "the report does not say it"
        "$root/tests/check-schema" report report.json
        promtool check metrics <metrics.prom || fail "the metrics are not Prometheus'"
        [ -z "${within[*]}" ] || {
            "$root/tests/check-schema" termination termination.json
            jq -r '.failures[0].reason' termination.json | grep -qE "$2" || fail "the termination log"
            [ "$(wc -lc <termination.json | awk '{ print $1 == 1 && $2 <= 2048 }')" = 1 ] ||
                fail "the termination log is no short line"
        }
        if [ $format = json ]; then
            while read -r line; do jq -e .msg <<<"$line" >/dev/null; done <err
        fi
    done
    echo "$1: $(tail -n 1 err | cut -c 1-200)"
}

step "in a body of plain text, and of JSON"
try hostile-plain 'x1b\[2J.*red \\+x9b31m \\+xff '
try hostile-json 'x1b\[2J.*red .*forged'

step "in the platforms of an index"
try hostile-platform 'no image for platform .*x1b\[2J.*red' 65
