"""All of the server that watches and is watched: counts, gauges and traces."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol

import structlog

from runyard.server import counting, tracing
from runyard.server.counting import Counting
from runyard.server.edge import SERVER, Edge
from runyard.server.gauges import Gauges
from runyard.server.metrics import Metrics
from runyard.server.settings import ServerSettings
from runyard.server.wakeups import Hub
from runyard.services import counting as counts

log = structlog.get_logger(__name__)

_LOOK_AT_LEAST: Final = 60.0  # seconds, should an announcement be lost


class Follower(Protocol):
    behind: int

    async def run_once(self) -> int: ...


class Monitor:
    def __init__(self, edge: Edge, hub: Hub, metrics: Metrics, settings: ServerSettings) -> None:
        self.metrics = metrics
        self.counting = Counting(edge, metrics)
        self.gauges = Gauges(edge, most=settings.metrics_queues)
        self.tracer = tracing.create(edge, metrics, settings)
        self._edge, self._hub = edge, hub

    async def begin(self) -> None:
        """Miss nothing from here on."""
        await self._edge.write(SERVER, lambda call: counts.begin(call, counts.CURSOR))
        if self.tracer is not None:
            await self.tracer.begin()

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on in the background, to be started and cancelled by the caller."""
        tasks = [self._follow(self.counting, counting.EVERY)]
        if self.tracer is not None:
            tasks.append(self._follow(self.tracer, tracing.EVERY))
        return tasks

    async def _follow(self, follower: Follower, seconds: float) -> None:
        """Let it run when there are events, and at most so often: where nothing happens, nothing
        is asked.
        """
        with self._hub.bell(["events"]) as bell:
            while True:
                await asyncio.sleep(seconds)
                bell.reset()
                try:
                    await follower.run_once()
                except Exception:
                    log.exception("a follower of events failed; it goes on")
                    continue
                if not follower.behind:
                    await bell.wait(_LOOK_AT_LEAST)

    def close(self) -> None:
        if self.tracer is not None:
            self.tracer.close()
