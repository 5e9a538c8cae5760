"""The images of fault-registry.py. Each is a function that fills an Image and tags one of its
manifests "1"; the underscores of its name are dashes in the repository's. Content depends on the
name alone. Layers are random bytes: nobody unpacks them.
"""
import base64
import hashlib
import json
import platform
import random

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution."
INDEX, MANIFEST, CONFIG = (OCI + kind + ".v1+json" for kind in ("index", "manifest", "config"))
LAYER = OCI + "layer.v1.tar+gzip"
TYPES = {INDEX, MANIFEST, DOCKER + "manifest.list.v2+json", DOCKER + "manifest.v2+json"}
MIB = 1 << 20

HERE = {"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(
    platform.machine(), platform.machine())}
ELSEWHERE = {"os": "linux", "architecture": "s390x"}


def digest_of(data, algorithm="sha256"):
    return algorithm + ":" + hashlib.new(algorithm, data).hexdigest()


class Image:
    """`hosts`: HOST:PORT of each listener, for URLs in manifests."""

    def __init__(self, name, hosts):
        self.random, self.hosts = random.Random(name), hosts
        self.blobs, self.manifests, self.tags = {}, {}, {}
        self.foreign = set()  # digests that only the store has
        IMAGES[name](self)

    def blob(self, content, kind=LAYER, algorithm="sha256", **more):
        digest = digest_of(content, algorithm)
        self.blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content), **more}

    def layer(self, size, **more):
        return self.blob(self.random.randbytes(size), **more)

    def config(self, where=None, **more):
        value = {**(where or HERE), "config": {"Cmd": ["/bin/sh"], "Labels": {"x": 200 * "x"}},
                 "rootfs": {"type": "layers", "diff_ids": []}}
        return self.blob(json.dumps(value).encode(), CONFIG, **more)

    def document(self, data, kind):
        """Anything that manifests/ serves."""
        digest = digest_of(data)
        self.manifests[digest] = (kind, data)
        self.tags.setdefault("1", digest)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def json(self, value, kind, tag=True):
        made = self.document(json.dumps(value, indent=1).encode(), kind)
        if tag:
            self.tags["1"] = made["digest"]
        return made

    def manifest(self, *layers, where=None, config=None, kind=MANIFEST, **more):
        value = {"schemaVersion": 2, "mediaType": kind, "config": config or self.config(where),
                 "layers": list(layers), **more}
        return {**self.json(value, kind), "platform": where or HERE}

    def index(self, *children, **more):
        return self.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children), **more},
                         INDEX)


IMAGES = {}


def image(make):
    IMAGES[make.__name__.replace("_", "-")] = make
    return make


# ---- good ones ----

@image
def tiny(i):
    i.manifest(i.layer(1000))


@image
def small(i):
    """One layer that the faults of transfers are for, which only befall blobs of 1 MiB and more."""
    i.manifest(i.layer(3 * MIB))


@image
def many(i):
    i.manifest(*(i.layer(MIB) for _ in range(8)))


@image
def big(i):
    i.manifest(i.layer(72 * MIB))


@image
def indexed(i):
    i.index(i.manifest(i.layer(10), where=ELSEWHERE), i.manifest(i.layer(1000)))


@image
def nested_2(i):
    nested = i.index(i.manifest(i.layer(1000)))
    i.index({**nested, "platform": HERE})


@image
def duplicate_layers(i):
    layer = i.layer(1000)
    i.manifest(layer, layer, layer)


