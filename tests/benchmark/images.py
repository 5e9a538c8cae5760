"""Images for the benchmark: what they hold is this machine's own files, so that they compress like real ones.

A layer is glued from pieces that were compressed once: megabytes a second do not matter while thousands of MiB
are made. Each is a valid gzip stream of a valid tar archive, and no two are alike."""
import hashlib
import http.client
import json
import os
import random
import re
import tarfile
import zlib

OCI = "application/vnd.oci.image."
PIECE = 1 << 20
# Five images as they are met in the wild: one base, a common part upon it, and what each has of its own. In
# thousandths of all unique bytes.
FIVE = {
    "debian": [153],
    "python": [153, 76, 203, 20, 60],
    "node": [153, 76, 203, 3, 153],
    "golang": [153, 76, 219],
    "gcc": [153, 76, 203, 113],
}


def parse_size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)?", text).groups()
    return int(number) << {None: 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def deflated(data, level=6):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def own_files(size):
    """So many bytes of this machine's files, in a fixed order."""
    data = bytearray()
    for top in ("/usr/lib", "/usr/bin", "/usr/share/doc"):
        for directory, below, names in os.walk(top):
            below.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                    with open(path, "rb") as file:
                        data += file.read(4 * PIECE)
                if len(data) >= size:
                    return bytes(data[:size])
    return bytes(data) + random.Random(0).randbytes(size - len(data))


class Pieces:
    """What layers are glued from: pairs of plain and compressed bytes. Made when first asked for."""

    def __init__(self, packed, count):
        self.packed, self.count, self.made = packed, count, []

    def get(self):
        if not self.made:
            plain = own_files(self.count * PIECE) if self.packed else random.Random(1).randbytes(
                self.count * PIECE)
            for i in range(self.count):
                piece = plain[i * PIECE:(i + 1) * PIECE]
                self.made.append((piece, deflated(piece, 6 if self.packed else 0)))
        return self.made


PACKED, LOOSE = Pieces(True, 32), Pieces(False, 8)


class Layer:
    """A layer of about `size` bytes compressed, as chunks of its blob. `loose`: it does not compress."""

    def __init__(self, name, size, loose=False):
        pieces = (LOOSE if loose else PACKED).get() if size > 4096 else []
        choice = random.Random(name)
        chosen, left = [], size
        while left > 0 and pieces:
            chosen.append(choice.choice(pieces))
            left -= len(chosen[-1][1])
        small = name.encode() * 2  # a little file of its own makes it unique
        member = tarfile.TarInfo(f"{name}/name")
        member.size = len(small)
        head = member.tobuf() + small + bytes(-len(small) % 512)
        if chosen:
            member = tarfile.TarInfo(f"{name}/data")
            member.size = len(chosen) * PIECE
            head += member.tobuf(tarfile.GNU_FORMAT)
        parts = [(head, deflated(head)), *chosen, (bytes(1024), deflated(bytes(1024)))]
        self.chunks = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"] + [packed for _, packed in parts] + [b"\x03\0"]
        diff, checksum, plain_size = hashlib.sha256(), 0, 0
        for plain, _ in parts:
            diff.update(plain)
            checksum = zlib.crc32(plain, checksum)
            plain_size += len(plain)
        self.chunks.append(checksum.to_bytes(4, "little") + (plain_size & 0xffffffff).to_bytes(4, "little"))
        blob = hashlib.sha256()
        for chunk in self.chunks:
            blob.update(chunk)
        self.diff_id = "sha256:" + diff.hexdigest()
        self.digest = "sha256:" + blob.hexdigest()
        self.size = sum(map(len, self.chunks))


class Image:
    """A manifest and what it names. blobs: digest -> chunks."""

    def __init__(self, layers, note, architecture):
        config = json.dumps({
            "created": "2023-11-14T22:13:20Z", "os": "linux", "architecture": architecture, "author": note,
            "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": "bench"} for _ in layers],
        }).encode()
        self.layers = layers
        self.blobs = {layer.digest: layer.chunks for layer in layers}
        self.blobs[sha256(config)] = [config]
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": {"mediaType": OCI + "config.v1+json", "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": OCI + "layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}
                       for layer in layers],
        }).encode()
        self.digest = sha256(self.manifest)
        self.architecture = architecture
        self.size = len(self.manifest) + len(config) + sum({layer.digest: layer.size for layer in layers}.values())

    def index(self):
        """As registries have them: a tag leads to an index, and that to this image and another's."""
        def platform(architecture, digest):
            return {"mediaType": OCI + "manifest.v1+json", "digest": digest, "size": len(self.manifest),
                    "platform": {"os": "linux", "architecture": architecture}}
        return json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json",
                           "manifests": [platform(self.architecture, self.digest),
                                         platform("s390x", self.digest)]}).encode()


