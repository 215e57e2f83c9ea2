import asyncio
from contextlib import asynccontextmanager

import pytest

from runyard.agent import recovery
from runyard.agent.recovery import Recovery, pause
from runyard.domain.errors import StaleEpoch, Unavailable
from runyard.wire.health import Check, Checked

pytestmark = pytest.mark.anyio
WHY = "three starts failed"


class World:
    """A host that is well or not, and a server that believes it unless told otherwise."""

    def __init__(self) -> None:
        self.is_well, self.by_hand = True, False
        self.looks = 0
        self.told: list[bool] = []
        self.error: Exception | None = None
        self.recovery = Recovery(self.look, self.tell)

    async def look(self) -> list[Check]:
        self.looks += 1
        return [Check(name="disk", ok=self.is_well)]

    async def tell(self, checks) -> Checked:
        if self.error is not None:
            raise self.error
        self.told.append(checks[0].ok)
        return Checked(set_aside="" if checks[0].ok and not self.by_hand else WHY)

    @asynccontextmanager
    async def at_work(self):
        async with asyncio.timeout(10):
            task = asyncio.create_task(self.recovery.carry())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 0.02)
    return World()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def test_nothing_is_looked_at_while_all_is_well(world):
    async with world.at_work():
        world.recovery.heed("")
        await asyncio.sleep(0.05)
    assert world.looks == 0


async def test_a_passed_look_is_told_at_once(world, monkeypatch):
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 60.0)
    async with world.at_work():
        world.recovery.heed(WHY)
        await until(lambda: world.told == [True])


async def test_it_looks_again_until_the_host_is_well(world):
    world.is_well = False
    async with world.at_work():
        world.recovery.heed(WHY)
        await until(lambda: world.told == [False, False])
        world.is_well = True
        await until(lambda: world.told[-1])
        looks = world.looks
        await asyncio.sleep(0.2)
    assert world.looks == looks


async def test_after_a_relapse_the_pause_comes_first_and_grows(world, monkeypatch):
    pauses = []
    monkeypatch.setattr(recovery, "pause", lambda times: pauses.append(times) or 0.01)
    async with world.at_work():
        for n in range(1, 4):
            world.recovery.heed(WHY)
            await until(lambda n=n: len(world.told) == n)
            await asyncio.sleep(0.01)
    assert pauses == [1, 2]


async def test_long_after_it_came_back_a_relapse_is_none(world, monkeypatch):
    pauses = []
    monkeypatch.setattr(recovery, "pause", lambda times: pauses.append(times) or 0.01)
    monkeypatch.setattr(recovery, "RELAPSE", 0.0)
    async with world.at_work():
        for n in range(1, 4):
            world.recovery.heed(WHY)
            await until(lambda n=n: len(world.told) == n)
            await asyncio.sleep(0.01)
    assert pauses == []


async def test_a_persons_word_ends_the_wait(world, monkeypatch):
    monkeypatch.setattr(recovery, "FIRST_PAUSE", 60.0)
    world.by_hand = True
    async with world.at_work():
        world.recovery.heed(WHY)
        await until(lambda: world.told)
        world.recovery.heed("")
        world.by_hand = False
        await asyncio.sleep(0.02)
        monkeypatch.setattr(recovery, "RELAPSE", 0.0)
        world.recovery.heed(WHY)  # it listens again, and looks at once
        await until(lambda: len(world.told) == 2)


async def test_a_server_that_is_away_is_told_later(world):
    world.error = Unavailable("away")
    async with world.at_work():
        world.recovery.heed(WHY)
        await until(lambda: world.looks == 2)
        world.error = None
        await until(lambda: world.told == [True])


async def test_a_process_that_counts_no_more_says_so(world):
    world.error = StaleEpoch("replaced")
    async with world.at_work() as task:
        world.recovery.heed(WHY)
        with pytest.raises(StaleEpoch):
            await task


def test_pauses_grow_to_a_bound():
    assert 50 < pause(1) < 70
    assert 200 < pause(3) < 270
    assert pause(50) <= recovery.LONGEST_PAUSE * 1.1
