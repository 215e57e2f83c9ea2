import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runyard.agent import telling
from runyard.agent.attempt import Attempt
from runyard.agent.bench import Bench, Fetched
from runyard.agent.courier import Courier
from runyard.agent.gpus import GpuRack
from runyard.agent.logs import LogCourier
from runyard.agent.outage import Line
from runyard.agent.registry import Drivers
from runyard.agent.rendering import Draft, Grants
from runyard.agent.volume_settings import VolumeSettings
from runyard.agent.volumes import Volumes
from runyard.agent.workspace import Workspaces
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.workloads import Workload
from runyard.drivers.base import Capabilities
from runyard.testing.scripted import ScriptedDriver, Stage, ends, runs_until_stopped
from runyard.wire.agent import Held
from tests.agent.double import RUN_TOKEN, Double, spec

pytestmark = pytest.mark.anyio


class Files:
    """Sources that do what a test says, and keep what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.act: Callable[[Callable[[bytes], None]], Any] = lambda _: None

    async def fetch(self, held: Held, drafted: Draft, *, log: Callable[[bytes], None]) -> Fetched:
        self.asked.append(held.key)
        waiting = self.act(log)
        if waiting is not None:
            await waiting
        return Fetched()


class Yard:
    """A bench with a scripted backend and the server's double, for one agent process."""

    def __init__(self, root: Path, double: Double, stage: Stage, **capabilities: Any) -> None:
        self.double, self.stage, self.files = double, stage, Files()
        self.driver = ScriptedDriver(stage, name="local-process")
        self.driver.capabilities = Capabilities(**{"needs_image": False, **capabilities})
        line = Line("http://double")
        self.bench = Bench(
            courier=Courier(double, line),
            logs=LogCourier(double, line),
            drivers=Drivers(root, {}, made={"local-process": self.driver}),
            sources=self.files,
            workspaces=Workspaces(root / "attempts"),
            gpus=GpuRack(("0", "1")),
            grants=Grants({"HOME": "/root"}),
            base_url="http://double",
            live=set(),
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["Yard"]:
        tasks = [
            asyncio.create_task(self.bench.courier.carry()),
            asyncio.create_task(self.bench.logs.carry()),
        ]
        try:
            async with asyncio.timeout(60):
                yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def attempt(self, name: str = "i1") -> Attempt:
        return Attempt(self.double.hand_out(name), self.bench)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def double() -> Double:
    return Double(i1=spec())


@pytest.fixture
def yard(tmp_path: Path, double: Double, stage: Stage) -> Yard:
    return Yard(tmp_path, double, stage)


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def run(yard: Yard) -> Double:
    async with yard.at_work():
        await yard.attempt().run()
    return yard.double


async def test_an_item_is_claimed_then_started_kept_watched_and_discarded(
    yard, stage, double, monkeypatch
):
    monkeypatch.setattr(telling, "TELL_AFTER", 0.3)
    stage.program = lambda _: runs_until_stopped(3)
    async with yard.at_work():
        task = asyncio.create_task(yard.attempt().run())
        await until(lambda: "running:i1" in double.calls)
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task

    assert double.calls == ["claim:i1", "keep:i1", "running:i1", "exited:i1"]
    assert double.requests == [1, 2, 1]
    assert double.items["i1"].exit_code == 3
    assert (stage.started, stage.discarded, stage.acts) == (["ry-i1-1"], ["ry-i1-1"], {})
    assert not list(yard.bench.workspaces._root.iterdir())


async def test_a_short_job_costs_two_moves(yard, double, monkeypatch):
    monkeypatch.setattr(telling, "TELL_AFTER", 60.0)
    await run(yard)
    assert double.calls == ["claim:i1", "exited:i1"]


async def test_news_that_the_end_has_overtaken_is_not_told_after_it(yard, double):
    move = double.move

    async def slowly(moves: Any) -> Any:
        await asyncio.sleep(0.05)
        return await move(moves)

    double.move = slowly
    async with yard.at_work():
        await yard.attempt().run()
        await yard.bench.courier.settled()
    assert double.calls == ["claim:i1", "exited:i1"]
    assert double.requests == [1, 1]


async def test_all_output_is_on_the_server_before_the_end_is_reported(yard, stage):
    stage.program = lambda _: ends(0, b"line\n" * 1000)
    double = await run(yard)

    assert double.items["i1"].log == b"line\n" * 1000
    assert double.calls.index("log:i1") < double.calls.index("exited:i1")


async def test_secrets_are_blacked_out_of_the_output_and_of_failures(yard, stage, double):
    stage.program = lambda w: ends(0, f"key={w.secrets['WANDB_API_KEY']}\n".encode())
    await run(yard)
    assert double.items["i1"].log == b"key=" + b"*" * len(RUN_TOKEN) + b"\n"


async def test_the_server_may_be_away_at_any_time(yard, stage, double):
    stage.program = lambda _: runs_until_stopped(0, b"hello\n")
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: stage.started)
        double.is_up = False
        stage.acts["ry-i1-1"].print(b"while you were away\n")
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await asyncio.sleep(0.3)
        double.is_up = True
        await task

    assert double.items["i1"].log == b"hello\nwhile you were away\n"
    assert double.calls[-1] == "exited:i1"
    assert stage.started == ["ry-i1-1"]


