#!/usr/bin/env bash
# cachedir export and import: the air gap in both formats, with the same bytes from the same images;
# and what other tools write and read.
# timeout: 300
. "$(dirname "$0")/../lib.sh"

start_registry
base=$(digest_of base:1 "$platform")
index=$(digest_of base:1)
app=$(digest_of app:1 "$platform")
docker=$(digest_of base:docker "$platform")
other=linux/arm/v7
in_tar() { tar tf "$1" | sed 's,^\./,,' | grep -v '/$' | sort; }
empty() { rm -rf "${1:?}" && mkdir "$1"; }
import() { # CODE FILE [OPTION]...: into $scratch/gap
    local code=0 want=$1 file=$2
    shift 2
    cachedir -c "$scratch/gap" import "$@" <"$file" >out 2>err || code=$?
    [ "$code" -eq "$want" ] || {
        cat out
        fail "import of $file: exit $code where $want was due"
    }
}
expect_whole() { # DIGEST...: these and no others stand in $scratch/gap, whole
    expect_exit 0 cachedir -c gap verify --deep
    expect_equal "$(printf "%s\n" "$@" | sort -u)" "$(cachedir -c gap list -q | sort)" "entries"
    expect_clean gap
}

for format in oci docker-archive; do
    cache=$scratch/cache-$format
    warm --format $format --alias-index --image "$registry/base:1" --image "$registry/app:1"
    warm --image "$registry/base:docker" --image "$registry/base:1" --platform $other \
        --platform "$platform"
    for tar in oci docker-archive; do
        step "export of $format as $tar: the same bytes each time, each blob once, no request"
        set_mark
        select=("$registry/base:1" "$registry/app:1" "$docker")
        [ $tar = oci ] || select=("$base" "$registry/app:1" "$docker")
        cachedir -c "$cache" export --format $tar "${select[@]}" >$format-$tar.tar
        cachedir -c "$cache" export --format $tar "$docker" "${select[@]}" >again.tar
        cmp $format-$tar.tar again.tar
        expect_requests 0 'GET|HEAD' '.*'
        [ -z "$(in_tar $format-$tar.tar | uniq -d)" ]
    done
done
cmp oci-oci.tar docker-archive-oci.tar
cmp oci-docker-archive.tar docker-archive-docker-archive.tar

for format in oci docker-archive; do
    for tar in oci docker-archive; do
        step "import of $tar into $format, and the same out of it again"
        empty gap
        import 0 oci-$tar.tar --format $format
        expect_text out "^imported $app \($registry/app:1, $platform\)$"
        expect_no_text err 'no registry'
        entries=("$base" "$app" "$docker" "$index" "$(digest_of app:1)")
        [ $tar = docker-archive ] || entries+=("$(digest_of base:1 $other)")
        expect_whole "${entries[@]}"
        expect_exit 0 cachedir -c gap inspect "$index"
        expect_text out "^Alias of: +$base$"
        select=("$registry/base:1" "$registry/app:1" "$docker")
        [ $tar = oci ] || select=("$base" "$registry/app:1" "$docker")
        cachedir -c gap export --format $tar "${select[@]}" >again.tar
        cmp oci-$tar.tar again.tar
        import 0 oci-$tar.tar
        expect_text out "^renewed $app "
        expect_text err 'were here\)'
        expect_whole "${entries[@]}"
    done
done

step "a tar of the directory's own layout says as much: which platforms a reference was asked for"
names_of() {
    jq -S '[.manifests[] | [.digest, .annotations["org.opencontainers.image.ref.name"],
        (.annotations | keys[] | select(contains("source") | not))]] | sort' "$1/index.json"
}
tar cf layout.tar -C cache-oci oci-layout index.json blobs
empty gap
import 0 layout.tar
names_of cache-oci >expected
names_of gap | diff expected -

step "the air gap is a pipe; a read-only directory is enough to begin it"
cache=$scratch/cache-oci
empty gap
chmod -R a-w "$cache"
setpriv --bounding-set -all --inh-caps -all cachedir -c "$cache" export "$registry/app:1" 2>/dev/null |
    gzip | cachedir -c gap import >out
chmod -R u+w "$cache"
expect_whole "$app" "$(digest_of app:1)"
set_mark
cache=$scratch/gap
warm --image "$registry/app:1" # what it was is proven, as a warm would have it
expect_requests 1 HEAD '.*'
expect_requests 1 'GET|HEAD' '.*'
cache=$scratch/cache-oci

step "refused: a terminal, nothing to export, what is not here, two platforms under one name"
for command in "export $base" import; do
    code=0
    script -qec "cachedir -c $cache $command" /dev/null >out </dev/null || code=$?
    expect_equal 64 $code "exit code of $command at a terminal"
done
expect_exit 64 cachedir -c "$cache" export
expect_exit 66 cachedir -c "$cache" export "$registry/none:1"
expect_exit 66 cachedir -c "$scratch/nowhere" export "$base"
expect_exit 64 cachedir -c "$cache" export --format docker-archive "$registry/base:1"
expect_text err 'has several platforms'
[ ! -s out ]

