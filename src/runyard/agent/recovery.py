"""
The way back of an agent that was set aside: look at the host, tell the server, wait, look again.

The first look comes at once; each further one after a longer pause. An agent that is set aside
again soon after it came back has something that its looks do not see, so then the pause comes
first, and is longer each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from runyard.domain.errors import RunyardError
from runyard.wire.health import Check, Checked

logger = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3600.0  # seconds
RELAPSE: Final = 3600.0  # seconds after coming back, within which being set aside is a relapse


def pause(times: int) -> float:
    """Return how many seconds to wait before the look after `times` in vain; scattered."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(times - 1, 16)) * random.uniform(0.9, 1.1)


class Recovery:
    """`look` checks the host; `tell` hands the outcome in. `carry` must run as a task."""

    def __init__(
        self,
        look: Callable[[], Awaitable[list[Check]]],
        tell: Callable[[Sequence[Check]], Awaitable[Checked]],
    ) -> None:
        self._look, self._tell = look, tell
        self._why = ""
        self._changed = asyncio.Event()
        self._relapses = 0
        self._back_at: float | None = None

    def heed(self, why: str) -> None:
        """Take the server's word: why this agent is set aside, or "" if it is in use."""
        if why == self._why:
            return
        was, self._why = self._why, why
        if why and not was:
            logger.warning("set aside: nothing new is taken until a check of this host", why=why)
        elif not why:
            logger.info("in use again")
            self._back_at = asyncio.get_running_loop().time()
        self._changed.set()

    async def carry(self) -> None:
        """Bring the agent back whenever it is set aside.

        Raises:
            StaleEpoch, Unauthenticated: this process counts no more.
        """
        while True:
            while not self._why:
                await self._next_word(None)
            await self._come_back()

    async def _come_back(self) -> None:
        clock = asyncio.get_running_loop().time
        soon = self._back_at is not None and clock() - self._back_at < RELAPSE
        self._relapses = self._relapses + 1 if soon else 0
        in_vain = self._relapses
        while True:
            if in_vain and await self._is_back_within(pause(in_vain)):
                return
            checks = await self._look()
            if not self._why:
                return
            try:
                answer = await self._tell(checks)
            except RunyardError as error:
                if error.code in ("stale_epoch", "unauthenticated"):
                    raise
                logger.warning("the check was not taken", why=error.message)
            else:
                self.heed(answer.set_aside)
            if not self._why:
                return
            in_vain += 1

    async def _is_back_within(self, seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        while self._why and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._next_word(left)
        return not self._why

    async def _next_word(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
