"""
One exchange over HTTP with a registry or a cloud: no redirects, a time and a size for all of it.

Whatever goes wrong is said without the request: its address may be a secret, its headers are.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx2

from runyard import __version__
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.oidc import is_loopback

PATIENCE: Final = 20.0  # seconds for an exchange
LARGEST: Final = 4 << 20  # bytes of an answer: what the registries allow of a manifest
_AT_ONCE: Final = 8
_LONGEST_WAIT: Final = timedelta(hours=1)
_PASSING: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """Headers are found by any case. `body` is repr=False: it may have a token."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Mapping[str, Any]:
        """Return the object of the body; empty if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class Web:
    """Connections, kept until `close`. `whom` names the other side in messages."""

    def __init__(self, whom: str) -> None:
        self.whom = whom
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[bool, httpx2.AsyncClient] = {}  # by whether a proxy may be asked

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: AsyncIterable[bytes] | None = None,
        patience: float = PATIENCE,
    ) -> Answer:
        """Return the answer, which is never one that passes: those are `Unavailable`.

        Raises:
            Unavailable: no answer, or one that says to come back. Rejected: TLS that cannot work.
        """
        try:
            async with asyncio.timeout(patience), self._turns:
                answer = await self._exchange(method, url, headers or {}, form, content)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ssl.SSLError) as error:
            raise self._unreached(error) from error
        if answer.status >= 500 or answer.status in _PASSING:
            raise Unavailable(
                f"{self.whom} answers {answer.status}", retry_after=_told_wait(answer.headers)
            )
        return answer

    async def speaks_http(self, url: str) -> bool:
        """Tell whether plain http is understood at an address; nothing secret is sent.

        Raises:
            Unavailable: nobody listens there.
        """
        try:
            async with asyncio.timeout(PATIENCE), self._turns:
                answer = await self._exchange("GET", url, {}, None, None)
        except httpx2.ConnectError as error:
            raise self._unreached(error) from error
        except (httpx2.HTTPError, TimeoutError):
            return False
        return answer.status != 400  # so TLS servers answer to what is no TLS

    async def close(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        content: AsyncIterable[bytes] | None,
    ) -> Answer:
        said = {
            "User-Agent": f"runyard/{__version__}",
            "Accept-Encoding": "identity",  # or a small answer could become a large one here
            **headers,
        }
        client = await self._client(httpx2.URL(url).host)
        async with client.stream(method, url, headers=said, data=form, content=content) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST:
                    raise Unavailable(f"{self.whom} answers with more than {LARGEST} bytes")
            return Answer(response.status_code, response.headers, bytes(body))

    async def _client(self, host: str) -> httpx2.AsyncClient:
        by_proxy = not is_loopback(host)
        if self._tls is None:  # reads files; once
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
        if by_proxy not in self._clients:
            self._clients[by_proxy] = httpx2.AsyncClient(
                verify=self._tls, follow_redirects=False, trust_env=by_proxy, timeout=PATIENCE
            )
        return self._clients[by_proxy]

    def _unreached(self, error: Exception) -> Rejected | Unavailable:
        cause = _tls_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Rejected(
                f"the certificate of {self.whom} is not trusted: {cause.verify_message}",
                hint="let SSL_CERT_FILE of the agent name a file with your authority's certificate",
            )
        if cause is not None and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return Rejected(
                f"{self.whom} does not speak https",
                hint="add it to `insecure_registries` of the agent's builder, if it may be so",
            )
        # The error's text may quote the request; its kind says enough.
        return Unavailable(f"{self.whom} cannot be reached: {_kind(error)}")


def refused(whom: str, answer: Answer, *, hint: str) -> Rejected:
    """Return what to say of an answer that is neither yes nor not-there."""
    return Rejected(f"{whom} refuses the agent, with status {answer.status}", hint=hint)


def _kind(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    return "no connection" if isinstance(error, httpx2.ConnectError) else type(error).__name__


def _tls_cause(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _told_wait(headers: Mapping[str, str]) -> timedelta:
    told = headers.get("Retry-After", "")
    try:
        if told.isascii() and told.isdigit():
            wait = timedelta(seconds=min(int(told[:6]), 10**6))
        else:
            wait = parsedate_to_datetime(told) - datetime.now(UTC)
    except (ValueError, TypeError):
        wait = timedelta()
    return min(max(wait, timedelta(seconds=2)), _LONGEST_WAIT)
