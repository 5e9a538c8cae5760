#!/usr/bin/python3
"""A registry that misbehaves on purpose. What goes wrong stands in the repository's name:

    /v2/FAULT/.../FAULT/IMAGE/manifests/1      IMAGE is one of fault_images.py
    /v2/FAULT/.../FAULT/IMAGE/blobs/DIGEST     FAULT is one of fault_kinds.py, or library, or pub
    /store/FAULT/.../IMAGE/blobs/DIGEST        where redirects (to-NAME) lead: an object store
    /token/KIND                                where challenges (auth-KIND) lead

Listeners: main (127.0.0.1), other (127.0.0.2), dead (127.0.0.1, closes every connection), with
--certificate and --key also tls (127.0.0.1) and tls_other (127.0.0.2), and each --listen NAME=ADDRESS.
--port-file is written when all listen: a line NAME=ADDRESS:PORT each, for a shell.

    /__reset   forget all requests and what followed from them
    /__sent    bytes of bodies so far
    /__log     a line for each request since, once none is running:
               SECONDS LISTENER METHOD PATH STATUS BYTES-OF-THE-BODY RANGE|- AUTHORIZATION|-
               and for each thing that a client must never do, whatever the fault: WRONG what
"""
import argparse
import http.server
import os
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import fault_kinds  # noqa: E402
from fault_images import IMAGES, TYPES, Image  # noqa: E402

CHUNK = 64 << 10
PLAIN_COMPONENTS = {"library", "pub"}  # that are no faults


class Answer:
    """What is sent, and what of it goes wrong."""

    def __init__(self, body=b"", kind=None, status=200, **headers):
        self.status, self.body = status, body
        self.headers = {"Content-Type": kind} if kind else {}
        self.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        self.ranges = False  # honour Range
        self.content_range = "bytes {start}-{last}/{total}"
        self.length = None  # what Content-Length says; None: the truth; -1: there is none
        self.chunked = False
        self.endless = False  # zeros behind the body, for ever
        self.drop = False  # close the connection instead
        self.cut = None  # close it behind so many bytes of the body
        self.reset = False  # ... with a TCP reset
        self.stall = None  # say nothing more behind so many
        self.rate = None  # bytes a second
        self.piece = CHUNK