@image
def attestation_first(i):
    statement = i.manifest(i.layer(10), where={"os": "unknown", "architecture": "unknown"})
    statement["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    i.index(statement, i.manifest(i.layer(1000)))


@image
def no_platform(i):
    """A child that does not say what it is for is linux/amd64's."""
    child = i.manifest(i.layer(1000))
    del child["platform"]
    i.index(child)


@image
def unknown_child(i):
    """Types that we do not know are no error in an index."""
    thing = i.json({"schemaVersion": 2}, "application/vnd.acme.thing.v1+json")
    i.index({**thing, "platform": ELSEWHERE}, i.manifest(i.layer(1000)))


@image
def sha512(i):
    i.manifest(i.layer(1000, algorithm="sha512"))


@image
def embedded(i):
    data = i.random.randbytes(1000)
    i.manifest(i.blob(data, data=base64.b64encode(data).decode()))


@image
def embedded_wrong(i):
    data = i.random.randbytes(1000)
    i.manifest(i.blob(data, data=base64.b64encode(bytes(1000)).decode()))


@image
def empty_layer(i):
    i.manifest(i.layer(0), i.layer(10))


@image
def typeless(i):
    """No mediaType in the body: the header or the shape says it."""
    layer, config = i.layer(1000), i.config()
    i.json({"schemaVersion": 2, "config": config, "layers": [layer]}, MANIFEST)


# ---- bad ones ----

def bad_layer(i, **changes):
    i.manifest({**i.layer(1000), **changes})


@image
def negative_size(i):
    bad_layer(i, size=-1)


@image
def huge_size(i):
    bad_layer(i, size=1 << 62)


@image
def huger_size(i):
    bad_layer(i, size=1 << 70)


@image
def fractional_size(i):
    bad_layer(i, size=1000.5)


@image
def text_size(i):
    bad_layer(i, size="1000")


@image
def no_size(i):
    bad_layer(i, size=None)


@image
def size_too_small(i):
    bad_layer(i, size=999)


@image
def size_too_large(i):
    bad_layer(i, size=1001)


@image
def two_sizes(i):
    """One layer, named twice."""
    layer = i.layer(1000)
    i.manifest(layer, {**layer, "size": 5})


@image
def path_in_digest(i):
    bad_layer(i, digest="sha256:../../../../../../../../tmp/0123456789abcdef0123456789abcdef01234567")


@image
def path_as_algorithm(i):
    bad_layer(i, digest="../../etc:" + 64 * "0")


@image
def upper_case_digest(i):
    bad_layer(i, digest="sha256:" + 64 * "A")


@image
def unknown_algorithm(i):
    bad_layer(i, digest="md5:" + 32 * "0")


@image
def schema1(i):
    i.json({"schemaVersion": 1, "name": "x", "tag": "1", "architecture": "amd64", "history": [],
            "fsLayers": [{"blobSum": "sha256:" + 64 * "0"}]}, DOCKER + "manifest.v1+prettyjws")


@image
def artifact(i):
    i.manifest(i.layer(1000), artifactType="application/vnd.acme.chart",
               config=i.blob(b"{}", "application/vnd.oci.empty.v1+json"))


@image
def both_kinds(i):
    i.manifest(i.layer(1000), manifests=[])


@image
def many_layers(i):
    i.manifest(*[i.layer(10)] * 5000)


@image
def nested_6(i):
    made = i.manifest(i.layer(1000))
    for _ in range(6):
        made = {**i.index(made), "platform": HERE}


@image
def other_platform(i):
    i.index(i.manifest(i.layer(1000), where=ELSEWHERE))


@image
def child_wrong(i):
    """The child's bytes are not what its digest says."""
    i.manifest(i.layer(1000))
    child = i.tags["1"]
    i.index({"mediaType": MANIFEST, "digest": child, "size": len(i.manifests[child][1]), "platform": HERE})
    i.manifests[child] = (MANIFEST, i.manifests[child][1].replace(b"schemaVersion", b"schemaversion"))


@image
def child_longer(i):
    child = i.manifest(i.layer(1000))
    i.index({**child, "size": child["size"] - 1})


@image
def child_shorter(i):
    child = i.manifest(i.layer(1000))
    i.index({**child, "size": child["size"] + 1})


@image
def huge_manifest(i):
    i.manifest(i.layer(1000), annotations={"padding": "x" * (5 * MIB)})


@image
def deep_json(i):
    i.document(b"[" * MIB, MANIFEST)


@image
def no_json(i):
    i.document(b"PK\3\4", MANIFEST)


@image
def no_utf8(i):
    i.document(b'{"schemaVersion": 2, "mediaType": "\xff\xfe"}', MANIFEST)


@image
def empty(i):
    i.document(b"", MANIFEST)


# ---- foreign layers: no registry has them, their urls say who does ----

def foreign(i, url):
    data = i.random.randbytes(1000)
    digest = digest_of(data)
    i.foreign.add(digest)
    i.manifest(i.blob(data, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                      urls=[url.format(digest=digest, **i.hosts)]))


@image
def foreign_https(i):
    foreign(i, "https://{tls}/store/foreign-https/blobs/{digest}")


@image
def foreign_plain(i):
    foreign(i, "http://{other}/store/foreign-plain/blobs/{digest}")


@image
def foreign_userinfo(i):
    foreign(i, "https://alice:secret@{tls}/store/foreign-userinfo/blobs/{digest}")


@image
def foreign_file(i):
    foreign(i, "file:///etc/passwd")


@image
def foreign_metadata(i):
    foreign(i, "https://169.254.169.254/latest/{digest}")


@image
def foreign_private(i):
    foreign(i, "https://{private}/store/foreign-private/blobs/{digest}")
