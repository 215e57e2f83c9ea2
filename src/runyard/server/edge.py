"""
Where requests become calls: clock, ids and secrets are made here, and nowhere below.

A service is one short transaction in a worker thread. SQLite has one writer, so its writers
wait here for their turn, without a thread each.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from runyard.domain.access import Actor, Kind
from runyard.server.metrics import Metrics
from runyard.services.call import Call
from runyard.services.sealing import Sealer
from runyard.store.db import Database, Tx

T = TypeVar("T")
Service = Callable[[Call], T]

SERVER: Final = Actor(kind=Kind.USER, user_id="", name="server", is_admin=True)
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, in lower case
_RANDOM_BITS: Final = 80
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]  # ten bits at once
_SHIFTS: Final = range(120, -1, -10)


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_secret() -> str:
    """Return 44 characters, 256 bits or more, without '-': the tracking client takes what stands
    before one for a prefix, and the rest for too short a key."""
    return secrets.token_urlsafe(33).replace("-", "0")


class Ids:
    """ULIDs in lower case: 26 characters that sort by time, and never fall in this process."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        ms = int(self._clock().timestamp() * 1000)
        with self._lock:
            if ms > self._last >> _RANDOM_BITS:
                self._last = ms << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            else:
                # The same millisecond, or a clock that was set back: go on from the last one,
                # by a step that nobody can guess.
                self._last += 1 + int.from_bytes(os.urandom(6))
            return _base32(self._last)


def _base32(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


class Edge:
    """Runs services for the routes. `read` sees one consistent view, `write` commits."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime] = utc_now,
        new_secret: Callable[[], str] = new_secret,
        sealer: Sealer | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self._metrics = metrics
        self._new_id = Ids(clock)
        self._new_secret = new_secret
        self._sealer = sealer
        self._readers = anyio.CapacityLimiter(10)
        self._writers = self._readers if database.is_postgres else anyio.CapacityLimiter(1)

    async def read(self, actor: Actor, service: Service[T]) -> T:
        return await anyio.to_thread.run_sync(
            self._timed, "read", self.database.read, actor, service, limiter=self._readers
        )

    async def write(self, actor: Actor, service: Service[T]) -> T:
        return await anyio.to_thread.run_sync(
            self._timed, "write", self.database.write, actor, service, limiter=self._writers
        )

    def call(self, tx: Tx, actor: Actor) -> Call:
        return Call(tx, actor, self.clock(), self._new_id, self._new_secret, self._sealer)

    def _timed(
        self,
        kind: str,
        run: Callable[[Callable[[Tx], T]], T],
        actor: Actor,
        service: Service[T],
    ) -> T:
        begun = time.perf_counter()
        try:
            return run(lambda tx: service(self.call(tx, actor)))
        finally:
            self._metrics.transactions.labels(kind).observe(time.perf_counter() - begun)
