"""
Carries the output of all attempts to the server as it comes: in order, once, in few requests.

The first bytes of a log go at once; what follows within `GATHER` seconds goes together. Output
carries its offset and the server answers with how much it has, so that sending again is harmless
and either side may have lost its memory. Readers wait while `MAX_UNSENT` bytes are on their way:
a job that prints 100 MB is slowed down to what the server takes, and fills no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from runyard.agent.courier import error_of
from runyard.agent.masking import Mask
from runyard.agent.outage import Line
from runyard.domain import errors
from runyard.domain.errors import RunyardError, Unavailable
from runyard.domain.workloads import Handle
from runyard.drivers.base import Driver
from runyard.wire.agent import MAX_LOG_REQUEST, LogChunk, Logged

logger = structlog.get_logger(__name__)

GATHER: Final = 0.05  # seconds
FULL: Final = 1 << 20  # bytes of one log that are worth a request of their own
MAX_UNSENT: Final = 8 << 20  # bytes over all logs
FAIR_SHARE: Final = 64 << 10  # bytes of each log in a request, however loud the others are


class LogPost(Protocol):
    """What the courier needs of `AgentApi`."""

    async def log(self, chunks: Sequence[LogChunk]) -> list[Logged]: ...


class LogCourier:
    """Somebody has to run `carry` as a task for as long as logs are written."""

    def __init__(self, api: LogPost, line: Line) -> None:
        self._api, self._line = api, line
        self._logs: dict[Log, None] = {}  # a set that remembers whose turn it is
        self._due = asyncio.Event()
        self._room = asyncio.Event()
        self._unsent = 0

    def open(self, item_id: str, token: str, offset: int, *, stage: str = "") -> Log:
        """Begin to send an attempt's output at byte `offset`; end with `Log.close`.

        `stage`: of what came before the workload, as of `LogChunk`.
        """
        log = Log(self, item_id, token, offset, stage)
        self._logs[log] = None
        return log

    async def carry(self) -> None:
        """Send output until cancelled.

        Raises:
            StaleEpoch, Unauthenticated: this process counts no more.
        """
        while True:
            await self._due.wait()
            self._due.clear()
            while chunks := self._next_chunks():
                await self._deliver(chunks)

    def _next_chunks(self) -> list[tuple[Log, LogChunk]]:
        waiting = [log for log in self._logs if log.has_pending]
        share = max(FAIR_SHARE, MAX_LOG_REQUEST // max(1, len(waiting)))
        room, chunks = MAX_LOG_REQUEST, []
        for log in waiting:
            if room <= 0:
                break
            chunk = log.take(min(share, room))
            room -= len(chunk.data)
            chunks.append((log, chunk))
            del self._logs[log]  # to the end of the row
            self._logs[log] = None
        return chunks

    async def _deliver(self, batch: list[tuple[Log, LogChunk]]) -> None:
        chunks = [chunk for _, chunk in batch]
        try:
            results = await self._line.insist(lambda: self._api.log(chunks))
        except (errors.StaleEpoch, errors.Unauthenticated):
            raise
        except RunyardError as error:
            logger.warning("server refuses output", code=error.code, error=error.message)
            results = [Logged(code=error.code)] * len(chunks)
        for (log, chunk), result in zip(batch, results, strict=True):
            log.answered(chunk, result)
        self.freed(sum(len(chunk.data) for chunk in chunks))

    async def take_room(self, size: int) -> None:
        """Wait until there is less than MAX_UNSENT on its way; then count `size` bytes more."""
        while self._unsent >= MAX_UNSENT:
            self._room.clear()
            await self._room.wait()
        self._unsent += size

    def freed(self, size: int) -> None:
        self._unsent -= size
        self._room.set()

    def due(self) -> None:
        self._due.set()

    def forget(self, log: Log) -> None:
        self._logs.pop(log, None)


class Log:
    """
    One attempt's output on its way: handed in up to byte `sent`, on the server up to `acked`.

    When the server turns out to have another size than was expected, `rewound` is set, writing
    does nothing, and the reader goes on from `resume`.
    """

    def __init__(
        self, courier: LogCourier, item_id: str, token: str, offset: int, stage: str = ""
    ) -> None:
        self.sent = self.acked = offset
        self.rewound = False
        self._courier, self._item_id, self._token = courier, item_id, token
        self._stage = stage
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._last_taken = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._error: RunyardError | None = None
        self._answered = asyncio.Event()

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    async def write(self, data: bytes) -> None:
        """Hand in the next bytes; wait while too much is on its way.

        Raises:
            StaleLease: the item is no longer ours.
            RunyardError: the server takes no more of this log.
        """
        await self._courier.take_room(len(data))
        if self._error is not None or self.rewound:
            self._courier.freed(len(data))
            self._check()
            return
        self._pending.append(data)
        self._pending_size += len(data)
        self.sent += len(data)
        self._schedule()

    async def flush(self) -> None:
        """Wait until the server has everything, or `rewound` is set.

        Raises:
            StaleLease, RunyardError: as `write`.
        """
        while self._error is None and not self.rewound and self.acked < self.sent:
            self._courier.due()
            self._answered.clear()
            await self._answered.wait()
        self._check()

    def resume(self) -> int:
        """Return the offset from which to write on, after `rewound`."""
        self._drop_pending()
        self.rewound = False
        self.sent = self.acked
        return self.sent

    def close(self) -> None:
        """Let go; what is still on its way may be lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._drop_pending()
        self._courier.forget(self)

    def take(self, most: int) -> LogChunk:
        """Return the next chunk of up to `most` bytes. For the courier."""
        whole = b"".join(self._pending)
        data, rest = whole[:most], whole[most:]
        offset = self.sent - len(whole)
        self._pending, self._pending_size = ([rest] if rest else []), len(rest)
        self._last_taken = asyncio.get_running_loop().time()
        return LogChunk(
            item_id=self._item_id, token=self._token, offset=offset, data=data, stage=self._stage
        )

    def answered(self, chunk: LogChunk, result: Logged) -> None:
        """Note what the server said of a chunk. For the courier."""
        if result.code:
            self._error = error_of(result.code, "the server takes no more of this log")
        else:
            self.acked = result.size
            self.rewound = result.size != chunk.offset + len(chunk.data)
        if self._error is not None or self.rewound:
            self._drop_pending()
        self._answered.set()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._last_taken + GATHER - loop.time()
        if wait <= 0 or self._pending_size >= FULL:
            self._courier.due()
        elif self._timer is None or self._timer.when() <= loop.time():
            self._timer = loop.call_later(wait, self._courier.due)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _drop_pending(self) -> None:
        self._courier.freed(self._pending_size)
        self._pending, self._pending_size = [], 0


