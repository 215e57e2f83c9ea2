import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from runyard.agent import outage
from runyard.agent.courier import Courier
from runyard.agent.outage import Line
from runyard.domain.errors import Conflict, Invalid, StaleEpoch, StaleLease, Unavailable
from runyard.wire.agent import MAX_MOVES, AnyMove, Claim, Moved

pytestmark = pytest.mark.anyio


def move(name: str) -> Claim:
    return Claim(item_id=name, token="t")


class Post:
    """Takes moves while `gate` is open; answers by item, or raises what is next in line."""

    def __init__(self, **codes: str) -> None:
        self.codes = codes
        self.arrived: list[list[str]] = []
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def move(self, moves: Sequence[AnyMove]) -> list[Moved]:
        self.arrived.append([m.item_id for m in moves])
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return [Moved(code=self.codes.get(m.item_id, ""), message="why") for m in moves]


@asynccontextmanager
async def carrying(post: Post) -> AsyncIterator[Courier]:
    courier = Courier(post, Line("http://double"))
    task = asyncio.create_task(courier.carry())
    async with asyncio.timeout(10):
        yield courier
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_due_at_the_same_moment_goes_together() -> None:
    post = Post()
    async with carrying(post) as courier:
        await asyncio.gather(*(courier.move(move(n)) for n in "abc"))
    assert post.arrived == [["a", "b", "c"]]


async def test_what_comes_while_a_request_is_open_goes_in_the_next_one_in_order() -> None:
    post = Post()
    post.gate.clear()
    async with carrying(post) as courier:
        first = courier.post(move("a"))
        await asyncio.sleep(0.01)
        rest = [courier.post(move(n)) for n in "bcd"]
        await asyncio.sleep(0.01)
        post.gate.set()
        await asyncio.gather(first, *rest)
    assert post.arrived == [["a"], ["b", "c", "d"]]


async def test_a_request_has_its_limit() -> None:
    post = Post()
    async with carrying(post) as courier:
        await asyncio.gather(*(courier.move(move(str(n))) for n in range(MAX_MOVES + 1)))
    assert [len(batch) for batch in post.arrived] == [MAX_MOVES, 1]


async def test_each_caller_gets_its_own_answer() -> None:
    post = Post(a="stale_lease", b="conflict", c="invalid")
    async with carrying(post) as courier:
        answers = await asyncio.gather(
            *(courier.move(move(n)) for n in "abcd"), return_exceptions=True
        )
    assert [type(a) for a in answers] == [StaleLease, Conflict, Invalid, Moved]


async def test_a_batch_that_may_not_have_arrived_is_sent_again_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.001)
    post = Post()
    post.errors = [Unavailable("gone")] * 3
    async with carrying(post) as courier:
        sent = [courier.post(move(n)) for n in "ab"]
        while len(post.arrived) < 2:
            await asyncio.sleep(0)
        later = courier.post(move("c"))
        await asyncio.gather(*sent, later)
    assert post.arrived == [["a", "b"]] * 4 + [["c"]]
    said = capsys.readouterr().out
    assert (said.count("cannot be reached"), said.count("is back")) == (1, 1)


async def test_a_request_that_is_refused_as_a_whole_is_not_sent_for_ever() -> None:
    post = Post()
    post.errors = [Invalid("malformed")]
    async with carrying(post) as courier:
        with pytest.raises(Invalid):
            await courier.move(move("a"))
        assert (await courier.move(move("b"))).code == ""


async def test_a_cancelled_caller_hinders_nobody() -> None:
    post = Post()
    post.gate.clear()
    async with carrying(post) as courier:
        first, second = courier.post(move("a")), courier.post(move("b"))
        await asyncio.sleep(0.01)
        first.cancel()
        post.gate.set()
        await second
        await courier.settled()


async def test_a_stale_epoch_ends_the_courier() -> None:
    post = Post()
    post.errors = [StaleEpoch("another process")]
    courier = Courier(post, Line("http://double"))
    courier.post(move("a"))
    with pytest.raises(StaleEpoch):
        await courier.carry()


def test_pauses_grow_to_a_limit_and_are_scattered() -> None:
    assert all(0.1 <= outage.pause(1) <= 0.2 for _ in range(100))
    assert all(5.0 <= outage.pause(40) <= 10.0 for _ in range(100))
    assert len({outage.pause(5) for _ in range(100)}) > 50
