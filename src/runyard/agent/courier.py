"""
Carries the moves of all attempts to the server, in as few requests as it can.

Whatever is due at the same moment goes in one request; while that one is under way, the next
fills up. So a lone move is never delayed, and a thousand jobs cost a fraction of a request each.
Only one request is ever open, which keeps the order. A batch that may or may not have arrived is
sent again, since moves can be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from runyard.agent.outage import Line
from runyard.domain import errors
from runyard.domain.errors import RunyardError
from runyard.wire.agent import MAX_MOVES, AnyMove, Moved

_BY_CODE: Final = {
    kind.code: kind
    for kind in (
        errors.Invalid, errors.Forbidden, errors.NotFound, errors.Conflict, errors.IllegalMove,
        errors.StaleLease, errors.TooMuch, errors.Rejected,
    )
}  # fmt: skip


def error_of(code: str, message: str) -> RunyardError:
    """Return the error that the server's answer to one move or chunk stands for."""
    return _BY_CODE.get(code, RunyardError)(message)


class MovePost(Protocol):
    """What the courier needs of `AgentApi`."""

    async def move(self, moves: Sequence[AnyMove]) -> list[Moved]: ...


class Courier:
    """Somebody has to run `carry` as a task for as long as moves are made."""

    def __init__(self, api: MovePost, line: Line) -> None:
        self._api, self._line = api, line
        self._outbox: deque[tuple[AnyMove, asyncio.Future[Moved]]] = deque()
        self._due = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def post(self, move: AnyMove) -> asyncio.Future[Moved]:
        """Hand in a move; moves are made in the order of calls. Await the answer as of `move`."""
        answer: asyncio.Future[Moved] = asyncio.get_running_loop().create_future()
        self._outbox.append((move, answer))
        self._due.set()
        self._settled.clear()
        return answer

    async def move(self, move: AnyMove) -> Moved:
        """Make one move, however long the server is away.

        Raises:
            StaleLease: the item is no longer ours.
            RunyardError: the server refuses the move; it changed nothing.
        """
        return await self.post(move)

    async def settled(self) -> None:
        """Wait until every move that was handed in has been answered."""
        await self._settled.wait()

    async def carry(self) -> None:
        """Send moves until cancelled.

        Raises:
            StaleEpoch, Unauthenticated: this process counts no more.
        """
        while True:
            await self._due.wait()
            self._due.clear()
            while self._outbox:
                size = min(MAX_MOVES, len(self._outbox))
                await self._deliver([self._outbox.popleft() for _ in range(size)])
            self._settled.set()

    async def _deliver(self, batch: list[tuple[AnyMove, asyncio.Future[Moved]]]) -> None:
        moves = [move for move, _ in batch]
        try:
            results = await self._line.insist(lambda: self._api.move(moves))
        except (errors.StaleEpoch, errors.Unauthenticated):
            raise
        except RunyardError as error:  # the request as a whole: nothing of it was done
            results = [Moved(code=error.code, message=error.message)] * len(batch)
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.cancelled():  # its attempt has gone meanwhile
                continue
            if result.code:
                answer.set_exception(error_of(result.code, result.message))
            else:
                answer.set_result(result)
