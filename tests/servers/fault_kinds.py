"""The faults of fault-registry.py. Each is a function fault(h, a, more): `h` is the request's
handler, `a` the answer that a good registry would give, which it changes; "more" is what stands
behind a parametrised fault's name. True: this is the whole answer. What a fault befalls:

    layer      blobs of 1 MiB and more, so that configs arrive
    blob       all blobs
    manifest   manifests and indexes, HEAD and GET
    head, get  one of the two alone
    any        everything
"""
import base64
import email.utils
import gzip
import json
import time

from fault_images import DOCKER, INDEX, MIB

FAULTS = {}
LOGIN = "Basic " + base64.b64encode(b"alice:secret").decode()


class Fault:
    def __init__(self, befalls, function):
        self.befalls, self.function = befalls, function

    def apply(self, h, a, kind, more):
        size = len(a.body) if a.status == 200 else 0
        hit = {"layer": kind == "blob" and size >= MIB, "blob": kind == "blob",
               "manifest": kind == "manifest", "head": kind == "manifest" and h.command == "HEAD",
               "get": kind == "manifest" and h.command == "GET", "any": True}[self.befalls]
        return hit and self.function(h, a, more)


def fault(befalls):
    def add(function):
        FAULTS[function.__name__.strip("_").replace("_", "-")] = Fault(befalls, function)
        return function
    return add


def find(component):
    """The fault, and what stands behind its name: "once-503" is once's."""
    name, more = component, ""
    while name and name not in FAULTS:
        name, _, last = name.rpartition("-")
        more = last + ("-" + more if more else "")
    return FAULTS.get(name), more


# ---- bodies that end early ----

@fault("layer")
def cut(h, a, more):
    a.cut = MIB


@fault("layer")
def cut_first(h, a, more):
    if h.before() == 0:
        a.cut = MIB


@fault("layer")
def cut_early(h, a, more):
    a.cut = 100


@fault("layer")
def cut_twice_no_range(h, a, more):
    a.ranges = False
    if h.before() < 2:
        a.cut = MIB


@fault("layer")
def cut_no_range(h, a, more):
    a.ranges, a.cut = False, MIB


@fault("layer")
def reset(h, a, more):
    a.cut, a.reset = MIB, True


@fault("any")
def no_answer(h, a, more):
    a.drop = h.before() < (int(more) if more else 1000)


@fault("layer")
def cut_in_headers(h, a, more):
    if h.before() == 0:
        h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        a.drop = True


# ---- bodies that do not come ----

@fault("layer")
def slow(h, a, more):
    """`more` MiB/s a connection."""
    a.rate, a.piece = int(more) * MIB, 256 << 10


@fault("layer")
def trickle(h, a, more):
    if h.before() < (int(more) if more else 1000):
        a.rate, a.piece = 100, 10


@fault("layer")
def stall(h, a, more):
    if h.before() < (int(more) if more else 1000):
        a.stall = MIB


@fault("layer")
def silent(h, a, more):
    if h.before() < (int(more) if more else 1000):
        h.say_nothing(a)


@fault("get")
def late(h, a, more):
    h.wait(0.7)


@fault("get")
def manifest_stall(h, a, more):
    a.stall = 10


# ---- wrong bytes ----

def flip(a):
    middle = len(a.body) // 2
    a.body = a.body[:middle] + bytes([a.body[middle] ^ 1]) + a.body[middle + 1:]


@fault("layer")
def wrong_byte(h, a, more):
    if h.before() < (int(more) if more else 1000):
        flip(a)


@fault("layer")
def wrong_in_ranges(h, a, more):
    if h.headers.get("Range"):
        flip(a)


@fault("layer")
def html(h, a, more):
    become(a, 200, "<html>Please log in</html>", "text/html")


# ---- lengths that lie ----

@fault("layer")
def short(h, a, more):
    a.body = a.body[:-1000]


@fault("layer")
def short_chunked(h, a, more):
    a.body, a.chunked, a.ranges = a.body[:-1000], True, False


@fault("layer")
def short_of_said(h, a, more):
    a.length, a.body, a.ranges = len(a.body), a.body[:-1000], False


@fault("layer")
def long(h, a, more):
    a.body += bytes(1000)


@fault("layer")
def endless(h, a, more):
    a.chunked = a.endless = True


@fault("layer")
def endless_of_said(h, a, more):
    """Content-Length is right, and more comes all the same."""
    a.length, a.endless = len(a.body), True


