#!/usr/bin/python3
"""Writes what `docker save` writes, from a docker-archive with one image whose layers are not packed:

    --old FILE   as before docker 25: <id>/layer.tar, <id>/json, <id>/VERSION, <config>.json,
                 manifest.json, repositories; a layer that repeats is a symbolic link
    --new FILE   as since then: an OCI image layout and a manifest.json in one tar
"""
import argparse
import hashlib
import io
import json
import tarfile

OCI = "application/vnd.oci.image."


class Writer:
    def __init__(self, path):
        self.tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)

    def add(self, name, data):
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), 1700000000.25  # a fraction makes a pax header
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name):
        info = tarfile.TarInfo(name + "/")
        info.type = tarfile.DIRTYPE
        self.tar.addfile(info)

    def link(self, name, target):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.tar.addfile(info)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def write_old(path, config, layers):
    out, seen = Writer(path), {}
    for number, layer in enumerate(layers):
        name = sha(b"%d" % number + layer)
        out.directory(name)
        out.add(f"{name}/VERSION", b"1.0")
        out.add(f"{name}/json", json.dumps({"id": name}).encode())
        if layer in seen:
            out.link(f"{name}/layer.tar", f"../{seen[layer]}/layer.tar")
        else:
            out.add(f"{name}/layer.tar", layer)
        seen.setdefault(layer, name)
    names = [sha(b"%d" % number + layer) for number, layer in enumerate(layers)]
    out.add(f"{sha(config)}.json", config)
    out.add("manifest.json", json.dumps([{"Config": f"{sha(config)}.json", "RepoTags": ["saved:1"],
                                          "Layers": [f"{name}/layer.tar" for name in names]}]).encode())
    out.add("repositories", json.dumps({"saved": {"1": names[-1]}}).encode())
    out.tar.close()


def write_new(path, config, layers):
    out, blobs = Writer(path), {}

    def blob(media_type, data):
        blobs[sha(data)] = data
        return {"mediaType": media_type, "digest": "sha256:" + sha(data), "size": len(data)}

    manifest = blob(OCI + "manifest.v1+json", json.dumps({
        "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": blob(OCI + "config.v1+json", config),
        "layers": [blob(OCI + "layer.v1.tar", layer) for layer in layers]}).encode())
    out.directory("blobs")
    out.directory("blobs/sha256")
    for name, data in sorted(blobs.items()):
        out.add(f"blobs/sha256/{name}", data)
    out.add("index.json", json.dumps({
        "schemaVersion": 2, "mediaType": OCI + "index.v1+json",
        "manifests": [{**manifest, "annotations": {
            "io.containerd.image.name": "docker.io/library/saved:1",
            "org.opencontainers.image.ref.name": "1"}}]}).encode())
    out.add("manifest.json", json.dumps([{
        "Config": f"blobs/sha256/{sha(config)}", "RepoTags": ["saved:1"],
        "Layers": [f"blobs/sha256/{sha(layer)}" for layer in layers]}]).encode())
    out.add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    out.add("repositories", b"{}")
    out.tar.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tar", required=True)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    options = parser.parse_args()
    with tarfile.open(options.tar) as tar:
        image = json.load(tar.extractfile("manifest.json"))[0]
        config = tar.extractfile(image["Config"]).read()
        layers = [tar.extractfile(name).read() for name in image["Layers"]]
    write_old(options.old, config, layers)
    write_new(options.new, config, layers)


if __name__ == "__main__":
    main()
