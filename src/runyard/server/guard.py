"""
What every request must satisfy before anybody looks at what it wants.

Outermost: gives the request its id, counts and logs it, and answers what nobody expected.
Then the Host and Origin headers (T4), and the size of the body, counted as it comes (T20).
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runyard.domain.errors import Forbidden, Invalid, RunyardError, TooMuch
from runyard.server import problems
from runyard.server.auth import ACTOR, DOOR, ROUTE, Body
from runyard.server.metrics import Metrics
from runyard.server.settings import ServerSettings

log = structlog.get_logger("runyard.requests")

REQUEST_ID: Final = "runyard.request_id"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_PROTOCOL: Final = ("/graphql", "/files/", "/artifacts")
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class Outermost:
    """Nothing leaves without a request id, and no exception passes it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[REQUEST_ID] = secrets.token_hex(8)
        begun, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add(message, (b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            route = scope.get(ROUTE) or "none"  # a path may be a link, which opens what it names
            log.exception("a request failed unexpectedly", request=request_id, route=route)
            if not status:
                await problems.unexpected(request_id)(scope, receive, answer)
        finally:
            self._note(scope, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # Never the query or headers: they may hold what is nobody's business (T14). The route's
        # template, not the path, which a client could fill with lines of a forged log (T25).
        route, door, actor = scope.get(ROUTE) or "none", scope.get(DOOR), scope.get(ACTOR)
        self._metrics.requests.labels(scope["method"][:8], route, status).inc()
        if door is None or not door.lasting:
            self._metrics.seconds.labels(route).observe(seconds)
        # What the tracking client asks for again and again, and is told each time that it is off.
        expected = status < 400 or route.startswith("/sdk/")
        level = log.debug if expected else log.info
        level(
            "request",
            request=scope[REQUEST_ID],
            method=scope["method"][:8],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            by=None if actor is None else f"{actor.kind} {actor.name}",
        )


def _add(message: MutableMapping[str, Any], *more: tuple[bytes, bytes]) -> None:
    headers = list(message.get("headers", ()))
    present = {name.lower() for name, _ in headers}
    headers += [h for h in (*_HEADERS, *more) if h[0] not in present]
    message["headers"] = headers


class Guard:
    """Refuses what browsers can be made to send, and bodies that are too large."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._hosts = settings.hosts
        public = urlsplit(settings.public_url)
        self._public = f"{public.scheme}://{public.netloc}".lower() if public.netloc else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except RunyardError as error:
            is_protocol = scope["path"].startswith(_OF_PROTOCOL)  # no route was matched yet
            form = problems.protocol if is_protocol else problems.response
            await form(error, scope[REQUEST_ID])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        given = [v.decode("latin-1").lower() for k, v in headers if k == b"host"]
        host = given[0] if len(given) == 1 else ""
        if not self._is_known(host):
            raise WrongHost(
                f"this server does not answer to the name {host[:100]!r}",
                hint="an operator can allow it: RUNYARD_ALLOWED_HOSTS=NAME, or RUNYARD_PUBLIC_URL",
            )
        if scope["method"] in _SAFE:
            return
        origins = [v.decode("latin-1").lower() for k, v in headers if k == b"origin"]
        same = {f"{scope['scheme']}://{host}", self._public}
        if any(origin not in same for origin in origins):
            raise Forbidden("a page of another site may not ask for this")
        if any(k == b"sec-fetch-site" and v == b"cross-site" for k, v in headers):
            raise Forbidden("a page of another site may not ask for this")

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        # DNS rebinding needs a name: a page whose origin is an address came from that address.
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class WrongHost(Invalid):
    """The Host header names another server."""

    status = 421
    code = "wrong_host"


class BodyLimit:
    """Counts bodies while they come; the limit is that of the route that was matched."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = scope.get(DOOR)
        limit: int = getattr(self._settings, door.body if door else Body.ORDINARY)
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if length.isdigit() and int(length) > limit:
            error = TooMuch(f"the body is larger than {limit} bytes")
            await problems.of(scope)(error, scope[REQUEST_ID])(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise problems.BodyTooLarge(limit)
            return message

        await self._app(scope, counted, send)
