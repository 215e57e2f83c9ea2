"""
A login provider small enough to read: discovery, authorize, token, keys, userinfo, over HTTP.

It does its part by the book, checks what a client must send, and can be told to lie: `forge`
makes the ID token, `answers` replaces what a path says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "runyard", "s3cret of the client/+"
KEY = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
Answer = tuple[int, dict[str, str], bytes]


def signed(claims: dict[str, Any], key: RSAKey = KEY, **header: Any) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k1", **header}, claims, key)


@dataclass
class LoginProvider:
    """`person` are the claims of whoever logs in next; `asked` counts requests by path."""

    person: dict[str, Any] = field(default_factory=lambda: {"sub": "u-1", **ADA})
    forge: Callable[[dict[str, Any]], str] = signed
    keys: list[dict[str, Any]] = field(default_factory=lambda: [KEY.as_dict(private=False)])
    more: dict[str, Any] = field(default_factory=dict)  # what only userinfo says
    metadata: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    ahead: float = 0.0  # seconds by which its clock is ahead

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def discovery(self) -> Answer:
        here = self.issuer
        return _json(
            200,
            {
                "issuer": here,
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}/token",
                "jwks_uri": f"{here}/jwks",
                "userinfo_endpoint": f"{here}/userinfo",
                **self.metadata,
            },
        )

    def authorize(self, query: dict[str, str]) -> Answer:
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        assert len(query["code_challenge"]) == 43
        assert len(query["state"]) > 40
        assert len(query["nonce"]) > 40
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return 302, {"Location": f"{query['redirect_uri']}?{back}"}, b""

    def token(self, form: dict[str, str], authorization: str) -> Answer:
        if authorization:
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            given = tuple(map(unquote_plus, pair.split(":")))
        else:
            given = (form.get("client_id", ""), form.get("client_secret", ""))
        if given != (CLIENT_ID, CLIENT_SECRET):
            return _json(401, {"error": "invalid_client"})
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return _json(400, {"error": "invalid_grant"})
        now = int(time.time() + self.ahead)
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "nonce": asked["nonce"],
            "iat": now, "exp": now + 300, **self.person,
        }  # fmt: skip
        return _json(
            200,
            {"token_type": "Bearer", "access_token": "at-secret", "id_token": self.forge(claims)},
        )

    def answer(self, path: str, query: dict[str, str], form: dict[str, str], auth: str) -> Answer:
        self.asked[path] += 1
        if path in self.answers:
            return self.answers[path]
        match path:
            case "/.well-known/openid-configuration":
                return self.discovery()
            case "/authorize":
                return self.authorize(query)
            case "/token":
                return self.token(form, auth)
            case "/jwks":
                return _json(200, {"keys": self.keys})
            case "/userinfo" if auth == "Bearer at-secret":
                return _json(200, {"sub": self.person.get("sub"), **self.more})
        return _json(404, {})


ADA = {
    "preferred_username": "Ada", "email": "ada@example.org", "email_verified": True,
    "groups": ["ml-eng"],
}  # fmt: skip


def _json(status: int, data: Any) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()


def _first(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


def _handler(provider: LoginProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            self._answer(_first(self.rfile.read(length).decode()))

        def _answer(self, form: dict[str, str]) -> None:
            parts = urlsplit(self.path)
            authorization = self.headers.get("Authorization", "")
            answer = provider.answer(parts.path, _first(parts.query), form, authorization)
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # who asked has read enough

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
