"""
How long an attempt waits: for whom it can ask again as long as it takes, for a workload that has
not started as long as the queue's policy says, for an engine that has gone a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.items import Stage
from runyard.domain.workloads import Phase
from runyard.drivers.base import Unreached
from runyard.wire.agent import Held

T = TypeVar("T")

ENGINE_PATIENCE: Final = 60.0  # seconds that an engine may be away before another host is better


class Patience:
    """One attempt's. `warn` tells the run's owner what is waited for."""

    def __init__(self, held: Held, warn: Callable[[Stage, str], None]) -> None:
        self._start_timeout = held.start_timeout_s
        self._queue = held.spec.get("queue", "QUEUE")
        self._warn = warn
        self._limit: asyncio.Timeout | None = None
        self._away = ""  # what was last said of an engine that does not answer

    async def insist(self, call: Callable[[], Awaitable[T]], stage: Stage) -> T:
        """Call until there is an answer.

        Raises:
            HostFault: an engine that nothing was begun with has been away for too long.
        """
        clock = asyncio.get_running_loop().time
        since: float | None = None
        while True:
            try:
                answer = await call()
            except Unavailable as error:
                self.is_away(stage, error)
                since = since or clock()
                if isinstance(error, Unreached) and clock() - since > ENGINE_PATIENCE:
                    raise HostFault(error.message) from error
                await asyncio.sleep(error.retry_after.total_seconds())
            else:
                self._away = ""
                return answer

    def is_away(self, stage: Stage, error: Unavailable) -> None:
        """Note that somebody could not be asked."""
        self._away = error.message if stage is Stage.RUN else ""
        self._warn(stage, error.message)

    async def within(self, seconds: float | None, work: Coroutine[Any, Any, None]) -> None:
        """Do the work; the workload must run in time. What runs already has all the time.

        Raises:
            Rejected, HostFault: it did not, the latter if that was for want of the engine.
        """
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limit = limit
                await work
        except TimeoutError:
            if not limit.expired():
                raise
            late = f"the workload was not running {self._start_timeout} s after the claim"
            if self._away:
                raise HostFault(f"{late}: {self._away}") from None
            raise Rejected(
                late,
                hint=f"see `start_timeout` in the queue's policy: runyard queue show {self._queue}",
            ) from None

    def saw(self, phase: Phase) -> None:
        """Mind the start: what runs has all the time; what was adopted waiting, has the limit."""
        self._away = ""
        limit = self._limit
        if limit is None or limit.expired():
            return
        if phase is not Phase.QUEUED:
            limit.reschedule(None)
        elif limit.when() is None and self._start_timeout:
            limit.reschedule(asyncio.get_running_loop().time() + self._start_timeout)