async def test_output_that_the_server_has_lost_is_sent_again(yard, stage, double):
    stage.program = lambda _: runs_until_stopped(0, b"first\n")
    async with yard.at_work():
        task = asyncio.create_task(yard.attempt().run())
        await until(lambda: double.items["i1"].log == b"first\n")
        double.items["i1"].log.clear()
        stage.acts["ry-i1-1"].print(b"second\n")
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task

    assert double.items["i1"].log == b"first\nsecond\n"


async def test_T23_an_agent_that_lost_its_lease_ends_the_workload_and_reports_nothing(
    yard, stage, double
):
    stage.program = lambda _: runs_until_stopped()
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: "running:i1" in double.calls)
        double.hand_out("i1")  # to somebody else, while this agent slept
        said = list(double.calls)
        attempt.lose()
        await task

    assert stage.stopped == ["ry-i1-1"]
    assert double.calls == said


async def test_T23_a_refused_move_ends_the_workload_too(yard, stage, double):
    stage.program = lambda _: runs_until_stopped()
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: stage.started)
        double.hand_out("i1")
        await task

    assert stage.stopped == stage.started == ["ry-i1-1"]
    assert double.calls == ["claim:i1"]


async def test_T23_a_lease_that_expired_before_the_claim_starts_nothing(yard, stage, double):
    async with yard.at_work():
        attempt = yard.attempt()
        double.hand_out("i1")
        await attempt.run()
    assert (stage.started, double.calls) == ([], [])


async def test_a_wish_to_stop_reaches_the_workload_and_its_exit_is_reported(yard, stage, double):
    stage.program = lambda _: runs_until_stopped(143)
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: double.items["i1"].phases)
        attempt.stop(5)
        attempt.stop(5)
        await task

    assert (double.items["i1"].exit_code, stage.stopped) == (143, ["ry-i1-1"])


async def test_a_stop_while_fetching_starts_nothing(yard, stage, double):
    yard.files.act = lambda _: asyncio.sleep(60)
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: yard.files.asked)
        attempt.stop(5)
        await task

    assert stage.started == []
    assert double.items["i1"].failure.message == "stopped before it started"


async def test_a_stop_that_was_asked_before_adoption_ends_what_was_never_kept(
    tmp_path, yard, stage, double
):
    """The first process submitted and died before it could say so."""
    stage.program = lambda _: runs_until_stopped()
    item = double.items["i1"]
    item.state, item.attempt = "CLAIMED", 1
    stage.start(Workload("ry-i1-1"))
    double.stop("i1")
    await run(yard)

    assert (stage.stopped, item.state, item.failure.stage) == (["ry-i1-1"], "FAILED", "run")


async def test_what_the_driver_refuses_fails_before_the_claim(yard, stage, double):
    def refuse(workload: Workload) -> Any:
        raise Rejected("volume: the agent's settings do not allow it", hint="ask its operator")

    yard.driver.render = refuse  # type: ignore[method-assign]
    await run(yard)

    failure = double.items["i1"].failure
    assert double.calls == ["fail:i1"]
    assert failure.stage == "agent"
    assert failure.message.endswith("ask its operator")


async def test_a_source_that_cannot_be_had_fails_in_fetch_with_its_last_words(yard, double):
    def fail(log: Callable[[bytes], None]) -> None:
        log(b"resolving\n")
        raise Rejected("no such package")

    yard.files.act = fail
    await run(yard)

    failure = double.items["i1"].failure
    assert (failure.stage, failure.message, failure.detail) == (
        "fetch", "no such package", "resolving\n",
    )  # fmt: skip


