#!/usr/bin/env bash
# What is seen while it works: on terminals of several widths, resized, dumb, without colours, and in
# a pipe; and that waits are told.
# timeout: 300
. "$(dirname "$0")/../lib.sh"
. "$root/tests/faults.sh"

start_registry
start_nginx <<<'limit_rate 1200k;'
images=(-i "$front/base:1" -i "$front/app:1")

watch() { # WATCH-OPTION... -- WARMER-ARGUMENT...: into "screens" and, the last one, "end"
    local watch=()
    while [ "$1" != -- ]; do
        watch+=("$1")
        shift
    done
    rm -rf "$cache"
    "$root/tests/watch-terminal.py" "${watch[@]}" screens -- "$bin/warmer" -c "$cache" "${images[@]}" "${@:2}"
    sed '1,/^=== end/d' screens >end
}
# A line a transfer: short digest, image or what of it fits, size, rate.
live='^[0-9a-f]{12} .*[0-9]%?.*/s$'

for width in 120 80 60 40; do
    step "$width columns: a line a transfer and a total, gone at the end"
    watch --size ${width}x30 --
    expect_text screens "$live"
    expect_text screens '^0 of 2.* left$'
    [ $width -lt 80 ] || expect_text screens '^[0-9a-f]{12} .*\[=*>? *\] .* of .*, .*/s$'
    expect_no_text end "$live"
    expect_no_text end '^[0-9] of 2'
    # Not one screen had two totals, or half a line of an old one.
    awk '/^===/ { totals = 0 } /^[0-9]+ of [0-9]+/ && ++totals > 1 { print; exit 1 }' screens ||
        fail "something was left of an old screen"
    if [ $width -ge 120 ]; then
        expect_text end 'INFO\[[0-9]*\] .*base:1: pulled'
        expect_text end '^2 images: 2 pulled;'
    fi
done

step "20 columns: the little that fits"
watch --size 20x10 --
expect_text screens '^[0-9a-f]{12} +[0-9]+%$'
expect_text screens '[0-9]s left$'

step "a window that becomes wider, and much narrower"
watch --size 70x30 --resize 3:110x30 --resize 10:40x30 --
expect_text screens '^[0-9a-f]{12} .*\[=*>? *\]'
expect_text screens '^[0-9a-f]{12} .{0,20} +[0-9]+%'
expect_no_text end "$live"
expect_no_text end '^[0-9] of 2'

step "a dumb terminal, --progress plain and none: lines, and nothing that moves"
for how in "--term dumb --" "-- --progress plain"; do
    # shellcheck disable=SC2086  # words
    watch --size 150x30 $how
    expect_no_text screens "$live"
    expect_text end 'base:1: started'
    expect_text end 'base:1: pulled'
done
watch --size 150x30 -- --progress none
expect_no_text screens 'started|pulled:|left$'
expect_text end '^2 images: 2 pulled'

step "NO_COLOR: no colours, and the view all the same"
rm -rf "$cache"
NO_COLOR=1 script -qec "'$bin/warmer' -c '$cache' ${images[*]}" typescript >/dev/null </dev/null
expect_no_text typescript $'\e\\[[0-9;]*m'
expect_text typescript ' of 2 images'

step "a pipe: a line at the start and the end of each image, and nothing that moves"
rm -rf "$cache"
expect_exit 0 warmer -c "$cache" "${images[@]}"
expect_equal 2 "$(grep -c 'msg=".*: started"' err)" "lines at the start"
expect_equal 2 "$(grep -c 'msg=".*: pulled:' err)" "lines at the end"
expect_no_text err $'\e|\r'

step "a pipe: a summary every ten seconds"
stop_server "$!"
rm -rf "$cache"
start_nginx <<<'limit_rate 100k;'
expect_exit 0 warmer -c "$cache" -i "$front/base:1"
expect_text err 'msg="0 of 1 image, .* of .*, .*/s, [0-9]+s left"'

step "waits are told as they happen, and why"
start_faults
rm -rf "$cache"
expect_exit 0 warmer -c "$cache" --progress none -i "$main/later-2/small:1"
expect_text err 'later-2/small:1: waiting 2s: registry says so: .*429'
rm -rf "$cache"
expect_exit 0 warmer -c "$cache" --progress none -i "$main/status-503-1/small:1"
expect_text err 'status-503-1/small:1: (trying again|waiting [0-9]+.*): .*503'
