import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from runyard.agent import logs
from runyard.agent.logs import MAX_UNSENT, LogCourier, ship
from runyard.agent.masking import Mask
from runyard.agent.outage import Line
from runyard.domain.errors import StaleLease, TooMuch
from runyard.domain.workloads import Handle, Workload
from runyard.testing.scripted import ScriptedDriver, Stage, ends, runs_until_stopped
from runyard.wire.agent import MAX_LOG_REQUEST, LogChunk, Logged

pytestmark = pytest.mark.anyio
SECRET = "hunter2-hunter2"


class Post:
    """Keeps logs by item, as the server does: by offset."""

    def __init__(self) -> None:
        self.logs: dict[str, bytearray] = {}
        self.requests: list[list[tuple[str, int]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.codes: dict[str, str] = {}

    async def log(self, chunks: Sequence[LogChunk]) -> list[Logged]:
        self.requests.append([(c.item_id, len(c.data)) for c in chunks])
        await self.gate.wait()
        return [self._add(chunk) for chunk in chunks]

    def _add(self, chunk: LogChunk) -> Logged:
        if code := self.codes.get(chunk.item_id):
            return Logged(code=code)
        log = self.logs.setdefault(chunk.item_id, bytearray())
        if chunk.offset <= len(log):
            log[chunk.offset :] = chunk.data
        return Logged(size=len(log))


@asynccontextmanager
async def carrying(post: Post) -> AsyncIterator[LogCourier]:
    courier = LogCourier(post, Line("http://double"))
    task = asyncio.create_task(courier.carry())
    async with asyncio.timeout(30):
        yield courier
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_bytes_go_at_once_and_the_next_ones_together() -> None:
    post = Post()
    async with carrying(post) as courier:
        log = courier.open("a", "t", 0)
        await log.write(b"1")
        for _ in range(3):  # turns of the loop, no time
            await asyncio.sleep(0)
        assert post.requests == [[("a", 1)]]
        for _ in range(5):
            await log.write(b"2")
        while len(post.requests) < 2:
            await asyncio.sleep(0.001)
    assert post.requests == [[("a", 1)], [("a", 5)]]


async def test_logs_of_many_jobs_share_a_request_and_a_loud_one_leaves_room() -> None:
    post = Post()
    post.gate.clear()
    async with carrying(post) as courier:
        first, loud, *quiet = [courier.open(name, "t", 0) for name in "zabc"]
        await first.write(b"x")
        await asyncio.sleep(0.01)
        for _ in range(6):
            await loud.write(b"x" * (1 << 20))
        for log in quiet:
            await log.write(b"y")
        post.gate.set()
        await asyncio.gather(*(log.flush() for log in (loud, *quiet)))
    assert dict(post.requests[1]).keys() == {"a", "b", "c"}
    assert all(sum(n for _, n in request) <= MAX_LOG_REQUEST for request in post.requests)


async def test_logs_that_do_not_fit_into_one_request_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "FAIR_SHARE", MAX_LOG_REQUEST // 2)
    post = Post()
    post.gate.clear()
    async with carrying(post) as courier:
        first, *loud, late = [courier.open(name, "t", 0) for name in "zabc"]
        await first.write(b"x")
        await asyncio.sleep(0.01)
        for log in loud:
            await log.write(b"x" * (MAX_LOG_REQUEST - 50))
        await late.write(b"y" * 100)
        post.gate.set()
        await asyncio.gather(*(log.flush() for log in (*loud, late)))
    assert dict(post.requests[1]).keys() == {"a", "b"}
    assert ("c", 100) in post.requests[2]


async def test_writers_wait_while_too_much_is_on_its_way() -> None:
    post = Post()
    post.gate.clear()
    async with carrying(post) as courier:
        log = courier.open("a", "t", 0)

        async def write() -> None:
            for _ in range(100):
                await log.write(b"x" * (1 << 20))

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.1)
        assert log.sent <= MAX_UNSENT + (1 << 20)
        post.gate.set()
        await writing
        await log.flush()
        log.close()
        assert courier._unsent == 0
    assert len(post.logs["a"]) == 100 << 20


async def test_a_hundred_megabytes_fill_no_memory_and_leave_the_loop_alive() -> None:
    piece = b"a line of a chatty job\n" * 4096

    class Chatty(ScriptedDriver):
        async def logs(self, handle: Handle, /, *, offset: int = 0) -> Any:
            for _ in range((100 << 20) // len(piece)):
                yield piece

    class Sink(Post):
        size = 0

        def _add(self, chunk: LogChunk) -> Logged:
            assert chunk.offset == self.size
            self.size += len(chunk.data)
            return Logged(size=self.size)

    post = Sink()
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)

    ticking = asyncio.create_task(tick())
    tracemalloc.start()
    try:
        async with carrying(post) as courier:
            log = courier.open("a", "t", 0)
            await ship(Chatty(Stage()), Handle("s", 1, {}), log, lambda: Mask([SECRET]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        ticking.cancel()
    assert post.size == (100 << 20) // len(piece) * len(piece)
    assert peak < 4 * MAX_UNSENT
    assert longest < 2.0


async def test_output_goes_on_where_the_server_is_and_secrets_across_that_point_are_hidden() -> (
    None
):
    text = f"abc {SECRET} def {SECRET}\n".encode()
    hidden = text.replace(SECRET.encode(), b"*" * len(SECRET))
    stage = Stage(lambda _: ends(0, text))
    driver = ScriptedDriver(stage)
    handle = await driver.submit(Workload("k"))
    await asyncio.sleep(0.01)
    for known in range(len(text) + 1):
        post = Post()
        post.logs["a"] = bytearray(hidden[:known])
        async with carrying(post) as courier:
            log = courier.open("a", "t", known)
            await ship(driver, handle, log, lambda: Mask([SECRET]))
        assert post.logs["a"] == hidden


async def test_an_end_that_looks_like_the_beginning_of_a_secret_is_shown() -> None:
    stage = Stage(lambda _: ends(0, b"the last word is hunter2"))
    driver = ScriptedDriver(stage)
    handle = await driver.submit(Workload("k"))
    post = Post()
    async with carrying(post) as courier:
        await ship(driver, handle, courier.open("a", "t", 0), lambda: Mask([SECRET]))
    assert post.logs["a"] == b"the last word is hunter2"


async def test_a_server_that_has_less_than_was_sent_gets_it_again() -> None:
    stage = Stage(lambda _: runs_until_stopped(0, b"one "))
    driver = ScriptedDriver(stage)
    handle = await driver.submit(Workload("k"))
    post = Post()
    async with carrying(post) as courier:
        log = courier.open("a", "t", 0)
        shipping = asyncio.create_task(ship(driver, handle, log, lambda: Mask([])))
        while post.logs.get("a") != b"one ":
            await asyncio.sleep(0.001)
        post.logs["a"] = bytearray(b"on")
        stage.acts["k"].print(b"two")
        await driver.stop(handle, grace=timedelta(seconds=1))
        await shipping
    assert post.logs["a"] == b"one two"


async def test_T23_output_of_an_item_that_is_lost_is_refused_to_its_reader() -> None:
    stage = Stage(lambda _: ends(0, b"text"))
    driver = ScriptedDriver(stage)
    handle = await driver.submit(Workload("k"))
    post = Post()
    post.codes = {"a": "stale_lease", "b": "too_much"}
    async with carrying(post) as courier:
        with pytest.raises(StaleLease):
            await ship(driver, handle, courier.open("a", "t", 0), lambda: Mask([]))
        with pytest.raises(TooMuch):
            await ship(driver, handle, courier.open("b", "t", 0), lambda: Mask([]))
