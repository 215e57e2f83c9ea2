"""
What nobody asks for and must happen all the same: leases run out, old answers are forgotten.

Safe on any number of servers at once: each skips the rows that another has in hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from runyard.server.auth import Keys
from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import Metrics
from runyard.server.presence import Presence
from runyard.services import sweeping
from runyard.services.call import Call
from runyard.services.tracking import life
from runyard.store import idempotency

Sweep = Callable[[Call], int]
_AGE_EVERY: Final = timedelta(seconds=30)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    expired: int
    forgotten: int


class Sweeper:
    def __init__(self, edge: Edge, metrics: Metrics, silence: timedelta) -> None:
        self._edge, self._metrics, self._silence = edge, metrics, silence
        self._aged_at: datetime | None = None

    async def run_once(self) -> Swept:
        """Do what is overdue by the edge's clock."""
        swept = {work.__name__: await self._all(work) for work in self._due()}
        swept["crash_silent"] = await self._all(lambda call: life.crash_silent(call, self._silence))
        forgotten = await self._edge.write(
            SERVER, lambda call: idempotency.forget_old(call.tx, call.now)
        )
        for what, items in swept.items():
            if items:
                log.info("swept", what=what, items=items)
            self._metrics.swept.labels(what).inc(items)
        self._metrics.swept.labels("idempotency").inc(forgotten)
        return Swept(swept["expire"], forgotten)

    def _due(self) -> list[Sweep]:
        """Return what is to be swept now; raising what has waited long is in no hurry."""
        now = self._edge.clock()
        if self._aged_at is not None and now - self._aged_at < _AGE_EVERY:
            return [sweep for sweep in sweeping.SWEEPS if sweep is not sweeping.age]
        self._aged_at = now
        return list(sweeping.SWEEPS)

    async def _all(self, sweep: Sweep) -> int:
        total = 0
        while some := await self._edge.write(SERVER, sweep):
            total += some
        return total


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` again and again; a failure is logged and does not end it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            log.exception("a background task failed; it goes on")


async def note_life(presence: Presence, keys: Keys) -> None:
    """Write which agents live and which keys are used."""
    await presence.flush()
    await keys.flush()
