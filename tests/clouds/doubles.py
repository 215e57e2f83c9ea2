"""
Doubles of registries: one server that speaks the distribution protocol, and token services.

Written from the published specifications of the protocol and its token authentication, from
Azure's description of `/oauth2/exchange` and `/oauth2/token`, and what Google's registries answer
to the deletion of an image that has a tag. `tests/clouds/test_doubles.py` holds it to them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
KIND = "application/vnd.oci.image.manifest.v1+json"
NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    headers: Any


@dataclass
class Service:
    """A registry, or the token service of one, or both."""

    auth: str = "none"  # none, basic, token
    users: dict[str, str] = field(default_factory=dict)
    realm: str = ""  # of another service; empty is its own
    shared: dict[str, str] = field(default_factory=dict)  # tokens, and the scope each is good for
    expires_in: int | None = 300
    says_digest: bool = True
    deletes: str = "by digest"  # "by digest", "untagged" (as Google's), "never", "no such route"
    entra: str = ""  # a token of Entra ID: given to an identity, taken by registry and blobs
    identity: str = ""  # the header by which an App Service's managed identity is known
    blobs: dict[str, bytes] = field(default_factory=dict)
    anonymous: bool = False  # the token service gives tokens to anybody
    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    host: str = ""

    def push(self, path: str, tag: str, manifest: bytes = MANIFEST) -> str:
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self.kept[path, digest] = manifest
        self.tags[path, tag] = digest
        return digest

    def methods(self, path: str) -> list[str]:
        return [each.method for each in self.asked if each.path.startswith(path)]

    def heard(self) -> str:
        """Return everything that was said to it, to look for what should not have been."""
        return "\n".join(f"{a.path} {a.query} {a.form} {a.headers}" for a in self.asked)


class Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        asked = Asked(
            self.command,
            url.path,
            parse_qs(url.query),
            parse_qs(body.decode()) if "form" in (self.headers["Content-Type"] or "") else {},
            self.headers,
        )
        self.service.asked.append(asked)
        if url.path in self.service.answers:
            status, headers = self.service.answers[url.path]
            self.say(status, {}, **headers)
        elif url.path == "/identity":
            self.identity(asked)
        elif url.path.startswith("/container/"):
            self.blob(asked, body)
        elif url.path == "/oauth2/exchange":
            self.exchange(asked)
        elif url.path in ("/token", "/oauth2/token"):
            self.give_token(asked)
        elif url.path.startswith("/v2/"):
            self.registry(asked)
        else:
            self.say(404, {})

    do_HEAD = do_POST = do_DELETE = do_PUT = do_GET

    def registry(self, asked: Asked) -> None:
        service = self.service
        rest = asked.path.removeprefix("/v2/")
        path, _, reference = rest.partition("/manifests/")
        scope = f"repository:{path}:{'delete' if asked.method == 'DELETE' else 'pull'}"
        if not self.may(scope):
            self.challenge(scope)
        elif not rest:
            self.say(200, {})
        elif asked.method == "DELETE":
            self.delete(path, reference)
        else:
            digest = service.tags.get((path, reference), reference)
            manifest = service.kept.get((path, digest))
            if manifest is None:
                self.say(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
            elif KIND not in (self.headers["Accept"] or ""):
                self.say(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "Accept"}]})
            else:
                told = {"Docker-Content-Digest": digest} if service.says_digest else {}
                self.say(200, manifest, **told, **{"Content-Type": KIND})

    def delete(self, path: str, reference: str) -> None:
        service = self.service
        is_tag = not reference.startswith("sha256:")
        if service.deletes == "no such route":
            self.say(404, {})
        elif service.deletes == "never" or (is_tag and service.deletes != "untagged"):
            self.say(405, {"errors": [{"code": "UNSUPPORTED"}]})
        elif is_tag and service.tags.pop((path, reference), None):
            self.say(202, None)
        elif (path, reference) not in service.kept:
            self.say(404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})
        elif service.deletes == "untagged" and reference in service.tags.values():
            self.say(400, {"errors": [{"code": "GOOGLE_MANIFEST_DANGLING_TAG"}]})
        else:
            del service.kept[path, reference]
            service.tags = {k: v for k, v in service.tags.items() if v != reference}
            self.say(202, None)

    def may(self, scope: str) -> bool:
        given = self.headers["Authorization"] or ""
        if self.service.auth == "none":
            return True
        if self.service.auth == "basic":
            return self.knows(given)
        good_for = self.service.shared.get(given.removeprefix("Bearer "), "")
        name, _, action = scope.rpartition(":")
        return given.startswith("Bearer ") and good_for.startswith(name) and action in good_for

    def knows(self, given: str) -> bool:
        try:
            pair = base64.b64decode(given.removeprefix("Basic "), validate=True).decode()
        except ValueError:
            return False
        name, _, password = pair.partition(":")
        return given.startswith("Basic ") and self.service.users.get(name) == password

    def challenge(self, scope: str) -> None:
        if self.service.auth == "basic":
            self.say(401, {}, **{"WWW-Authenticate": 'Basic realm="a registry"'})
            return
        if scope.endswith(":delete"):
            scope = scope.removesuffix("delete") + "delete,pull"
        realm = self.service.realm or f"{self.service.url}/token"
        told = f'Bearer realm="{realm}",service="{self.service.host}",scope="{scope}"'
        self.say(401, {"errors": [{"code": "UNAUTHORIZED"}]}, **{"WWW-Authenticate": told})

    def give_token(self, asked: Asked) -> None:
        of = asked.form if asked.method == "POST" else asked.query
        refresh = asked.form.get("refresh_token", [""])[0]
        if asked.method == "POST":
            is_known = of.get("grant_type") == ["refresh_token"] and (
                refresh in self.service.users.values()
            )
        else:
            is_known = self.knows(self.headers["Authorization"] or "")
        if not is_known and not (self.service.anonymous and not self.headers["Authorization"]):
            self.say(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        elif "service" not in of or "scope" not in of:
            self.say(400, {})
        else:
            token = secrets.token_urlsafe(12)
            self.service.shared[token] = of["scope"][0]
            told: dict[str, object] = {
                "access_token" if asked.path == "/oauth2/token" else "token": token
            }
            if self.service.expires_in is not None:
                told["expires_in"] = self.service.expires_in
            self.say(200, told)

    def exchange(self, asked: Asked) -> None:
        form = {name: values[0] for name, values in asked.form.items()}
        fits = form.get("grant_type") == "access_token" and form.get("service") == self.service.host
        if asked.method != "POST" or not fits or form.get("access_token") != self.service.entra:
            self.say(401, {"errors": [{"code": "UNAUTHORIZED"}]})
            return
        made = token_of({"exp": 4_000_000_000, "aud": self.service.host})
        self.service.users[NOBODY] = made
        self.say(200, {"refresh_token": made})

    def identity(self, asked: Asked) -> None:
        """Answer as the endpoint of a managed identity does."""
        resource = asked.query.get("resource", [""])[0]
        if self.headers["X-IDENTITY-HEADER"] != self.service.identity or not resource:
            self.say(400, {"statusCode": 400, "message": "no such identity"})
            return
        told = {"access_token": self.service.entra, "expires_on": "4000000000"}
        self.say(200, {**told, "resource": resource, "token_type": "Bearer"})

    def blob(self, asked: Asked, body: bytes) -> None:
        """Answer as Blob Storage does to Put Blob and Delete Blob."""
        versioned = (self.headers["x-ms-version"] or "") >= "2017-11-09"  # the first with tokens
        if self.headers["Authorization"] != f"Bearer {self.service.entra}" or not versioned:
            self.say(403, {})
        elif asked.method == "PUT" and self.headers["x-ms-blob-type"] == "BlockBlob":
            self.service.blobs[asked.path] = body
            self.say(201, None)
        elif asked.method == "DELETE":
            found = self.service.blobs.pop(asked.path, None)
            self.say(404 if found is None else 202, None)
        else:
            self.say(400, {})

    def say(self, status: int, answer: object, **headers: str) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        body = b"" if answer is None else body
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def token_of(claims: dict[str, Any]) -> str:
    """Return a token as Entra ID's look, with a signature that nobody here checks."""
    parts = ({"alg": "none"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*encoded, "signature"])


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None, **settings: Any) -> Iterator[Service]:
    """Run a double on a port of its own."""
    service = Service(**settings)
    handler = type("Bound", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    service.host = f"127.0.0.1:{server.server_address[1]}"
    service.url = f"{'https' if tls else 'http'}://{service.host}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