def unique_size(images):
    sizes = {}
    for image in images:
        sizes[image.digest] = len(image.manifest)
        for digest, chunks in image.blobs.items():
            sizes[digest] = sum(map(len, chunks))
    return sum(sizes.values())


class Pusher:
    """To http://HOST; what it pushed to one repository is only linked into the others."""

    def __init__(self, host):
        self.connection = http.client.HTTPConnection(host)
        self.known = {}  # digest -> repositories

    def request(self, method, path, want, body=None, **headers):
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        said = response.read()
        if response.status != want:
            raise RuntimeError(f"{method} {path}: {response.status} {said.decode(errors='replace')}")
        return response

    def blob(self, repository, digest, chunks):
        there = self.known.setdefault(digest, [])
        if repository in there:
            return
        there.append(repository)
        if there[0] != repository:
            self.request("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={there[0]}", 201)
            return
        place = self.request("POST", f"/v2/{repository}/blobs/uploads/", 202).headers["Location"]
        place = place[place.index("/v2/"):]
        self.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", 201, iter(chunks),
                     **{"Content-Length": str(sum(map(len, chunks))), "Content-Type": "application/octet-stream"})

    def image(self, repository, tag, image, index=False):
        """Tagged itself, or below an index."""
        for digest, chunks in image.blobs.items():
            self.blob(repository, digest, chunks)
        name = image.digest if index else tag
        self.request("PUT", f"/v2/{repository}/manifests/{name}", 201, image.manifest,
                     **{"Content-Type": OCI + "manifest.v1+json"})
        if index:
            self.request("PUT", f"/v2/{repository}/manifests/{tag}", 201, image.index(),
                         **{"Content-Type": OCI + "index.v1+json"})


def five(unique, architecture):
    """name -> image, of so many unique bytes in all."""
    layers, made = {}, {}
    PACKED.count = min(PACKED.count, 1 + unique // PIECE)
    for name, parts in FIVE.items():
        mine = []
        for depth, part in enumerate(parts):
            above = tuple(parts[:depth + 1])
            if above not in layers:
                layers[above] = Layer(f"layer-{len(layers)}", unique * part // 1000)
            mine.append(layers[above])
        made[name] = Image(mine, name, architecture)
    return made


def many(count, architecture):
    """Small images that share layers: each has three that others have, too, and one of its own."""
    base = [Layer(f"base-{i}", 0) for i in range(10)]
    for i in range(count):
        group = [base[i % 10], Layer(f"team-{i // 100}", 0), Layer(f"app-{i // 10}", 0)]
        yield Image([*group, Layer(f"image-{i}", 0)], f"image {i}", architecture)


def write_static(images, directory):
    """As files that any web server can serve: manifests/<tag>, manifests/<digest>, blobs/<digest>. Returns
    the digests; the tags are t0, t1, ..."""
    digests = []
    for kind in ("manifests", "blobs"):
        os.makedirs(f"{directory}/{kind}")
    for i, image in enumerate(images):
        for name in (f"t{i}", image.digest):
            with open(f"{directory}/manifests/{name}", "wb") as file:
                file.write(image.manifest)
        for digest, chunks in image.blobs.items():
            if not os.path.exists(f"{directory}/blobs/{digest}"):
                with open(f"{directory}/blobs/{digest}", "wb") as file:
                    file.write(b"".join(chunks))
        digests.append(image.digest)
    return digests