class Registry:
    """What all listeners share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.hosts, self.images = {}, {}
        self.reset()

    def reset(self):
        with self.lock:
            self.log, self.wrong, self.tokens, self.began = [], [], {}, time.monotonic()

    def complain(self, what):
        with self.lock:
            self.wrong.append(what)

    def image(self, name):
        with self.lock:
            if name not in self.images:
                self.images[name] = Image(name, self.hosts)
            return self.images[name]

    def settled(self):
        deadline = time.monotonic() + 5
        while any(entry["running"] for entry in self.log) and time.monotonic() < deadline:
            time.sleep(0.01)


registry = Registry()


class Gone(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry = registry

    def log_message(self, *arguments):
        pass

    # ---- what faults ask for ----

    @property
    def where(self):
        return self.server.name

    def origin(self, name):
        return ("https://" if name.startswith("tls") else "http://") + registry.hosts[name]

    def before(self):
        """How many requests for the same came before this one."""
        same = [e for e in registry.log if (e["method"], e["path"]) == (self.entry["method"], self.entry["path"])]
        return same.index(self.entry)

    def query(self):
        return urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)

    def authorization(self):
        return self.headers.get("Authorization")

    # ---- requests ----

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/__"):
            return self.control(path)
        self.entry = {
            "time": time.monotonic() - registry.began, "where": self.where, "method": self.command,
            "path": path, "status": 0, "sent": 0, "range": self.headers.get("Range", "-"),
            "authorization": (self.authorization() or "-").replace(" ", "_"), "running": True}
        with registry.lock:
            registry.log.append(self.entry)
        try:
            self.check()
            self.send(self.answer(path))
        except (Gone, OSError):
            self.close_connection = True
        finally:
            self.entry["running"] = False

    do_HEAD = do_POST = do_GET

    def control(self, path):
        if path == "/__reset":
            registry.settled()
            registry.reset()
            lines = []
        elif path == "/__log":
            registry.settled()
            lines = ["{time:.2f} {where} {method} {path} {status} {sent} {range} {authorization}".format(**e)
                     for e in registry.log] + ["WRONG " + what for what in registry.wrong]
        else:
            lines = [str(sum(e["sent"] for e in registry.log))]
        text = "".join(line + "\n" for line in lines).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    def check(self):
        """What a client must never do."""
        where = f"{self.where}: {self.command} {self.path}"
        if "Cookie" in self.headers:
            registry.complain(f"{where}: a cookie")
        if self.headers.get_all("Accept-Encoding", []) != ["identity"]:
            registry.complain(f"{where}: Accept-Encoding {self.headers.get_all('Accept-Encoding')}")
        if "/blobs/" in self.path and self.command != "GET":
            registry.complain(f"{where}: blobs are only for GET")
        token = registry.tokens.get((self.authorization() or "").removeprefix("Bearer "), {})
        stranger = self.authorization() and token.get("where") != self.where
        if self.path.startswith("/store/") and self.where != "main" and stranger:
            registry.complain(f"{where}: Authorization at a store")
        if "/manifests/" in self.path:
            accept = self.headers.get_all("Accept", [])
            if len(accept) != 1 or not TYPES <= {kind.strip() for kind in accept[0].split(",")}:
                registry.complain(f"{where}: Accept {accept}")
        start, dash, end = self.headers.get("Range", "bytes=0-0").removeprefix("bytes=").partition("-")
        if not (dash and start.isdigit() and end.isdigit()):
            registry.complain(f"{where}: Range {self.headers['Range']}")

    def answer(self, path):
        parts = path.strip("/").split("/")
        if parts[0] == "token":
            length = int(self.headers.get("Content-Length", 0))
            form = urllib.parse.parse_qs(self.rfile.read(length).decode())
            return fault_kinds.token(self, parts[1], form or self.query(), Answer)
        if parts[0] not in ("v2", "store") or len(parts) < 4 or parts[-3] not in IMAGES:
            return self.no("NAME_UNKNOWN", "no such repository")
        faults, name, kind, reference = parts[1:-3], parts[-3], parts[-2], parts[-1]
        self.image, self.repository = registry.image(name), "/".join(parts[1:-2])
        answer = self.find(kind, reference, parts[0])
        for component in faults:
            if component in PLAIN_COMPONENTS:
                continue
            fault, more = fault_kinds.find(component)
            if not fault:
                return self.no("NAME_UNKNOWN", f"no such fault: {component}")
            if fault.apply(self, answer, "manifest" if kind == "manifests" else "blob", more):
                break
        return answer

    def no(self, code, message):
        text = '{"errors": [{"code": "%s", "message": "%s"}]}' % (code, message)
        return Answer(text.encode(), "application/json", 404)

    def find(self, kind, reference, room):
        image = self.image
        if kind == "blobs":
            if reference not in image.blobs or (room == "v2" and reference in image.foreign):
                return self.no("BLOB_UNKNOWN", "blob unknown to registry")
            answer = Answer(image.blobs[reference], "application/octet-stream")
            answer.ranges = True
            return answer
        digest = image.tags.get(reference, reference)
        if digest not in image.manifests:
            return self.no("MANIFEST_UNKNOWN", "manifest unknown")
        media_type, data = image.manifests[digest]
        return Answer(data, media_type, Docker_Content_Digest=digest)

    # ---- answers ----

    def send(self, a):
        if a.drop:
            raise Gone
        body, status, headers = a.body, a.status, dict(a.headers)
        start, dash, end = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if a.ranges and dash and status == 200:
            start, last = int(start), min(int(end), len(body) - 1)
            if start > last:
                status, body = 416, b""
            else:
                status = 206
                if a.content_range:
                    headers["Content-Range"] = a.content_range.format(start=start, last=last, total=len(body))
                body = body[start:last + 1]
        if a.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif a.length != -1:
            headers["Content-Length"] = str(len(body) if a.length is None else a.length)
        lines = [f"HTTP/1.1 {status} Whatever", "Set-Cookie: session=1; Path=/"]
        for name, value in headers.items():
            lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
        self.entry["status"] = status
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        if self.command != "HEAD":
            self.send_body(a, body)

    def send_body(self, a, body):
        for at in range(0, len(body), a.piece):
            piece = body[at:at + a.piece]
            for stop, what in ((a.cut, self.hang_up), (a.stall, self.say_nothing)):
                if stop is not None and at + len(piece) > stop:
                    self.write(a, piece[:stop - at])
                    what(a)
            self.write(a, piece)
        while a.endless:
            self.write(a, bytes(a.piece))
        if a.chunked:
            self.wfile.write(b"0\r\n\r\n")
        if a.length is not None:
            self.close_connection = True

    def write(self, a, data):
        if a.rate:
            self.wait(len(data) / a.rate)
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if a.chunked else data)
        self.entry["sent"] += len(data)

    def wait(self, seconds):
        """Whoever hangs up meanwhile is gone."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable:
            if not self.connection.recv(1):
                raise Gone
            time.sleep(seconds)

    def hang_up(self, a):
        if a.reset:
            self.wait(0.3)  # for what was sent to be read: a reset drops the rest
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        raise Gone

    def say_nothing(self, a):
        self.wait(30)
        raise Gone


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, name, address, context=None):
        self.name, self.context = name, context
        if address.startswith("["):
            self.address_family = socket.AF_INET6
        super().__init__((address.strip("[]"), 0), Handler)
        registry.hosts[name] = "%s:%d" % (address, self.server_address[1])

    def finish_request(self, request, client_address):
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.name == "dead":
            with registry.lock:
                registry.log.append({
                    "time": time.monotonic() - registry.began, "where": "dead", "method": "CONNECT",
                    "path": "-", "status": 0, "sent": 0, "range": "-", "authorization": "-", "running": False})
            return
        if self.context:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        elif request.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS handshake, which holds no line's end
            request.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--listen", action="append", default=[], metavar="NAME=ADDRESS")
    options = parser.parse_args()
    listeners = ["main=127.0.0.1", "other=127.0.0.2", "dead=127.0.0.1", *options.listen]
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        listeners += ["tls=127.0.0.1", "tls_other=127.0.0.2"]
    for listener in listeners:
        name, _, address = listener.partition("=")
        server = Server(name, address, context if name.startswith("tls") else None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(options.port_file + ".new", "w", encoding="ascii") as file:
        file.writelines(f"{name}={host}\n" for name, host in registry.hosts.items())
    os.rename(options.port_file + ".new", options.port_file)
    threading.Event().wait()


main()
