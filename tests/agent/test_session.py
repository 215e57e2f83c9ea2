import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runyard.agent.outage import Line
from runyard.agent.reporting import QueueNotes, status_line
from runyard.agent.session import Session
from runyard.domain.errors import StaleEpoch
from runyard.wire.agent import Claim, Held, Observe, Polled, Release, ServedQueue
from tests.agent.double import Double, spec

pytestmark = pytest.mark.anyio


class Job:
    """An attempt that claims, runs until it is let go, and notes the wishes it hears."""

    def __init__(self, held: Held, double: Double) -> None:
        self.held, self.double = held, double
        self.holds, self.is_stopping, self.claimed = True, False, False
        self.go = asyncio.Event()
        self.heard: list[str] = []

    async def run(self) -> None:
        if self.heard:
            return await self._say(Release)
        self.claimed = True
        await self._say(Claim)
        await self.go.wait()
        self.holds = False
        await self._say(Observe, phase="exited", exit_code=0)

    async def _say(self, kind: Any, **more: Any) -> None:
        await self.double.move([kind(item_id=self.held.item_id, token=self.held.token, **more)])

    def stop(self, grace_s: int) -> None:
        self.heard.append(f"stop {grace_s}")
        self.is_stopping = True

    def lose(self) -> None:
        self.heard.append("lose")
        self.go.set()

    def give_back(self) -> None:
        if not self.claimed:
            self.heard.append("give back")


class Yard:
    def __init__(self, double: Double, **settings: Any) -> None:
        self.double = double
        self.jobs: dict[str, Job] = {}
        self.kind = Job
        self.session = Session(
            double,
            Line("http://double"),
            self._begin,  # type: ignore[arg-type]
            QueueNotes("ann"),
            **{"max_jobs": 1, **settings},
        )

    def _begin(self, held: Held) -> Job:
        self.jobs[held.item_id] = self.kind(held, self.double)
        return self.jobs[held.item_id]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            task = group.create_task(self.session.run(group))
            yield task
            for job in self.jobs.values():
                job.go.set()
            self.session.leave()


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_what_is_free_is_asked_for_at_once() -> None:
    double = Double()
    yard = Yard(double, max_jobs=3)
    for name in "abcd":
        double.submit(name)
    async with yard.at_work():
        await until(lambda: len(yard.jobs) == 3)
        assert double.polls[0].slots == 3
        yard.jobs["b"].go.set()
        await until(lambda: "d" in yard.jobs)


async def test_a_full_agent_keeps_a_poll_open_for_news() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double)
    async with yard.at_work():
        await until(lambda: len(double.polls) == 2)
        assert (double.polls[1].slots, double.polls[1].holding) == (0, ["a"])
        double.stop("a", 7)
        await until(lambda: yard.jobs["a"].heard == ["stop 7"])


async def test_a_slot_that_becomes_free_is_asked_for_at_once() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double)
    async with yard.at_work():
        await until(lambda: len(double.polls) == 2)
        yard.jobs["a"].go.set()
        async with asyncio.timeout(10):
            await until(lambda: double.polls[-1].slots == 1)


async def test_a_poll_that_may_bring_work_is_not_cancelled_by_a_job_that_ends() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double, max_jobs=2)
    async with yard.at_work():
        await until(lambda: len(double.polls) == 2)
        yard.jobs["a"].go.set()
        await until(lambda: double.items["a"].state == "FINISHED")
        await asyncio.sleep(0.05)
        assert not double.unread


async def test_T23_what_is_lost_is_ended() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double)
    async with yard.at_work():
        await until(lambda: len(double.polls) == 2)
        double.items["a"].state = "FAILED"  # its claim ran out
        double.tell()
        await until(lambda: yard.jobs["a"].heard == ["lose"])


async def test_draining_finishes_what_runs_and_gives_back_what_still_arrives() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double, max_jobs=2)
    async with yard.at_work() as work:
        await until(lambda: len(double.polls) == 2)
        yard.session.drain("a test says so")
        double.submit("b")
        await until(lambda: "release:b" in double.calls)
        assert not work.done()
        yard.jobs["a"].go.set()
        await work
    assert double.items["a"].state == "FINISHED"


