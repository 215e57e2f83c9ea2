"""What an attempt makes of its host's faults: they are told apart from the job's."""

import asyncio
import errno
import os
from datetime import timedelta

import pytest

from runyard.agent import patience
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.drivers.base import Unreached
from runyard.testing.scripted import Stage, runs_until_stopped
from tests.agent.double import Double, spec
from tests.agent.test_attempt import Yard, run, until

pytestmark = pytest.mark.anyio
SOON = timedelta(milliseconds=5)


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def double():
    return Double(i1=spec())


@pytest.fixture
def yard(tmp_path, double, stage):
    return Yard(tmp_path, double, stage)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/agent/attempts")


async def failure(yard):
    return (await run(yard)).items["i1"].failure


async def test_a_full_disk_is_the_hosts(yard, stage):
    yard.files.act = full
    failed = await failure(yard)
    assert failed.host
    assert (failed.stage, stage.started) == ("fetch", [])
    assert "no space left on device: /var/lib/agent/attempts" in failed.message


async def test_a_full_disk_where_the_note_is_written_is_the_hosts(yard, stage, monkeypatch):
    monkeypatch.setattr(yard.bench.workspaces, "write_note", full)
    assert (await failure(yard)).host
    assert stage.started == []


@pytest.mark.parametrize(
    ("error", "is_hosts"),
    [(HostFault("no way to the registry"), True), (Rejected("no such image"), False)],
)
async def test_a_driver_says_whose_fault_it_is(yard, stage, error, is_hosts):
    stage.fail("submit", error)
    failed = await failure(yard)
    assert (failed.host, failed.stage, failed.message) == (is_hosts, "run", error.message)


async def test_what_has_run_is_not_run_again_elsewhere(yard, stage, monkeypatch):
    stage.program = lambda _: runs_until_stopped()

    async def broken(handle, *, offset=0):
        await until(lambda: yard.stage.started)
        await asyncio.sleep(0.1)
        full()
        yield b""

    monkeypatch.setattr(yard.driver, "logs", broken)
    failed = await failure(yard)
    assert "no space left" in failed.message
    assert not failed.host


async def test_a_start_that_is_late_for_want_of_the_engine_is_the_hosts(yard, stage, double):
    double.items["i1"].start_timeout = 1
    stage.fail("submit", Unavailable("no engine", retry_after=SOON), times=100_000)
    failed = await failure(yard)
    assert failed.host
    assert "not running 1 s after the claim: no engine" in failed.message


async def test_a_start_that_is_late_in_the_engines_queue_is_not(yard, stage, double):
    double.items["i1"].start_timeout = 1
    stage.is_full = True
    assert not (await failure(yard)).host


async def test_a_start_that_is_late_by_its_files_is_not(yard, stage, double):
    double.items["i1"].start_timeout = 1

    def away(_):
        raise Unavailable("the remote cannot be reached", retry_after=SOON)

    yard.files.act = away
    assert not (await failure(yard)).host


async def test_an_engine_that_is_away_for_long_lets_the_item_go(yard, stage, monkeypatch):
    monkeypatch.setattr(patience, "ENGINE_PATIENCE", 0.2)
    stage.fail("submit", Unreached("no engine", retry_after=SOON), times=100_000)
    stage.fail("leftovers", Unavailable("no engine", retry_after=SOON), times=100_000)
    failed = await failure(yard)  # nothing was begun, so there is nothing to wait for
    assert failed.host
    assert failed.message == "no engine"


async def test_an_engine_that_went_in_the_midst_is_asked_what_became_of_it(
    yard, stage, monkeypatch
):
    monkeypatch.setattr(patience, "ENGINE_PATIENCE", 0.2)
    stage.fail("submit", Unavailable("broke off", retry_after=SOON))
    stage.fail("submit", Unreached("no engine", retry_after=SOON), times=100_000)
    asked = []
    leftovers = yard.driver.leftovers

    async def counted(keep):
        asked.append(keep)
        return await leftovers(keep)

    yard.driver.leftovers = counted
    assert (await failure(yard)).host
    assert asked == [set()]


async def test_an_engine_that_comes_back_in_time_is_no_fault(yard, stage, double):
    stage.fail("submit", Unreached("no engine", retry_after=SOON), times=5)
    await run(yard)
    assert double.items["i1"].exit_code == 0
