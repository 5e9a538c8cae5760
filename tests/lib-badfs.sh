# shellcheck shell=bash disable=SC2034  # variables are for the tests
# For tests on a volume that misbehaves (tests/badfs/badfs.c): sourced after lib.sh. They run in a
# mount namespace of their own, so that nothing stays mounted.

if [ -z "${BADFS_NAMESPACE-}" ]; then
    command -v badfs >/dev/null || skip "built without libfuse3"
    own=(unshare --mount)
    [ "$EUID" -eq 0 ] || own=(unshare --map-root-user --mount)
    "${own[@]}" true 2>/dev/null || skip "no mount namespaces here"
    BADFS_NAMESPACE=1 exec "${own[@]}" --propagation private "$root/tests/e2e/$test_name.sh"
fi

# DIRECTORY, as MOUNTPOINT.
mount_badfs() { # DIRECTORY MOUNTPOINT [OPTION]
    mkdir -p "$1" "$2"
    serve badfs.log badfs ${3+"$3"} "$1" "$2" -f
    local pid=$! i
    for ((i = 0; i < 200; i++)); do
        ! mountpoint -q "$2" || return 0
        kill -0 $pid 2>/dev/null || skip "FUSE cannot be used here: $(tail -n 1 badfs.log)"
        sleep 0.05
    done
    fail "badfs did not start within 10 s"
}

volume=$scratch/volume  # misbehaves
behind=$scratch/behind  # the same, and always good
cache=$volume/cache

misbehave() { printf '%s' "$*" >"$volume/.badfs"; }
behave() { misbehave " "; }

# How often it misbehaved since it was told to, in all or with one OP.
faults() { awk -v op="${1-}" 'op == "" || $1 == op { n += $3 } END { print n }' "$volume/.badfs"; }

errno_words() { # EIO: "Input/output error"
    python3 -c 'import errno, os, sys; print(os.strerror(getattr(errno, sys.argv[1])))' "$1"
}
