"""
Artifacts that an item is known to use, fetched into its team's cache before it starts.

The tracking client looks into its cache before it downloads, but it locks nothing: ten jobs that
start at once would download ten times. Here each file is fetched under a lock, by one agent of
all that share the cache, and it is in its place only when it is whole and its digest is right. No
job fails for it: what cannot be fetched, its program fetches itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from runyard.agent import object_cache
from runyard.agent.caches import INCOMING, OURS
from runyard.client.artifact_links import ArtifactLinks, Link
from runyard.domain.artifact_uses import Use, known_uses
from runyard.domain.errors import RunyardError
from runyard.domain.volumes import shared_of
from runyard.domain.workloads import Mount

logger = structlog.get_logger(__name__)

KIND: Final = "wandb-artifacts"
LONGEST: Final = 3600.0  # seconds for one item; its program fetches the rest
MOST_FILES: Final = 20_000  # of one artifact
_AT_ONCE: Final = 8  # downloads of one agent
_ASK_AGAIN: Final = 0.2  # seconds, while another agent fetches
_SPARE: Final = 1 << 30  # bytes that stay free on the disk


class _TooMuch(Exception):
    """It does not fit into the cache, or not on the disk."""


class Prefetch:
    def __init__(
        self, limit_mb: int = 0, connect: Callable[[str], ArtifactLinks] | None = None
    ) -> None:
        """`limit_mb` is the most that one artifact may have; `connect` takes a run's token."""
        self._limit, self._connect = limit_mb << 20, connect
        self._turns: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def prepare(
        self, spec: Mapping[str, Any], mounts: tuple[Mount, ...], token: str | None
    ) -> list[str]:
        """Fetch what the item will use into the cache that it is given, with its run's token.

        Returns what could not be fetched, in words for people.
        """
        caches = [Path(m.source) for m in mounts if (told := shared_of(m.name)) and told[1] == KIND]
        uses = known_uses(spec) if caches else ()
        if not uses or not token or self._connect is None:
            return []
        warnings: list[str] = []
        async with self._connect(token) as server:
            try:
                async with asyncio.timeout(LONGEST):
                    for use in uses:
                        if why := await self._one(server, use, caches[0]):
                            warnings.append(f"artifact {use} is not fetched ahead: {why}")
            except TimeoutError:
                warnings.append("not all artifacts were fetched ahead: it took too long")
        return warnings

    async def _one(self, server: ArtifactLinks, use: Use, cache: Path) -> str:
        """Fetch one artifact; return why not, empty if it is there."""
        try:
            wanted = await self._files(server, use)
            missing = await asyncio.to_thread(_missing, cache, wanted)
            self._check_room(cache, sum(file.size for file in missing))
            async with asyncio.TaskGroup() as group:
                for file in missing:
                    group.create_task(self._file(server, file, cache))
        except Exception as error:
            return _words(error)
        return ""

    async def _files(self, server: ArtifactLinks, use: Use) -> list[Link]:
        """Raises: _TooMuch: they are too many, or too large for the cache."""
        files: dict[str, Link] = {}  # by content: the same one may have several paths
        size = 0
        async for file in server.files(use):
            size += 0 if file.md5 in files else file.size
            files[file.md5] = file
            if size > self._limit:
                raise _TooMuch(f"it is larger than the {self._limit >> 20} MB of shared caches")
            if len(files) > MOST_FILES:
                raise _TooMuch(f"it has more than {MOST_FILES} files")
        return list(files.values())

    def _check_room(self, cache: Path, missing: int) -> None:
        if missing and missing + _SPARE > shutil.disk_usage(cache).free:
            raise _TooMuch(f"the disk has no room for its {missing >> 20} MB")

    async def _file(self, server: ArtifactLinks, file: Link, cache: Path) -> None:
        ours = cache.parent / OURS
        async with self._turn(ours, file.md5), self._slots:
            if object_cache.has(cache, file.md5, file.size):
                return
            handle, name = tempfile.mkstemp(dir=ours / INCOMING)
            try:
                with os.fdopen(handle, "wb") as out:
                    await server.download(file, out.write)
                object_cache.put(cache, file.md5, name)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name)

    @asynccontextmanager
    async def _turn(self, ours: Path, md5: str) -> AsyncIterator[None]:
        """Wait until nobody else fetches this file: no attempt of ours, and no other agent."""
        path = ours / f"fetching-{md5[:2]}"
        turn = self._turns.setdefault(path, asyncio.Lock())
        async with turn:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(_ASK_AGAIN)
                        continue
                    except OSError:
                        pass  # a file system without locks: it may be fetched twice, no worse
                    break
                yield
            finally:
                os.close(lock)


def _missing(cache: Path, wanted: Iterable[Link]) -> list[Link]:
    return [file for file in wanted if not object_cache.has(cache, file.md5, file.size)]


def _words(error: BaseException) -> str:
    """Return an error in words, of several the first; no address, which has a signature."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, RunyardError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if not isinstance(error, _TooMuch):
        logger.error("prefetch failed", exc_info=error)
    return str(error) if isinstance(error, _TooMuch) else type(error).__name__
