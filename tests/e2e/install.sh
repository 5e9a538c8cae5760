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

step "a program of ten lines finds header and library through pkg-config"
cat >ten.c <<'C'
#include <cachedir/cachedir.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct cachedir_options options = {0};
    struct error err = {0};
    cleanup_cachedir struct cachedir *cd = NULL;
    return argc != 2 || cachedir_open(argv[1], &options, &cd, &err) < 0 ? 1 : 0;
}
C
# shellcheck disable=SC2046  # words
gcc -std=gnu11 -Wall -Wextra -Werror -o ten ten.c \
    $(PKG_CONFIG_PATH=$scratch/usr/lib/pkgconfig pkg-config --cflags --libs --static cachedir)
start_registry
warm --image "$registry/base:1"
expect_exit 0 ./ten "$cache"
expect_exit 1 ./ten "$scratch/no-such-directory"
