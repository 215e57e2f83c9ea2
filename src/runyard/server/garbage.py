"""
Garbage in the store of files: content that no version has, files of deleted runs, uploads that
nobody went on with.

The database forgets content first, under a check that nobody has taken it meanwhile, and only then
do its bytes go. Safe on any number of servers: who has forgotten it removes it. A look takes a
bounded number of things, each in a transaction of its own, and waits for the store outside of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

import anyio.to_thread
import structlog

from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import Metrics
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage
from runyard.services.call import Call
from runyard.store import garbage
from runyard.store.db import Row
from runyard.store.objects.base import blob_key
from runyard.store.objects.local import LocalStore
from runyard.store.values import to_ms

T = TypeVar("T")
EVERY: Final = 60.0  # seconds
_UNUSED: Final = timedelta(days=1)  # content that nobody has taken for so long
_FRESH: Final = timedelta(hours=1)  # bytes that have just come are somebody's
_LEFT: Final = timedelta(days=2)  # an upload that nobody has gone on with for so long
_OBJECTS: Final = 500  # at a look
_RUNS: Final = 20
_UPLOADS: Final = 50
log = structlog.get_logger(__name__)


class Collector:
    """Remembers how far it has looked through old content; after the last it begins again."""

    def __init__(
        self, edge: Edge, storage: Storage, metrics: Metrics, settings: ServerSettings
    ) -> None:
        self._edge, self._store, self._metrics = edge, storage.store, metrics
        # As long as a link is good, its holder may bring the files of a deleted run back.
        self._links = timedelta(seconds=settings.link_seconds)
        self._after: tuple[int, str, str] | None = None

    async def run_once(self) -> dict[str, int]:
        """Remove a bounded amount of garbage; return how much of each kind."""
        removed = {
            "objects": await self._objects(),
            "run_files": await self._run_files(),
            "uploads": await self._uploads(),
        }
        for what, count in removed.items():
            if count:
                log.info("removed garbage", what=what, count=count)
            self._metrics.swept.labels(what).inc(count)
        return removed

    async def _objects(self) -> int:
        after, before = self._after, self._before(_UNUSED)
        rows = await self._edge.read(
            SERVER,
            lambda call: garbage.old_objects(call.tx, after=after, before=before, limit=_OBJECTS),
        )
        last = rows[-1] if len(rows) == _OBJECTS else None
        self._after = (last["used_at"], last["entity_id"], last["md5"]) if last else None
        count = 0
        for row in rows:
            if not row["named"]:
                count += await self._object(row)
        return count

    async def _object(self, row: Row) -> bool:
        key, fresh = blob_key(row["entity_id"], row["md5"]), self._edge.clock() - _FRESH
        if not await self._in_thread(lambda: self._is_old(key, fresh)):
            return False
        forgotten = await self._edge.write(
            SERVER,
            lambda call: garbage.forget_object(
                call.tx, row["entity_id"], row["md5"], row["used_at"]
            ),
        )
        # Looked at again: somebody may have begun to bring it anew right after it was forgotten.
        if forgotten and await self._in_thread(lambda: self._is_old(key, fresh)):
            await self._in_thread(lambda: self._store.delete([key]))
        return forgotten

    def _is_old(self, key: str, before: datetime) -> bool:
        stat = self._store.stat(key)
        return stat is None or stat.modified_at < before

    async def _run_files(self) -> int:
        before = self._before(self._links)
        runs = await self._edge.read(
            SERVER, lambda call: garbage.deleted_runs(call.tx, before=before, limit=_RUNS)
        )
        return sum([await self._run(run_id) for run_id in runs])

    async def _run(self, run_id: str) -> int:
        # Bytes first: nobody reads them, and after a crash the rows say that there is work left.
        await self._in_thread(lambda: self._store.clear(f"runs/{run_id}"))
        return await self._edge.write(SERVER, lambda call: garbage.forget_files(call.tx, run_id))

    async def _uploads(self) -> int:
        before = self._before(_LEFT)
        uploads = await self._edge.read(
            SERVER, lambda call: garbage.old_uploads(call.tx, before=before, limit=_UPLOADS)
        )
        for row in uploads:
            await self._upload(row)
        store, count = self._store, len(uploads)
        if isinstance(store, LocalStore):
            left = self._edge.clock() - _LEFT
            count += await self._in_thread(lambda: store.drop_abandoned(left))
        return count

    async def _upload(self, row: Row) -> None:
        key = blob_key(row["entity_id"], row["md5"])
        await self._in_thread(lambda: self._store.drop_parts(key, row["upload"]))

        def forget(call: Call) -> None:
            garbage.forget_upload(call.tx, row["id"])

        await self._edge.write(SERVER, forget)

    def _before(self, age: timedelta) -> int:
        return to_ms(self._edge.clock() - age)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work)
