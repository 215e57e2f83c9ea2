"""
Requests that the server makes to addresses which its users chose (T16).

The name is resolved once, every address behind it is judged, and the connection goes to one that
was judged: between looking and calling nobody can put another behind the name. There is nothing
else here that could be led astray: no redirect is followed, no proxy is asked, no credential of
the server's is sent, little is read, and all of it together has a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread
import httptools

from runyard import __version__
from runyard.domain.errors import Invalid, Unavailable
from runyard.domain.targets import PORTS, Network, Target, parse, refusal

TIMEOUT: Final = 10.0  # seconds for all of it: the name, the connection, the answer
MOST: Final = 64 << 10  # bytes of an answer that are read
_HEADERS: Final = 32 << 10  # bytes
_ADDRESSES: Final = 3  # of a name, to try one after another

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(slots=True)
class Answer:
    """What came back. `body` is cut off after the first `MOST` bytes."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class Outbound:
    """Sends requests to where users wish, if it is a place on the public internet.

    `networks` are opened although they are not public; `ports` are all that may be called.
    """

    def __init__(
        self,
        *,
        networks: Collection[Network] = (),
        ports: Collection[int] = PORTS,
        resolve: Resolver | None = None,
        context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._networks, self._ports = tuple(networks), frozenset(ports)
        self._resolve, self._timeout = resolve or _system_resolver(), timeout
        self._context = context

    async def check(self, url: str) -> Target:
        """Return the target if something could be sent to it now.

        Raises:
            Invalid: it could not, and why.
        """
        target = parse(url, self._ports)
        try:
            async with asyncio.timeout(self._timeout):
                await self._addresses(target)
        except TimeoutError as error:
            raise Invalid(f"{target.host} could not be resolved in time") from error
        except Unavailable as error:
            raise Invalid(error.message) from error
        return target

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Make a request and return what came back, whatever its status is.

        Raises:
            Invalid: the URL is not one to send to. Unavailable: no answer came, or none in HTTP.
        """
        target = parse(url, self._ports)
        request = _request(method, target, headers or {}, body)
        try:
            async with asyncio.timeout(self._timeout):
                addresses = await self._addresses(target)
                return await self._exchange(target, addresses, request)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._timeout:g} s") from error
        except ssl.SSLError as error:
            raise Unavailable(f"TLS: {error.reason or error}") from error
        except OSError as error:
            raise Unavailable(f"cannot connect: {error.strerror or error}") from error
        except httptools.HttpParserError as error:
            raise Unavailable("what answers does not speak HTTP") from error

    async def _addresses(self, target: Target) -> list[str]:
        """Resolve the name, this once, and return addresses if all of them may be called."""
        try:
            found = list(dict.fromkeys(await self._resolve(target.host, target.port)))
        except OSError as error:
            raise Unavailable(f"{target.host} cannot be resolved") from error
        if not found:
            raise Unavailable(f"{target.host} has no address")
        for address in found:
            # One that is refused spoils the others: an honest name has no such mixture.
            if why := refusal(address, self._networks):
                raise Invalid(
                    f"{target.host} is refused: its address is not public ({why})",
                    hint="an operator can open networks: RUNYARD_WEBHOOK_ALLOWED_NETWORKS",
                )
        return found[:_ADDRESSES]

    async def _exchange(self, target: Target, addresses: Sequence[str], request: bytes) -> Answer:
        reader, writer = await self._connect(target, addresses)
        try:
            writer.write(request)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.transport.abort()  # nothing more is wanted, not even a polite farewell

    async def _connect(
        self, target: Target, addresses: Sequence[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = target.scheme == "https"
        if tls and self._context is None:  # late, since loading the certificates takes a while
            self._context = await anyio.to_thread.run_sync(ssl.create_default_context)
        failed: OSError | None = None
        for address in addresses:
            try:
                return await asyncio.open_connection(
                    address,
                    target.port,
                    ssl=self._context if tls else None,
                    server_hostname=target.host if tls else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failed = error
        assert failed is not None
        raise failed


class _Reading:
    """Callbacks of the parser."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.is_over = False
        self._headers = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += len(name) + len(value)
        if self._headers > _HEADERS:
            raise Unavailable("the answer's headers are too long")
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.answer.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answer.body += body[: MOST - len(self.answer.body)]

    def on_message_complete(self) -> None:
        if self.answer.status >= 200:  # below are notes before the answer
            self.is_over = True
        else:
            self.answer.headers.clear()


async def _read(reader: asyncio.StreamReader) -> Answer:
    reading = _Reading()
    left = MOST + 2 * _HEADERS  # in all, however it is divided
    while not reading.is_over and len(reading.answer.body) < MOST and left > 0:
        data = await reader.read(16 << 10)
        left -= len(data)
        if not data:
            break
        try:
            reading.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            break
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, Unavailable):
                raise error.__context__ from error
            raise
    if reading.answer.status < 200:
        raise Unavailable("the connection ended before an answer")
    return reading.answer


def _request(method: str, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = {
        "Host": target.authority,
        "User-Agent": f"runyard/{__version__}",
        "Accept-Encoding": "identity",  # so that little that was read stays little
        "Connection": "close",
        **headers,
    }
    if body or method not in ("GET", "HEAD"):
        lines["Content-Length"] = str(len(body))
    for name, value in lines.items():
        if not (name + value).isprintable():
            raise Invalid(f"header {name!r} has characters that no header has")
    head = [f"{method} {target.path} HTTP/1.1", *(f"{n}: {v}" for n, v in lines.items()), "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def _system_resolver() -> Resolver:
    """Ask the operating system. A name server that is silent holds up no other work."""
    threads = anyio.CapacityLimiter(8)

    async def resolve(host: str, port: int) -> Sequence[str]:
        found = await anyio.to_thread.run_sync(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
            limiter=threads,
            abandon_on_cancel=True,
        )
        return [str(entry[4][0]) for entry in found]

    return resolve


def excerpt(answer: Answer, most: int = 200) -> str:
    """Return the beginning of an answer's body for people: printable, on one line."""
    text = ""
    with contextlib.suppress(UnicodeError):
        text = answer.body[: 4 * most].decode("utf-8", "replace")
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= most else words[: most - 1] + "…"
