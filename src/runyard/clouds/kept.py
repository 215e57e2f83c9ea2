"""A cloud's login to its registry, made anew shortly before it expires."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from runyard.domain.images import Login

MARGIN: Final = timedelta(minutes=10)  # so that a push which begins now ends in time


class KeptLogin:
    """Call it for a login; `make` is awaited by one at a time, when there is none that holds."""

    def __init__(
        self,
        make: Callable[[], Awaitable[Login]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._make, self._now = make, now
        self._kept: Login | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> Login:
        """Raises: whatever `make` does."""
        async with self._lock:
            kept = self._kept
            if kept is None or kept.expires_at is None or self._ends_soon(kept.expires_at):
                self._kept = kept = await self._make()
            return kept

    def _ends_soon(self, expires_at: datetime) -> bool:
        return expires_at - self._now() < MARGIN
