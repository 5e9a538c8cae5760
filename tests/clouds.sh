# shellcheck shell=bash disable=SC2034,SC2154  # sourced after lib.sh
# For the tests of the clouds: servers/clouds.py, which gives out credentials and plays the
# registries, reached as a proxy. Nothing here leaves the machine.

unset "${!AWS_@}" "${!AZURE_@}" "${!GOOGLE_@}" "${!GCE_@}" "${!CI_@}" "${!IDENTITY_@}"

start_clouds() { # sets $clouds (HOST:PORT) and $clouds_log
    start_registry
    openssl genrsa -out idp.key 2048 2>/dev/null
    openssl genrsa -out account.key 2048 2>/dev/null
    openssl rsa -in idp.key -pubout -out idp.pub 2>/dev/null
    openssl rsa -in account.key -pubout -out account.pub 2>/dev/null
    clouds_log=$scratch/clouds.log
    serve "$clouds_log" python3 "$root/tests/servers/clouds.py" --port-file clouds.port \
        --registry "$registry" --key idp.key --public-key idp.pub --account-key account.pub
    wait_for "the clouds' start" test -s clouds.port
    clouds=127.0.0.1:$(cat clouds.port)
    export HTTP_PROXY=http://$clouds HTTPS_PROXY=http://$clouds
    cloud_mark=0
}

cloud_set() { # NAME=VALUE...: see clouds.py
    local pair
    for pair; do
        curl -fsS -o /dev/null -G --data-urlencode "$pair" --noproxy '*' "http://$clouds/__set"
    done
}

mint() { # FILE CLAIM=VALUE...: a token of the identity provider, for a file
    local file=$1 pairs=() pair
    shift
    for pair; do pairs+=(--data-urlencode "$pair"); done
    curl -fsS -G "${pairs[@]}" --noproxy '*' "http://$clouds/__mint" >"$file.new"
    chmod 600 "$file.new"
    mv "$file.new" "$file"
}

# Warm $host/base:1 anew: the exit code, and words that must be said.
try() { # CODE WORDS [OPTION...]
    local want=$1 words=$2
    shift 2
    rm -rf "$cache"
    cloud_mark=$(wc -l <"$clouds_log")
    expect_exit "$want" warmer --cache-dir "$cache" --progress none -v trace --retries 1 \
        --insecure-registry "$host" --image "$host/base:1" "$@"
    [ -z "$words" ] || expect_text err "$words"
}

seen() { tail -n "+$((cloud_mark + 1))" "$clouds_log" | grep -cE -- "$1" || true; }
expect_seen() { # COUNT REGEX: of the lines that the clouds wrote in the last try
    expect_equal "$1" "$(seen "$2")" "requests $2"
}
