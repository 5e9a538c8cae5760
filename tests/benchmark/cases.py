"""The measurements: what is run against what, and what must be true of the figures."""
import os
import shutil
import subprocess
import time

import images
from lab import allocated, evict, say

LIMIT_RATE = 20_000_000  # bytes/s a connection, of the throttled server
JOBS = 8
DELAY_MS = 25  # each way


class Case:
    """One row of the table: contestants are tried in turn, a round after the other. A contestant is a
    function that measures once and returns a sample, a dict of figures."""

    name = about = None
    rounds = None  # as many as asked for

    def __init__(self, bench):
        self.bench = bench
        self.lab = bench.lab

    def setup(self):
        pass

    def contestants(self):
        raise NotImplementedError

    def aims(self):
        return []

    # ---- what cases are made of ----

    def out(self, name="out"):
        """A directory that is not there, on a quiet disk."""
        self.lab.remove(name)
        self.lab.settle()
        return self.lab.path(name)

    def ours(self, *arguments, images_=(), environment=None, name="out", program="warmer", fresh=True):
        out = self.out(name) if fresh else self.lab.path(name)
        command = [self.lab.program(program), "--cache-dir", out, *arguments]
        if os.path.basename(program) == "warmer":
            command += ["--progress", "none", "--verbosity", "warn"]
        for image in images_:
            command += ["--image", image]
        return self.lab.measure(command, environment=environment)[0]

    def curl(self, scheme, host, blobs, *options):
        """The limit of the wire and the disk: the same blobs in parallel, unhashed, then synced."""
        out = self.out()
        os.makedirs(out)
        with open(self.lab.path("urls"), "w", encoding="ascii") as file:
            for repository, digest in blobs:
                file.write(f'url = "{scheme}://{host}/v2/{repository}/blobs/{digest}"\noutput = "{out}/{digest}"\n')
        parallel = ["-Z", "--parallel-max", str(JOBS), "--parallel-immediate"] if len(blobs) > 1 else []
        return self.lab.measure(["sh", "-c", 'curl -sSf "$@" && sync -d "$0"/*', out, "--http1.1", *parallel, *options,
                                 "-K", self.lab.path("urls")])[0]

    def kaniko(self, binary, references):
        out = self.out()
        return self.lab.measure([binary, f"--cache-dir={out}", *(f"--image={r}" for r in references)])[0]

    def skopeo(self, host, names):
        out = self.out()
        script = 'out=$1; shift; for name; do skopeo copy -q --src-tls-verify=false ' \
                 '"docker://$name" "oci:$out:${name##*/}"; done'
        return self.lab.measure(["sh", "-ec", script, "sh", out, *(f"{host}/{name}:1" for name in names)])[0]

    def crane(self, references):
        out = self.out()
        return self.lab.measure([self.lab.program("crane"), "pull", "--insecure", "--platform",
                                 f"linux/{self.bench.architecture}", "--format", "oci", *references, out])[0]

    def peers(self, host, names, which=("curl", "fork", "archived", "crane", "skopeo")):
        references = [f"{host}/{name}:1" for name in names]
        all_ = {
            "curl": lambda: self.curl("http", host, self.bench.blobs(names)),
            "fork": (lambda: self.kaniko(self.bench.fork, references)) if self.bench.fork else None,
            "archived": (lambda: self.kaniko(self.bench.archived, references)) if self.bench.archived else None,
            "crane": (lambda: self.crane(references)) if self.lab.program("crane") else None,
            "skopeo": (lambda: self.skopeo(host, names)) if self.lab.program("skopeo") else None,
        }
        return {name: all_[name] for name in which if all_[name]}

    def five(self, host):
        return [f"{host}/{name}:1" for name in images.FIVE]

    def counted(self, run):
        before = self.lab.registry_requests()
        sample = run()
        after = self.lab.registry_requests()
        for method in ("HEAD", "GET"):
            sample[method] = after.get(method, 0) - before.get(method, 0)
        return sample


class Aim:
    """One sentence, and what it says in figures: a value a round, which must not be above the limit."""

    def __init__(self, says, limit, values, unit="x"):
        self.says, self.limit, self.values, self.unit = says, limit, values, unit


def ratio(figure, ours, other):
    return lambda samples: [a[figure] / b[figure] for a, b in zip(samples[ours], samples[other])]


def figure(name, ours, factor=1.0):
    return lambda samples: [sample[name] * factor for sample in samples[ours]]


def beyond(ours, other):
    """Milliseconds more of wall time."""
    return lambda samples: [(a["wall"] - b["wall"]) * 1000 for a, b in zip(samples[ours], samples[other])]


