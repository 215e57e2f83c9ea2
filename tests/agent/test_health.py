"""Looks at a host that is well, and at hosts that are not: real files, a real full disk."""

import os
import shutil
from pathlib import Path

import pytest

from runyard.agent import health
from runyard.agent.health import Host, room, takes_a_file
from runyard.domain.errors import Unavailable
from runyard.testing.scripted import ScriptedDriver, Stage

pytestmark = pytest.mark.anyio


def host(root: Path, **more) -> Host:
    driver = ScriptedDriver(more.pop("stage", None) or Stage())
    return Host(root, lambda: [driver], more.pop("gpus_now", tuple), **more)


async def found(host: Host) -> dict[str, str]:
    """Return the failed checks with what they say."""
    return {check.name: check.detail for check in await host.look() if not check.ok}


async def test_a_well_host_passes_and_nothing_is_left_of_the_look(tmp_path: Path) -> None:
    checks = await host(tmp_path / "agent").look()
    assert [(c.name, c.ok) for c in checks] == [
        ("disk", True), ("write", True), ("tools", True), ("scripted", True),
    ]  # fmt: skip
    assert all(check.detail for check in checks)
    assert list((tmp_path / "agent").iterdir()) == []


async def test_too_little_room_is_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(health, "MIN_FREE", 1 << 60)
    assert "MiB free on" in (await found(host(tmp_path)))["disk"]


async def test_too_few_inodes_are_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(health, "MIN_INODES", 1 << 60)
    assert "files can be made on" in (await found(host(tmp_path)))["disk"]


def test_a_directory_that_is_yet_to_be_made_is_measured_by_its_parent(tmp_path: Path) -> None:
    assert str(tmp_path) in room(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


async def test_a_disk_that_takes_no_file_is_found(tmp_path: Path) -> None:
    place = tmp_path / "agent"
    place.write_text("a file where the directory should be")
    assert "write" in await found(host(place))


def test_a_device_without_room_takes_no_file(tmp_path: Path, monkeypatch) -> None:
    """/dev/full is the kernel's own full disk."""
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *_: opened("/dev/full", os.O_RDWR))
    with pytest.raises(OSError, match="No space left"):
        takes_a_file(tmp_path)


async def test_an_engine_that_does_not_answer_is_found(tmp_path: Path) -> None:
    stage = Stage()
    stage.is_reachable = False
    assert await found(host(tmp_path, stage=stage)) == {"scripted": "the stage cannot be reached"}


async def test_an_engines_disk_is_measured_too(tmp_path: Path, monkeypatch) -> None:
    engine = Stage()
    one = host(tmp_path / "agent", stage=engine)
    (driver,) = one.drivers()

    async def disks():
        return [tmp_path / "agent" / "below", tmp_path]

    monkeypatch.setattr(driver, "disks", disks)
    names = [check.name for check in await one.look()]
    assert names.count("scripted disk") == 1  # what is below the agent's own is measured already


async def test_an_engine_that_cannot_name_its_disk_has_none(tmp_path: Path) -> None:
    stage = Stage()
    stage.fail("disks", Unavailable("broke off"))
    assert await found(host(tmp_path, stage=stage)) == {}


async def test_a_tool_that_was_there_has_to_stay(tmp_path: Path) -> None:
    tool = tmp_path / "git"
    shutil.copy("/bin/true", tool)
    one = host(tmp_path, tools={"git": str(tool)})
    assert await found(one) == {}
    tool.unlink()
    assert await found(one) == {"tools": "not there any more: git"}


async def test_gpus_that_were_there_have_to_stay(tmp_path: Path) -> None:
    now = ["0", "1"]
    one = host(tmp_path, gpus=("0", "1"), gpus_now=lambda: now)
    assert await found(one) == {}
    now.remove("1")
    assert await found(one) == {"gpus": "not there any more: 1"}


async def test_what_never_answers_is_given_up(tmp_path: Path, monkeypatch) -> None:
    import asyncio

    monkeypatch.setattr(health, "LIMIT", 0.05)
    one = host(tmp_path)
    (driver,) = one.drivers()

    async def hang():
        await asyncio.sleep(60)

    monkeypatch.setattr(driver, "check", hang)
    assert (await found(one))["scripted"].startswith("no answer within")


def test_this_host_has_what_the_agent_needs() -> None:
    assert {"python", "uv", "git"} <= health.tools().keys()


async def test_a_driver_that_breaks_is_found_wanting_and_breaks_nothing(
    tmp_path: Path, monkeypatch
) -> None:
    one = host(tmp_path)
    (driver,) = one.drivers()

    async def broken():
        raise RuntimeError("oops")

    monkeypatch.setattr(driver, "check", broken)
    monkeypatch.setattr(driver, "disks", broken)
    assert "oops" in (await found(one))["scripted"]