async def test_a_bug_fails_the_item_with_a_traceback_that_shows_no_secret(yard, stage, double):
    stage.fail("submit", ZeroDivisionError(f"while using {RUN_TOKEN}"))
    await run(yard)

    failure = double.items["i1"].failure
    assert failure.stage == "run"
    assert "ZeroDivisionError" in failure.detail
    assert RUN_TOKEN not in failure.detail


async def test_a_backend_that_cannot_be_asked_is_waited_for(yard, stage, double):
    busy = Unavailable("busy", retry_after=timedelta())
    for call in ("submit", "watch", "logs", "discard"):
        stage.fail(call, busy, times=2)
    await run(yard)

    assert stage.started == ["ry-i1-1"]
    assert double.items["i1"].exit_code == 0


async def test_a_workload_that_does_not_run_in_time_is_ended_and_fails(yard, stage, double):
    stage.is_full = True
    double.items["i1"].start_timeout = 1
    await run(yard)

    failure = double.items["i1"].failure
    assert stage.started == []
    assert failure.stage == "run"
    assert "start_timeout" in failure.message


async def test_what_runs_has_all_the_time(yard, stage, double):
    stage.program = lambda _: ends(0, after=1.5)
    double.items["i1"].start_timeout = 1
    await run(yard)
    assert double.items["i1"].exit_code == 0


async def test_cancelling_leaves_the_workload_to_the_next_process(tmp_path, yard, stage, double):
    stage.program = lambda w: runs_until_stopped(
        0, b"a secret: " + w.secrets["WANDB_API_KEY"].encode() + b"\n"
    )
    async with yard.at_work():
        task = asyncio.create_task(yard.attempt().run())
        await until(lambda: double.items["i1"].log)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (stage.stopped, stage.discarded) == ([], [])

    successor = Yard(tmp_path, double, stage)
    stage.acts["ry-i1-1"].print(RUN_TOKEN.encode())
    stage.acts["ry-i1-1"].asked_to_stop.set()
    await run(successor)

    item = double.items["i1"]
    stars = b"*" * len(RUN_TOKEN)
    assert (item.exit_code, stage.started) == (0, ["ry-i1-1"])
    assert item.log == b"a secret: " + stars + b"\n" + stars
    assert successor.files.asked == []


async def test_a_claim_without_a_handle_is_submitted_again_and_started_once(
    yard, stage, double, monkeypatch
):
    monkeypatch.setattr(telling, "TELL_AFTER", 60.0)
    item = double.items["i1"]
    item.state, item.attempt = "CLAIMED", 1
    stage.program = lambda _: ends(0)
    stage.start(Workload("ry-i1-1"))
    await run(yard)

    assert (stage.started, item.exit_code) == (["ry-i1-1"], 0)
    assert double.calls == ["exited:i1"]  # and no second claim


async def test_gpus_are_given_to_one_job_at_a_time(tmp_path, double, stage):
    seen = []

    def program(workload: Workload) -> Any:
        seen.append(workload.gpus)
        return runs_until_stopped(0)

    stage.program = program
    double.items["i1"].spec = spec(config={"gpus": 1})
    double.submit("i2", spec("i2", config={"gpus": "all"}))
    yard = Yard(tmp_path, double, stage, takes_gpus=True)
    async with yard.at_work():
        tasks = [asyncio.create_task(yard.attempt(name).run()) for name in ("i1", "i2")]
        await double.until("i1", "CLAIMED")
        await until(lambda: seen)
        assert (seen, double.items["i2"].state) == ([("0",)], "LEASED")
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await double.until("i2", "CLAIMED")
        await until(lambda: len(seen) == 2)
        stage.acts["ry-i2-1"].asked_to_stop.set()
        await asyncio.gather(*tasks)

    assert seen == [("0",), ("0", "1")]


async def test_the_server_is_told_how_many_gpus_a_workload_has(tmp_path, double, stage):
    stage.program = lambda _: runs_until_stopped(0)
    double.items["i1"].spec = spec(config={"gpus": "all"})
    yard = Yard(tmp_path, double, stage, takes_gpus=True)
    async with yard.at_work():
        task = asyncio.create_task(yard.attempt().run())
        await until(lambda: "keep:i1" in double.calls)
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task
    assert double.items["i1"].gpus == 2


