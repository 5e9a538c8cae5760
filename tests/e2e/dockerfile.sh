#!/usr/bin/env bash
# Warming what Dockerfiles need: from a path, stdin, a URL; arguments, targets, pinning.
# threads: long
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")
docker=$(digest_of base:docker "$platform")

expect_entries() { # DIGEST...
    local want got
    want=$(printf '%s\n' "$@" | sort)
    got=$(cd "$cache" && printf '%s\n' sha256:* | sort)
    expect_equal "$want" "$got" "entries"
}

cat >Dockerfile <<DOCKERFILE
# syntax=docker/dockerfile:1
ARG REGISTRY=$registry
ARG NAME=base

FROM \${REGISTRY}/\${NAME}:1 AS Build
RUN <<EOF
FROM nothing
EOF

FROM build AS tested
COPY --from=$registry/base:docker /etc/platform /

FROM $registry/app:1 \\
    # comments may stand here
    AS final
COPY --from=tested /x /x

FROM scratch
DOCKERFILE

step "from a path: every stage's image, once"
warm --dockerfile Dockerfile --image "$registry/base:1"
expect_entries "$base" "$app"

step "from stdin"
rm -rf "$cache"
warmer --cache-dir "$cache" --progress none -d - <Dockerfile >out 2>err
expect_entries "$base" "$app"
expect_exit 64 warmer --cache-dir "$cache" -d - --images-file -

step "from a URL"
mkdir -p www/old
cp Dockerfile www/
port=$(free_port)
serve www.log python3 -m http.server --bind 127.0.0.1 --directory www "$port"
wait_for "the server's start" curl -fs -o /dev/null "http://127.0.0.1:$port/"
rm -rf "$cache"
warm --dockerfile "http://127.0.0.1:$port/Dockerfile?token=secret"
expect_entries "$base" "$app"
expect_exit 66 warmer -c "$cache" -d "http://127.0.0.1:$port/none?token=secret"
expect_text err "GET http://127.0.0.1:$port/none: 404"
expect_no_text err 'secret'
expect_exit 65 warmer -c "$cache" -d "http://user:word@127.0.0.1:$port/Dockerfile"
expect_exit 64 warmer -c "$cache" -d "http://127.0.0.1:$port/old/" # a directory's listing: HTML
expect_text err 'is no instruction of a Dockerfile'
expect_exit 75 warmer -c "$cache" -d "http://127.0.0.1:$(free_port)/Dockerfile" --retries 1

step "--build-arg over the default, and from the environment"
rm -rf "$cache"
warm -d Dockerfile --target build --build-arg NAME=app
expect_entries "$app"
rm -rf "$cache"
NAME=app warm -d Dockerfile --target build --build-arg NAME
expect_entries "$app"

step "--target: what the stage needs, and no more"
rm -rf "$cache"
warm -d Dockerfile --target TESTED
expect_entries "$base"
expect_exit 64 warmer -c "$cache" -d Dockerfile --target nothing
expect_text err 'no stage is called .*nothing.*; there are: build, tested, final'

step "several Dockerfiles"
rm -rf "$cache"
echo "FROM $registry/base:docker" >other
warm -d Dockerfile -d other --dockerfile other
expect_entries "$base" "$app" "$docker"

step "what is odd is told with its line"
cat >odd <<DOCKERFILE
FROM --platform=\$BUILDPLATFORM $registry/base:1 AS a
FROM $registry/app:1\$SUFFIX AS b
DOCKERFILE
rm -rf "$cache"
warm -d odd
expect_entries "$base" "$app"
expect_text err 'warning.*odd:1: FROM --platform=\$BUILDPLATFORM is not followed'
expect_text err 'warning.*odd:2: no value for SUFFIX: taken as empty'

step "what is wrong is 64, told with its line, before anything is fetched"
printf 'FROM %s\nFORM x\nFROM ${BASE}\n' "$registry/base:1" >bad
set_mark
expect_exit 64 warmer -c "$cache" -d bad
expect_text err 'bad:2: .*form.* is no instruction of a Dockerfile'
expect_text err 'bad:3: FROM \$\{BASE\}: only .* remains, because there is no value for BASE'
expect_requests 0 '.*' '.*'
expect_exit 66 warmer -c "$cache" -d no-such-file

