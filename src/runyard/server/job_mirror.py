"""
Jobs that are saved with our own commands, as the tracking client reads them: artifacts.

A saved version has its number in the sequence at once, and its files a moment later: they are
written to the store first, and then the artifact is there as a whole. What a server that ended
has left over, and jobs from before there were artifacts, follow in the background.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

import anyio.to_thread
import structlog

from runyard.domain import manifests, wandb_jobs
from runyard.domain.errors import Invalid, RunyardError, Unavailable
from runyard.domain.jobs import Source, SourceKind
from runyard.server.edge import SERVER, Edge
from runyard.server.graphql import ids
from runyard.services.artifacts import code, jobs
from runyard.services.artifacts.jobs import Content
from runyard.store.db import Row
from runyard.store.files import Files
from runyard.store.objects.base import ObjectStore

log = structlog.get_logger("runyard.jobs")

EVERY_S: Final = 60.0
_PATIENCE_S: Final = 2.0
_LARGEST_PATCH: Final = 64 << 20
_AT_ONCE: Final = 20


class JobMirror:
    """Makes artifacts of jobs that were saved with our own commands."""

    def __init__(self, edge: Edge, store: ObjectStore, files: Files) -> None:
        self._edge, self._store, self._files = edge, store, files
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def after_save(self) -> None:
        """Begin at once, and wait a moment: who has saved a small job finds it with the client."""
        task = asyncio.create_task(self._quietly())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait({task}, timeout=_PATIENCE_S)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def run_once(self) -> int:
        """Make what is missing; return how many were. Safe on any number of servers at once."""
        async with self._lock:
            return await self._run()

    async def _quietly(self) -> None:
        try:
            await self.run_once()
        except Exception:
            log.exception("jobs become artifacts later")

    async def _run(self) -> int:
        count = 0
        while found := await self._edge.read(SERVER, lambda call: jobs.pending(call, _AT_ONCE)):
            for version in found:
                await self._mirror(version)
            count += len(found)
        return count

    async def _mirror(self, version: Row) -> None:
        try:
            source = Source.from_json(json.loads(version["source"]))
            code_id, requirements = await self._code(version, source)
            content = await anyio.to_thread.run_sync(
                self._described, version, source, code_id, requirements
            )
            await self._edge.write(SERVER, lambda call: jobs.mirrored(call, version, content))
        except Unavailable:
            raise  # later, then
        except RunyardError as error:
            log.warning(
                "a job cannot be an artifact", job=version["name"], version=version["version"],
                why=error.message,
            )  # fmt: skip
            await self._edge.write(SERVER, lambda call: jobs.give_up(call, version["id"]))

    async def _code(self, version: Row, source: Source) -> tuple[str, bytes]:
        """Return the id of the artifact with a job's code, made if need be, and what it needs."""
        if source.kind is not SourceKind.CODE:
            return "", b""
        archive, entity_id = self._files.path(source.archive), version["entity_id"]
        found, requirements = await anyio.to_thread.run_sync(
            code.unpacked, self._store, archive, entity_id
        )
        content = await anyio.to_thread.run_sync(self._content, entity_id, found)
        number = await self._edge.write(SERVER, lambda call: jobs.add_code(call, version, content))
        return ids.artifact_id(number), requirements

    def _described(
        self, version: Row, source: Source, code_id: str, requirements: bytes
    ) -> Content:
        """Put the files of a job's artifact into the store."""
        told = json.dumps(wandb_jobs.tell(source, code_id), indent=4).encode()
        files = {wandb_jobs.FILE: told, wandb_jobs.REQUIREMENTS: requirements}
        if source.patch:
            size = self._files.size(source.patch)
            if size is None or size > _LARGEST_PATCH:
                raise Invalid(f"the patch is {'gone' if size is None else 'too large'}")
            files[wandb_jobs.PATCH] = self._files.path(source.patch).read_bytes()
        entity_id = version["entity_id"]
        entries = {
            path: code.put_bytes(self._store, entity_id, data) for path, data in files.items()
        }
        return self._content(entity_id, entries)

    def _content(self, entity_id: str, entries: Mapping[str, manifests.Entry]) -> Content:
        manifest = code.put_bytes(self._store, entity_id, manifests.write(entries))
        return Content(entries, manifest)