class Cold(Case):
    name, about = "cold", "five images that share layers, HTTP"

    def contestants(self):
        registry = self.bench.registry
        return {"ours": lambda: self.counted(lambda: self.disk(self.ours(images_=self.five(registry)))),
                **self.peers(registry, images.FIVE)}

    def disk(self, sample):
        sample["allocated"] = allocated(self.lab.path("out"))
        return sample

    def aims(self):
        unique = self.bench.unique
        return [
            Aim("wall <= 1.0 x (curl -Z, then sync), with hashing", 1.0, ratio("wall", "ours", "curl")),
            Aim("wall <= 0.5 x the fork's warmer, which never syncs", 0.5, ratio("wall", "ours", "fork")),
            Aim("wall < crane's, which never syncs", 1.0, ratio("wall", "ours", "crane")),
            Aim("CPU <= 0.45 x the fork's", 0.45, ratio("cpu", "ours", "fork")),
            Aim("peak memory <= 14 MB", 14, figure("rss", "ours", 1e-6), "MB"),
            Aim("each byte is written once", 1.01, figure("write_bytes", "ours", 1 / unique)),
            Aim("disk used <= unique bytes and 1%", 1.01, figure("allocated", "ours", 1 / unique)),
        ]


class Tls(Case):
    name, about = "tls", "the same over TLS"

    def setup(self):
        self.lab.make_certificates()
        self.host = self.lab.start_nginx("tls", self.bench.registry, tls=True).replace("127.0.0.1", "registry.localhost")

    def contestants(self):
        bundle = self.lab.path("bundle.pem")
        return {"ours": lambda: self.ours(images_=self.five(self.host), environment={"SSL_CERT_FILE": bundle}),
                "curl": lambda: self.curl("https", self.host, self.bench.blobs(images.FIVE), "--cacert", bundle)}

    def aims(self):
        return [Aim("wall <= 1.0 x (curl -Z over TLS, then sync)", 1.0, ratio("wall", "ours", "curl")),
                Aim("peak memory <= 18 MB, the system's CAs included", 18, figure("rss", "ours", 1e-6), "MB")]


class Big(Case):
    name, about = "big", "one image, one big layer"

    def setup(self):
        self.bench.push_big()

    def contestants(self):
        registry = self.bench.registry
        return {"ours": lambda: self.ours(images_=[f"{registry}/big:1"]), **self.peers(registry, ["big"], ["curl"])}

    def aims(self):
        return [Aim("wall <= 1.1 x (one curl, then sync): hashing is hidden", 1.1, ratio("wall", "ours", "curl")),
                Aim("peak memory <= 14 MB", 14, figure("rss", "ours", 1e-6), "MB")]


class Throttled(Case):
    name, about = "throttled", "20 MB/s a connection: five images, and one big layer"

    def setup(self):
        self.bench.push_big()
        self.host = self.lab.start_nginx("throttled", self.bench.registry, f"limit_rate {LIMIT_RATE};")

    def contestants(self):
        return {"ours, five": lambda: self.ours(images_=self.five(self.host)),
                "ours, big": lambda: self.ours(images_=[f"{self.host}/big:1"]),
                **(self.peers(self.host, images.FIVE, ["curl", "fork", "archived", "crane", "skopeo"])
                   if self.bench.slow_peers else {})}

    def aims(self):
        limit = JOBS * LIMIT_RATE
        return [Aim("five: wall <= 1.3 x bytes / (8 x 20 MB/s)", 1.3,
                    figure("wall", "ours, five", limit / self.bench.unique)),
                Aim("big: wall <= 1.3 x bytes / (8 x 20 MB/s)", 1.3,
                    figure("wall", "ours, big", limit / self.bench.big.size))]


class Rtt(Case):
    name, about = "rtt", "50 ms round trip, five images"

    def setup(self):
        self.far = self.lab.start_relay("far", self.bench.registry, DELAY_MS)
        self.near = self.lab.start_relay("near", self.bench.registry, 0)

    def contestants(self):
        return {"ours": lambda: self.counted(lambda: self.ours(images_=self.five(self.far))),
                "ours, 0 ms": lambda: self.ours(images_=self.five(self.near)),
                **self.peers(self.far, images.FIVE, ["curl", "fork"])}

    def aims(self):
        return [Aim("wall <= 0.5 x the fork's", 0.5, ratio("wall", "ours", "fork"))]


