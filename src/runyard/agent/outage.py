"""
Sitting out a server that cannot be reached: with growing, scattered pauses, and in two lines of
log, one when it goes and one when it is back, however many callers notice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from runyard.domain.errors import Unavailable

T = TypeVar("T")
logger = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds


def pause(failures: int) -> float:
    """Return how many seconds to wait after that many failures in a row.

    Scattered over half of the span, so that a thousand agents do not come back at once.
    """
    span = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
    return span * random.uniform(0.5, 1.0)


class Line:
    """The line to the server: up or down, as its callers last found it."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self.is_down = False

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the server can be asked.

        Raises:
            RunyardError: what the server answers, but never `Unavailable`.
        """
        failures = 0
        while True:
            try:
                answer = await call()
            except Unavailable as error:
                failures += 1
                self._down(error)
                await asyncio.sleep(pause(failures))
            else:
                self._up()
                return answer

    def _down(self, error: Unavailable) -> None:
        if not self.is_down:
            self.is_down = True
            logger.warning(
                "server cannot be reached; jobs go on, and the agent keeps trying",
                server=self._base_url,
                error=error.message,
            )

    def _up(self) -> None:
        if self.is_down:
            self.is_down = False
            logger.info("server is back", server=self._base_url)
