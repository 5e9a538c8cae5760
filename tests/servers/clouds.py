#!/usr/bin/python3
"""The clouds, for tests: what gives out credentials for their registries, and, as an HTTP proxy,
their registries themselves, in front of a real one. Every secret begins with "hush-".

    /aws/ecr /aws/sts /aws/imds/... /aws/agent           AWS_ENDPOINT_URL_ECR and so on
    /google/token /google/iam /computeMetadata/...       token_uri, GCE_METADATA_HOST
    /azure/TENANT/oauth2/v2.0/token /azure/metadata/...  AZURE_AUTHORITY_HOST and so on
    http://HOST/...                                      a registry
    /__set?NAME=VALUE                                    changes what follows; see `settings`
    /__mint?NAME=VALUE                                   an identity provider's JWT with these claims

A line on stdout for each request: method, host and path, status, and what was asked for.
"""
import argparse
import base64
import http.client
import http.server
import json
import os
import re
import threading
import time
import urllib.parse

from cloud_checks import Refused, check_jwt, check_signature, random_secret, sign_jwt

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port-file", required=True)
parser.add_argument("--registry", required=True, metavar="HOST:PORT", help="the real one")
parser.add_argument("--key", required=True, help="an identity provider's, to sign with")
parser.add_argument("--public-key", required=True, help="of the same")
parser.add_argument("--account-key", required=True, help="public, of Google's service account")
options = parser.parse_args()

settings = {
    "skew": "0",       # seconds that the clouds' clock is ahead
    "down": "",        # a path's beginning: answered with 503
    "silent": "",      # ... : not answered for 5 s
    "lifetime": "3600",  # what is said of what is given out
    "uses": "0",       # a registry takes a credential so many times; 0: for ever
    "region": "eu-west-1",
    "service": "ecr",
    "no-role": "",     # the instance has none
}
AWS_STATIC = ("AKIDSTATIC", "hush-aws-static-secret")
AZURE_SECRET = "hush-azure-client-secret"
GOOGLE_REFRESH = "hush-google-refresh"
APP_HEADER = "hush-azure-app-header"
AGENT_TOKEN = "hush-aws-agent-token"
aws_keys = {AWS_STATIC[0]: (AWS_STATIC[1], None)}
given = {}  # a secret that was given out -> [kind, uses]
lock = threading.Lock()


def now():
    return time.time() + float(settings["skew"])


def give(kind):
    secret = random_secret(kind)
    with lock:
        given[secret] = [kind, 0]
    return secret


