"""
What the agent keeps on disk of each attempt: the job's files, and a note for its successor.

A directory of files is made beside its place and renamed into it, so that it is all there or not
there at all, and one that a live workload may be using is never touched again. The note says
what a later process of this agent cannot know otherwise: which words of the output are secret,
which GPUs are taken, and which volumes are in use.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import msgspec


class Note(msgspec.Struct):
    secrets: list[str] = []
    gpus: list[str] = []
    volumes: list[str] = []


class Workspaces:
    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, key: str) -> Path:
        return self._root / key / "files"

    def write_note(self, key: str, note: Note) -> None:
        """Keep `note`, for the owner's eyes, before the workload starts."""
        home = self._root / key
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = home / "note.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(note))
        new.replace(home / "note")

    def read_note(self, key: str) -> Note:
        """Return what was kept of an attempt; nothing, if nothing was."""
        try:
            return msgspec.json.decode((self._root / key / "note").read_bytes(), type=Note)
        except (FileNotFoundError, msgspec.DecodeError):
            return Note()

    async def fill(self, key: str, fetch: Callable[[Path], Awaitable[None]]) -> Path:
        """Return the directory of an attempt's files; `fetch` fills it unless it is there."""
        ready = self.directory(key)
        half = await asyncio.to_thread(self._begin, ready)
        if half is not None:
            await fetch(half)
            try:
                half.rename(ready)
            except OSError:
                if not ready.is_dir():  # else an older process of this agent was at it, too
                    raise
        return ready

    @staticmethod
    def _begin(ready: Path) -> Path | None:
        """Return an empty directory to be filled, or None if the whole is there."""
        if ready.is_dir():
            return None
        ready.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="fetching-", dir=ready.parent))

    async def scratch(self, key: str) -> Path:
        """Return an empty directory, for building the attempt's image."""
        place = self._root / key / "build"
        if place.exists():  # of an earlier process of this agent
            await asyncio.to_thread(shutil.rmtree, place)
        place.mkdir(mode=0o700, parents=True)
        return place

    async def clear(self, key: str) -> None:
        """Delete the files of an attempt, and keep the note. Repeatable."""
        home = self._root / key
        for place in list(home.iterdir()) if home.is_dir() else ():
            if place.is_dir():
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def remove(self, key: str) -> None:
        """Delete what is on disk of an attempt. Repeatable."""
        home = self._root / key
        if home.exists():
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def sweep(self, keep: Collection[str]) -> list[str]:
        """Delete the attempts whose key is not in `keep`; return their keys."""
        if not self._root.is_dir():
            return []
        gone = [entry.name for entry in self._root.iterdir() if entry.name not in keep]
        for key in gone:
            await self.remove(key)
        return gone