@fault("layer")
def length_none(h, a, more):
    a.length = -1


@fault("layer")
def length_negative(h, a, more):
    a.length = -5


@fault("layer")
def length_huge(h, a, more):
    a.length = 10 ** 30


@fault("layer")
def length_twice(h, a, more):
    a.length, a.headers["Content-Length"] = -1, ["7", str(len(a.body))]


@fault("layer")
def chunks_malformed(h, a, more):
    h.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n")
    a.drop = True


# ---- ranges ----

@fault("layer")
def range_ignored(h, a, more):
    a.ranges = False


@fault("layer")
def range_start(h, a, more):
    a.content_range = "bytes 0-{last}/{total}"


@fault("layer")
def range_total(h, a, more):
    a.content_range = "bytes {start}-{last}/99999999"


@fault("layer")
def range_star(h, a, more):
    a.content_range = "bytes {start}-{last}/*"


@fault("layer")
def range_none(h, a, more):
    a.content_range = None


@fault("layer")
def range_garbage(h, a, more):
    a.content_range = "bytes -{last}/-1"


@fault("layer")
def range_status(h, a, more):
    """A Range is answered with status `more`."""
    if h.headers.get("Range"):
        become(a, int(more), "<Error><Code>InvalidRange</Code></Error>", "application/xml")


@fault("layer")
def range_short(h, a, more):
    """Less of the range than was asked for, which is allowed."""
    if h.headers.get("Range"):
        start, _, end = h.headers["Range"].removeprefix("bytes=").partition("-")
        h.headers.replace_header("Range", f"bytes={start}-{min(int(end), int(start) + MIB - 1)}")


# ---- encodings ----

@fault("blob")
def gzip_said(h, a, more):
    """As object stores do that were told of a .gz file's type: the bytes are the blob's own."""
    a.headers["Content-Encoding"] = more or "gzip"


def encode(a):
    a.body, a.ranges, a.headers["Content-Encoding"] = gzip.compress(a.body, 1), False, "gzip"


@fault("blob")
def gzip_done(h, a, more):
    encode(a)
    a.chunked = more == "chunked"


@fault("get")
def gzip_manifest(h, a, more):
    encode(a)


@fault("get")
def gzip_bomb(h, a, more):
    a.body = bytes(1 << 30) if more == "huge" else bytes(64 * MIB)
    encode(a)


@fault("get")
def gzip_said_manifest(h, a, more):
    a.headers["Content-Encoding"] = "gzip"


@fault("blob")
def brotli(h, a, more):
    a.headers["Content-Encoding"], a.body = "br", a.body + b"."


# ---- statuses ----

def become(a, status, text, kind="application/json", **headers):
    a.__init__(text.encode("latin-1"), kind, status, **headers)


def error(code, message):
    return '{"errors": [{"code": "%s", "message": "%s"}]}' % (code, message)


@fault("layer")
def status(h, a, more):
    """status-503: always; status-503-2: twice; manifest-status-... the same for manifests."""
    number, _, times = more.partition("-")
    if h.before() < int(times or 1000):
        become(a, int(number), error("SOMETHING", "says the registry"))


@fault("manifest")
def manifest_status(h, a, more):
    status(h, a, more)


@fault("layer")
def later(h, a, more):
    """429 once, with a Retry-After of `more` seconds."""
    if h.before() == 0:
        become(a, 429, error("TOOMANYREQUESTS", "slow down"), Retry_After=more)


@fault("layer")
def later_date(h, a, more):
    if h.before() == 0:  # by its own clock, which is a day ahead
        now = time.time() + 86400
        date, then = (email.utils.formatdate(t, usegmt=True) for t in (now, now + int(more)))
        become(a, 503, error("UNAVAILABLE", "come back"), Retry_After=then, Date=date)


@fault("any")
def later_all(h, a, more):
    become(a, 429, error("TOOMANYREQUESTS", "slow down"), Retry_After=more)
    return True


@fault("get")
def control_characters(h, a, more):
    become(a, 404, error("\\u001b[31mRED\\u001b[0m\\u0007", "\\u009b2J and\\nmore " + 500 * "x"))


# ---- headers ----

HOSTILE = "\x1b[2J\x1b]0;title\x07red \x9b31m \xff \xe2\x80\xae end\r\nlevel=error msg=forged"