step "a reader that goes, and a volume that is full"
code=0
cachedir -c "$cache" export "$app" 2>err | head -c 1000 >/dev/null || code=$?
expect_equal 74 $code "exit code without a reader"
code=0
cachedir -c "$cache" export "$app" >/dev/full 2>err || code=$?
expect_equal 74 $code "exit code on a full volume"

step "what is damaged here is noticed on its way, and nobody takes it"
cp -a "$cache" rotten
blob=$(fetch_manifest app "$app" | jq -r '.layers[-1].digest')
printf rot | dd of="rotten/$app/blobs/sha256/${blob#*:}" bs=1 seek=1000 conv=notrunc status=none
code=0
cachedir -c rotten export "$registry/app:1" >rotten.tar 2>err || code=$?
expect_equal 65 $code "exit code"
empty gap
import 65 rotten.tar
expect_whole

step "cut anywhere, nothing is published"
empty gap
size=$(stat -c %s oci-oci.tar)
for cut in 0 1 512 1536 10240 $((size / 2)) $((size - 1024)) $((size - 1025)) $((size - 5000)); do
    head -c "$cut" oci-oci.tar >cut.tar
    import 65 cut.tar
done
gzip -c oci-oci.tar >whole.tar.gz
head -c 100000 whole.tar.gz >cut.tar
import 65 cut.tar
head -c 100000 /dev/urandom >cut.tar
import 65 cut.tar
tar cf cut.tar -C / etc/debian_version
import 65 cut.tar
expect_text err 'single layer needs --layer'
expect_whole

step "stopped, it leaves nothing"
mkfifo pipe
cachedir -c gap import <pipe >out 2>err &
pid=$!
exec 9>pipe
head -c 300000 oci-oci.tar >&9
wait_for "the import's stage" sh -c 'ls gap/.basewarm/stage/*-import-*/*'
kill -TERM $pid
code=0
wait $pid || code=$?
exec 9>&-
expect_equal 143 $code "exit code"
expect_whole

step "skopeo reads what is exported, and writes what is imported"
skopeo inspect "oci-archive:oci-oci.tar:$registry/app:1" | jq -e .Architecture >/dev/null
ln -sf oci-docker-archive.tar plain.tar
skopeo inspect "docker-archive:plain.tar:$registry/app:1" | jq -e .Architecture >/dev/null
skopeo copy -q --all --src-tls-verify=false "docker://$registry/app:1" "oci-archive:all.tar:$registry/app:1"
skopeo copy -q --src-tls-verify=false "docker://$registry/base:docker" oci-archive:one.tar
skopeo copy -q --src-tls-verify=false "docker://$registry/app:1" "docker-archive:docker.tar:$registry/app:1"
for format in oci docker-archive; do
    empty gap
    import 0 all.tar --format $format
    expect_no_text err 'no registry'
    expect_whole "$app" "$(digest_of app:1 linux/arm/v7)" "$(digest_of app:1 linux/arm64/v8)" \
        "$(digest_of app:1 linux/amd64)"
    set_mark
    cache=$scratch/gap
    warm --image "$registry/app:1"
    expect_requests 1 HEAD '.*'
    expect_requests 1 'GET|HEAD' '.*'
    empty gap
    import 0 one.tar --format $format
    expect_text err 'found by its digest only|^1 image '
    import 0 docker.tar
    expect_text err "no registry's digest"
    expect_text out "^imported sha256:[0-9a-f]+ \($registry/app:1, $platform\)$"
    made=$(sed -n 's/imported \(sha256:[0-9a-f]*\) .*/\1/p' out)
    [ "$made" != "$app" ]
    expect_exit 0 cachedir -c gap verify --deep
    cachedir -c gap export --format docker-archive "$made" >made.tar
    skopeo inspect docker-archive:made.tar >/dev/null
    empty gap
    import 0 made.tar --format $format
    expect_whole "$made"
done

step "umoci unpacks what is exported"
mkdir layout && tar xf oci-oci.tar -C layout
umoci unpack --rootless --image "layout:$registry/app:1" bundle
cmp bundle/rootfs/app/where <(echo "$platform")

step "docker save, old and new, a flat layer: as the daemon writes them"
python3 "$root/tests/servers/save-images.py" --tar docker.tar --old old.tar --new new.tar
empty gap
import 0 old.tar
expect_equal "$made" "$(cachedir -c gap list -q)" "the same parts, the same image"
empty gap
import 0 new.tar
expect_text out "\(docker.io/library/saved:1, $platform\)"
expect_exit 0 cachedir -c gap verify --deep
empty gap
tar xf "layout/blobs/sha256/${blob#*:}" --to-stdout app/where >where
import 64 "layout/blobs/sha256/${blob#*:}" --layer
import 0 "layout/blobs/sha256/${blob#*:}" --layer --name flat:1
expect_text out '^imported sha256:[0-9a-f]+ \(docker.io/library/flat:1, '
zcat "layout/blobs/sha256/${blob#*:}" >flat.tar
import 0 flat.tar --layer --name flat:plain --platform linux/arm64
expect_exit 0 cachedir -c gap verify --deep
expect_equal 2 "$(cachedir -c gap list -q | wc -l)" "images"
head -c 5000 /dev/urandom >noise
import 65 noise --layer --name no:layer
