"""
The one door. Every request passes it, and it refuses whatever was not declared.

    match the route ──▶ what does it declare? ──▶ whose credential is this? ──▶ may it enter?

What a route declares hangs on its endpoint (`opens`, `public`). A route without a declaration
stops the server from starting. Which route it is was decided by the router's own matching, so
no path can be spelled to look like a public one; an unknown path needs a credential too.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Forbidden, RunyardError, Unauthenticated
from runyard.server import problems
from runyard.server.edge import SERVER, Edge
from runyard.services import accounts
from runyard.services.call import token_hash
from runyard.store import accounts as account_rows

E = TypeVar("E", bound=Callable[..., Any])

ACTOR: Final = "runyard.actor"
SECRET: Final = "runyard.secret"  # noqa: S105 - the name of a key in the scope
ROUTE: Final = "runyard.route"
DOOR: Final = "runyard.door"

_DECLARED: Final = "__runyard_door__"
_USER_TTL: Final = 10.0
# Whatever ends an agent's token announces it, so this only bounds a lost announcement. Long,
# since a waiting agent must not cost a query each time that it asks again.
_AGENT_TTL: Final = 300.0
_CACHED: Final = 20_000
_NOTE_USE_EVERY: Final = 60.0
_LONGEST_SECRET: Final = 256


class Body(StrEnum):
    """How large a request may be: each is a setting of its own."""

    ORDINARY = "max_body_bytes"
    UPLOAD = "max_upload_bytes"
    PROTOCOL = "max_protocol_bytes"
    FILE = "max_file_bytes"


@dataclass(frozen=True, slots=True)
class Door:
    """Who may enter a route. No kinds: everybody, without a credential.

    `protocol`: the route speaks with the tracking client, and so do its errors.
    """

    kinds: frozenset[Kind]
    body: Body = Body.ORDINARY
    lasting: bool = False  # whether an answer takes long by design: a poll, a stream
    protocol: bool = False


def opens(
    *kinds: Kind, body: Body = Body.ORDINARY, lasting: bool = False, protocol: bool = False
) -> Callable[[E], E]:
    """Declare which kinds of credentials open an endpoint."""
    assert kinds
    return _declare(Door(frozenset(kinds), body, lasting, protocol))


def public(endpoint: E) -> E:
    """Declare that an endpoint needs no credential. There are very few; a test lists them."""
    return _declare(Door(frozenset()))(endpoint)


def signed(*, body: Body = Body.ORDINARY) -> Callable[[E], E]:
    """Declare that the address itself is the credential: the endpoint checks its signature."""
    return _declare(Door(frozenset(), body, lasting=True))


def _declare(door: Door) -> Callable[[E], E]:
    def declare(endpoint: E) -> E:
        # A method's attributes are its function's.
        setattr(getattr(endpoint, "__func__", endpoint), _DECLARED, door)
        return endpoint

    return declare


def inventory(routes: Sequence[BaseRoute]) -> list[tuple[Route, Door]]:
    """Return every route with what it declares.

    Raises:
        RuntimeError: a route declares nothing, or is of a kind that cannot (a mount).
    """
    doors = []
    for route in routes:
        door = getattr(getattr(route, "endpoint", None), _DECLARED, None)
        if not isinstance(route, Route) or not isinstance(door, Door):
            raise RuntimeError(  # noqa: TRY004
                f"{route} does not declare who may enter it"
            )
        doors.append((route, door))
    return doors


class Keys:
    """From secrets to actors, remembered for seconds. `forget` may be called by any thread."""

    def __init__(self, edge: Edge, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._edge, self._seconds = edge, seconds
        self._known: OrderedDict[str, tuple[Actor, float]] = OrderedDict()
        self._generation = 0
        self._used: dict[str, datetime] = {}
        self._noted: OrderedDict[str, float] = OrderedDict()

    def forget(self) -> None:
        """Some credential or role has changed: ask the database again."""
        self._generation += 1
        self._known = OrderedDict()

    async def actor(self, secret: str) -> Actor | None:
        """Return whom the secret stands for now, None if nobody."""
        digest, now = token_hash(secret), self._seconds()
        known = self._known.get(digest)
        if known is not None and known[1] > now:
            return known[0]
        generation = self._generation
        actor = await self._edge.read(
            SERVER, lambda call: accounts.authenticate(call.tx, secret, call.now)
        )
        if actor is None:
            self._known.pop(digest, None)
            return None
        # A run's token dies with its attempt, at once: it is never remembered (T15).
        if actor.kind is not Kind.RUN and generation == self._generation:
            ttl = _AGENT_TTL if actor.kind is Kind.AGENT else _USER_TTL
            self._known[digest] = (actor, now + ttl)
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        self._note(actor, now)
        return actor

    def _note(self, actor: Actor, now: float) -> None:
        if actor.kind is not Kind.USER:
            return
        if now - self._noted.get(actor.credential_id, -_NOTE_USE_EVERY) >= _NOTE_USE_EVERY:
            self._used[actor.credential_id] = self._edge.clock()
            self._noted[actor.credential_id] = now
            while len(self._noted) > _CACHED:
                self._noted.popitem(last=False)

    async def flush(self) -> int:
        """Write when keys were last used, all of them together; return how many."""
        used, self._used = self._used, {}
        if used:
            await self._edge.write(
                SERVER, lambda call: account_rows.note_use(call.tx, list(used.items()))
            )
        return len(used)


class Gate:
    """The middleware that lets requests through to the routes."""

    def __init__(self, app: ASGIApp, doors: Sequence[tuple[Route, Door]], keys: Keys) -> None:
        self._app, self._doors, self._keys = app, doors, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")  # WebSockets included (T3)
        try:
            await self._admit(scope)
        except RunyardError as error:
            answer = problems.of(scope)(error, scope["runyard.request_id"])
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        route, door, params = self._match(scope)
        scope[ROUTE] = route.path if route is not None else None
        scope[DOOR] = door
        if door is not None and not door.kinds:
            return
        secret = _secret(scope)
        actor = await self._keys.actor(secret)
        if actor is None:
            raise Unauthenticated(
                "the key is not known: it was revoked, it has expired, or the run or agent it "
                "was made for is over",
                hint="runyard login",
            )
        scope[ACTOR], scope[SECRET] = actor, secret
        if door is None:
            return  # there is nothing here; the router says so
        if actor.kind not in door.kinds:
            raise Forbidden(f"the token of {_a(actor.kind)} does not open this")
        if actor.kind is Kind.AGENT and params.get("agent_id") != actor.agent_id:
            raise Forbidden("an agent's token opens only what is its own")

    def _match(self, scope: Scope) -> tuple[Route | None, Door | None, Mapping[str, Any]]:
        for route, door in self._doors:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return route, door, child.get("path_params", {})
        return None, None, {}


def _a(kind: Kind) -> str:
    return "an agent" if kind is Kind.AGENT else f"a {kind}"


def _secret(scope: Scope) -> str:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if not found:
        raise Unauthenticated("this needs a key", hint="runyard login")
    scheme, _, rest = found[0].decode("latin-1").partition(" ")
    secret: str = rest.strip()
    if scheme.lower() == "basic":  # as the wandb client does: user "api", the key as password
        secret = _password(secret)
    elif scheme.lower() != "bearer":
        secret = ""
    if len(found) > 1 or not secret or len(secret) > _LONGEST_SECRET or not secret.isascii():
        raise Unauthenticated(
            "the Authorization header is not 'Bearer KEY' (or Basic with the key as password)"
        )
    return secret


def _password(text: str) -> str:
    try:
        _, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return str(password)


def actor_of(scope: Scope) -> Actor:
    """Return who asks; there always is one behind the door."""
    actor: object = scope[ACTOR]
    assert isinstance(actor, Actor)
    return actor
