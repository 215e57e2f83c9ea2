"""
What can be followed: a run's output, a run's state, and the moves of items.

A stream is level-triggered: rung by its bell it looks at what is there now and sends what the
reader has not seen, so a missed bell or a slow reader loses nothing but time. The caller's
rights are asked again at each look; the credential behind them every few seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated, Final, TypeVar

import msgspec
from fastapi import FastAPI, Header, Path, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Unauthenticated
from runyard.domain.runs import RunState
from runyard.server import shapes
from runyard.server.auth import SECRET, Keys, actor_of, opens
from runyard.server.edge import Edge
from runyard.server.logs import Log, LogName, StageName, read
from runyard.server.metrics import Metrics
from runyard.server.paging import Entity
from runyard.server.problems import TooMany
from runyard.server.rest_runs import look
from runyard.server.wakeups import Bell, Hub
from runyard.services import runs
from runyard.services.call import Call
from runyard.store import views
from runyard.wire import rest

T = TypeVar("T")
Named = Annotated[str, Path(max_length=128)]


KEEP_ALIVE: Final = 10.0  # seconds of silence before a comment is sent
_RECHECK: Final = 10.0  # seconds between looks at the credential
_PIECE: Final = 64 << 10  # bytes of log in one event
_EVENTS: Final = 500
_GAP_CHECK: Final = 0.5  # seconds until a gap in the numbers is looked at again


class Follower:
    """What all streams share: bells, the database, and how many a user may have open."""

    def __init__(self, edge: Edge, hub: Hub, keys: Keys, metrics: Metrics, *, most: int) -> None:
        self.edge, self.hub = edge, hub
        self._keys, self._metrics, self._most = keys, metrics, most
        self._open: Counter[str] = Counter()

    def watch(self, request: Request) -> Watch:
        return Watch(self, actor_of(request.scope), request.scope[SECRET])

    async def actor(self, secret: str) -> Actor:
        actor = await self._keys.actor(secret)
        if actor is None:
            raise Unauthenticated("the key was revoked")
        return actor

    def enter(self, user_id: str) -> None:
        if self._open[user_id] >= self._most:
            raise TooMany(f"you have {self._most} streams open, which is the most")
        self._open[user_id] += 1
        self._metrics.streams.inc()

    def leave(self, user_id: str) -> None:
        self._open[user_id] -= 1
        self._open += Counter()
        self._metrics.streams.dec()


class Watch:
    """One stream's look at the database, with the rights that its reader has now."""

    def __init__(self, follower: Follower, actor: Actor, secret: str) -> None:
        self._follower, self.actor, self._secret = follower, actor, secret
        self._checked = time.monotonic()

    async def look(self, service: Callable[[Call], T]) -> T:
        """Raises: Unauthenticated, NotFound: the reader may not see it any more."""
        if time.monotonic() - self._checked > _RECHECK:
            self.actor = await self._follower.actor(self._secret)
            self._checked = time.monotonic()
        return await self._follower.edge.read(self.actor, service)

    async def rest(self, bell: Bell, seconds: float) -> bool:
        """Return whether the bell was rung; it is ready to ring again."""
        rung = await bell.wait(seconds)
        bell.reset()
        return rung and not self.closing

    @property
    def closing(self) -> bool:
        return self._follower.hub.closing


class Stream(StreamingResponse):
    """Counts against its reader's limit for as long as it lasts, however it ends."""

    def __init__(
        self,
        follower: Follower,
        actor: Actor,
        content: AsyncIterator[bytes],
        media_type: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            content, media_type=media_type, headers={"X-Accel-Buffering": "no", **(headers or {})}
        )
        self._follower, self._user = follower, actor.user_id
        self._content = content
        follower.enter(self._user)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._content):  # type: ignore[type-var]
                await super().__call__(scope, receive, send)
        finally:
            self._follower.leave(self._user)


