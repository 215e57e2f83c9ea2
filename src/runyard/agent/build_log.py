"""
What the build of an item's image prints, on its way to the item's `build` log as it comes.

It goes on beside the attempt: the workload does not wait for it, an end or a failure does. What
this process has printed is kept, up to a limit, for a server that has lost some of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from runyard.agent.logs import GATHER, Log, LogCourier
from runyard.agent.masking import Mask
from runyard.domain.errors import RunyardError, StaleLease
from runyard.domain.items import Stage
from runyard.wire.agent import Held

logger = structlog.get_logger(__name__)

MOST: Final = 16 << 20  # bytes of one attempt's builds
_PIECE: Final = 1 << 20
_FULL: Final = b"\n... the rest of what the build printed is not kept\n"


class BuildLog:
    """One attempt's. `secrets` are blacked out; `on_stale` is called if the item is not ours."""

    def __init__(
        self,
        courier: LogCourier,
        held: Held,
        *,
        secrets: list[str],
        on_stale: Callable[[StaleLease], None],
    ) -> None:
        self._log: Log = courier.open(
            held.item_id, held.token, held.build_log_size, stage=Stage.BUILD
        )
        self._item_id = held.item_id
        self._mask, self._on_stale = Mask(secrets), on_stale
        self._begin = held.build_log_size  # where on the server our first byte is
        self._text = bytearray()
        self._sent = 0  # bytes of the text
        self._due, self._is_sent = asyncio.Event(), asyncio.Event()
        self._is_sent.set()
        self._carrying = asyncio.create_task(self._carry())

    def write(self, output: bytes) -> None:
        """Take what a step of the build has printed."""
        self._add(self._mask.feed(output))

    def say(self, line: str) -> None:
        """Add a line of the agent's own."""
        self._add(self._mask.flush())
        start = b"\n" if self._text and not self._text.endswith(b"\n") else b""
        self._add(start + self._mask.feed(line.encode() + b"\n") + self._mask.flush())

    def tell(self, line: str) -> None:
        """Say it in the agent's own log, too."""
        logger.info(line, item=self._item_id)
        self.say(line)

    async def flush(self) -> None:
        """Return when the server has all of it, or takes no more of it."""
        self._add(self._mask.flush())
        await self._is_sent.wait()

    def close(self) -> None:
        """Let go; what is still on its way may be lost."""
        self._carrying.cancel()
        self._log.close()

    def _add(self, shown: bytes) -> None:
        if not shown or len(self._text) >= MOST or self._carrying.done():
            return
        self._text += shown
        if len(self._text) >= MOST:
            self._text[MOST:] = _FULL
        self._is_sent.clear()
        self._due.set()

    async def _carry(self) -> None:
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                while self._sent < len(self._text):
                    await self._send()
                self._is_sent.set()
        except StaleLease as error:
            self._on_stale(error)
        except RunyardError as error:
            logger.warning("the rest of the build's log is not kept", why=error.message)
        finally:
            self._is_sent.set()

    async def _send(self) -> None:
        before = self._sent
        piece = bytes(self._text[before : before + _PIECE])
        await self._log.write(piece)
        self._sent += len(piece)
        await self._log.flush()
        if self._log.rewound:
            size = self._log.resume()
            if size > self._begin + len(self._text):  # another process of this agent wrote on
                self._begin, self._sent = size - before, before
            else:
                self._begin = min(self._begin, size)
                self._sent = size - self._begin
        await asyncio.sleep(GATHER)
