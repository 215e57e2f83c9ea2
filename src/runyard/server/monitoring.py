"""All of the server that watches and is watched: counts, gauges and traces."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from runyard.server import counting, tracing
from runyard.server.counting import Counting
from runyard.server.edge import SERVER, Edge
from runyard.server.gauges import Gauges
from runyard.server.metrics import Metrics
from runyard.server.settings import ServerSettings
from runyard.server.sweeper import every
from runyard.services import counting as counts


class Monitor:
    def __init__(self, edge: Edge, metrics: Metrics, settings: ServerSettings) -> None:
        self.metrics = metrics
        self.counting = Counting(edge, metrics)
        self.gauges = Gauges(edge, most=settings.metrics_queues)
        self.tracer = tracing.create(edge, metrics, settings)
        self._edge = edge

    async def begin(self) -> None:
        """Miss nothing from here on."""
        await self._edge.write(SERVER, lambda call: counts.begin(call, counts.CURSOR))
        if self.tracer is not None:
            await self.tracer.begin()

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on in the background, to be started and cancelled by the caller."""
        tasks = [every(counting.EVERY, self.counting.run_once)]
        if self.tracer is not None:
            tasks.append(every(tracing.EVERY, self.tracer.run_once))
        return tasks

    def close(self) -> None:
        if self.tracer is not None:
            self.tracer.close()
