"""
A server in memory that keeps the agent's side of the bargain, item by item: leases, tokens,
claims, offsets. It is called directly, or over HTTP through `transport`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from runyard.domain.errors import RunyardError, StaleEpoch, Unavailable
from runyard.wire.agent import (
    AnyMove,
    AskDoomed,
    Build,
    Built,
    Claim,
    Doomed,
    DoomedImages,
    Fail,
    Held,
    Keep,
    LogChunk,
    Logged,
    Logs,
    LogsDone,
    MayBuild,
    Moved,
    Moves,
    MovesDone,
    Observe,
    Poll,
    Polled,
    Register,
    Registered,
    Release,
    ServedQueue,
    Stop,
    Use,
    Warn,
)
from runyard.wire.health import Check, Checked, Checks

RUN_TOKEN = "ryr_0123456789abcdef"
FINAL = ("exited", "gone", "preempted")


def spec(item: str = "i1", **changes: Any) -> dict[str, Any]:
    """A resolved spec of a code job, as the server makes them; `overrides` are merged."""
    overrides = {
        "args": [], "run_config": {}, "entry_point": ["true"], "artifacts": {}, "files": {},
        "dockerfile": "", "working_dir": "", **changes.pop("overrides", {}),
    }  # fmt: skip
    resource = changes.get("resource", "local-process")
    return {
        "entity": "ann", "project": "digits", "run_id": f"run-{item}", "name": None,
        "author": "ann", "queue": "default", "queue_entity": "ann", "resource": resource,
        "resource_args": {resource: changes.pop("config", {})},
        "job": "ann/digits/train:v0", "sweep_id": None, "overrides": overrides,
        "source": {"kind": "code", "archive": f"sha256:{'0' * 64}"},
        **changes,
    }  # fmt: skip


@dataclass
class Item:
    id: str
    spec: dict[str, Any]
    state: str = "PENDING"
    token: str = ""
    attempt: int = 0
    handle: Any = None
    gpus: int = 0
    log: bytearray = field(default_factory=bytearray)
    phases: list[str] = field(default_factory=list)
    exit_code: int | None = None
    failure: Fail | None = None
    stop_grace: int | None = None
    start_timeout: int = 1800
    build_log: bytearray = field(default_factory=bytearray)
    warnings: list[str] = field(default_factory=list)
    used: str = ""  # tag and digest of the image that was told to be used
    images: list[str] = field(default_factory=list)  # patterns that its queue allows


@dataclass
class Known:
    """An image as the server knows it."""

    by: tuple[str, int]
    state: str = "BUILDING"
    digest: str = ""
    error: str = ""
    about: dict[str, str] = field(default_factory=dict)


class Double:
    def __init__(self, **items: dict[str, Any]) -> None:
        self.items: dict[str, Item] = {}
        self.waiting: deque[str] = deque()
        self.calls: list[str] = []  # every move that was made, as "kind:item" or with its phase
        self.requests: list[int] = []  # how many moves each request had
        self.polls: list[Poll] = []
        self.unread: list[Poll] = []  # cancelled ones whose answer could have had leases
        self.is_up = True
        self.epoch = 1
        self.drain = False
        self.set_aside = ""
        self.checks: list[list[Check]] = []
        self.retired = False
        self.refusal: RunyardError | None = None
        self.blobs: dict[str, bytes] = {}
        self.missing: set[str] = set()  # queues that do not exist
        self.built: dict[str, Known] = {}  # images by tag
        self.doomed_images: list[Doomed] = []
        self.gone: list[str] = []
        self._tokens = 0
        self._aside_told = ""
        self.news = asyncio.Event()  # for agents
        self.moved = asyncio.Event()  # for tests: a move rings no agent's bell
        for name, one in items.items():
            self.submit(name, one)

    # -- what a test does ----------------------------------------------------------------

    def submit(self, name: str, wanted: dict[str, Any] | None = None) -> Item:
        item = self.items[name] = Item(name, wanted or spec(name))
        self.waiting.append(name)
        self.tell()
        return item

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def stop(self, name: str, grace: int = 5) -> None:
        self.items[name].stop_grace = grace
        self.tell()

    def hand_out(self, name: str) -> Held:
        """Lease an item, or pass its claim to a new process."""
        item = self.items[name]
        self._tokens += 1
        item.token = f"t{self._tokens}"
        if item.state == "PENDING":
            item.state = "LEASED"
        claimed = item.state == "CLAIMED"
        attempt = item.attempt if claimed else item.attempt + 1
        return Held(
            item_id=name,
            token=item.token,
            key=f"ry-{name}-{attempt}",
            attempt=attempt,
            requeues=0,
            spec=item.spec,
            claimed=claimed,
            handle=item.handle,
            log_size=len(item.log),
            build_log_size=len(item.build_log),
            images=item.images,
            run_token=RUN_TOKEN if claimed and item.handle is None else None,
            stop=item.stop_grace is not None,
            stop_grace_s=item.stop_grace or 5,
            start_timeout_s=item.start_timeout,
        )

    async def until(self, name: str, *states: str) -> Item:
        """Wait for an item's state."""
        async with asyncio.timeout(20):
            while self.items[name].state not in (states or ("FINISHED", "FAILED")):
                await self.moved.wait()
        return self.items[name]

    # -- what an agent calls -------------------------------------------------------------

    async def register(self, request: Register) -> Registered:
        self._ask()
        return Registered(
            agent_id="a1",
            name=request.name,
            entity="ann",
            entity_is_team=False,
            epoch=self.epoch,
            token="agent-token",
            queues=self._queues(request.queues),
            held=[self.hand_out(n) for n, i in self.items.items() if i.state == "CLAIMED"],
        )

    def _queues(self, names: Sequence[str]) -> list[ServedQueue]:
        return [ServedQueue(n, None if n in self.missing else "local-process") for n in names]

    async def poll(self, poll: Poll) -> Polled:
        self._ask()
        self.polls.append(poll)
        try:
            return await self._hang(poll)
        except asyncio.CancelledError:
            self.unread += [poll] if poll.slots else []
            raise

    async def _hang(self, poll: Poll) -> Polled:
        deadline = asyncio.get_running_loop().time() + poll.wait_s
        while True:
            self._ask()
            answer = self._answer(poll)
            told, self._aside_told = self._aside_told, self.set_aside
            if answer.leased or answer.lost or answer.stop or answer.drain:
                return answer
            if answer.set_aside != told:
                return answer
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return answer
            try:
                async with asyncio.timeout(left):
                    await self.news.wait()
            except TimeoutError:
                return answer

    def _answer(self, poll: Poll) -> Polled:
        held = {n for n, i in self.items.items() if i.state in ("LEASED", "CLAIMED")}
        count = 0 if self.drain or self.set_aside else min(poll.slots, len(self.waiting))
        return Polled(
            leased=[self.hand_out(self.waiting.popleft()) for _ in range(count)],
            lost=[name for name in poll.holding if name not in held],
            stop=[
                Stop(n, i.stop_grace)
                for n, i in self.items.items()
                if n in held and i.stop_grace is not None
            ],
            drain=self.drain,
            set_aside=self.set_aside,
            queues=self._queues(["default"]),
        )

    async def move(self, moves: Sequence[AnyMove]) -> list[Moved]:
        self._ask()
        self.requests.append(len(moves))
        answers = [self._move(m) for m in moves]
        self.moved.set()
        self.moved = asyncio.Event()
        return answers

    def _move(self, m: AnyMove) -> Moved:
        item = self.items[m.item_id]
        if item.token != m.token or item.state not in ("LEASED", "CLAIMED"):
            return Moved(code="stale_lease", message=f"item {item.id} is not held")
        kind = type(m).__name__.lower()
        self.calls.append(f"{m.phase}:{item.id}" if isinstance(m, Observe) else f"{kind}:{item.id}")
        match m:
            case Claim():
                if item.state == "LEASED":
                    item.state, item.attempt = "CLAIMED", item.attempt + 1
                return Moved(run_token=RUN_TOKEN)
            case Release():
                item.state = "PENDING"
                self.waiting.appendleft(item.id)
                self.tell()
            case Keep():
                item.handle, item.gpus = m.handle, m.gpus
            case Observe():
                item.phases.append(m.phase)
                if m.phase in FINAL:
                    item.state, item.exit_code = "FINISHED", m.exit_code
            case Fail():
                item.state, item.failure = "FAILED", m
            case Warn():
                item.warnings.append(m.message)
            case Build():
                return Moved(may_build=self._may_build(item, m))
            case Built():
                self._built(item, m)
            case Use():
                item.used = f"{m.tag}@{m.digest}"
        return Moved()

    def _may_build(self, item: Item, m: Build) -> MayBuild:
        image, mine = self.built.get(m.tag), (item.id, item.attempt)
        by = f"ann/digits/run-{image.by[0]}" if image else ""
        if image and image.state == "BUILDING" and image.by != mine:
            holder = self.items[image.by[0]]
            if holder.state == "CLAIMED" and holder.attempt == image.by[1]:
                return MayBuild(do="wait", by=by)
        if image and image.state == "FAILED" and m.waits:
            return MayBuild(do="fail", by=by, message=f"built by {by}, and failed: {image.error}")
        if image and image.state == "READY" and not m.missing:
            return MayBuild(do="use", digest=image.digest, by=by)
        self.built[m.tag] = Known(mine, about=m.about)
        return MayBuild(do="build")

    def _built(self, item: Item, m: Built) -> None:
        image = self.built[m.tag]
        assert image.by == (item.id, item.attempt)
        if not m.digest and not m.error:
            del self.built[m.tag]
        else:
            image.state = "FAILED" if m.error else "READY"
            image.digest, image.error = m.digest, m.error

    async def doomed(self, asked: AskDoomed) -> list[Doomed]:
        self._ask()
        self.gone += asked.gone
        self.doomed_images = [one for one in self.doomed_images if one.id not in asked.gone]
        return [one for one in self.doomed_images if one.id > asked.after]

    async def check(self, checks: Sequence[Check]) -> Checked:
        self._ask()
        self.checks.append(list(checks))
        if all(one.ok for one in checks):
            self.set_aside = ""
            self.tell()
        return Checked(set_aside=self.set_aside)

    async def log(self, chunks: Sequence[LogChunk]) -> list[Logged]:
        self._ask()
        return [self._log(chunk) for chunk in chunks]

    def _log(self, chunk: LogChunk) -> Logged:
        item = self.items[chunk.item_id]
        if item.token != chunk.token:
            return Logged(code="stale_lease")
        log = item.build_log if chunk.stage == "build" else item.log
        if chunk.offset <= len(log):
            log[chunk.offset :] = chunk.data
            self.calls.append(f"log{chunk.stage and '.'}{chunk.stage}:{item.id}")
        return Logged(size=len(log))

    async def blob(self, item_id: str, digest: str, into: Path) -> None:
        self._ask()
        into.write_bytes(self.blobs[digest])

    async def retire(self) -> None:
        self._ask()
        self.retired = True

    async def close(self) -> None:
        pass

    def _ask(self) -> None:
        if not self.is_up:
            raise Unavailable("cannot reach the server")
        if self.refusal is not None:
            raise self.refusal

    def replace(self) -> None:
        """Another process has the agent's name now."""
        self.refusal = StaleEpoch("registered again by another process")
        self.tell()

    # -- over HTTP -----------------------------------------------------------------------

    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._serve)

    async def _serve(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path.removeprefix("/api/v1"), await request.aread()
        decode, encode = msgspec.json.decode, msgspec.json.encode
        json_type = {"content-type": "application/json"}
        try:
            if request.method == "DELETE":
                await self.retire()
                return httpx2.Response(204)
            if path == "/agents":
                made: Any = await self.register(decode(body, type=Register))
            elif request.headers["authorization"] != "Bearer agent-token":
                return httpx2.Response(401, content=b'{"code": "unauthenticated"}')
            elif path.endswith("/poll"):
                made = await self.poll(decode(body, type=Poll))
            elif path.endswith("/moves"):
                made = MovesDone(await self.move(decode(body, type=Moves).moves))
            elif path.endswith("/check"):
                made = await self.check(decode(body, type=Checks).checks)
            elif path.endswith("/logs"):
                chunks = msgspec.msgpack.decode(body, type=Logs).chunks
                made = LogsDone(await self.log(chunks))
            elif path.endswith("/doomed-images"):
                made = DoomedImages(await self.doomed(decode(body, type=AskDoomed)))
            else:
                return httpx2.Response(200, content=self.blobs[path.rpartition("/")[2]])
            return httpx2.Response(200, content=encode(made), headers=json_type)
        except RunyardError as error:
            problem = {"code": error.code, "detail": error.message, "status": error.status}
            return httpx2.Response(error.status, content=json.dumps(problem).encode())