@fault("get")
def hostile_plain(h, a, more):
    """Terminal control, line ends, C1, what is no UTF-8, a bidirectional override."""
    become(a, 403, HOSTILE, "text/plain")


@fault("get")
def hostile_json(h, a, more):
    become(a, 403, json.dumps({"errors": [{"code": HOSTILE, "message": "and " + HOSTILE}]}))


@fault("manifest")
def hostile_platform(h, a, more):
    """An index for no platform of ours."""
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 3, "digest":
             "sha256:" + 64 * "0", "platform": {"os": HOSTILE, "architecture": "amd64"}}
    become(a, 200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}),
           INDEX)


@fault("any")
def headers_many(h, a, more):
    a.headers["X-Padding"] = ["x"] * 5000


@fault("any")
def headers_long(h, a, more):
    a.headers["X-Padding"] = "x" * (1 << 20)


@fault("any")
def headers_endless(h, a, more):
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        h.wfile.write(b"X-Padding: x\r\n" * 1000)


@fault("any")
def no_http(h, a, more):
    h.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    a.drop = True


@fault("any")
def warn(h, a, more):
    a.headers["Warning"] = ['299 - "this repository is going away"', '299 - "\x1b[31mred"']


# ---- manifests ----

@fault("head")
def head(h, a, more):
    """HEAD has status `more`, and like every HEAD no body."""
    become(a, int(more), "")


@fault("head")
def head_no_digest(h, a, more):
    del a.headers["Docker-Content-Digest"]


@fault("head")
def head_wrong_digest(h, a, more):
    a.headers["Docker-Content-Digest"] = "sha256:" + 64 * "a"


@fault("manifest")
def digest(h, a, more):
    a.headers["Docker-Content-Digest"] = {
        "wrong": "sha256:" + 64 * "a", "sha512": "sha512:" + 128 * "a", "garbage": "sha256:../..",
        "md5": "md5:" + 32 * "a"}[more]


@fault("manifest")
def kind(h, a, more):
    """The Content-Type."""
    types = {"plain": "text/plain", "html": "text/html", "json": "application/json", "none": None,
             "parameters": a.headers.get("Content-Type", "") + "; charset=utf-8",
             "capitals": a.headers.get("Content-Type", "").upper(), "octets": "application/octet-stream",
             "index": INDEX, "docker": DOCKER + "manifest.v2+json"}
    a.headers["Content-Type"] = types[more]
    if types[more] is None:
        del a.headers["Content-Type"]


@fault("manifest")
def page(h, a, more):
    """What a proxy or a portal says instead."""
    kept = {"Docker_Content_Digest": a.headers.get("Docker-Content-Digest", "")} if more else {}
    become(a, 200, "<html><body>Please log in</body></html>", "text/html", **kept)


@fault("get")
def other_bytes(h, a, more):
    if h.before() < (int(more) if more else 1000):
        a.body = a.body.replace(b"schemaVersion", b"schemaversion")


@fault("get")
def manifest_endless(h, a, more):
    a.chunked = a.endless = True


@fault("get")
def manifest_cut(h, a, more):
    if h.before() < (int(more) if more else 1000):
        a.cut = 100


# ---- redirects ----

def rest(h, a, here):
    """The request's path at a store, without the faults up to the one that is `here`."""
    parts = h.path.partition("?")[0].strip("/").split("/")
    return "/".join(parts[parts.index(here) + 1:])


def redirect(a, to, number=307):
    become(a, number, "moved", "text/plain", Location=to)
    return True


@fault("blob")
def to(h, a, more):
    return redirect(a, f"{h.origin(more)}/store/{rest(h, a, 'to-' + more)}?sig=secret-signature")


@fault("blob")
def to_name(h, a, more):
    """By a name: to-name-LISTENER-NAME..., dashes for dots."""
    listener, _, name = more.partition("-")
    port = h.registry.hosts[listener].rpartition(":")[2]
    return redirect(a, f"http://{name.replace('-', '.')}:{port}/store/{rest(h, a, 'to-name-' + more)}")


@fault("manifest")
def manifest_to(h, a, more):
    return redirect(a, f"{h.origin(more)}/store/{rest(h, a, 'manifest-to-' + more)}", 302)


@fault("blob")
def relative(h, a, more):
    return redirect(a, f"../../../../store/{rest(h, a, 'relative')}", 303)


@fault("blob")
def hops(h, a, more):
    left, here = int(more) - 1, rest(h, a, "hops-" + more)
    where = "other" if h.where == "main" else "main"
    return redirect(a, f"{h.origin(where)}/store/{f'hops-{left}/' if left else ''}{here}", 302)


