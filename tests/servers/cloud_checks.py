"""What the clouds check before they give anything: signatures and assertions, with their times."""
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import tempfile

SIGNATURE_WINDOW = 300  # seconds around the server's time; AWS' own


class Refused(Exception):
    def __init__(self, status, code, words):
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def openssl(*arguments, data):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)


def sign_jwt(key, claims):
    """As Kubernetes and identity providers make them."""
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return text + "." + base64url(openssl("dgst", "-sha256", "-sign", key, data=text.encode()).stdout)


def check_jwt(token, public_key, now, code, **wanted):
    """RS256 by this key, good now, and with these claims. Returns the claims."""
    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(from_base64url(head)), json.loads(from_base64url(body))
    except ValueError as problem:
        raise Refused(400, code, "Invalid JWT: malformed") from problem
    if header.get("alg") != "RS256":
        raise Refused(400, code, "Invalid JWT: not RS256")
    with tempfile.NamedTemporaryFile() as file:
        file.write(from_base64url(signature))
        file.flush()
        done = openssl("dgst", "-sha256", "-verify", public_key, "-signature", file.name,
                       data=f"{head}.{body}".encode())
    if done.returncode != 0:
        raise Refused(400, code, "Invalid JWT Signature.")
    if claims.get("exp", 0) <= now:
        raise Refused(400, code, "Invalid JWT: it has expired: check your iat and exp values")
    if claims.get("iat", 0) > now + 60 or claims["exp"] - claims["iat"] > 3600:
        raise Refused(400, code, "Invalid JWT: not a reasonable timeframe: check iat and exp")
    for name, value in wanted.items():
        if claims.get(name) != value:
            raise Refused(400, code, f"Invalid JWT: wrong {name}")
    return claims


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def check_signature(method, path, headers, body, now, keys, service, region):
    """AWS Signature Version 4. `keys`: id -> (secret, session token or None). Returns the id."""
    def refuse(code, words):
        raise Refused(400, code, words)

    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, *"
                         r"SignedHeaders=([a-z0-9;-]+), *Signature=([0-9a-f]{64})",
                         headers.get("Authorization", ""))
    if not match:
        refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
    key, day, its_region, its_service, signed, signature = match.groups()
    if key not in keys:
        refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
    secret, session = keys[key]
    names = signed.split(";")
    must = {"host", "x-amz-date", "x-amz-target"} | ({"x-amz-security-token"} if session else set())
    if not must <= set(names) or names != sorted(names):
        refuse("IncompleteSignatureException", f"SignedHeaders: {signed}")
    canonical = "\n".join([method, path, "",
                           *(f"{n}:{' '.join(headers.get(n, '').split())}" for n in names), "",
                           signed, hashlib.sha256(body).hexdigest()])
    date = headers["X-Amz-Date"]
    scope = f"{day}/{its_region}/{its_service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    at = ("AWS4" + secret).encode()
    for part in (day, its_region, its_service, "aws4_request"):
        at = hmac_sha256(at, part)
    if not hmac.compare_digest(hmac_sha256(at, text).hex(), signature):
        # Amazon's own words quote what it was sent, the session token too.
        refuse("InvalidSignatureException",
               "The request signature we calculated does not match the signature you provided.\n\n"
               f"The Canonical String for this request should have been\n'{canonical}'")
    if (its_service, its_region) != (service, region) or not date.startswith(day):
        refuse("InvalidSignatureException", f"Credential should be scoped to {region}/{service}")
    if headers.get("X-Amz-Security-Token") != session:
        refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
    made = parse_amz_date(date)
    if abs(made - now) > SIGNATURE_WINDOW:
        refuse("InvalidSignatureException",
               f"Signature expired: {date} is now {'earlier' if made < now else 'later'} than it may be")
    return key


def parse_amz_date(text):
    import calendar
    import time
    return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))


def random_secret(kind):
    """Every secret that a test server gives out says so: then a search for them finds them all."""
    return f"hush-{kind}-{os.urandom(12).hex()}"
