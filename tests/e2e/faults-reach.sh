#!/usr/bin/env bash
# shellcheck disable=SC2154  # listeners' names, which start_faults sets
# Where a registry may send us: never deeper into the network than it lives itself, and never to the
# metadata servers. In a network of our own, whose loopback interface has addresses of every class.
# timeout: 240
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

if [ -z "${IN_NAMESPACE-}" ]; then
    unshare -rnm true 2>/dev/null || skip "no namespaces here"
    IN_NAMESPACE=1 exec unshare -rnm "$root/tests/e2e/$test_name.sh"
fi
ip link set lo up
listen=()
while read -r name address; do
    ip addr add "$address" dev lo nodad 2>/dev/null || ip addr add "$address" dev lo
    case $address in *:*) address="[$address]" ;; esac
    listen+=(--listen "$name=$address")
done <<'EOT'
public 203.0.113.10
public2 203.0.113.11
private 10.1.2.3
private2 192.168.7.7
shared 100.64.0.5
metadata 169.254.169.254
wire 168.63.129.16
cloud 100.100.100.200
unique fd12::5
metadata6 fd00:ec2::254
EOT
cat >hosts <<'EOT'
127.0.0.1 localhost
203.0.113.10 registry.example
10.1.2.3 inside.example
127.0.0.1 here.example
169.254.169.254 evil.example
EOT
mount --bind hosts /etc/hosts
start_faults "${listen[@]}"
registry_of=([1]=$public [2]=$private [3]=$main)

# Sent from a registry to a listener, by a redirect and by a challenge: may it go there?
sent_to() { # yes|no FROM LISTENER
    local from=${registry_of[$2]}
    if [ "$1" = yes ]; then
        row 0 6 "$from/to-$3/tiny" "" --insecure-registry "$from"
        row 0 6 "$from/auth-at-$3/tiny" "" --insecure-registry "$from"
        [ "$from" = "${!3}" ] || saw 1 " $3 GET /token/"
    else
        row 77 4 "$from/to-$3/tiny" "address, where this request may not go" --insecure-registry "$from"
        saw 0 " $3 "
        row 77 4 "$from/auth-at-$3/tiny" "address, where this request may not go" --insecure-registry "$from"
        saw 0 " $3 "
    fi
}

step "a registry on the internet"
sent_to yes 1 public2
for listener in private private2 shared main unique metadata metadata6 wire cloud; do
    sent_to no 1 $listener
done
row 77 4 "$public/to-name-private-inside-example/tiny" "inside.example leads to 10.1.2.3, a private address" \
    --insecure-registry "$public"
row 77 4 "$public/to-name-main-here-example/tiny" "a loopback address" --insecure-registry "$public"
row 77 4 "$public/to-name-main-localhost/tiny" "a loopback address" --insecure-registry "$public"
row 77 5 "$public/foreign-private" "a private address" --insecure-registry "$public"
saw 0 ' private '

step "a registry on the premises: its own object store, and the internet"
for listener in private2 shared unique public; do
    sent_to yes 2 $listener
done
for listener in main metadata metadata6 wire cloud; do
    sent_to no 2 $listener
done

step "a registry on this machine: anywhere but to metadata"
for listener in other public private; do
    sent_to yes 3 $listener
done
for listener in metadata metadata6 wire cloud; do
    sent_to no 3 $listener
done

step "a registry that the user names"
port=${metadata##*:}
row 77 2 "evil.example:$port/tiny" "169.254.169.254" --insecure-registry "evil.example:$port"
saw 0 ' metadata '
row 0 4 "$metadata/tiny" "" --insecure-registry "$metadata" # an address is plainly meant
row 0 4 "registry.example:${public##*:}/tiny" "" --insecure-registry "registry.example:${public##*:}"
row 77 4 "registry.example:${public##*:}/to-private/tiny" "a private address" \
    --insecure-registry "registry.example:${public##*:}"

end_of_table