@fault("blob")
def loop(h, a, more):
    where = "other" if h.where == "main" else "main"
    return redirect(a, f"{h.origin(where)}/store/loop/{rest(h, a, 'loop')}?again={time.monotonic()}", 308)


@fault("blob")
def signed(h, a, more):
    """An URL that is good for `more` requests: 0 means that its time is over when it is used."""
    serial = len(h.registry.tokens)
    h.registry.tokens[str(serial)] = {"uses": int(more), "last": int(more) == 0 and h.before() > 0}
    return redirect(a, f"{h.origin('other')}/store/presigned/{rest(h, a, 'signed-' + more)}?sig={serial}")


@fault("blob")
def presigned(h, a, more):
    signature = h.registry.tokens[h.query()["sig"][0]]
    if signature["uses"] <= 0 and not signature["last"]:
        become(a, 403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
               "application/xml")
        return True
    signature["uses"] -= 1
    return False


@fault("blob")
def stale(h, a, more):
    """At a store: always `more`."""
    become(a, int(more), "<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>", "application/xml")
    return True


@fault("blob")
def location(h, a, more):
    value = {"none": None, "userinfo": f"http://alice:secret@{h.registry.hosts['other']}/store/x", "empty": "",
             "ftp": "ftp://127.0.0.1/x", "file": "file:///etc/passwd", "garbage": "http://[::1/x",
             "port": "http://127.0.0.1:99999/x", "long": "http://127.0.0.1/" + "x" * 20000,
             "metadata": "http://169.254.169.254/latest/meta-data/",
             "metadata-decimal": "http://2852039166/latest/meta-data/",
             "metadata-mapped": "http://[::ffff:169.254.169.254]/latest/meta-data/"}[more]
    redirect(a, value)
    if value is None:
        del a.headers["Location"]
    return True


# ---- authorization ----

CHALLENGES, TOKENS = {}, {}


def challenge(function):
    CHALLENGES[function.__name__.replace("_", "-")] = function
    return function


def issue(function):
    TOKENS[function.__name__.replace("_", "-")] = function
    return function


def bearer(h, kind, scope=None, where=None):
    scope = scope if scope is not None else f"repository:{h.repository}:pull"
    realm = f"{h.origin(where or h.where)}/token/{kind}"
    return f'Bearer realm="{realm}",service="faults"' + (f',scope="{scope}"' if scope else "")


@fault("any")
def auth(h, a, more):
    """auth-KIND: a token of /token/KIND, or what the challenge of that name makes of it; auth-at-NAME:
    one of another listener."""
    value = h.authorization() or ""
    known = h.registry.tokens.get(value.removeprefix("Bearer "))
    good = value.startswith("Bearer ") and known and time.monotonic() < known["until"]
    scope = f"repository:{h.repository}:pull"
    make = CHALLENGES.get(more)
    if more.startswith("at-"):  # a token server at that listener
        answer = [bearer(h, "nobodys", where=more.removeprefix("at-"))]
    else:
        answer = make(h, known if good else None) if make else [bearer(h, more)]
    if answer is True or (answer is not False and good and scope in known["scopes"]):
        return False
    if isinstance(answer, int) and answer:
        become(a, answer, error("DENIED", "Your authorization token has expired. Reauthenticate and try again."))
        return True
    become(a, 401, error("UNAUTHORIZED", "authentication required"))
    if answer:
        a.headers["WWW-Authenticate"] = answer
    return True


@challenge
def basic(h, known):
    return True if h.authorization() == LOGIN else ['basic realm="x, y=\\"z\\""']


@challenge
def bare(h, known):
    return False


@challenge
def never(h, known):
    if known:
        known["scopes"] = []
    return [bearer(h, "never")]


@challenge
def no_scope(h, known):
    return [bearer(h, "no-scope", "")]


@challenge
def placeholder(h, known):
    return [bearer(h, "placeholder", "repository:user/image:pull")]


@challenge
def two_headers(h, known):
    return ['Basic realm="x"', bearer(h, "two-headers")]


@challenge
def one_header(h, known):
    return ['Negotiate, Basic realm="x", ' + bearer(h, "one-header")]


@challenge
def odd(h, known):
    return ["bEARER  REALM = \"%s/token/odd\" , Service=faults ,,scope=\"repository:%s:pull,push\"" % (
        h.origin(h.where), h.repository)]


