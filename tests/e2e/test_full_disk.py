"""
An agent whose disk is full is set aside after three items; the items run elsewhere.

The disk is a real one, small, and mounted for the test, which takes root; CI has it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.harness.yard import Program, Yard
from tests.e2e.conftest import runyard, until

ITEMS = 6
SIZE = 320  # MiB; more than a check of the host asks to be free
STEP = """
import sys, time
time.sleep(0.7)
print("ran", sys.argv[1], flush=True)
"""


class Disk:
    """A file system with a size, mounted on the directory that the agent works in."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._filler = place / "filler"

    def fill(self) -> None:
        block = bytes(1 << 20)
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(block)
        # The last pages, and the room for names.
        with suppress(OSError):
            for n in range(10_000):
                (self.place / f"filler-{n}").write_bytes(bytes(4096))
        assert os.statvfs(self.place).f_bavail == 0

    def clear(self) -> None:
        for file in self.place.glob("filler*"):
            file.unlink()


@pytest.fixture
def disk(yard: Yard) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("mounting a disk takes root; CI has it")
    place = yard.root / "agent-bad" / "agent"
    place.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={SIZE}m,mode=0700", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def shown(yard: Yard, name: str):
    with yard.api() as api:
        (found,) = [a for a in api.agents() if a.name == name]
        return found


def begin(yard: Yard) -> list[str]:
    job = yard.add_job({"step.py": STEP}, ["python", "step.py"])
    with yard.api() as api:
        specs = [{"job": job, "overrides": {"args": [str(n)]}} for n in range(ITEMS)]
        return [item.id for item in api.submit(yard.entity, "q", specs).items]


def agent(yard: Yard, name: str) -> Program:
    made = yard.add_agent("q", name=name, max_jobs=1)
    until(lambda: name in {a.name for a in _agents(yard)})
    return made


def _agents(yard: Yard):
    with yard.api() as api:
        return list(api.agents())


def test_an_agent_with_a_full_disk_is_set_aside_and_the_items_run_elsewhere(
    yard: Yard, disk: Disk
) -> None:
    yard.add_queue("q")
    bad = agent(yard, "bad")
    until(lambda: (disk.place / "bad" / "local-process").exists())
    disk.fill()
    items = begin(yard)
    until(lambda: shown(yard, "bad").set_aside_at is not None)
    agent(yard, "good")
    check_all_ran_on_the_good_one(yard, items)

    found = shown(yard, "bad")
    assert found.strikes == 3
    assert "no space left on device" in found.set_aside_why
    until(lambda: "0 MiB free" in shown(yard, "bad").set_aside_why)  # what its own look found
    assert "SET ASIDE" in runyard(yard, "agent", "list").stdout
    assert bad.runs

    disk.clear()
    assert runyard(yard, "agent", "readmit", "bad").returncode == 0
    runyard(yard, "agent", "set-aside", "good")
    (again, *_) = begin(yard)
    with yard.api() as api:
        until(lambda: api.item(again).ended_at is not None)
        assert (api.item(again).status, api.item(again).agent) == ("Finished", "bad")
    assert shown(yard, "bad").strikes == 0


def test_a_bad_agent_beside_a_good_one_costs_no_item(yard: Yard, disk: Disk) -> None:
    yard.add_queue("q")
    agent(yard, "bad")
    agent(yard, "good")
    until(lambda: (disk.place / "bad" / "local-process").exists())
    disk.fill()
    items = begin(yard)
    check_all_ran_on_the_good_one(yard, items)
    assert shown(yard, "bad").strikes == 3
    assert shown(yard, "bad").set_aside_at is not None
    assert shown(yard, "good").strikes == 0


def check_all_ran_on_the_good_one(yard: Yard, items: list[str]) -> None:
    with yard.api() as api:
        until(lambda: all(api.item(i).ended_at for i in items), seconds=90)
        ended = [api.item(i) for i in items]
    assert [(i.status, i.exit_code, i.agent) for i in ended] == [("Finished", 0, "good")] * ITEMS
