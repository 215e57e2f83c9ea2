"""Counts what happens to items, whichever server did it: see `services.counting`."""

from __future__ import annotations

from typing import Final

from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import Metrics
from runyard.services import counting

EVERY: Final = 2.0  # seconds
_MOST: Final = 50  # batches in one go


class Counting:
    def __init__(self, edge: Edge, metrics: Metrics) -> None:
        self._edge, self._metrics = edge, metrics
        self.behind = 0  # events that were not counted at the last look

    async def run_once(self) -> int:
        """Count what is new; return how many facts that were."""
        total = 0
        for _ in range(_MOST):
            # Looking costs a read; only if there is something, the database is written to.
            there = await self._edge.read(
                SERVER, lambda call: counting.unread(call, counting.CURSOR)
            )
            if there is not None:
                self.behind = there.behind + there.to - there.after
                self._metrics.behind.labels("counts").set(self.behind)
                if there.to == there.after:
                    break
            facts = await self._edge.write(SERVER, counting.count)
            # Only now: what is counted was committed. Should this process die in between, its
            # figures die with it.
            self._metrics.count(facts)
            total += len(facts)
            if there is None:
                break
        return total