async def ship(driver: Driver, handle: Handle, log: Log, mask: Callable[[], Mask]) -> None:
    """Send a workload's output from `log.sent` on, secrets blacked out, until it ends.

    Returns when the server has it all. `mask` makes a new mask, for each time of reading on.

    Raises:
        StaleLease: the item is no longer ours.
        RunyardError: the server takes no more of this log.
    """
    while True:
        try:
            await _read_on(driver, handle, log, mask())
            await log.flush()
        except Unavailable as error:
            await asyncio.sleep(error.retry_after.total_seconds())
        else:
            if not log.rewound:
                return
            await asyncio.sleep(GATHER)
        if log.rewound:
            logger.info("server has another part of the output; going on there", size=log.resume())


async def _read_on(driver: Driver, handle: Handle, log: Log, mask: Mask) -> None:
    # A secret may lie across the point where we go on: look back, and throw that part away.
    before = min(mask.lookback, log.sent)
    async with aclosing(driver.logs(handle, offset=log.sent - before)) as output:
        async for data in output:
            before = await _write(log, mask.feed(data), before)
            if log.rewound:
                return
    await _write(log, mask.flush(), before)


async def _write(log: Log, data: bytes, skip: int) -> int:
    """Hand `data` in without its first `skip` bytes; return how many are still to be skipped."""
    fresh = data[skip:]
    for at in range(0, len(fresh), FULL):
        await log.write(fresh[at : at + FULL])
    return max(0, skip - len(data))
