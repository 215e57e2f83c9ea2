"""
A driver in memory that does as it is told, held to the same laws as the real ones.

A `Stage` is the backend: it lives on while drivers on it come and go, as an engine outlives
agents. What a workload does is an async function, its `Program`:

    stage = Stage(lambda workload: ends(3, b"oh no\\n"))
    stage.fail("submit", Unavailable("busy"), times=2)
    driver = ScriptedDriver(stage)
    ...
    assert stage.started == ["the-key"]
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from runyard.domain.errors import Unavailable
from runyard.domain.variables import MASK
from runyard.domain.workloads import Handle, Observation, Phase, Workload
from runyard.drivers.base import Capabilities

_KILLED = 137


@dataclass(eq=False)
class Act:
    """One workload on the stage: what its program may use, and what is seen of it."""

    workload: Workload
    output: bytearray = field(default_factory=bytearray)
    asked_to_stop: asyncio.Event = field(default_factory=asyncio.Event)
    seen: Observation = field(default_factory=lambda: Observation(Phase.QUEUED))
    task: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def print(self, output: bytes) -> None:
        self.output += output
        self.announce()

    def show(self, seen: Observation) -> None:
        self.seen = seen
        self.announce()

    def announce(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        await self._changed.wait()


Program = Callable[[Act], Awaitable[int | Observation]]


def ends(code: int = 0, output: bytes = b"", *, after: float = 0.0) -> Program:
    """Return a program that prints, and ends with `code` after some seconds."""

    async def program(act: Act) -> int:
        act.print(output)
        await asyncio.sleep(after)
        return code

    return program


def runs_until_stopped(code: int = 143, output: bytes = b"") -> Program:
    """Return a program that prints, and ends with `code` when it is asked to stop."""

    async def program(act: Act) -> int:
        act.print(output)
        await act.asked_to_stop.wait()
        return code

    return program


def is_preempted(reason: str = "preempted", *, after: float = 0.0) -> Program:
    async def program(_: Act) -> Observation:
        await asyncio.sleep(after)
        return Observation(Phase.PREEMPTED, reason=reason)

    return program


class Stage:
    """The backend: workloads by key, what was started, and which calls are to fail."""

    def __init__(self, program: Callable[[Workload], Program] = lambda _: ends()) -> None:
        self.program = program
        self.acts: dict[str, Act] = {}
        self.started: list[str] = []  # keys, each as often as something was started for it
        self.stopped: list[str] = []
        self.discarded: list[str] = []
        self.is_reachable = True
        self.is_full = False  # workloads stay QUEUED until `make_room`
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self._room = asyncio.Event()

    def fail(self, call: str, error: Exception, *, times: int = 1) -> None:
        """Make the next calls of a driver's method raise `error`."""
        self._failures[call] += [error] * times

    def make_room(self) -> None:
        self.is_full = False
        self._room.set()

    def lose(self, key: str) -> None:
        """Remove a workload behind the driver's back: it is GONE."""
        act = self.acts.pop(key)
        if act.task is not None:
            act.task.cancel()
        act.show(Observation(Phase.GONE, reason="nobody knows of it"))

    def asked(self, call: str) -> None:
        """Raise what this call was told to raise."""
        if not self.is_reachable:
            raise Unavailable("the stage cannot be reached", retry_after=timedelta())
        if self._failures[call]:
            raise self._failures[call].pop(0)

    def start(self, workload: Workload) -> None:
        if workload.key not in self.acts:
            act = self.acts[workload.key] = Act(workload)
            act.task = asyncio.create_task(self._play(act))

    async def _play(self, act: Act) -> None:
        if self.is_full:
            await self._room.wait()
        self.started.append(act.workload.key)
        act.show(Observation(Phase.RUNNING))
        try:
            end = await self.program(act.workload)(act)
        except asyncio.CancelledError:
            end = _KILLED
        act.show(end if isinstance(end, Observation) else Observation(Phase.EXITED, end))


class ScriptedDriver:
    capabilities = Capabilities(needs_image=False, host_bound=False)

    def __init__(self, stage: Stage, *, name: str = "scripted") -> None:
        self.name = name
        self.stage = stage

    async def check(self) -> None:
        self.stage.asked("check")

    async def disks(self) -> Collection[Path]:
        self.stage.asked("disks")
        return ()

    def render(self, workload: Workload, /) -> Mapping[str, Any]:
        return {
            "argv": [*workload.entry_point, *workload.args],
            "env": {**workload.env, **dict.fromkeys(workload.secrets, MASK)},
        }

    async def submit(self, workload: Workload, /) -> Handle:
        self.stage.asked("submit")
        self.stage.start(workload)
        return self._handle(workload.key)

    async def watch(self, handle: Handle, /) -> AsyncGenerator[Observation, None]:
        self.stage.asked("watch")
        act = self.stage.acts.get(handle.data["key"])
        if act is None:
            yield Observation(Phase.GONE, reason="nobody knows of it")
            return
        last = None
        while last is None or not last.phase.is_final:
            if act.seen != last:
                last = act.seen
                yield last
            else:
                await act.change()
                self.stage.asked("watch")

    async def stop(self, handle: Handle, /, *, grace: timedelta) -> None:
        self.stage.asked("stop")
        self.stage.stopped.append(handle.data["key"])
        act = self.stage.acts.get(handle.data["key"])
        if act is None or act.task is None:
            return
        act.asked_to_stop.set()
        await asyncio.wait([act.task], timeout=grace.total_seconds())
        act.task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([act.task])
        if not act.seen.phase.is_final:  # it never got as far as running
            act.show(Observation(Phase.EXITED, _KILLED))

    async def logs(self, handle: Handle, /, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        self.stage.asked("logs")
        act = self.stage.acts.get(handle.data["key"])
        while act is not None:
            is_over = act.seen.phase.is_final
            if chunk := bytes(act.output[offset:]):
                yield chunk
                offset += len(chunk)
            elif is_over:
                return
            else:
                await act.change()
                self.stage.asked("logs")

    async def discard(self, handle: Handle, /) -> None:
        self.stage.asked("discard")
        self.stage.discarded.append(handle.data["key"])
        if handle.data["key"] in self.stage.acts:
            self.stage.lose(handle.data["key"])

    async def leftovers(self, keep: Collection[str], /) -> Collection[Handle]:
        self.stage.asked("leftovers")
        return [self._handle(key) for key in self.stage.acts if key not in keep]

    async def close(self) -> None:
        pass

    def _handle(self, key: str) -> Handle:
        return Handle(self.name, 1, {"key": key})