def check_given(secret, kind):
    """Is it one of ours, and not used up?"""
    with lock:
        entry = given.get(secret)
        if not entry or entry[0] != kind:
            raise Refused(401, "UNAUTHORIZED", "authentication required")
        entry[1] += 1
        if int(settings["uses"]) and entry[1] > int(settings["uses"]):
            raise Refused(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")


def new_aws_keys():
    key, secret, session = "ASIA" + random_secret("x")[7:19].upper(), give("aws-secret"), give("aws-session")
    aws_keys[key] = (secret, session)
    return key, secret, session


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code="-", size="-"):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string(now() if timestamp is None else timestamp)

    def answer(self, status, value, *headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.record(status)
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def record(self, status):
        """A line of the log, in one piece (threads write it) and before whom it answers goes on."""
        if not self.path.startswith("/__"):
            line = f"{self.command} {self.path.split('?')[0]} {status} {self.note}\n"
            os.write(1, line.encode())

    def need(self, condition, status=400, code="invalid_request", words="it is not what was due"):
        if not condition:
            raise Refused(status, code, words)

    # ---- AWS ----

    def aws_ecr(self):
        target = self.headers.get("X-Amz-Target", "")
        self.note = target + " by " + check_signature(
            "POST", self.path, self.headers, self.body, now(), aws_keys, settings["service"],
            settings["region"])
        want = {"ecr": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
                "ecr-public": "SpencerFrontendService.GetAuthorizationToken"}[settings["service"]]
        self.need(target == want and self.headers["Content-Type"] == "application/x-amz-json-1.1")
        self.need(self.body == b"{}")
        token = base64.b64encode(f"AWS:{give('ecr')}".encode()).decode()
        data = {"authorizationToken": token, "expiresAt": now() + float(settings["lifetime"])}
        self.answer(200, {"authorizationData": data if settings["service"] != "ecr" else [data]})

    def aws_sts(self):
        form = self.form()
        self.need(form.get("Action") == "AssumeRoleWithWebIdentity" and form.get("Version") == "2011-06-15")
        self.need(form.get("RoleArn") == "arn:aws:iam::123456789012:role/warm", 403, "AccessDenied",
                  "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        self.need(re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", "")))
        try:
            check_jwt(form.get("WebIdentityToken", ""), options.public_key, now(),
                      "InvalidIdentityToken", aud="sts.amazonaws.com")
        except Refused as refused:
            return self.answer(400, f"<ErrorResponse><Error><Code>{refused.code}</Code><Message>"
                                    f"{refused.words}</Message></Error></ErrorResponse>".encode())
        key, secret, session = new_aws_keys()
        self.answer(200, f"""<AssumeRoleWithWebIdentityResponse
xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{session}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>""".encode())

    def aws_json_keys(self):
        key, secret, session = new_aws_keys()
        self.answer(200, {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret,
                          "Token": session, "Expiration": "2099-01-01T00:00:00Z"})

    def aws_imds(self):
        path = self.path.removeprefix("/aws/imds")
        if path == "/latest/api/token":
            self.need(self.command == "PUT" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]))
            return self.answer(200, give("imds").encode())
        check_given(self.headers.get("X-aws-ec2-metadata-token", ""), "imds")  # version 1 is off
        if path == "/latest/meta-data/iam/security-credentials/":
            return self.answer(404, b"") if settings["no-role"] else self.answer(200, b"the-role")
        self.need(path == "/latest/meta-data/iam/security-credentials/the-role", 404)
        return self.aws_json_keys()

    def aws_agent(self):
        self.need(self.headers.get("Authorization") == AGENT_TOKEN, 401, "AccessDenied", "who are you?")
        self.aws_json_keys()

    # ---- Google ----

    def google_token(self):
        form = self.form()
        grant = self.note = form.get("grant_type", "")
        if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            check_jwt(form.get("assertion", ""), options.account_key, now(), "invalid_grant",
                      iss="warm@project.example", scope="https://www.googleapis.com/auth/cloud-platform",
                      aud=f"http://{self.headers['Host']}{self.path}")
        elif grant == "refresh_token":
            self.need(form.get("refresh_token") == GOOGLE_REFRESH and form.get("client_id") == "the-client" and
                      form.get("client_secret") == "hush-google-client", 400, "invalid_grant", "Bad Request")
        else:
            self.need(grant == "urn:ietf:params:oauth:grant-type:token-exchange")
            self.need(form.get("requested_token_type") == "urn:ietf:params:oauth:token-type:access_token")
            self.need(form.get("subject_token_type") == "urn:ietf:params:oauth:token-type:jwt")
            check_jwt(form.get("subject_token", ""), options.public_key, now(), "invalid_grant",
                      aud=form.get("audience"))
        self.answer(200, {"access_token": give("google"), "expires_in": int(settings["lifetime"]),
                          "token_type": "Bearer"})

    def google_iam(self):
        check_given(self.headers.get("Authorization", "").removeprefix("Bearer "), "google")
        asks = json.loads(self.body)
        self.need(asks["scope"] == ["https://www.googleapis.com/auth/cloud-platform"])
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now() + float(settings["lifetime"])))
        self.answer(200, {"accessToken": give("google"), "expireTime": until})

    def google_metadata(self):
        self.need(self.headers.get("Metadata-Flavor") == "Google", 403)
        self.need(not settings["no-role"], 404)
        self.answer(200, {"access_token": give("google"), "expires_in": int(settings["lifetime"])})

    # ---- Azure ----

    def azure_token(self):
        form = self.form()
        self.need(self.path == "/azure/the-tenant/oauth2/v2.0/token", 400, "invalid_request",
                  "AADSTS90002: Tenant not found.")
        self.need(form.get("grant_type") == "client_credentials" and form.get("client_id") == "the-client")
        self.need(form.get("scope") == "https://containerregistry.azure.net/.default")
        if "client_secret" in form:
            self.need(form["client_secret"] == AZURE_SECRET, 401, "invalid_client",
                      "AADSTS7000215: Invalid client secret provided.")
        else:
            self.note = "assertion"
            self.need(form.get("client_assertion_type") ==
                      "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            check_jwt(form.get("client_assertion", ""), options.public_key, now(), "invalid_client",
                      aud="api://AzureADTokenExchange")
        self.answer(200, {"access_token": give("entra"), "expires_in": 3599})

    def azure_metadata(self, query, app):
        if app:
            self.need(self.headers.get("X-IDENTITY-HEADER") == APP_HEADER, 401)
        self.need(query.get("api-version") == ("2019-08-01" if app else "2018-02-01"))
        self.need(app or self.headers.get("Metadata") == "true")
        self.need(query.get("resource") == "https://containerregistry.azure.net")
        self.need(not settings["no-role"], 400, "invalid_request", "Identity not found")
        self.answer(200, {"access_token": give("entra"), "expires_in": "86399"})

    def azure_registry(self, host, path):
        self.need(self.command == "POST", 401, "UNAUTHORIZED", "authentication required")
        form = self.form()
        self.need(form.get("service") == host)
        if path == "/oauth2/exchange":
            check_given(form.get("access_token", ""), "entra")
            self.need(form.get("grant_type") == "access_token")
            return self.answer(200, {"refresh_token": give("acr-refresh")})
        self.need(form.get("grant_type") == "refresh_token" and form.get("scope", "").endswith(":pull"))
        check_given(form.get("refresh_token", ""), "acr-refresh")
        return self.answer(200, {"access_token": give("acr-access")})

    # ---- registries ----

    def registry(self, host, path):
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        basic = base64.b64decode(value).decode() if scheme == "Basic" else ""
        user, _, password = basic.partition(":")
        bearer = value if scheme == "Bearer" else ""
        challenge = 'Basic realm="https://%s/"' % host
        try:
            if host.endswith("azurecr.io"):
                challenge = f'Bearer realm="http://{host}/oauth2/token",service="{host}"'
                if path.startswith("/oauth2/"):
                    return self.azure_registry(host, path)
                check_given(bearer, "acr-access")
            elif host.endswith(("gcr.io", "pkg.dev")):
                challenge = f'Bearer realm="http://{host}/v2/token",service="{host}"'
                if path.startswith("/v2/token"):
                    self.need(user == "oauth2accesstoken", 401)
                    check_given(password, "google")
                    return self.answer(200, {"token": give("gcr-bearer"), "expires_in": 3600})
                check_given(bearer, "gcr-bearer")
            elif host.endswith((".amazonaws.com", "ecr.aws")):
                self.need(user == "AWS", 401)
                check_given(password, "ecr")
            else:  # GitLab's
                self.need((user, password) in (("the-user", "hush-gitlab-password"),
                                               ("gitlab-ci-token", "hush-gitlab-job")), 401)
        except Refused as refused:
            headers = [("WWW-Authenticate", challenge)] if refused.status == 401 else []
            body = {"errors": [{"code": refused.code, "message": refused.words}]}
            return self.answer(refused.status, body, *headers)
        return self.forward(path)

    def forward(self, path):
        upstream = http.client.HTTPConnection(options.registry)
        headers = {n: v for n, v in self.headers.items() if n in ("Accept", "Range")}
        upstream.request(self.command, path, headers=headers)
        answer = upstream.getresponse()
        body = answer.read()
        self.record(answer.status)
        self.send_response(answer.status)
        for name in "Content-Type", "Docker-Content-Digest", "Content-Range", "Content-Length":
            if answer.getheader(name):
                self.send_header(name, answer.getheader(name))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return upstream.close()

    # ---- all ----

    def form(self):
        self.need(self.headers["Content-Type"] == "application/x-www-form-urlencoded")
        return dict(urllib.parse.parse_qsl(self.body.decode()))

    def control(self, path, query):
        if path == "/__set":
            settings.update(query)
            return self.answer(200, settings)
        claims = {name: int(value) if re.fullmatch(r"-?\d+", value) else value for name, value in query.items()}
        for name, usual in ("iat", 0), ("exp", 600):
            claims[name] = int(now()) + claims.get(name, usual)
        return self.answer(200, sign_jwt(options.key, claims).encode())

    def dispatch(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.netloc:
            return self.registry(url.netloc, url.path)
        if url.path.startswith("/__"):
            return self.control(url.path, query)
        if settings["silent"] and url.path.startswith(settings["silent"]):
            self.record("silent")
            time.sleep(5)
            self.close_connection = True
            return None
        if settings["down"] and url.path.startswith(settings["down"]):
            return self.answer(503, {})
        for start, handler in (
                ("/aws/ecr", self.aws_ecr), ("/aws/sts", self.aws_sts), ("/aws/imds/", self.aws_imds),
                ("/aws/agent", self.aws_agent), ("/google/token", self.google_token),
                ("/google/iam", self.google_iam), ("/computeMetadata/", self.google_metadata),
                ("/azure/metadata/", lambda: self.azure_metadata(query, False)),
                ("/azure/app", lambda: self.azure_metadata(query, True)), ("/azure/", self.azure_token)):
            if url.path.startswith(start):
                return handler()
        return self.answer(404, {})

    def handle_one(self):
        self.note = "-"
        try:
            self.dispatch()
        except Refused as refused:
            words = {"__type": refused.code, "message": refused.words} if self.path.startswith("/aws") else \
                {"error": refused.code, "error_description": refused.words}
            self.answer(refused.status, words)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def do_CONNECT(self):
        self.answer(502, {})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(options.port_file, "w", encoding="ascii") as port_file:
    port_file.write(str(server.server_port))
server.serve_forever()
