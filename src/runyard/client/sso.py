"""
Logging in with a provider, from the side of a program.

The browser brings a code back to a listener on loopback, or a person pastes it. The code alone is
worth nothing: the key is given to who has the verifier, which never leaves this process.
"""

from __future__ import annotations

import hmac
import html
import queue
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from runyard.client.credentials import clean_url
from runyard.client.parts import Calls
from runyard.client.printable import clean
from runyard.domain.errors import NotFound, RunyardError, Unauthenticated, Unavailable
from runyard.domain.oidc import LOGIN_LIFE, challenge_of
from runyard.wire.rest_login import LoginMethodsOut, SessionOut

_PATH: Final = "/callback"
_NO_KEY: Final = "none"  # the routes are public; something must stand in the header


class LoginApi(Calls):
    """The routes with which one logs in. They need no key."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url, _NO_KEY)

    def methods(self) -> LoginMethodsOut:
        return self._get("/login/methods", LoginMethodsOut)

    def exchange(self, code: str, verifier: str) -> SessionOut:
        """Raises: Unauthenticated: the code is not accepted."""
        body = {"code": code, "verifier": verifier}
        return self._post("/login/exchange", SessionOut, body)

    def start_url(self) -> str:
        """Return where a browser begins.

        Raises:
            NotFound: nobody logs in with a provider on this server.
        """
        sso = self.methods().sso
        if sso is None:
            raise NotFound(
                f"{self.base_url} is not set up for logins with a provider",
                hint=f"log in with a key: runyard login {self.base_url}",
            )
        return clean_url(sso.url)  # so that nothing but a web page is ever opened


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login. The verifier is what makes its code worth something."""

    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def address(self, start: str, redirect_uri: str = "") -> str:
        """Return the page to open; without `redirect_uri` it ends with a code to paste."""
        query = {"challenge": challenge_of(self.verifier), "state": self.state}
        if redirect_uri:
            query["redirect_uri"] = redirect_uri
        return f"{start}?{urlencode(query)}"


class Listener:
    """Waits on a random port of loopback for the browser to bring the code of one login."""

    def __init__(self, attempt: Attempt) -> None:
        self._answers: queue.Queue[dict[str, str]] = queue.Queue(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(attempt.state, self._answers))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
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
    def redirect_uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{_PATH}"

    def wait(self, seconds: float = LOGIN_LIFE) -> str:
        """Return the code.

        Raises:
            Unauthenticated: the login failed, with what the server says.
            Unavailable: no browser came back in time.
        """
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise Unavailable(
                "no browser came back with a login in time",
                hint="if the browser is on another machine: runyard login --sso --no-browser",
            ) from None
        if "code" not in answer:
            said = answer.get("error_description") or answer.get("error") or "no reason given"
            raise Unauthenticated(clean(said), hint="try again: runyard login --sso")
        return answer["code"]


def _handler(
    state: str, answers: queue.Queue[dict[str, str]]
) -> type[BaseHTTPRequestHandler]:  # fmt: skip
    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds that a connection may be silent

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            # Another page, or another name that leads here, does not know the state.
            if parts.path != _PATH or not _same(query.get("state", ""), state):
                self._say(404, "There is nothing here.")
                return
            try:
                answers.put_nowait(query)
            except queue.Full:
                self._say(409, "This login is over.")
                return
            if "code" in query:
                self._say(200, "You are logged in. You can close this page.")
            else:
                why = query.get("error_description", "")
                self._say(200, f"You are not logged in. {why}")

        def _say(self, status: int, text: str) -> None:
            page = (
                '<!doctype html><meta charset="utf-8"><title>Runyard</title>'
                f"<p>{html.escape(text)}</p>"
            ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Content-Security-Policy", "default-src 'none'")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing: the path holds the code."""

    return Handler


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def redeem(api: LoginApi, code: str, attempt: Attempt) -> SessionOut:
    """Exchange the code that a browser or a person brought.

    Raises:
        Unauthenticated: it is not accepted. RunyardError: it is no code at all.
    """
    code = code.strip()
    if not code or len(code) > 128:
        raise RunyardError("that is no code", hint="copy the whole of it from the page")
    return api.exchange(code, attempt.verifier)
