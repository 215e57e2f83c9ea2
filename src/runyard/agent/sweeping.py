"""
Making room in a directory that jobs share: what nobody has used for long goes first.

What is in there was written by jobs, so nothing is believed: links are not followed, neither out
of the directory nor within it, and other file systems that are mounted there are left alone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_BLOCK: Final = 512  # bytes; what st_blocks counts in
_DEEPEST: Final = 200  # directories within directories


@dataclass(slots=True)
class Swept:
    """What a sweep did. `size` are the bytes that are left."""

    size: int = 0
    removed: int = 0
    freed: int = 0
    is_whole: bool = True  # False if it was called off
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _File:
    used: float
    size: int
    way: tuple[str, ...]


def sweep(
    root: Path,
    *,
    quota: int | None,
    keep: timedelta | None,
    now: datetime,
    wanted: Callable[[], bool] = lambda: False,
) -> Swept:
    """Delete files that were not used for `keep`, then the least recently used above `quota` bytes.

    Used is read or written, as the file system says it. As soon as `wanted` says that a job
    needs the directory, the sweep is called off.

    Raises:
        OSError: `root` itself cannot be read.
    """
    done = Swept()
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files = sorted(_files(top, done, wanted), key=lambda file: file.used)
        done.size = sum(file.size for file in files)
        oldest = (now - keep).timestamp() if keep is not None else None
        for file in files:
            is_old = oldest is not None and file.used < oldest
            is_over = quota is not None and done.size > quota
            if not is_old and not is_over:
                break
            if not file.size and not is_old:
                continue  # a link, say: it makes no room
            if wanted():
                done.is_whole = False
                break
            _remove(top, file, done)
        if done.removed and done.is_whole:
            _remove_empty(top)
    finally:
        os.close(top)
    return done


def _files(top: int, done: Swept, wanted: Callable[[], bool]) -> Iterator[_File]:
    device = os.fstat(top).st_dev
    left: list[tuple[str, ...]] = [()]
    while left:
        way = left.pop()
        if wanted():
            done.is_whole = False
            return
        try:
            here = _opened(top, way)
        except OSError as error:
            _note(done, error, way)
            continue
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    seen = entry.stat(follow_symlinks=False)
                    if seen.st_dev != device:
                        continue
                    if stat.S_ISDIR(seen.st_mode):
                        if len(way) < _DEEPEST:
                            left.append((*way, entry.name))
                        continue
                    used = max(seen.st_atime, seen.st_mtime)
                    yield _File(used, seen.st_blocks * _BLOCK, (*way, entry.name))
        except OSError as error:
            _note(done, error, way)
        finally:
            os.close(here)


def _opened(top: int, way: tuple[str, ...]) -> int:
    """Return a directory below `top`, reached without following a link."""
    here = os.dup(top)
    for step in way:
        try:
            below = os.open(step, _DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _remove(top: int, file: _File, done: Swept) -> None:
    *way, name = file.way
    try:
        here = _opened(top, tuple(way))
        try:
            os.unlink(name, dir_fd=here)
        finally:
            os.close(here)
    except FileNotFoundError:
        pass
    except OSError as error:
        _note(done, error, file.way)
        return
    done.size -= file.size
    done.freed += file.size
    done.removed += 1


def _remove_empty(top: int) -> None:
    """Remove directories that became empty, from the inside out; a full one refuses by itself."""
    directories: list[tuple[str, ...]] = [()]
    for way in directories:
        with suppress(OSError):
            here = _opened(top, way)
            try:
                with os.scandir(here) as entries:
                    names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            finally:
                os.close(here)
            if len(way) < _DEEPEST:
                directories += [(*way, name) for name in names]
    for way in reversed(directories[1:]):
        with suppress(OSError):
            here = _opened(top, way[:-1])
            try:
                os.rmdir(way[-1], dir_fd=here)
            finally:
                os.close(here)


def _note(done: Swept, error: OSError, way: tuple[str, ...]) -> None:
    if error.errno != errno.ENOENT and len(done.errors) < 5:
        done.errors.append(f"{'/'.join(way) or '.'}: {error.strerror}")
