#!/usr/bin/env bash
# What the tab key offers, tried in the shells themselves: commands, options, their values, and the
# references and digests of the directory.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

start_registry
warm --image "$registry/base:1" --image "$registry/app:1"
app=$(digest_of app:1 "$platform")
for shell in bash zsh fish; do
    for program in cachedir warmer; do
        expect_exit 0 $program --completion $shell
        cp out $program.$shell
    done
    $shell -n cachedir.$shell
    $shell -n warmer.$shell
done

# The line as it stands after a tab, in bash and zsh.
becomes() { # SHELL TYPED LINE
    local got
    got=$("$root/tests/type-at-prompt.py" "$1" "$scratch/cachedir.$1" "$scratch/warmer.$1" -- "$2")
    expect_equal "$3" "${got% }" "$1: $2"
}

for shell in bash zsh; do
    step "$shell: commands, options, values, directories"
    becomes $shell 'cachedir ver' 'cachedir verify'
    becomes $shell 'cachedir verify --de' 'cachedir verify --deep'
    becomes $shell 'warmer --log-format js' 'warmer --log-format json'
    becomes $shell 'warmer --log-format=js' 'warmer --log-format=json'
    becomes $shell "cachedir -c $scratch/cac" "cachedir -c $cache/"

    step "$shell: references and digests"
    becomes $shell "cachedir -c $cache inspect $registry/b" "cachedir -c $cache inspect $registry/base:1"
    becomes $shell "cachedir --cache-dir=$cache verify --quick 127.0.0.1:${registry#*:}/app" \
        "cachedir --cache-dir=$cache verify --quick $registry/app:1"
    becomes $shell "cachedir remove -c $cache ${app:0:12}" "cachedir remove -c $cache $app"
    becomes $shell "warmer -c$cache -i $registry/ba" "warmer -c$cache -i $registry/base:1"
    becomes $shell "cachedir -c no-such-cache inspect $registry/b" \
        "cachedir -c no-such-cache inspect $registry/b"
done

step "fish: the same"
offers() { # TYPED WORD...
    local typed=$1 got
    shift
    got=$(fish --no-config -c "source cachedir.fish; source warmer.fish; complete -C '$typed'" |
        cut -f 1)
    expect_equal "$(printf '%s\n' "$@" | sort)" "$(sort <<<"$got")" "fish: $typed"
}
offers 'cachedir ver' verify
offers "cachedir -c $cache ver" verify
offers 'cachedir verify --de' --deep
offers 'warmer --log-format js' json
offers "cachedir -c $cache inspect $registry/" "$registry/app:1" "$registry/base:1"
offers "cachedir --cache-dir=$cache remove ${app:0:12}" "$app"
offers "warmer -c$cache -i $registry/b" "$registry/base:1"
