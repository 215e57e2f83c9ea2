"""
What nobody asks for and must happen all the same: leases run out, old answers are forgotten.

Safe on any number of servers at once: each skips the rows that another has in hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from runyard.server.auth import Keys
from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import Metrics
from runyard.server.presence import Presence
from runyard.services import leasing
from runyard.store import idempotency

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    expired: int
    forgotten: int


class Sweeper:
    def __init__(self, edge: Edge, metrics: Metrics) -> None:
        self._edge, self._metrics = edge, metrics

    async def run_once(self) -> Swept:
        """Take back what is overdue by the edge's clock."""
        expired = 0
        while taken := await self._edge.write(SERVER, leasing.expire):
            expired += taken
        forgotten = await self._edge.write(
            SERVER, lambda call: idempotency.forget_old(call.tx, call.now)
        )
        if expired:
            log.info("leases ran out", items=expired)
        self._metrics.swept.labels("expired").inc(expired)
        self._metrics.swept.labels("idempotency").inc(forgotten)
        return Swept(expired, forgotten)


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
