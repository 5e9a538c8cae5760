"""Beyond this machine, by a model: which lock, request rate or directory operation breaks first?

Two set-ups: 10,000 images warmed by the pods of an Indexed Job (--shards) into one directory on a shared volume,
and a fleet of nodes, each with a cache of its own, that asks one registry. Every shared thing is a queue with a
capacity: the registry's requests and bytes, the volume's operations and bytes, and the lock of index.json.
Workers take one image after the other through them. What is counted is counted from this program (strace, the
registry's log); capacities are round figures of things that one meets, and are printed with the result."""
import heapq
import random

IMAGES = 10_000
WORKERS = 8  # a pod, --jobs
# Counted: five images that share layers cost 29 requests; a cold image some 170 calls below the cache directory
# that a network file system must carry to its server; a look at an entry 19; a line of index.json has 690 bytes.
REQUESTS, OPERATIONS, LOOK, NAME_BYTES = 6, 170, 19, 690
OWN_BYTES = 60 << 20  # of an image, that no other has
ROUND_TRIP = 0.02  # to the registry, s
REGISTRY_REQUESTS, REGISTRY_BYTES = 2_000, 1.25e9  # a second
VOLUME_OPERATIONS, VOLUME_BYTES, VOLUME_WAIT = 30_000, 1.0e9, 0.0005  # a second, a second, s each
READ_BATCH = 100  # names that one READDIR brings
PARSE = 25e6  # bytes of index.json a second, read and written
LOCK_TRIES, LOCK_PAUSE = 50, 0.02  # s; then without the lock


class Queue:
    """Serves one after the other at a rate; remembers how long it was busy."""

    def __init__(self, rate):
        self.rate, self.free, self.busy = rate, 0.0, 0.0

    def use(self, now, amount):
        took = amount / self.rate
        self.free = max(self.free, now) + took
        self.busy += took
        return self.free