class Again(Case):
    """Nothing has changed."""

    name, about = "again", "nothing has changed: 5 and many tags"
    flags = ()

    def setup(self):
        self.bench.push_tags()
        self.lists = {"5": self.five(self.bench.registry),
                      "many": [f"{self.bench.registry}/tags:t{i}" for i in range(self.bench.tag_count)]}
        for name, references in self.lists.items():
            with open(self.lab.path(f"{self.name}-{name}.list"), "w", encoding="ascii") as file:
                file.write("".join(f"{reference}\n" for reference in references))
            self.lab.remove(f"{self.name}-{name}")
            self.again(name)

    def again(self, name, *flags):
        return self.ours("--images-file", self.lab.path(f"{self.name}-{name}.list"), *flags,
                         name=f"{self.name}-{name}", fresh=False)

    def start_up(self):
        return self.lab.measure([self.lab.program("warmer"), "--version"])[0]

    def contestants(self):
        def one(name):
            def run():
                self.lab.settle()
                return self.counted(lambda: self.again(name, *self.flags))
            return run
        return {"start-up": self.start_up, "ours, 5": one("5"), "ours, many": one("many")}

    def aims(self):
        return [Aim("5 tags: 5 requests", 5, self.requests("ours, 5"), "requests"),
                Aim("5 tags: no GET", 0, figure("GET", "ours, 5"), "requests"),
                Aim("5 tags: <= 30 ms beyond start-up", 30, beyond("ours, 5", "start-up"), "ms"),
                Aim("many tags: one request a tag", self.bench.tag_count, self.requests("ours, many"), "requests"),
                Aim("many tags: <= 2 ms a tag in all", 2.0,
                    figure("wall", "ours, many", 1000 / self.bench.tag_count), "ms")]

    @staticmethod
    def requests(ours):
        return lambda samples: [sample["HEAD"] + sample["GET"] for sample in samples[ours]]


class Pinned(Again):
    name, about = "pinned", "pinned by digest, and checked within --fresh-for"

    def setup(self):
        self.bench.push_tags()
        registry, pushed = self.bench.registry, self.bench.images
        self.lists = {"pinned": [f"{registry}/{name}@{pushed[name].digest}" for name in images.FIVE],
                      "fresh": self.five(registry)}
        for name, references in self.lists.items():
            with open(self.lab.path(f"{self.name}-{name}.list"), "w", encoding="ascii") as file:
                file.write("".join(f"{reference}\n" for reference in references))
            self.lab.remove(f"{self.name}-{name}")
            self.again(name)

    def contestants(self):
        def one(name, *flags):
            def run():
                self.lab.settle()
                return self.counted(lambda: self.again(name, *flags))
            return run
        return {"start-up": self.start_up, "ours, pinned": one("pinned"),
                "ours, fresh": one("fresh", "--fresh-for", "24h")}

    def aims(self):
        return [aim for name in ("pinned", "fresh")
                for aim in (Aim(f"{name}: 0 requests", 0, self.requests(f"ours, {name}"), "requests"),
                            Aim(f"{name}: <= start-up + 5 ms", 5, beyond(f"ours, {name}", "start-up"), "ms"))]


class Memory(Case):
    name, about = "memory", "peak memory, whatever the layer's size"
    rounds = 1

    def setup(self):
        self.bench.push_layer("ten", self.bench.small_size)
        self.bench.push_layer("huge", self.bench.huge_size)
        self.lab.make_certificates()
        self.tls = self.lab.start_nginx("memory-tls", self.bench.registry, tls=True).replace(
            "127.0.0.1", "registry.localhost")

    def contestants(self):
        trust = {"SSL_CERT_FILE": self.lab.path("bundle.pem")}
        hosts = {"HTTP": self.bench.registry, "TLS": self.tls}

        def one(program, host, name):
            def run():
                sample = self.ours(images_=[f"{host}/{name}:1"], environment=trust, program=program)
                self.lab.remove("out")
                return sample
            return run
        return {f"{who}, {name} {way}": one(program, host, name) for who, program in self.programs().items()
                for way, host in hosts.items() for name in ("ten", "huge")}

    def programs(self):
        return {"ours": "warmer", **({"static": os.path.join(self.bench.static, "warmer")} if self.bench.static else {})}

    def aims(self):
        return [Aim(f"{name} layer, {way}, {linked}: peak memory <= {limit} MB", limit,
                    figure("rss", f"{who}, {name} {way}", 1e-6), "MB")
                for who, linked in (("ours", "shared libraries"), ("static", "static"))
                for way, limit in (("HTTP", 14), ("TLS", 18)) for name in ("ten", "huge")]


