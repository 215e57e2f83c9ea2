"""
Calls to the server: one place that retries, and one that turns trouble into our errors.

A request that never left may always be sent again. One that may have arrived is repeated only
if repeating is harmless: reads, PUT, and whatever carries an Idempotency-Key. A server that
was never reached fails at once, since waiting does not start it; one that was there a moment
ago is given time to restart.
"""

from __future__ import annotations

import json
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from runyard import __version__
from runyard.client.problems import raise_problem
from runyard.domain.errors import Invalid, RunyardError, Unavailable

PREFIX: Final = "/api/v1"
PATIENCE: Final = 30.0  # seconds that a server may be away in the middle of a conversation
_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Params = Mapping[str, str | int | bool | None]


class Patience:
    """How long to go on asking; `reset` when an answer came."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        self._since: float | None = None
        self._tries = 0

    def wait(self, at_least: float = 0.0) -> bool:
        """Sleep before the next try; False if there is to be none."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        pause = max(at_least, _PAUSES[min(self._tries, len(_PAUSES) - 1)])
        if now + pause - self._since > self._seconds:
            return False
        self._tries += 1
        time.sleep(pause)
        return True


class Transport:
    """An HTTP connection to one server, with one key. Safe to share between threads."""

    def __init__(
        self, base_url: str, key: str, *, timeout: float = 30.0, patience: float = PATIENCE
    ) -> None:
        self.base_url = base_url
        self._patience = patience
        self._reached = False
        self._http = httpx2.Client(
            base_url=base_url + PREFIX,
            timeout=httpx2.Timeout(timeout, connect=5.0),
            headers={
                "Authorization": f"Bearer {key}",
                "User-Agent": f"runyard/{__version__}",
                # Offsets into a log count the bytes as they are stored.
                "Accept-Encoding": "identity",
            },
            # Loading the certificates takes longer than most calls to a server without TLS.
            verify=base_url.startswith("https:"),
            trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
        )
        # Notebooks close nothing: what is no longer used closes itself.
        weakref.finalize(self, self._http.close)

    def close(self) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        idempotent: bool | None = None,
    ) -> bytes:
        """Return the body of the answer. `idempotent` marks a POST that may be repeated.

        Raises:
            Unavailable: the server could not be asked.
            RunyardError: what the server said.
        """
        repeatable = method != "POST" and method != "PATCH" and method != "DELETE"
        headers = {"Idempotency-Key": uuid.uuid4().hex} if idempotent else {}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        patience = Patience(self._patience)
        while True:
            try:
                return self._send(method, path, params, headers, content)
            except Unavailable as error:
                may_repeat = repeatable or idempotent or isinstance(error.__cause__, _NEVER_SENT)
                wait = error.retry_after.total_seconds() if error.__cause__ is None else 0.0
                if not (self._reached and may_repeat and patience.wait(wait)):
                    raise

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> bytes:
        """PUT `size` bytes as they come; not repeated here, since they are gone by then."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._send("PUT", path, None, headers, chunks)

    @contextmanager
    def stream(
        self, path: str, params: Params | None = None, *, silence: float = 60.0
    ) -> Iterator[httpx2.Response]:
        """Open an answer that is read as it comes; it may be silent for `silence` seconds."""
        timeout = httpx2.Timeout(silence, connect=5.0)
        try:
            with self._http.stream("GET", path, params=_said(params), timeout=timeout) as response:
                self._reached = True
                raise_problem(response)
                yield response
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    @contextmanager
    def fetch(self, url: str) -> Iterator[Iterator[bytes]]:
        """Open a link that authorises itself, wherever it leads; our key does not go along."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise Invalid(f"{url[:200]!r} is not a link that can be fetched")
        trust_env = urlsplit(url).hostname not in _LOOPBACK
        try:
            with httpx2.stream("GET", url, timeout=60.0, trust_env=trust_env) as response:
                if not response.is_success:
                    raise Unavailable(
                        f"the store of files answers {response.status_code}",
                        hint="links are good for a while only: try again",
                    )
                yield response.iter_raw(1 << 20)
        except httpx2.TransportError as error:
            raise Unavailable(f"cannot reach the store of files: {error}") from error

    def _send(
        self,
        method: str,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes] | None,
    ) -> bytes:
        try:
            response = self._http.request(
                method, path, params=_said(params), headers=headers, content=content
            )
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        self._reached = True
        if response.is_redirect:
            raise RunyardError(
                f"{self.base_url} redirects to {response.headers.get('location')!r}",
                hint="use the address that it redirects to: runyard login URL",
            )
        raise_problem(response)
        return response.content

    def _unreachable(self, error: httpx2.TransportError) -> Unavailable:
        why = str(error).strip() or type(error).__name__
        if isinstance(error, httpx2.TimeoutException):
            why = "no answer in time"
        return Unavailable(
            f"cannot reach the Runyard server at {self.base_url}: {why}",
            hint="is it running? `runyard up` starts one here",
        )


def _said(params: Params | None) -> dict[str, str | int]:
    given = {name: value for name, value in (params or {}).items() if value is not None}
    return {name: _word(value) for name, value in given.items()}


def _word(value: str | int | bool) -> str | int:
    return str(value).lower() if isinstance(value, bool) else value
