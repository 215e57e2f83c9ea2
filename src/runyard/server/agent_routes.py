"""
What agents ask for: register, poll, moves, logs, blobs, leaving.

A poll is the interesting one. It costs the database nothing unless there may be something for
this agent: an item in one of its queues, news about itself, or claims to renew. Otherwise it
waits for its bell.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Final, TypeVar

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Invalid, NotFound, TooMuch
from runyard.domain.workloads import Phase
from runyard.server.auth import actor_of, opens
from runyard.server.edge import Edge
from runyard.server.metrics import Metrics
from runyard.server.nesting import check_depth
from runyard.server.presence import Presence
from runyard.server.settings import ServerSettings
from runyard.server.wakeups import Bell, Hub
from runyard.services import agents, aside, leasing, moving, runs
from runyard.services.call import Call
from runyard.services.images import pruning
from runyard.store.files import Files
from runyard.wire import agent as wire
from runyard.wire import health

T = TypeVar("T")

# Even without any news an agent is told the state of affairs this often, in seconds.
_ASK_AT_LEAST: Final = 300.0
# Claims last 60 s at least and a poll hangs for 25: renewing them this often, in seconds, will do.
_RENEW_EVERY: Final = 10.0
_MOST_LEASED: Final = 1000  # by one poll


@dataclass(slots=True)
class Station:
    """What was last told to one process of an agent, so that it need not be asked again."""

    queues: list[wire.ServedQueue]
    topics: list[str]
    drain: bool
    set_aside: str
    held: frozenset[str]  # its items, as far as both sides know; none while it has to be told more
    heard: int  # the hub's mark when the database was asked
    asked_at: float

    @property
    def told(self) -> object:
        return self.queues, self.drain, self.set_aside

    @property
    def may_lease(self) -> bool:
        return not self.drain and not self.set_aside


class AgentRoutes:
    def __init__(
        self,
        edge: Edge,
        hub: Hub,
        presence: Presence,
        metrics: Metrics,
        files: Files,
        settings: ServerSettings,
    ) -> None:
        self._edge, self._hub, self._presence = edge, hub, presence
        self._metrics, self._files, self._settings = metrics, files, settings
        self._stations: dict[tuple[str, int], Station] = {}
        self._turns = itertools.count()
        self._decode_poll = msgspec.json.Decoder(wire.Poll)
        self._decode_moves = msgspec.json.Decoder(wire.Moves)
        self._decode_logs = msgspec.msgpack.Decoder(wire.Logs)
        self._decode_register = msgspec.json.Decoder(wire.Register)
        self._decode_checks = msgspec.json.Decoder(health.Checks)
        self._decode_doomed = msgspec.json.Decoder(wire.AskDoomed)

    @opens(Kind.USER)
    async def register(self, request: Request) -> Response:
        """Make the caller's process the agent of its name."""
        asked = await _decoded(request, self._decode_register)
        check_depth(asked.config)
        registered = await self._edge.write(
            actor_of(request.scope), lambda call: agents.register(call, asked)
        )
        self._presence.note(registered.agent_id, holding=bool(registered.held))
        self._stations.pop((registered.agent_id, registered.epoch - 1), None)
        return _json(registered)

    @opens(Kind.AGENT, lasting=True)
    async def poll(self, request: Request) -> Response:
        """Renew what is held and wait for something to do."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        asked = await _decoded(request, self._decode_poll)
        asked = msgspec.structs.replace(asked, slots=min(asked.slots, _MOST_LEASED))
        self._presence.note(agent_id, holding=bool(asked.holding))
        until = time.monotonic() + min(asked.wait_s, wire.POLL_WAIT)
        station = self._stations.get((agent_id, actor.epoch))
        if station is None:  # what it waits for is in the database
            answer, station = await self._ask(actor, agent_id, asked)
            if _has_news(answer):
                return _json(answer)
            asked = msgspec.structs.replace(asked, holding=[])  # renewed just now
        with self._hub.bell(self._topics(agent_id, asked, station)) as bell:
            # The bell hangs already: what is announced from here on will ring it.
            if self._must_ask(agent_id, asked, station):
                answer, now = await self._ask(actor, agent_id, asked)
                if _has_news(answer) or now.told != station.told:
                    return _json(answer)
            if await self._rest(request.receive, bell, until - time.monotonic()):
                answer, station = await self._ask(actor, agent_id, asked)
                if station.may_lease:  # else another one shall be woken in its place
                    bell.answered()
                return _json(answer)
        return _json(
            wire.Polled(drain=station.drain, set_aside=station.set_aside, queues=station.queues)
        )

    def _topics(self, agent_id: str, asked: wire.Poll, station: Station) -> list[str]:
        own = f"agent:{agent_id}"
        return [own, *station.topics] if asked.slots > 0 and station.may_lease else [own]

    def _must_ask(self, agent_id: str, asked: wire.Poll, station: Station) -> bool:
        """Whether the database may know something that this agent does not."""
        if self._hub.number(f"agent:{agent_id}") > station.heard:
            return True
        if not station.held.issuperset(asked.holding):
            return True
        every = _RENEW_EVERY if asked.holding else _ASK_AT_LEAST
        if time.monotonic() - station.asked_at > every:
            return True
        wants = asked.slots > 0 and station.may_lease
        return wants and not all(map(self._hub.is_empty, station.topics))

    async def _ask(
        self, actor: Actor, agent_id: str, asked: wire.Poll
    ) -> tuple[wire.Polled, Station]:
        mark, asked_at, turn = self._hub.mark(), time.monotonic(), next(self._turns)
        answer, topics = await self._edge.write(
            actor, lambda call: agents.poll(call, agent_id, asked, turn=turn)
        )
        self._metrics.leased.inc(len(answer.leased))
        held = _settled(asked, answer)
        station = Station(
            answer.queues, topics, answer.drain, answer.set_aside, held, mark, asked_at
        )
        self._stations[agent_id, actor.epoch] = station
        if len(answer.leased) < asked.slots and station.may_lease:
            self._hub.found_empty(topics, mark)
        return answer, station

    async def _rest(self, receive: Receive, bell: Bell, seconds: float) -> bool:
        """Wait for the bell; return False if the time is over or the agent has hung up."""
        if seconds <= 0 or self._hub.closing:
            return False
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: bell.ring())
        self._metrics.polls_waiting.inc()
        try:
            rung = await bell.wait(seconds)
            return rung and not gone.done() and not self._hub.closing
        finally:
            self._metrics.polls_waiting.dec()
            gone.cancel()

    @opens(Kind.AGENT)
    async def moves(self, request: Request) -> Response:
        """Make moves of many items in one transaction; each is answered by itself."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        asked = (await _decoded(request, self._decode_moves)).moves
        _at_most(len(asked), wire.MAX_MOVES, "moves")

        def move(call: Call) -> list[wire.Moved]:
            return moving.move(call, agents.current(call, agent_id), asked)

        results = await self._edge.write(actor, move)
        for m, result in zip(asked, results, strict=True):
            kind = str(type(m).__struct_config__.tag)
            self._metrics.moves.labels(kind, result.code or "ok").inc()
            if result.may_build is not None:
                self._metrics.images.labels(result.may_build.do).inc()
            elif isinstance(m, wire.Built) and not result.code:
                self._metrics.images.labels("failed" if m.error else "built").inc()
        if any(_may_give_back(m) for m in asked):
            self._look_again(agent_id, actor)
        return _json(wire.MovesDone(results))

    @opens(Kind.AGENT)
    async def check(self, request: Request) -> Response:
        """Take what an agent that was set aside found out about its host."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        asked = await _decoded(request, self._decode_checks)
        agent = await self._edge.write(
            actor, lambda call: aside.check(call, agent_id, asked.checks)
        )
        self._look_again(agent_id, actor)
        return _json(health.Checked(set_aside=agent.set_aside_why))

    @opens(Kind.AGENT)
    async def doomed(self, request: Request) -> Response:
        """Take which images the agent has deleted, and tell it which to delete next."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        asked = await _decoded(request, self._decode_doomed)
        return _json(
            await self._edge.write(
                actor,
                lambda call: pruning.doomed(call, agents.current(call, agent_id), asked),
            )
        )

    @opens(Kind.AGENT)
    async def logs(self, request: Request) -> Response:
        """Take output by offset; the answer is how much of each log is here."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        try:
            chunks = self._decode_logs.decode(await request.body()).chunks
        except msgspec.MsgspecError as error:
            raise Invalid(f"the body is not the msgpack of log chunks: {error}") from None
        size = sum(len(c.data) for c in chunks)
        _at_most(size, wire.MAX_LOG_REQUEST, "bytes of output")
        at_most = self._settings.max_log_bytes

        def take(call: Call) -> list[wire.Logged]:
            current = agents.current(call, agent_id)
            return runs.append_logs(call, current.id, chunks, at_most=at_most)

        results = await self._edge.write(actor, take)
        self._metrics.log_bytes.inc(size)
        return Response(
            msgspec.msgpack.encode(wire.LogsDone(results)), media_type="application/msgpack"
        )

    @opens(Kind.AGENT, lasting=True)
    async def blob(self, request: Request) -> Response:
        """Hand out an upload that an item needs, to the agent that holds the item."""
        params = request.path_params
        digest = params["digest"]
        path = self._files.path(digest)

        def need(call: Call) -> None:
            agent = agents.current(call, params["agent_id"])
            leasing.need_upload(call, agent.id, params["item_id"], digest)

        await self._edge.write(actor_of(request.scope), need)
        if await anyio.to_thread.run_sync(self._files.size, digest) is None:
            raise NotFound(f"{digest} is not in this server's files", hint="is it the same disk?")
        return FileResponse(path, media_type="application/octet-stream")

    @opens(Kind.AGENT, Kind.USER)
    async def leave(self, request: Request) -> Response:
        """From the agent: note that it leaves. From a person: ask it to finish and leave."""
        actor, agent_id = actor_of(request.scope), request.path_params["agent_id"]
        if actor.kind is Kind.USER:
            await self._edge.write(actor, lambda call: agents.ask_to_stop(call, agent_id))
            return Response(status_code=204)
        await self._edge.write(actor, lambda call: agents.retire(call, agent_id))
        self._presence.gone(agent_id)
        self._stations.pop((agent_id, actor.epoch), None)
        return Response(status_code=204)

    def _look_again(self, agent_id: str, actor: Actor) -> None:
        # What it gave back may be pinned to it, or it is in use again: news to nobody else.
        station = self._stations.get((agent_id, actor.epoch))
        if station is not None:
            station.heard = -1


def _settled(asked: wire.Poll, answer: wire.Polled) -> frozenset[str]:
    """Return what the agent holds; nothing if it has to act on the answer, which may get lost."""
    if answer.lost or answer.stop:
        return frozenset()
    return frozenset(asked.holding).union(held.item_id for held in answer.leased)


def _may_give_back(move: wire.AnyMove) -> bool:
    if isinstance(move, wire.Observe):
        return move.phase == Phase.PREEMPTED
    return isinstance(move, wire.Release)


def _has_news(answer: wire.Polled) -> bool:
    return bool(answer.leased or answer.lost or answer.stop)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _decoded(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(await request.body())
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"the body is not what this takes: {error}") from None


def _at_most(given: int, most: int, what: str) -> None:
    if given > most:
        raise TooMuch(f"{given} {what} in one request; {most} at most")


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
