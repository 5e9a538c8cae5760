"""What the benchmark's cases stand on: servers, programs that are measured, and a disk that is quiet before each."""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

DIRTY_MAX = 1 << 20
MARK = ".bench"  # in a directory that may be emptied
HERE = os.path.dirname(os.path.abspath(__file__))


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_until(what, condition, limit=20):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {limit} s")
        time.sleep(0.02)


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def dirty_bytes():
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"^Dirty: +(\d+) kB", file.read(), re.M).group(1)) << 10


class Lab:
    """`work`: a directory of ours. `programs`: where warmer, cachedir and bench-measure are. `loud`: never
    wait for a quiet disk."""

    def __init__(self, work, programs, loud=False):
        self.work, self.programs, self.loud = work, programs, loud
        self.servers = []
        self.unquiet = 0  # measurements before which the disk did not become quiet
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.path("home"), "LC_ALL": "C.UTF-8",
                            "OTEL_TRACES_EXPORTER": "none"}
        if os.path.isdir(work) and os.listdir(work) and not os.path.exists(self.path(MARK)):
            raise RuntimeError(f"{work} is not empty, and not of an earlier benchmark")
        os.makedirs(work, exist_ok=True)
        for name in os.listdir(work):
            self.remove(name)
        os.makedirs(self.path("home"))
        with open(self.path(MARK), "w", encoding="ascii"):
            pass

    def path(self, *names):
        return os.path.join(self.work, *names)

    def remove(self, *names):
        path = self.path(*names)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def program(self, name):
        """One of ours, else of the PATH or of this tree's tools; None where there is none."""
        ours = os.path.join(self.programs, name)
        tools = os.path.join(HERE, "../../build/tools/usr/bin", name)
        return ours if os.access(ours, os.X_OK) else shutil.which(name) or shutil.which(
            tools) or shutil.which(os.path.join("/usr/sbin", name))

    # ---- servers ----

    def serve(self, log, *command):
        """Ends with us, however we end."""
        with open(self.path(log), "ab") as out:
            server = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                      env=self.environment, preexec_fn=lambda: ctypes.CDLL(None).prctl(
                                          1, signal.SIGKILL))  # PR_SET_PDEATHSIG
        self.servers.append(server)
        return server

    def stop_servers(self):
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.wait()
        self.servers.clear()

    def start_registry(self, storage):
        """Debian's docker-registry; returns HOST:PORT. Its log tells what it was asked for."""
        port = free_port()
        with open(self.path("registry.yml"), "w", encoding="ascii") as file:
            json.dump({  # which is YAML
                "version": 0.1, "log": {"level": "info"}, "http": {"addr": f"127.0.0.1:{port}", "secret": "none"},
                "storage": {"filesystem": {"rootdirectory": storage}, "delete": {"enabled": True},
                            "maintenance": {"uploadpurging": {"enabled": False}}}}, file)
        self.serve("registry.log", self.program("docker-registry"), "serve", self.path("registry.yml"))
        wait_until("docker-registry's start", lambda: answers(port))
        return f"127.0.0.1:{port}"

    def registry_requests(self):
        """How many it has answered, by method."""
        time.sleep(0.05)  # its log is written behind the answer
        counts = {}
        with open(self.path("registry.log"), encoding="utf-8", errors="replace") as file:
            for method in re.findall(r'"(GET|HEAD|POST|PUT) /v2/', file.read()):
                counts[method] = counts.get(method, 0) + 1
        return counts

    def make_certificates(self):
        """ca.pem, server.pem, server.key; and bundle.pem: that CA among the system's."""
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        for more in (["-subj", "/CN=Bench CA", "-keyout", "ca.key", "-out", "ca.pem"],
                     ["-subj", "/CN=bench", "-CA", "ca.pem", "-CAkey", "ca.key", "-addext",
                      "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:registry.localhost",
                      "-keyout", "server.key", "-out", "server.pem"]):
            subprocess.run(new + more, cwd=self.work, check=True, stderr=subprocess.DEVNULL)
        with open(self.path("bundle.pem"), "wb") as bundle:
            for name in ("/etc/ssl/certs/ca-certificates.crt", self.path("ca.pem")):
                if os.path.exists(name):
                    with open(name, "rb") as file:
                        bundle.write(file.read())

    def start_nginx(self, name, registry, directives="", tls=False, static=None):
        """In front of the registry, or serving images.write_static()'s files; returns HOST:PORT."""
        port = free_port()
        home = self.path(name)
        os.makedirs(home)
        if static:
            where = f"""
                root {static};
                rewrite ^/v2/.*/((manifests|blobs)/[^/]*)$ /$1 last;
                location /manifests/ {{ types {{}} default_type application/vnd.oci.image.manifest.v1+json; }}
                location / {{}}"""
        else:
            where = f"""
                location / {{
                    proxy_pass http://behind;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header Host $http_host;
                    proxy_max_temp_file_size 0;
                    {directives}
                }}"""
        temporary = "".join(f"{kind}_temp_path {home}/{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        certificate = f"ssl_certificate {self.path('server.pem')}; ssl_certificate_key {self.path('server.key')};"
        with open(f"{home}/nginx.conf", "w", encoding="utf-8") as file:
            file.write(f"""
                daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error.log;
                events {{ worker_connections 1024; }}
                http {{
                    access_log off; sendfile on; keepalive_requests 1000000; {temporary}
                    upstream behind {{ server {registry}; keepalive 32; }}
                    server {{
                        listen 127.0.0.1:{port}{' ssl' if tls else ''};
                        {certificate if tls else ''}
                        {where}
                    }}
                }}""")
        self.serve(f"{name}.log", self.program("nginx"), "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf")
        wait_until("nginx's start", lambda: answers(port))
        return f"127.0.0.1:{port}"

    def start_relay(self, name, target, milliseconds):
        port_file = self.path(f"{name}.port")
        self.serve(f"{name}.log", sys.executable, os.path.join(HERE, "relay.py"), str(milliseconds), target, port_file)
        wait_until("the relay's start", lambda: os.path.exists(port_file))
        with open(port_file, encoding="ascii") as file:
            return f"127.0.0.1:{file.read()}"

    # ---- measuring ----

    def settle(self):
        """Nothing is left to be written back when the clock starts."""
        end = time.monotonic() + 20
        while not self.loud:
            os.sync()
            if dirty_bytes() < DIRTY_MAX:
                return
            if time.monotonic() > end:
                self.unquiet += 1
                return
            time.sleep(0.1)

    def measure(self, command, times=1, environment=None, codes=(0,)):
        """Runs it; returns a sample a run: seconds, bytes and counts, see measure.c."""
        result = self.path("measured")
        with open(self.path("output"), "w+b") as out:
            done = subprocess.run([os.path.join(self.programs, "bench-measure"), "-n", str(times), result, *command],
                                  stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.work,
                                  env={**self.environment, **(environment or {})}, check=False)
            with open(result, encoding="ascii") as file:
                samples = [json.loads(line) for line in file]
            if done.returncode != 0 or any(sample["code"] not in codes for sample in samples):
                out.seek(max(0, out.tell() - 2000))
                raise RuntimeError(f"{' '.join(command)[:400]} failed: {samples}\n{out.read().decode(errors='replace')}")
        for sample in samples:
            sample["cpu"] = sample.pop("user") + sample.pop("system")
        return samples


def evict(directory):
    """So that its files are read from the disk again; they must have been written back."""
    for top, _, names in os.walk(directory):
        for name in names:
            fd = os.open(os.path.join(top, name), os.O_RDONLY | os.O_NOFOLLOW)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def allocated(directory):
    """Bytes on the disk below it, each inode once."""
    seen, total = set(), 0
    for top, _, names in os.walk(directory):
        for path in [top, *(os.path.join(top, name) for name in names)]:
            st = os.lstat(path)
            if st.st_ino not in seen:
                seen.add(st.st_ino)
                total += st.st_blocks * 512
    return total
