#!/usr/bin/env bash
# cachedir import takes what buildah and crane write.
# timeout: 240
. "$(dirname "$0")/../lib.sh"

start_registry
app=$(digest_of app:1 "$platform")
import() { # FILE [OPTION]...: into $scratch/gap; succeeds, and what stands there is whole
    local file=$1
    shift
    rm -rf gap
    cachedir -c gap import "$@" <"$file" >out 2>err || fail "import of $file: $(cat err)"
    expect_exit 0 cachedir -c gap verify --deep
}

step "buildah"
buildah=(buildah --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs)
if "${buildah[@]}" pull -q --tls-verify=false "docker://$registry/app:1" >image 2>err; then
    for format in docker-archive oci-archive; do
        "${buildah[@]}" push -q "$(cat image)" "$format:buildah-$format.tar:$registry/app:built" >out 2>err
        for into in oci docker-archive; do
            import buildah-$format.tar --format $into
            cachedir -c gap list --json >out
            jq -e --arg name "$registry/app:built" \
                '[.images[] | .reference, .state] == [$name, "ok"]' out >/dev/null || fail "$(cat out)"
        done
    done
    # Its layers were packed anew, or not at all: what they hold is the same.
    cachedir -c gap export "$registry/app:built" >again.tar
    mkdir layout && tar xf again.tar -C layout
    umoci unpack --rootless --image "layout:$registry/app:built" bundle
    cmp bundle/rootfs/app/where <(echo "$platform")
else
    untried "buildah cannot work here: $(tail -n 1 err)"
fi

step "crane"
if command -v crane >/dev/null; then
    crane pull --insecure --platform "$platform" "$registry/app:1" crane.tar
    import crane.tar
    cachedir -c gap inspect "$registry/app:1" >out
    # Its layers are the registry's own, but it left the manifest behind.
    layer=$(fetch_manifest app "$app" | jq -r '.layers[-1].digest')
    expect_text out "$layer"
    expect_no_text out "$app"
    crane export --insecure --platform "$platform" "$registry/app:1" flat.tar
    import flat.tar --layer --name flat:1
    crane validate --tarball crane.tar
    cachedir -c gap export --format docker-archive flat:1 >flat-image.tar
    crane validate --tarball flat-image.tar
    crane push --insecure flat-image.tar "$registry/flat:1"
    rm -rf gap && mkdir gap
    warmer -c gap --image "$registry/flat:1" --progress none >/dev/null 2>err
else
    untried "no crane here"
fi