class Verify(Case):
    name, about = "verify", "hash all blobs"
    flags = ()
    stream = 'exec openssl dgst -sha256 "$1"'

    def setup(self):
        self.ours(images_=self.five(self.bench.registry), name="verified")
        pool = self.lab.path("verified", "blobs", "sha256")
        blobs = sorted(os.listdir(pool), key=lambda name: -os.path.getsize(os.path.join(pool, name)))
        layers = {layer.digest.split(":")[1] for image in self.bench.images.values() for layer in image.layers}
        with open(self.lab.path("verified.list"), "w", encoding="ascii") as file:
            file.write("".join(f"{pool}/{name}\0" for name in blobs if name in layers))

    def contestants(self):
        script = f'xargs -0 -n 1 -P "$(nproc)" sh -c \'{self.stream}\' sh <"$0"'
        return {"ours": lambda: self.ours("verify", *self.flags, name="verified", program="cachedir", fresh=False),
                "others": lambda: self.lab.measure(["sh", "-c", script, self.lab.path("verified.list")])[0]}

    def aims(self):
        return [Aim("wall <= 1.1 x openssl dgst streams in parallel", 1.1, ratio("wall", "ours", "others"))]


class Deep(Verify):
    name, about = "deep", "unpack and hash all layers"
    flags = ("--deep",)
    stream = 'gzip -dc "$1" | openssl dgst -sha256'

    def aims(self):
        return [Aim("wall <= 1.2 x gzip -dc | openssl dgst in parallel", 1.2, ratio("wall", "ours", "others"))]


