from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from runyard.server.edge import Ids
from runyard.server.wakeups import Hub

Q = "queue:e/q"


def run(test: Callable[[Hub], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        hub = Hub()
        hub.start()
        await test(hub)

    asyncio.run(go())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_of_a_queues_waiters_as_many_are_rung_as_items_came_the_oldest_first() -> None:
    async def test(hub: Hub) -> None:
        with hub.bell([Q]) as a, hub.bell([Q]) as b, hub.bell([Q]) as c:
            hub.announced({Q: 2})
            await settle()
            assert [a.rung, b.rung, c.rung] == [True, True, False]
            a.answered()
            b.answered()

    run(test)


def test_a_ring_that_was_not_answered_goes_to_the_next() -> None:
    async def test(hub: Hub) -> None:
        with ExitStack() as gone, ExitStack() as looked:
            first = gone.enter_context(hub.bell([Q]))
            second = looked.enter_context(hub.bell([Q]))
            with hub.bell([Q]) as third:
                hub.announced({Q: 1})
                await settle()
                assert [first.rung, second.rung] == [True, False]
                gone.close()  # its connection broke before it could look
                assert [second.rung, third.rung] == [True, False]
                second.answered()
                looked.close()
                assert not third.rung

    run(test)


def test_a_bell_rung_for_one_queue_takes_no_ring_of_another() -> None:
    async def test(hub: Hub) -> None:
        with hub.bell(["queue:e/1", "queue:e/2"]) as both, hub.bell(["queue:e/2"]) as one:
            hub.announced({"queue:e/1": 1})
            hub.announced({"queue:e/2": 1})
            await settle()
            assert both.rung
            assert one.rung
            both.answered()
            one.answered()

    run(test)


def test_other_topics_ring_everybody() -> None:
    async def test(hub: Hub) -> None:
        with hub.bell(["run:r"]) as a, hub.bell(["run:r"]) as b:
            hub.announced({"run:r": 1})
            await settle()
            assert a.rung
            assert b.rung

    run(test)


def test_a_queue_stays_known_as_empty_until_it_is_announced() -> None:
    async def test(hub: Hub) -> None:
        assert not hub.is_empty(Q)
        mark = hub.mark()
        hub.found_empty([Q], mark)
        assert hub.is_empty(Q)
        hub.announced({Q: 1})
        assert not hub.is_empty(Q)
        mark = hub.mark()
        hub.announced({Q: 1})  # while the database is being asked
        hub.found_empty([Q], mark)
        assert not hub.is_empty(Q)

    run(test)


def test_when_announcements_may_be_lost_everybody_looks_again() -> None:
    async def test(hub: Hub) -> None:
        hub.found_empty([Q], hub.mark())
        with hub.bell([Q]) as bell:
            hub.missed()
            await settle()
            assert bell.rung
        assert not hub.is_empty(Q)

    run(test)


def test_ids_rise_within_a_millisecond_and_when_the_clock_falls() -> None:
    times = [datetime(2030, 1, 1, tzinfo=UTC)] * 1000 + [datetime(2029, 1, 1, tzinfo=UTC)] * 1000
    clock = iter(times)
    ids = Ids(lambda: next(clock))
    made = [ids() for _ in times]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {26}
    assert len({each[-8:] for each in made}) == len(made)