class Job:
    """One Indexed Job. Workers are generators that yield when they go on; so everything happens in its order.
    `readdir`: a writer of index.json looks at the directory once, not at each entry; `share`: it waits so many
    times as long as the last time took, at least 10 s."""

    def __init__(self, pods, readdir, share):
        self.pods, self.readdir, self.share = pods, readdir, share
        self.requests, self.wire = Queue(REGISTRY_REQUESTS), Queue(REGISTRY_BYTES)
        self.operations, self.disk = Queue(VOLUME_OPERATIONS), Queue(VOLUME_BYTES)
        self.left = [IMAGES // pods + (pod < IMAGES % pods) for pod in range(pods)]
        self.due, self.said = [10.0] * pods, [0] * pods
        self.now, self.locked = 0.0, False
        self.lock_busy = self.in_flush = 0.0
        self.flushes = self.unlocked = self.named = 0

    def operate(self, count):
        """One worker's operations in a row: each waits for the volume's answer."""
        while count > 0:
            some = min(count, 50)
            yield max(self.operations.use(self.now, some), self.now + some * VOLUME_WAIT)
            count -= some

    def image(self):
        for _ in range(REQUESTS):
            yield self.now + ROUND_TRIP
            yield self.requests.use(self.now, 1)
        for _ in range(20):
            yield max(self.wire.use(self.now, OWN_BYTES / 20), self.disk.use(self.now, OWN_BYTES / 20))
        yield from self.operate(OPERATIONS)

    def flush(self, pod):
        """Read, merge, write, read again, under the lock if it is to be had within a second."""
        began = self.now
        tries = 0
        while self.locked and tries < LOCK_TRIES:
            tries += 1
            yield self.now + LOCK_PAUSE
        mine = not self.locked
        self.locked = True
        self.flushes += 1
        self.unlocked += not mine
        start = self.now
        looks = self.named / READ_BATCH if self.readdir else self.named + self.said[pod] * LOOK
        yield from self.operate(looks + 10)
        size = 3 * self.named * NAME_BYTES
        yield self.disk.use(self.now, size)
        yield self.now + size / PARSE
        if mine:
            self.locked = False
            self.lock_busy += self.now - start
        self.in_flush += self.now - began
        self.due[pod] = self.now + max(10.0, self.share * (self.now - began))

    def worker(self, pod):
        while self.left[pod] > 0:
            self.left[pod] -= 1
            yield from self.image()
            self.said[pod] += 1
            self.named += 1
            if self.now >= self.due[pod] or self.said[pod] == IMAGES // self.pods:
                self.due[pod] = self.now + 10
                yield from self.flush(pod)

    def run(self):
        workers = [self.worker(pod) for pod in range(self.pods) for _ in range(WORKERS)]
        events = [(random.random(), i) for i in range(len(workers))]
        heapq.heapify(events)
        while events:
            self.now, i = heapq.heappop(events)
            until = next(workers[i], None)
            if until is not None:
                heapq.heappush(events, (until, i))
        return self.now

    def bottleneck(self, took):
        """The shared things, by how busy they were."""
        busy = {"registry requests": self.requests.busy, "registry bytes": self.wire.busy,
                "volume operations": self.operations.busy, "volume bytes": self.disk.busy, "index.json": self.lock_busy}
        return sorted(((value / took, name) for name, value in busy.items()), reverse=True)


def print_job():
    print(f"""One Indexed Job, {IMAGES} images of {OWN_BYTES >> 20} MiB that no other has, one directory on a shared volume.
Registry {REGISTRY_REQUESTS} requests/s and {REGISTRY_BYTES / 1e9:g} GB/s, {ROUND_TRIP * 1e3:g} ms away; volume {VOLUME_OPERATIONS} operations/s and \
{VOLUME_BYTES / 1e9:g} GB/s, {VOLUME_WAIT * 1e3:g} ms each.
Before: a writer of index.json looked at each entry that it names, every 10 s. Now: at the directory once, and 64 times
as long as that took passes until it comes again.

PODS           SECONDS  INDEX.JSON WRITTEN  WITHOUT LOCK  IN IT, POD-SECONDS  BUSIEST""")
    for pods in (1, 4, 16, 64, 256):
        for label, readdir, share in (("before", False, 0), ("now", True, 64)):
            random.seed(pods)
            job = Job(pods, readdir, share)
            took = job.run()
            ranks = ", ".join(f"{name} {load:.0%}" for load, name in job.bottleneck(took)[:2])
            print(f"{pods:4}  {label:6} {took:9.0f}  {job.flushes:18}  {job.unlocked:12}  {job.in_flush:18.0f}  {ranks}")


def print_volume():
    print("""
A directory as it grows, on that volume: one process, seconds.

ENTRIES  LIST, ONE AFTER THE OTHER  LIST, 8 AT ONCE  WRITING INDEX.JSON, BEFORE   NOW""")
    for entries in (1_000, 10_000, 50_000, 100_000):
        alone = entries * 30 * VOLUME_WAIT
        eight = max(entries * LOOK * VOLUME_WAIT / 8, entries * LOOK / VOLUME_OPERATIONS)
        work = 3 * entries * NAME_BYTES * (1 / PARSE + 1 / VOLUME_BYTES)
        print(f"{entries:7}  {alone:25.1f}  {eight:15.1f}  {entries * VOLUME_WAIT + work:26.1f}  "
              f"{entries / READ_BATCH * VOLUME_WAIT + work:4.1f}")
    print("index.json may have 64 MiB: some 97,000 names. ext4 without dir_nlink takes 65,000 entries a directory.")


def print_fleet():
    print(f"""
A fleet: each node warms 500 tags into a cache of its own, every hour, from one registry ({REGISTRY_REQUESTS} requests/s).

NODES  REQUESTS AN HOUR  LOAD  ALL AT ONCE: s UNTIL ANSWERED  FIRST FILL OF 30 GiB EACH, s""")
    for nodes in (10, 100, 1_000, 5_000, 20_000):
        asked = nodes * 500
        print(f"{nodes:5}  {asked:16}  {asked / 3600 / REGISTRY_REQUESTS:4.0%}  {asked / REGISTRY_REQUESTS:28.0f}  "
              f"{nodes * (30 << 30) / REGISTRY_BYTES:28.0f}")
    print("""The first fill breaks first, by bytes: at 100 nodes behind one 10 Gbit/s registry it takes most of an hour. A mirror in
each zone (--registry-mirror) divides that; a spread start (a DaemonSet's rollout, a CronJob's minute by node) the
moment. Afterwards the rate of HEADs counts: --fresh-for and pinned digests ask for nothing, 429 and Retry-After are obeyed.""")


def main():
    print_job()
    print_volume()
    print_fleet()