class Entries(Case):
    name, about = "entries", "many entries: list, prune --dry-run, a warm without requests"

    def setup(self):
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else self.lab.work
        self.counts = {"few": max(1, self.bench.entry_count // 10), "all": self.bench.entry_count}
        for name, count in self.counts.items():
            say(f"  {count} entries are made")
            made = os.path.join(shm, f"basewarm-bench-{os.getpid()}")
            try:
                os.makedirs(made)
                digests = images.write_static(images.many(count, self.bench.architecture), f"{made}/site")
                host = self.lab.start_nginx(f"static-{name}", self.bench.registry, static=f"{made}/site")
                self.write_list(name, [f"{host}/team{i // 100}/app{i // 10 % 10}:t{i}" for i in range(count)])
                self.write_list(f"{name}-pinned", [f"{host}/team{i // 100}/app{i // 10 % 10}@{digest}"
                                                   for i, digest in enumerate(digests)])
                # Where a sync costs nothing; then copied as it is.
                self.lab.measure([self.lab.program("warmer"), "-c", f"{made}/cache", "--images-file",
                                  self.lab.path(f"{name}.list"), "--progress", "none", "--verbosity", "warn"])
                self.lab.remove(f"entries-{name}")
                subprocess.run(["cp", "-a", f"{made}/cache", self.lab.path(f"entries-{name}")], check=True)
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def write_list(self, name, references):
        with open(self.lab.path(f"{name}.list"), "w", encoding="ascii") as file:
            file.write("".join(f"{reference}\n" for reference in references))

    def contestants(self):
        def one(program, name, *arguments):
            def run():
                self.lab.settle()
                return self.ours(*arguments, program=program, name=f"entries-{name}", fresh=False)
            return run
        runs = {}
        for name in self.counts:
            runs[f"list, {name}"] = one("cachedir", name, "list")
            runs[f"prune, {name}"] = one("cachedir", name, "prune", "--dry-run")
            runs[f"fresh, {name}"] = one("warmer", name, "--images-file", self.lab.path(f"{name}.list"),
                                         "--fresh-for", "24h")
            runs[f"pinned, {name}"] = one("warmer", name, "--images-file", self.lab.path(f"{name}-pinned.list"))
        return runs

    def aims(self):
        few, all_ = self.counts["few"], self.counts["all"]
        limit = 0.3 * all_ / 10_000
        return [Aim(f"{what}: <= {limit:g} s", limit, figure("wall", f"{what}, all"), "s")
                for what in ("list", "prune", "fresh", "pinned")] + [
                    Aim(f"{what}: linear (CPU an entry, all against a tenth)", 1.25, self.growth(what, all_ / few))
                    for what in ("list", "prune", "fresh", "pinned")]

    @staticmethod
    def growth(what, factor):
        return lambda samples: [a["cpu"] / b["cpu"] / factor
                                for a, b in zip(samples[f"{what}, all"], samples[f"{what}, few"])]


class StartUp(Case):
    name, about = "start-up", "--version"
    TIMES = 40

    def contestants(self):
        def one(program):
            def run():
                samples = self.lab.measure([program, "--version"], self.TIMES)
                return sorted(samples, key=lambda sample: sample["wall"])[self.TIMES // 2]
            return run
        runs = {name: one(self.lab.program(name)) for name in ("warmer", "cachedir", "curl")}
        if self.bench.static:
            runs["static"] = one(os.path.join(self.bench.static, "warmer"))
        return runs

    def aims(self):
        return [Aim("static: <= 5 ms", 5, figure("wall", "static", 1000), "ms"),
                Aim("warmer <= curl --version", 1.0, ratio("wall", "warmer", "curl")),
                Aim("cachedir <= curl --version", 1.0, ratio("wall", "cachedir", "curl"))]


class Archive(Case):
    name, about = "archive", "format docker-archive: warm, and convert from and to oci"

    def setup(self):
        self.total = sum(image.size for image in self.bench.images.values())
        self.ours(images_=self.five(self.bench.registry), name="as-oci")
        self.ours("--format", "docker-archive", images_=self.five(self.bench.registry), name="as-archive")

    def contestants(self):
        def convert(source, to):
            def run():
                out = self.out("converted")
                subprocess.run(["cp", "-a", self.lab.path(source), out], check=True)
                self.lab.settle()
                evict(out)
                return self.ours("convert", "--to", to, name="converted", program="cachedir", fresh=False)
            return run
        return {"warm": lambda: self.ours("--format", "docker-archive", images_=self.five(self.bench.registry)),
                "to archive": convert("as-oci", "docker-archive"), "to oci": convert("as-archive", "oci")}

    def aims(self):
        total, unique = self.total, self.bench.unique
        return [Aim("warm: one write of each byte", 1.01, figure("write_bytes", "warm", 1 / total)),
                Aim("to archive: one write of each byte", 1.01, figure("write_bytes", "to archive", 1 / total)),
                Aim("to archive: one read of each byte, from the disk", 1.01, figure("read_bytes", "to archive", 1 / unique)),
                Aim("to oci: one write of each byte", 1.01, figure("write_bytes", "to oci", 1 / unique)),
                Aim("to oci: one read of each byte, from the disk", 1.01, figure("read_bytes", "to oci", 1 / total))]


CASES = [Cold, Tls, Big, Throttled, Rtt, Again, Pinned, Memory, Verify, Deep, Entries, StartUp, Archive]


class Bench:
    """What the cases share: a registry, and the images in it, each pushed when first asked for."""

    def __init__(self, lab, options):
        self.lab = lab
        self.rounds, self.slow_peers, self.static = options.rounds, options.slow_peers, options.static
        self.tag_count, self.entry_count = options.tags, options.entries
        self.big_size, self.huge_size, self.small_size = options.big, options.huge, min(10 << 20, options.big)
        self.fork, self.archived = os.environ.get("KANIKO_WARMER"), os.environ.get("KANIKO_WARMER_ORIG")
        self.architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        self.registry = lab.start_registry(lab.path("registry"))
        self.pusher = images.Pusher(self.registry)
        say("images are made and pushed")
        self.images = images.five(options.unique, self.architecture)
        self.unique = images.unique_size(self.images.values())
        for name, image in self.images.items():
            self.pusher.image(name, "1", image, index=True)
        self.big = None
        self.pushed = set()

    def push_layer(self, name, size):
        if name in self.pushed:
            return None
        self.pushed.add(name)
        image = images.Image([images.Layer(name, size, loose=True)], name, self.architecture)
        self.pusher.image(name, "1", image)
        return image

    def push_big(self):
        self.big = self.push_layer("big", self.big_size) or self.big

    def push_tags(self):
        if "tags" in self.pushed:
            return
        self.pushed.add("tags")
        for i, image in enumerate(images.many(self.tag_count, self.architecture)):
            self.pusher.image("tags", f"t{i}", image)

    def blobs(self, names):
        """(repository, digest) of all blobs of these images, each once, the largest first."""
        found = {}
        for name in names:
            image = self.images.get(name) or self.big
            for digest, chunks in image.blobs.items():
                found.setdefault(digest, (sum(map(len, chunks)), name, digest))
        return [(name, digest) for _, name, digest in sorted(found.values(), reverse=True)]

    def run(self, case):
        """All rounds of a case: contestant -> samples."""
        case.setup()
        contestants = case.contestants()
        samples = {name: [] for name in contestants}
        names = list(contestants)
        for turn in range(case.rounds or self.rounds):
            for i in range(len(names)):
                name = names[(i + turn) % len(names)]
                samples[name].append(contestants[name]())
            say(f"  round {turn + 1}: " + ", ".join(f"{name} {samples[name][-1]['wall']:.3f} s" for name in names))
        return samples
