"""
The code of jobs on the agent's disk: each tree once, by content, and a private copy per attempt.

A tree appears in the cache whole or not at all, by a rename, so a crash leaves nothing that
looks finished and two agents may share a directory. Attempts get copies, never links: a job
may write into its own files.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from runyard.agent.unpacking import MAX_BYTES, MAX_FILES, digest, unpack
from runyard.domain.errors import Rejected

Make = Callable[[Path], Awaitable[None]]
_UNFINISHED: Final = ".new-"
_IN_USE: Final = timedelta(minutes=10)


class CodeCache:
    """Trees under `root`, each in a directory named by the hex part of its digest."""

    def __init__(
        self, root: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
    ) -> None:
        self._root = root
        self._max_bytes, self._max_files = max_bytes, max_files
        self._making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, archive_digest: str, download: Make) -> Path:
        """Return the unpacked archive; `download` writes it to the path that it is given.

        Asked for many times at once, it is downloaded once.

        Raises:
            Rejected: the bytes are not those of the digest, or not an archive to unpack.
            TooMuch: it is larger than this cache takes.
        """

        async def make(tree: Path) -> None:
            archive = tree.with_name(tree.name + ".tar.gz")
            try:
                await download(archive)
                await asyncio.to_thread(self._unpack, archive, archive_digest, tree)
            finally:
                archive.unlink(missing_ok=True)

        return await self.get_tree(archive_digest, make)

    async def get_tree(self, key: str, make: Make) -> Path:
        """Return the tree of that key ("sha256:<hex>"); `make` fills an empty directory.

        Whoever asks first makes it; if that fails or is cancelled, the next one tries.
        """
        place = self._root / _hex(key)
        lock = self._making.setdefault(key, asyncio.Lock())
        async with lock:
            if not _touch(place):
                await self._make(place, make)
        return place

    async def prune(self, max_bytes: int, *, now: datetime) -> int:
        """Remove the trees used longest ago until the rest is at most `max_bytes`; count them.

        A tree used in the last ten minutes stays: it may be being copied.
        """
        return await asyncio.to_thread(self._prune, max_bytes, now)

    async def _make(self, place: Path, make: Make) -> None:
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._root))
        try:
            tree = work / "tree"
            tree.mkdir()
            await make(tree)
            with contextlib.suppress(FileExistsError):
                _rename(tree, place)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    def _unpack(self, archive: Path, wanted: str, tree: Path) -> None:
        got = digest(archive)
        if got != wanted:
            raise Rejected(f"the code that arrived has the digest {got}, not {wanted}")
        unpack(archive, tree, max_bytes=self._max_bytes, max_files=self._max_files)

    def _prune(self, max_bytes: int, now: datetime) -> int:
        spared = (now - _IN_USE).timestamp()
        trees = sorted(
            (entry.stat().st_mtime, _bytes_of(entry.path), entry.path)
            for entry in (os.scandir(self._root) if self._root.is_dir() else ())
        )
        total, removed = sum(size for _, size, _ in trees), 0
        for used, size, path in trees:
            unfinished = os.path.basename(path).startswith(_UNFINISHED)
            if used > spared or (total <= max_bytes and not unfinished):
                continue
            _remove(path)
            total, removed = total - size, removed + 1
        return removed


def tree_key(*parts: str | bytes) -> str:
    """Return a key for `get_tree` from what determines the tree, such as remote and commit."""
    made = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        made.update(b"%d:%s," % (len(data), data))
    return f"sha256:{made.hexdigest()}"


def materialise(cached: Path, into: Path) -> None:
    """Copy a tree to `into`, which must not exist or be empty; blocking.

    Where the file system can, the copy shares its blocks until one side is written.
    """
    os.makedirs(into, exist_ok=True)
    _copy_tree(str(cached), str(into))


def _copy_tree(source: str, target: str) -> None:
    with os.scandir(source) as found:
        for entry in found:
            path = f"{target}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), path)
            elif entry.is_dir():
                os.mkdir(path)
                _copy_tree(entry.path, path)
            else:
                _copy_file(entry.path, path)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as old:
        mode = os.fstat(old.fileno()).st_mode & 0o777
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            while os.copy_file_range(old.fileno(), new, 1 << 30):
                pass
        except (OSError, AttributeError) as error:  # another file system, or not Linux
            if isinstance(error, OSError) and error.errno not in _CANNOT:
                raise
            with open(new, "wb", closefd=False) as file:
                shutil.copyfileobj(old, file)
        finally:
            os.close(new)


_CANNOT: Final = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}


def _hex(key: str) -> str:
    kind, _, name = key.partition(":")
    if kind != "sha256" or len(name) != 64 or set(name) - set("0123456789abcdef"):
        raise Rejected(f"{key!r} is not a digest of the form sha256:<64 hex digits>")
    return name


def _touch(place: Path) -> bool:
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    return True


def _remove(path: str) -> None:
    # Renamed first, so that a tree which is half gone is never taken for a whole one.
    doomed = os.path.join(os.path.dirname(path), f"{_UNFINISHED}{os.path.basename(path)}")
    with contextlib.suppress(OSError):
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _rename(tree: Path, place: Path) -> None:
    try:
        tree.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise FileExistsError from error  # another agent was faster; the content is the same
    os.utime(place)


def _bytes_of(path: str) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