@challenge
def malformed(h, known):
    return ['Bearer realm="http://127.0.0.1']


@challenge
def wide(h, known):
    """The usual scope is not enough, and only the second challenge says so."""
    scope = f"repository:{h.repository}:pull,metadata_read"
    if known and scope in known["scopes"]:
        return True
    if known:
        known["scopes"] = []
        return [bearer(h, "wide", scope) + ',error="insufficient_scope"']
    return [bearer(h, "wide")]


def dies(status):
    """A token that is refused with `status` after three requests."""
    def answer(h, known):
        if not known:
            return [bearer(h, f"dies-{status}")]
        known["uses"] = known.get("uses", 0) + 1
        return True if known["uses"] <= 3 else status
    return answer


CHALLENGES["dies-400"], CHALLENGES["dies-403"] = dies(400), dies(403)


@challenge
def realm_other(h, known):
    return [bearer(h, "nobodys", where="other")]


@challenge
def realm_plain(h, known):
    """From HTTPS to HTTP."""
    return [bearer(h, "nobodys", where="main")]


@challenge
def realm_tls(h, known):
    return [bearer(h, "login", where="tls")]


@challenge
def realm_userinfo(h, known):
    return [f'Bearer realm="http://bob:hunter2@{h.registry.hosts[h.where]}/token/plain"']


@challenge
def realm_file(h, known):
    return ['Bearer realm="file:///etc/passwd",service="faults"']


@challenge
def realm_metadata(h, known):
    return ['Bearer realm="http://169.254.169.254/token",service="faults"']


@challenge
def realm_relative(h, known):
    return ['Bearer realm="/token/plain",service="faults"']


def token(h, kind, q, answer):
    """GET or POST /token/KIND."""
    serial = f"{kind}.{len(h.registry.tokens)}"
    scopes = [scope for line in q.get("scope", []) for scope in line.split(" ")]
    lifetime = 2 if kind == "short" else 300
    value = {"token": serial, "expires_in": 300}
    made = TOKENS[kind](h, q, value) if kind in TOKENS else None
    if made:
        return answer(made[1].encode(), "application/json", made[0])
    h.registry.tokens[serial] = {"scopes": scopes, "until": time.monotonic() + lifetime, "where": h.where}
    return answer(json.dumps(value).encode(), "application/json")


def refused(what="incorrect username or password"):
    return 401, '{"details": "%s"}' % what


@issue
def login(h, q, value):
    return None if h.authorization() == LOGIN else refused()


@issue
def post(h, q, value):
    if h.command == "GET":
        return 405, ""
    good = (q.get("grant_type"), q.get("username"), q.get("password")) == (["password"], ["alice"], ["secret"])
    return None if good and q.get("client_id") else refused()


@issue
def refresh(h, q, value):
    if h.command == "GET":
        return 404, ""
    value["access_token"] = value.pop("token")
    good = (q.get("grant_type"), q.get("refresh_token")) == (["refresh_token"], ["refresh-me"])
    return None if good else refused()


@issue
def refresh_get(h, q, value):
    user = base64.b64decode((h.authorization() or "Basic ").removeprefix("Basic ")).decode()
    return None if h.command == "GET" and user.endswith(":refresh-me") else refused()


@issue
def access_token(h, q, value):
    value["access_token"], value["token"] = value["token"], ""


@issue
def no_expiry(h, q, value):
    del value["expires_in"]


@issue
def odd_expiry(h, q, value):
    value["expires_in"] = -5


@issue
def nobodys(h, q, value):
    if h.authorization() or "password" in q:
        h.registry.complain("a password went to another host in the clear")


@issue
def stale_login(h, q, value):
    """Whoever shows a credential is refused; anybody else may."""
    return refused() if h.authorization() or "password" in q else None


@issue
def down_once(h, q, value):
    return (502, "<html>Bad gateway</html>") if h.before() == 0 else None


@issue
def down(h, q, value):
    return 502, "<html>Bad gateway</html>"


@issue
def denied(h, q, value):
    return refused("no such user")


@issue
def portal(h, q, value):
    return 200, "<html>Please log in</html>"


@issue
def nothing(h, q, value):
    return 200, '{"token": "", "access_token": ""}'


@issue
def injected(h, q, value):
    value["token"] = "x\r\nHost: evil"


@issue
def huge(h, q, value):
    value["token"] = "x" * MIB