async def test_gpus_of_an_adopted_workload_stay_taken(tmp_path, double, stage):
    stage.program = lambda _: runs_until_stopped(0)
    double.items["i1"].spec = spec(config={"gpus": 1})
    double.submit("i2", spec("i2", config={"gpus": 1}))
    first = Yard(tmp_path, double, stage, takes_gpus=True)
    async with first.at_work():
        task = asyncio.create_task(first.attempt().run())
        await until(lambda: double.items["i1"].handle)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    second = Yard(tmp_path, double, stage, takes_gpus=True)
    async with second.at_work():
        tasks = [asyncio.create_task(second.attempt(name).run()) for name in ("i1", "i2")]
        await until(lambda: len(stage.started) == 2)
        assert stage.acts["ry-i2-1"].workload.gpus == ("1",)
        for act in list(stage.acts.values()):
            act.asked_to_stop.set()
        await asyncio.gather(*tasks)


def lending(root: Path, double: Double, stage: Stage) -> Yard:
    yard = Yard(root, double, stage, takes_volumes=True)
    volumes = Volumes({"pip": VolumeSettings(quota_mb=0)}, root / "volumes")
    grants = replace(yard.bench.grants, volumes=volumes.table)
    yard.bench = replace(yard.bench, volumes=volumes, grants=grants)
    return yard


async def is_swept(yard: Yard) -> bool:
    return await yard.bench.volumes.sweep("pip", datetime.now(UTC)) is not None


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_volume_is_in_use_until_its_workload_has_ended_whoever_began_it(
    tmp_path, double, stage, keeps
):
    stage.program = lambda _: runs_until_stopped(0)
    double.items["i1"].spec = spec(config={"volumes": ["pip"]})
    first = lending(tmp_path, double, stage)
    async with first.at_work():
        task = asyncio.create_task(first.attempt().run())
        await until(lambda: double.items["i1"].handle)
        assert not await is_swept(first)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not await is_swept(first)  # it left, and the workload runs on
    (mount,) = stage.acts["ry-i1-1"].workload.mounts
    assert (mount.source, mount.env) == (str(tmp_path / "volumes" / "pip"), ("PIP_CACHE_DIR",))
    os.close(first.bench.volumes._places["pip"].lock)  # as the end of its process would
    if not keeps:
        double.items["i1"].handle = None

    second = lending(tmp_path, double, stage)
    async with second.at_work():
        task = asyncio.create_task(second.attempt().run())
        await asyncio.sleep(0)
        assert not await is_swept(second)
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task
        assert await is_swept(second)


async def test_a_volume_that_is_not_lent_fails_before_the_claim(tmp_path, double, stage):
    double.items["i1"].spec = spec(config={"volumes": ["pipp"]})
    await run(lending(tmp_path, double, stage))
    assert double.calls == ["fail:i1"]
    assert "it has pip" in double.items["i1"].failure.message


async def test_more_gpus_than_there_are_fail_at_once(tmp_path, double, stage):
    double.items["i1"].spec = spec(config={"gpus": 3})
    await run(Yard(tmp_path, double, stage, takes_gpus=True))

    assert "3 asked for, and this agent's devices are: 0, 1" in double.items["i1"].failure.message
    assert double.calls == ["fail:i1"]


async def test_a_claimed_item_is_not_given_back(yard, stage, double):
    stage.program = lambda _: runs_until_stopped(0)
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await until(lambda: stage.started)
        attempt.give_back()
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task
    assert double.calls[-1] == "exited:i1"


async def test_a_refusal_that_quotes_a_secret_shows_stars(yard, stage, double):
    stage.fail("submit", Rejected(f"bad value {RUN_TOKEN}"))
    await run(yard)
    assert double.items["i1"].failure.message == "bad value " + "*" * len(RUN_TOKEN)


async def test_an_item_that_waits_for_gpus_goes_back_when_the_agent_drains(tmp_path, double, stage):
    double.items["i1"].spec = spec(config={"gpus": "all"})
    yard = Yard(tmp_path, double, stage, takes_gpus=True)
    yard.bench.gpus.hold("another", ("0",))
    async with yard.at_work():
        attempt = yard.attempt()
        task = asyncio.create_task(attempt.run())
        await asyncio.sleep(0.01)
        attempt.give_back()
        await task

    assert (double.calls, double.items["i1"].state) == (["release:i1"], "PENDING")