def add(app: FastAPI, follower: Follower) -> None:
    @app.get(
        "/api/v1/runs/{entity}/{project}/{run}/events",
        tags=["runs"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    @opens(Kind.USER, Kind.RUN, lasting=True)
    async def follow_run(
        entity: Named,
        project: Named,
        run: Named,
        request: Request,
        log_offset: Annotated[
            int | None,
            Query(ge=0, le=2**62, description="Send output too, from this byte on."),
        ] = None,
        stage: StageName = "",
        last_event_id: Annotated[int | None, Header(ge=0, le=2**62)] = None,
    ) -> Response:
        """Follow a run: `run` when it changes, `log` (base64, id = next byte), at last `end`."""
        watch = follower.watch(request)
        place = (entity, project, run)
        await watch.look(lambda call: look(call, *place))
        offset = last_event_id if last_event_id is not None else log_offset
        return Stream(
            follower,
            watch.actor,
            _run_events(follower, watch, LogName(place, stage), offset),
            "text/event-stream",
        )

    @app.get(
        "/api/v1/events",
        tags=["items"],
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    @opens(Kind.USER, lasting=True)
    async def follow_items(
        request: Request,
        entity: Entity = None,
        queue: Annotated[str | None, Query(max_length=128, description="Only this queue.")] = None,
        after: Annotated[
            int | None,
            Query(ge=0, le=2**62, description="Begin after this number; default: now."),
        ] = None,
        last_event_id: Annotated[int | None, Header(ge=0, le=2**62)] = None,
    ) -> Response:
        """Follow the moves of items, one `item` event each; ids grow, and can be resumed from."""
        watch = follower.watch(request)
        seen = last_event_id if last_event_id is not None else after

        def begin(call: Call) -> int:
            runs.events(call, after=0, entity=entity, queue=queue, limit=1)  # may they at all?
            return views.last_event(call.tx) if seen is None else seen

        first = await watch.look(begin)
        events = _item_events(follower, watch, first, entity, queue)
        return Stream(follower, watch.actor, events, "text/event-stream")


async def _run_events(
    follower: Follower, watch: Watch, name: LogName, offset: int | None
) -> AsyncIterator[bytes]:
    def see(call: Call) -> tuple[rest.RunOut, Log]:
        log = read(call, name, 2**62 if offset is None else offset)
        return look(call, *name.place), log

    run, log = await watch.look(see)
    last: rest.RunOut | None = None
    with follower.hub.bell([f"run:{log.run}"]) as bell:
        while True:
            run, log = await watch.look(see)
            if _significant(run) != _significant(last):
                last = run
                yield _event("run", run.model_dump_json().encode())
            if log.data and offset is not None:
                data = log.data[:_PIECE]
                body = msgspec.json.encode({"offset": offset, "data": data})
                offset += len(data)
                yield _event("log", body, offset)
                continue
            if RunState(run.state).is_final:
                yield _event("end", b"{}")
                return
            if watch.closing:
                return
            if not await watch.rest(bell, KEEP_ALIVE):
                yield b": still here\n\n"


def _significant(run: rest.RunOut | None) -> object:
    """What of a run is worth an event: everything but the sizes of its logs."""
    return run and run.model_copy(update={"log_bytes": 0, "stage_logs": {}})


async def _item_events(
    follower: Follower, watch: Watch, seen: int, entity: str | None, queue: str | None
) -> AsyncIterator[bytes]:
    def see(call: Call) -> tuple[int, bool, Sequence[rest.EventOut]]:
        # PostgreSQL gives numbers before commits: a gap may still be filled. Only what lies
        # before a young gap is sent, so nobody who resumes from a number misses one below it.
        upto, held = views.settled(call.tx, seen, now=call.now, limit=_EVENTS)
        found = runs.events(call, after=seen, entity=entity, queue=queue, limit=_EVENTS)
        return upto, held, [shapes.event(row) for row in found if row["seq"] <= upto]

    with follower.hub.bell(["events"]) as bell:
        while True:
            upto, held, events = await watch.look(see)
            for event in events:
                yield _event("item", event.model_dump_json().encode(), event.seq)
            if upto > seen:
                seen = upto
                continue
            if watch.closing:
                return
            if not await watch.rest(bell, _GAP_CHECK if held else KEEP_ALIVE) and not held:
                yield b": still here\n\n"


def _event(name: str, data: bytes, number: int | None = None) -> bytes:
    head = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), head, data)
