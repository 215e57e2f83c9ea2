"""The driver that tests use is held to the laws as well, or they would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from runyard.domain.workloads import Workload
from runyard.drivers.base import Driver
from runyard.testing.driver_laws import Connect, DriverLaws
from runyard.testing.scripted import Act, Program, ScriptedDriver, Stage, ends, runs_until_stopped


async def _speaks_in_turns(act: Act) -> int:
    for words in (b"one\n", b"two\n"):
        act.print(words)
        await asyncio.sleep(0.01)
    act.print(b"three")
    return 0


async def _saves(act: Act) -> int:
    act.print(b"up\n")
    await act.asked_to_stop.wait()
    act.print(b"saved\n")
    return 4


async def _ticks(act: Act) -> int:
    act.print(b"up\n")
    while True:
        act.print(b"tick\n")
        await asyncio.sleep(0.05)


async def _prints_its_variables(act: Act) -> int:
    act.print(f"{act.workload.env['PLAIN']} {act.workload.secrets['TOKEN']}\n".encode())
    return 0


# what each of the laws' scripts does, by the words that tell it apart
_PROGRAMS: Mapping[str, Program] = {
    "three": _speaks_in_turns,
    "yes ": ends(0, (b"x" * 99 + b"\n") * 50_000 + b"end\n"),
    r"\377": ends(0, b"a\xff\x00\r\x1b[1mb"),
    "saved": _saves,
    "tick": _ticks,
    "trap ''": _ticks,
    "while": runs_until_stopped(143, b"up\n"),
    "sleep 600": runs_until_stopped(),
    "PLAIN": _prints_its_variables,
    "exit 7": ends(7, b"out\n", after=0.1),
    "sleep 2; exit 5": ends(5, b"up\n", after=0.3),
    "echo up; sleep 2": ends(0, b"up\n", after=0.1),
    "echo ran": ends(0, b"ran\n"),
    **{f"exit {code}": ends(code) for code in (137, 5, 3, 0)},
}


def _program(workload: Workload) -> Program:
    return next(play for words, play in _PROGRAMS.items() if words in workload.args[0])


class TestScriptedDriver(DriverLaws):
    @pytest.fixture
    def connect(self) -> Connect:
        stage = Stage(_program)
        return lambda: ScriptedDriver(stage)

    @pytest.fixture
    def cut_off(self) -> Driver:
        stage = Stage()
        stage.is_reachable = False
        return ScriptedDriver(stage)

    def shell(self, script: str, key: str) -> Workload:
        return Workload(key, ("/bin/sh", "-c"), (script,))
