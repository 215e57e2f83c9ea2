import asyncio
import os
from pathlib import Path

import pytest

from runyard.agent.gpus import GpuRack, discover
from runyard.domain.errors import Rejected

pytestmark = pytest.mark.anyio


async def test_two_jobs_never_get_the_same_device() -> None:
    rack = GpuRack(("0", "1", "2"))
    assert await rack.take("a", 2) == ("0", "1")
    assert await rack.take("b", 1) == ("2",)

    waiting = asyncio.create_task(rack.take("c", 2))
    await asyncio.sleep(0)
    rack.free("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    rack.free("a")
    assert await waiting == ("0", "1")


async def test_who_waits_for_many_is_not_passed_by_who_wants_few() -> None:
    rack = GpuRack(("0", "1"))
    await rack.take("a", 1)
    many = asyncio.create_task(rack.take("b", "all"))
    few = asyncio.create_task(rack.take("c", 1))
    await asyncio.sleep(0.01)
    assert not few.done()
    rack.free("a")
    assert await many == ("0", "1")
    rack.free("b")
    assert await few == ("0",)


async def test_who_gives_up_waiting_lets_the_next_one_pass() -> None:
    rack = GpuRack(("0", "1"))
    await rack.take("a", 1)
    many = asyncio.create_task(rack.take("b", 2))
    few = asyncio.create_task(rack.take("c", 1))
    await asyncio.sleep(0.01)
    many.cancel()
    assert await few == ("1",)


async def test_devices_can_be_asked_for_by_index_and_shared_if_the_settings_say_so() -> None:
    rack = GpuRack(("0", "1"), shared=True)
    assert await rack.take("a", ("1",)) == ("1",)
    assert await rack.take("b", ("1",)) == ("1",)
    assert await rack.take("c", "all") == ("0", "1")


async def test_what_adopted_workloads_have_is_taken() -> None:
    rack = GpuRack(("0", "1"))
    rack.hold("old", ("0",))
    assert await rack.take("new", 1) == ("1",)


@pytest.mark.parametrize("wanted", [3, ("2",), ("0", "7")])
def test_what_this_host_does_not_have_is_refused(wanted: int | tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="devices are: 0, 1"):
        GpuRack(("0", "1")).check(wanted)


def test_all_of_none_is_refused_and_nothing_of_none_is_fine() -> None:
    with pytest.raises(Rejected):
        GpuRack(()).check("all")
    GpuRack(()).check(0)


def test_devices_are_found_by_the_vendors_tool_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert discover("auto") == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    assert discover("auto") == ("0", "1")
    assert discover("none") == ()
    assert discover([3, 5]) == ("3", "5")
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert discover("auto") == ()
    assert os.environ["PATH"] == str(tmp_path)
