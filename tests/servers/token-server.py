#!/usr/bin/python3
"""A token server as the distribution project describes it (token.md): GET /token with service and
scope, answers a JWT that docker-registry takes. A line on stderr for each request.
"""
import argparse
import base64
import http.server
import json
import os
import subprocess
import time
import urllib.parse

LEEWAY = 60  # docker-registry believes a token this many seconds beyond its end

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--key", required=True)
parser.add_argument("--certificate", required=True)
parser.add_argument("--port-file", required=True)
parser.add_argument("--user", metavar="NAME:PASSWORD", help="refuse everybody else")
parser.add_argument("--lifetime", type=float, default=300, metavar="S", help="what the registry sees")
parser.add_argument("--say", type=int, metavar="S", help="expires_in, if that is to differ")
parser.add_argument("--field", default="token", help="or access_token")
options = parser.parse_args()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificate():
    with open(options.certificate, encoding="ascii") as file:
        return "".join(line.strip() for line in file if not line.startswith("-----"))


def sign(data):
    return subprocess.run(["openssl", "dgst", "-sha256", "-sign", options.key],
                          input=data, capture_output=True, check=True).stdout


def token(service, scopes, serial):
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":", 2)
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = time.time()
    parts = [
        {"typ": "JWT", "alg": "RS256", "x5c": [certificate()]},
        {"iss": "test-issuer", "sub": "", "aud": service, "iat": int(now), "nbf": int(now) - LEEWAY,
         "exp": int(now + options.lifetime - LEEWAY), "jti": str(serial), "access": access},
    ]
    text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return text + "." + base64url(sign(text.encode()))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        if url.path != "/token":
            return self.answer(404, {"details": "no such path"})
        if options.user:
            want = "Basic " + base64.b64encode(options.user.encode()).decode()
            if self.headers.get("Authorization") != want:
                return self.answer(401, {"details": "incorrect username or password"})
        Handler.served += 1
        value = token(query["service"][0], query.get("scope", []), Handler.served)
        said = options.say if options.say is not None else int(options.lifetime)
        self.answer(200, {options.field: value, "expires_in": said})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
with open(options.port_file + ".new", "w", encoding="ascii") as port_file:
    port_file.write(str(server.server_address[1]))
os.rename(options.port_file + ".new", options.port_file)
server.serve_forever()
