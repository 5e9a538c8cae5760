# shellcheck shell=bash disable=SC2034,SC2154  # variables of lib.sh and of the tests
# For the tests against servers/fault-registry.py: sourced after lib.sh. A test is a table of rows,
# each of which warms one image from a repository whose name says what goes wrong, into an empty
# directory. Rows that fail are told, and the next are run: end_of_table fails the test.
rows=0 bad_rows=0

# Sets $main, $other, $dead and further listeners (HOST:PORT).
start_faults() { # SERVER-OPTION...
    rm -f faults.ports
    serve faults.log python3 "$root/tests/servers/fault-registry.py" --port-file faults.ports "$@"
    faults_pid=$!
    wait_for "the registry's start" test -s faults.ports
    # shellcheck source=/dev/null
    . ./faults.ports
}

bad() {
    printf '   BAD: %s\n' "$*"
    row_is_bad=1
}

# row CODE REQUESTS IMAGE REGEX [WARMER-OPTION...]
#   CODE       the exit code
#   REQUESTS   so many at most, tokens' and stores' among them (0: as many as it likes)
#   IMAGE      REPOSITORY[:TAG][@DIGEST] at $main, or with a registry (with a dot in it) before it
#   REGEX      is said on stderr or in the table ("": anything)
# $keep_cache set: the directory stays as the row before has left it (killed, perhaps), and $entries_due
# is how many entries a success leaves (1).
# Whatever happens: nothing half-made is visible, `cachedir verify` is content, the server saw nothing
# that a client must never do, and it did not take longer than a minute.
row() {
    local code=$1 most=$2 image=$3 words=$4 got=0 begun count
    shift 4
    row_is_bad=
    rows=$((rows + 1))
    case $image in
    *.*/*) ;;
    *) image=$main/$image ;;
    esac
    [[ $image =~ :[^/]*$ ]] || image=$image:1
    curl -sS "http://$main/__reset"
    [ -n "${keep_cache-}" ] || rm -rf "$cache"
    begun=$(now_ms)
    timeout 60 warmer --cache-dir "$cache" --progress none --stall-timeout 5s --retries 2 \
        --retry-max-time 30s --image "$image" "$@" >out 2>err </dev/null || got=$?
    begun=$(($(now_ms) - begun))
    curl -sS "http://$main/__log" >log
    count=$(grep -vcE '^WRONG|^[0-9.]* dead ' log || true)
    printf '%3d  %3d requests  %9d bytes  %6d ms  %s\n' "$got" "$count" \
        "$(awk '{ sum += $6 } END { print sum + 0 }' log)" "$begun" "$image $*"
    [ "$got" -eq "$code" ] || bad "exit $got where $code was due"
    [ "$most" -eq 0 ] || [ "$count" -le "$most" ] || bad "$count requests where $most are enough"
    [ -z "$words" ] || grep -qE -- "$words" err out || bad "nobody said: $words"
    grep '^WRONG' log && bad "the client did what it must not"
    grep -q secret err out && bad "a secret was printed"
    look_at_disk "$code"
    [ -z "$row_is_bad" ] || {
        bad_rows=$((bad_rows + 1))
        cat err out log
    }
}

look_at_disk() { # CODE
    local entries
    [ -d "$cache" ] || return 0
    entries=$(find "$cache" -maxdepth 1 -name 'sha256:*' | wc -l)
    [ "$entries" -eq $(($1 == 0 ? ${entries_due:-1} : 0)) ] || bad "$entries entries stand there"
    cachedir -c "$cache" verify >verify.out 2>&1 || bad "verify: $(cat verify.out)"
    [ -n "${keep_cache-}" ] || [ -z "$(find "$cache/.basewarm/stage" "$cache/.basewarm/trash" -mindepth 1 2>/dev/null)" ] ||
        bad "left behind: $(find "$cache/.basewarm")"
    if [ "$1" -eq 0 ]; then
        [ -z "$(find "$cache/.basewarm/partial" -mindepth 1 2>/dev/null)" ] || bad "a partial file is left"
    fi
}

# What the server saw in the last row: lines of its log that match.
saw() { # COUNT|-MOST REGEX
    local got
    got=$(grep -cE -- "$2" log || true)
    if [ "${1#-}" != "$1" ]; then
        [ "$got" -le "${1#-}" ] && return
    else
        [ "$got" -eq "$1" ] && return
    fi
    printf '   BAD: %d requests match "%s" where %s were due\n' "$got" "$2" "$1"
    cat log
    bad_rows=$((bad_rows + 1))
}

# Bytes that the server sent for what matches.
sent() { # REGEX
    grep -E -- "$1" log | awk '{ sum += $6 } END { print sum + 0 }'
}

said() { # COUNT REGEX: so many lines of the last row's stderr
    local got
    got=$(grep -cE -- "$2" err || true)
    [ "$got" -eq "$1" ] && return
    printf '   BAD: said %d times where %s were due: %s\n' "$got" "$1" "$2"
    cat err
    bad_rows=$((bad_rows + 1))
}

end_of_table() {
    [ "$rows" -gt 0 ] || fail "no row was run"
    [ "$bad_rows" -eq 0 ] || fail "$bad_rows things are not as they should be"
    echo "$rows rows"
}