async def test_draining_gives_back_what_has_not_been_claimed() -> None:
    class Waiting(Job):
        async def run(self) -> None:
            while not self.heard:
                await asyncio.sleep(0.001)
            await self._say(Release)

    double = Double(a=spec("a"))
    yard = Yard(double)
    yard.kind = Waiting
    async with yard.at_work() as work:
        await until(lambda: "a" in yard.jobs)
        yard.session.drain("a test says so")
        await work
    assert double.items["a"].state == "PENDING"


async def test_an_idle_agent_that_drains_leaves_at_once() -> None:
    double = Double()
    yard = Yard(double)
    async with yard.at_work() as work:
        await until(lambda: double.polls)
        yard.session.drain("a test says so")
        async with asyncio.timeout(10):
            await work


async def test_the_server_can_order_to_drain() -> None:
    double = Double()
    async with Yard(double).at_work() as work:
        double.drain = True
        double.tell()
        await work


async def test_leaving_at_once_ends_no_job() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double)
    async with yard.at_work() as work:
        await until(lambda: len(double.polls) == 2)
        yard.session.leave()
        await work
        await until(lambda: not yard.session.attempts)
    assert double.items["a"].state == "CLAIMED"


async def test_an_agent_that_leaves_when_idle_does_so_after_the_last_job() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double, exit_when_idle=True)
    async with yard.at_work() as work:
        await until(lambda: "a" in yard.jobs)
        yard.jobs["a"].go.set()
        await work
    assert double.items["a"].state == "FINISHED"


async def test_an_outage_is_sat_out() -> None:
    double = Double()
    double.is_up = False
    yard = Yard(double)
    async with yard.at_work():
        await asyncio.sleep(0.05)
        double.is_up = True
        double.submit("a")
        await until(lambda: "a" in yard.jobs)


async def test_a_newer_process_of_the_name_ends_this_one() -> None:
    double = Double()
    double.refusal = StaleEpoch("registered again by another process")
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            await Yard(double).session.run(group)
    assert caught.group_contains(StaleEpoch)


async def test_a_server_that_answers_at_once_with_nothing_is_not_asked_in_a_tight_loop() -> None:
    class Hasty(Double):
        async def poll(self, poll: Any) -> Polled:
            self.polls.append(poll)
            return Polled()

    double = Hasty()
    async with Yard(double).at_work():
        await asyncio.sleep(0.5)
    assert len(double.polls) < 10


async def test_a_missing_queue_is_named_once_with_the_command_that_creates_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = QueueNotes("ann")
    for _ in range(2):
        assert notes.look([ServedQueue("gpu", None), ServedQueue("cpu", "local-process")]) in (
            ["local-process"], [],
        )  # fmt: skip
    assert capsys.readouterr().out.count("runyard queue create gpu") == 1

    assert notes.look([ServedQueue("gpu", "local-container")]) == ["local-container"]


def test_the_status_line_says_how_much_of_what_may_run() -> None:
    assert status_line("box", ["a", "b"], 2, 4) == (
        "agent box polling on queues a,b, running 2 out of a maximum of 4 jobs"
    )
    assert status_line("box", ["a"], 0, -1).endswith("a maximum of unlimited jobs")


async def test_a_set_aside_agent_asks_for_news_alone_until_it_is_in_use_again() -> None:
    double, heard = Double(), []
    double.set_aside = "its disk is full"
    yard = Yard(double, max_jobs=2, on_aside=heard.append)
    async with yard.at_work():
        await until(lambda: len(double.polls) == 2)
        assert (double.polls[1].slots, heard[-1]) == (0, "its disk is full")
        double.submit("a")
        await asyncio.sleep(0.05)
        assert yard.jobs == {}
        double.set_aside = ""
        double.tell()
        await until(lambda: "a" in yard.jobs)
        assert heard[-1] == ""


async def test_a_set_aside_agent_finishes_what_it_has() -> None:
    double = Double(a=spec("a"))
    yard = Yard(double, max_jobs=2)
    async with yard.at_work():
        await until(lambda: "a" in yard.jobs)
        double.set_aside = "its disk is full"
        double.tell()
        await until(lambda: double.polls[-1].slots == 0)
        assert double.polls[-1].holding == ["a"]
        assert yard.jobs["a"].heard == []


async def test_an_agent_that_leaves_when_idle_leaves_when_it_is_set_aside() -> None:
    double = Double()
    double.set_aside = "its disk is full"
    async with Yard(double, exit_when_idle=True).at_work() as task:
        await task
