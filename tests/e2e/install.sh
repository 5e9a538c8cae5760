#!/usr/bin/env bash
# What `cmake --install` puts where, and a program that uses the library from there.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

step "install a release build"
export CMAKE_GENERATOR=Ninja
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache
cmake -S "$root" -B build -DCMAKE_BUILD_TYPE=Release -DBASEWARM_TESTS=OFF \
    -DCMAKE_INSTALL_PREFIX="$scratch/usr" -DCMAKE_INSTALL_LIBDIR=lib >cmake.log
cmake --build build >build.log
cmake --install build >install.log
find usr -type f | sort
for file in bin/warmer bin/cachedir share/man/man1/warmer.1 share/man/man1/cachedir.1 \
    include/cachedir/cachedir.h lib/libcachedir.a lib/pkgconfig/cachedir.pc \
    share/bash-completion/completions/warmer share/zsh/site-functions/_cachedir; do
    [ -e "usr/$file" ] || [ -e "usr/$file.gz" ] || fail "not installed: $file"
done
expect_exit 0 usr/bin/warmer --version
expect_exit 0 usr/bin/cachedir --version

step "the schemas of what the programs write as JSON"
for schema in "$root"/docs/schemas/*.json; do
    cmp "$schema" "usr/share/doc/basewarm/schemas/$(basename "$schema")"
done

step "an example program finds header and library through pkg-config"
# shellcheck disable=SC2046  # words
gcc -std=gnu11 -Wall -Wextra -Werror -o would-hit "$root/tests/example/would-hit.c" \
    $(PKG_CONFIG_PATH=$scratch/usr/lib/pkgconfig pkg-config --cflags --libs --static cachedir)
start_registry
warm --image "$registry/base:1" --image "$registry/app:1"
base=$(digest_of base:1 "$platform")
app=$(digest_of app:1 "$platform")

step "what it says is what a builder would find"
expect_exit 0 ./would-hit "$cache"
expect_text out "^hit $base $registry/base:1\$"
expect_text out "^hit $app $registry/app:1\$"
touch -d '350 hours ago' "$cache/$app"
expect_exit 1 ./would-hit "$cache"
expect_text out "^hit $base "
expect_text out "^miss $app $registry/app:1 \(expired\)\$"
expect_exit 0 ./would-hit "$cache" 400h
rm "$cache/$base"/blobs/sha256/*
expect_exit 1 ./would-hit "$cache" 400h
expect_text out "^miss $base .*\(.*[a-z].*\)\$"
expect_exit 66 ./would-hit "$scratch/no-such-directory"
expect_text err 'no-such-directory'
expect_exit 64 ./would-hit "$cache" soon
