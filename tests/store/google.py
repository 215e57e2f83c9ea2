"""
A small double of Google Cloud Storage: the calls of its JSON API that we make, and signed links.

It checks the signature of a link by itself, as the service documents V4, with the public half of
the service account's key; nothing of the client's library is used for that.
"""

from __future__ import annotations

import base64
import contextlib
import email
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

BUCKET = "bucket"


class Google:
    """The objects, and the account that may do anything."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, bool]] = {}  # content, and whether it was composed
        self.key = rsa.generate_private_key(65537, 2048)
        self.calls: list[str] = []
        self.broken = 0  # an HTTP status that each call is answered with
        self.url = ""

    def write_account(self, path: Path) -> None:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "type": "service_account", "project_id": "p", "private_key_id": "k1",
            "private_key": pem.decode(), "client_email": "ry@p.example", "client_id": "1",
            "token_uri": f"{self.url}/token",
        }  # fmt: skip
        path.write_text(json.dumps(account))

    def resource(self, name: str) -> dict[str, Any]:
        content, composed = self.objects[name]
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        return {
            "kind": "storage#object", "name": name, "bucket": BUCKET, "size": str(len(content)),
            "generation": "1", "updated": now, "timeCreated": now,
            **({} if composed else {"md5Hash": md5}),
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    google: Google
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.google.calls.append(f"{self.command} {url.path}")
        path = url.path
        if path == "/token":
            self.say(200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        elif self.google.broken:
            self.say(self.google.broken, {"error": {"message": "broken", "code": 1}})
        elif "X-Goog-Signature" in query:
            self.by_link(path, query, body)
        elif self.headers.get("Authorization") != "Bearer t":
            self.say(401, {"error": {"message": "no token", "code": 401}})
        else:
            self.by_api(path, query, body)

    def by_api(self, path: str, query: dict[str, str], body: bytes) -> None:
        objects = self.google.objects
        _, _, rest = path.partition(f"/storage/v1/b/{BUCKET}/o")
        name = unquote(rest.removeprefix("/").removesuffix("/compose"))
        if path.startswith("/upload/"):
            assert query["uploadType"] == "multipart"
            kind = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
            parts: Any = email.message_from_bytes(kind + body).get_payload()
            name = json.loads(parts[0].get_payload(decode=True))["name"]
            objects[name] = (parts[1].get_payload(decode=True), False)
            self.say(200, self.google.resource(name))
        elif rest.endswith("/compose"):
            sources = [each["name"] for each in json.loads(body)["sourceObjects"]]
            assert 1 <= len(sources) <= 32
            objects[name] = (b"".join(objects[each][0] for each in sources), True)
            self.say(200, self.google.resource(name))
        elif not name and self.command == "GET":
            found = [n for n in sorted(objects) if n.startswith(query["prefix"])]
            self.say(200, {"items": [self.google.resource(n) for n in found]})
        elif name not in objects:
            self.say(404, {"error": {"message": "No such object", "code": 404}})
        elif self.command == "DELETE":
            del objects[name]
            self.say(204, None)
        elif query.get("alt") == "media":
            self.give(objects[name][0])
        else:
            self.say(200, self.google.resource(name))

    def by_link(self, path: str, query: dict[str, str], body: bytes) -> None:
        bucket, _, name = unquote(path).removeprefix("/").partition("/")
        if bucket != BUCKET or (why := self.refusal(path, query, body)):
            self.say(403, {"error": {"message": why, "code": 403}})
        elif self.command == "PUT":
            self.google.objects[name] = (body, False)
            self.say(200, None, ETag=f'"{hashlib.md5(body).hexdigest()}"')
        elif name not in self.google.objects:
            self.say(404, None)
        else:
            disposition = query.get("response-content-disposition", "")
            self.give(self.google.objects[name][0], **{"Content-Disposition": disposition})

    def refusal(self, path: str, query: dict[str, str], body: bytes) -> str:
        """Return why a link is not honoured; empty if it is."""
        given = dict(query)
        try:
            signature = bytes.fromhex(given.pop("X-Goog-Signature"))
        except ValueError:
            return "SignatureDoesNotMatch"
        signed = given["X-Goog-SignedHeaders"].split(";")
        headers = "".join(f"{n}:{(self.headers.get(n) or '').strip()}\n" for n in signed)
        pairs = sorted((quote(k, safe="~"), quote(v, safe="~")) for k, v in given.items())
        canonical = "\n".join(
            [self.command, path, "&".join(f"{k}={v}" for k, v in pairs), headers,
             ";".join(signed), "UNSIGNED-PAYLOAD"]
        )  # fmt: skip
        scope = given["X-Goog-Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"GOOG4-RSA-SHA256\n{given['X-Goog-Date']}\n{scope}\n{digest}"
        try:
            self.google.key.public_key().verify(
                signature, text.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return "SignatureDoesNotMatch"
        begun = datetime.strptime(given["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > begun + timedelta(seconds=int(given["X-Goog-Expires"])):
            return "ExpiredToken"
        told = self.headers.get("Content-MD5")
        if told and base64.b64decode(told) != hashlib.md5(body).digest():
            return "BadDigest"
        return ""

    def give(self, content: bytes, **headers: str) -> None:
        start, _, end = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        if not start:
            self.say(200, content, **headers)
        elif int(start) >= len(content):
            self.say(416, None)
        else:
            last = min(int(end or len(content)), len(content) - 1)
            told = f"bytes {start}-{last}/{len(content)}"
            self.say(206, content[int(start) : last + 1], **{"Content-Range": told}, **headers)

    def say(self, status: int, answer: object, **headers: str) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        body = b"" if answer is None else body
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving() -> Iterator[Google]:
    """Run a double on a port of its own."""
    google = Google()
    handler = type("Bound", (Handler,), {"google": google})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    google.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