step "only FROM scratch: a warning, and success"
echo 'FROM scratch' >scratch-only
warm -d scratch-only
expect_text err 'warning.*empty'

step "--pinned-dockerfile: references alone change"
rm -rf "$cache"
warm -d Dockerfile --pinned-dockerfile pinned
expect_entries "$base" "$app" "$docker"
sed -e "s|\${REGISTRY}/\${NAME}:1|$registry/base:1@$base|" -e "s|$registry/app:1|&@$app|" \
    -e "s|$registry/base:docker|&@$docker|" Dockerfile >want
cmp want pinned
expect_text err 'Dockerfile:11: COPY --from=.*/base:docker: kaniko never looks in its --cache-dir'
[ -z "$(find . -maxdepth 1 -name '.warmer*')" ] || fail "a temporary file is left"

step "read again, it costs no request, and is pinned to the same"
set_mark
warm -d pinned --pinned-dockerfile again
expect_requests 0 '.*' '.*'
cmp pinned again

step "the line ends stay; it is written through a symlink, over the old file"
printf 'FROM %s\r\nRUN a \\\r\n  b' "$registry/base:1" >crlf
ln -s target-of-link link
echo old >target-of-link
warm -d crlf --pinned-dockerfile link
[ -L link ] || fail "the symlink is gone"
printf 'FROM %s@%s\r\nRUN a \\\r\n  b' "$registry/base:1" "$base" | cmp - target-of-link

step "an index's digest becomes the platform's"
echo "FROM $registry/base:1@$(digest_of base:1)" >index
warm -d index --pinned-dockerfile by-platform
expect_equal "FROM $registry/base:1@$base" "$(cat by-platform)" "pinned Dockerfile"

step "the digest is that of the platform, whatever else is warmed"
echo "FROM $registry/base:1" >one-line
echo "$registry/base:1 platform=linux/arm64,linux/arm/v7" >list
warm --images-file list -d one-line --pinned-dockerfile by-platform
expect_equal "FROM $registry/base:1@$base" "$(cat by-platform)" "pinned Dockerfile"

step "quotes: FROM's word is replaced whole; elsewhere it is refused"
echo "FROM $registry/ba\"se:1\"" >quotes
warm -d quotes --pinned-dockerfile quoted
expect_equal "FROM $registry/base:1@$base" "$(cat quoted)" "pinned Dockerfile"
printf 'FROM scratch\nCOPY --from=%s/ba"se:1" a b\n' "$registry" >quotes
expect_exit 64 warmer -c "$cache" -d quotes --pinned-dockerfile unwritten
expect_text err 'quotes:2: .*: it cannot be pinned'

step "nothing is written when an image is not warm, or there are several platforms"
printf 'FROM %s\nFROM %s\n' "$registry/base:1" "$registry/base:none" >missing
expect_exit 66 warmer -c "$cache" -d missing --pinned-dockerfile unwritten
expect_text err "nothing is written: missing:2: $registry/base:none was not warmed"
expect_exit 66 warmer -c "$cache" -d missing --pinned-dockerfile unwritten --fail all
expect_exit 64 warmer -c "$cache" -d crlf --pinned-dockerfile unwritten --platform linux/amd64 \
    --platform linux/arm64
[ ! -e unwritten ] || fail "it was written"

step "a signal while a list is read ends it at once"
mkfifo pipe
exec 7<>pipe # nobody will ever write
setpriv --pdeathsig KILL warmer -c "$cache" -d pipe >out 2>err 7>&- &
pid=$!
is_reading() { readlink /proc/$pid/fd/* | grep -q '/pipe$'; }
wait_for "the opening of the pipe" is_reading
kill -TERM $pid
code=0
wait $pid || code=$?
expect_equal 143 $code "exit code"
exec 7>&-
