#!/usr/bin/env bash
# `cachedir verify --deep`: layers whose bytes are what the registry says, but which unpack to something
# else than the image's own config says, or not at all.
# threads: short
. "$(dirname "$0")/../lib.sh"

start_registry
python3 - "$root/tests/make-images" "http://$registry" "$platform" >made <<'PY'
import gzip
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

path, url, where = sys.argv[1:]
loader = SourceFileLoader("make_images", path)
make_images = module_from_spec(spec_from_loader("make_images", loader))
sys.dont_write_bytecode = True
loader.exec_module(make_images)


def layer(name, level=6):
    made = make_images.Layer(level)
    made.add(name, f"{name}\n".encode() * 1000)
    return made.done()


images = make_images.Images()
good, other = layer("good"), layer("other")
tar = gzip.decompress(good[1])
pieces = b"".join(gzip.compress(tar[i:i + 1000], mtime=0) for i in range(0, len(tar), 1000))
for name, layers in {
    "pieces:1": [(good[0], pieces), (other[0], gzip.decompress(other[1]))],  # several members; no gzip at all
    "wrong:1": [good, (good[0], other[1])],
    "cut:1": [(good[0], good[1][:-9])],
    "bomb:1": [layer("bomb"), (good[0], gzip.compress(bytes(1 << 26), mtime=0))],
}.items():
    images.name(name, images.index([images.manifest(where, layers)]))
images.push(url)
for line in images.listed:
    print(*line)
PY
made() { # REFERENCE
    awk -v name="$1" -v where="$platform" '$1 == name && $2 == where { print $3 }' made
}
layer_of() { # REFERENCE INDEX: as messages name it
    jq -r ".layers[$2].digest" "$cache/blobs/sha256/$(made "$1" | cut -c8-)" | cut -c1-19
}

step "good images pass, whatever packs their layers; each layer is unpacked once"
warm --image "$registry/base:1" --image "$registry/app:1" --image "$registry/base:docker" \
    --image "$registry/pieces:1"
expect_exit 0 cachedir -c "$cache" verify --deep
[ ! -s out ] || fail "said something: $(cat out)"
expect_text err '^4 entries, .* hashed, 5 layers unpacked to .*: all is well$'
expect_exit 0 cachedir -c "$cache" verify --deep "$registry/pieces:1"
expect_text err '^1 entry, .* 2 layers unpacked to 20.0 KiB: all is well$'

step "a wrong diff ID: only --deep sees it, and names entry and layer"
warm --image "$registry/wrong:1"
expect_exit 0 cachedir -c "$cache" verify
expect_no_text err 'unpacked'
expect_exit 1 cachedir -c "$cache" verify --deep
expect_equal 1 "$(wc -l <out)" "problems"
expect_text out "^$(made wrong:1): layer 2 \($(layer_of wrong:1 1)\): it unpacks to sha256:[0-9a-f]{64}, and the config says sha256:"

step "no repair mends that, and none takes away what the registry gave us"
expect_exit 1 cachedir -c "$cache" verify --deep --repair
expect_text out 'nothing to mend'
[ -d "$cache/$(made wrong:1)" ] || fail "it went"

step "a layer that is cut, and one that unpacks to too much"
warm --image "$registry/cut:1" --image "$registry/bomb:1"
expect_exit 0 cachedir -c "$cache" verify
expect_exit 1 cachedir -c "$cache" verify --deep "$registry/cut:1" "$registry/bomb:1"
expect_equal 2 "$(wc -l <out)" "problems"
expect_text out "^$(made cut:1): layer 1 \($(layer_of cut:1 0)\): it ends within gzip member 1$"
expect_text out "^$(made bomb:1): layer 2 \($(layer_of bomb:1 1)\): it unpacks to more than 1000 times its size"

step "--quick and --deep exclude each other"
expect_exit 64 cachedir -c "$cache" verify --quick --deep
