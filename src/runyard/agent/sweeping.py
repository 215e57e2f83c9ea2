"""
Making room in a directory that jobs share: what nobody has used for long goes first.

What is in there was written by jobs, so nothing is believed: links are not followed, neither out
of the directory nor within it, and other file systems that are mounted there are left alone.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_BLOCK: Final = 512  # bytes; what st_blocks counts in
_DEEPEST: Final = 200  # directories within directories

Way = tuple[str, ...]  # from the directory that is swept down to a file
Spared = Callable[[Way, float], bool]


@dataclass(slots=True)
class Swept:
    """What a sweep did. `size` are the bytes that are left."""

    size: int = 0
    removed: int = 0
    freed: int = 0
    is_whole: bool = True  # False if it was called off
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Unit:
    """Files that go together: a single one, or all that are one thing to whoever reads them."""

    used: float = 0.0
    size: int = 0
    ways: list[Way] = field(default_factory=list)

    def add(self, used: float, size: int, way: Way) -> None:
        self.used = max(self.used, used)
        self.size += size
        self.ways.append(way)


def unit_of(kind: str | None, way: Way) -> Way:
    """Return what a file of a cache of this kind goes with.

    An archive that uv has unpacked counts as whole to it as long as its directory is there.
    """
    is_part = kind == "uv" and len(way) > 2 and way[0].startswith("archive-v")
    return way[:2] if is_part else way


def sweep(
    root: Path,
    *,
    quota: int | None,
    keep: timedelta | None,
    now: datetime,
    wanted: Callable[[], bool] = lambda: False,
    unit: Callable[[Way], Way] = lambda way: way,
    spared: Spared = lambda _way, _used: False,
) -> Swept:
    """Delete files that were not used for `keep`, then the least recently used above `quota` bytes.

    Used is read or written, as the file system says it. As soon as `wanted` says that a job
    needs the directory, the sweep is called off. Files with the same `unit` go together, and
    nothing of a unit that is `spared`, by the way of one of its files and when it was used last;
    a directory that became empty is asked about as if it were always in use.

    Raises:
        OSError: `root` itself cannot be read.
    """
    done = Swept()
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        units: defaultdict[Way, _Unit] = defaultdict(_Unit)
        for used, size, way in _files(top, done, wanted):
            units[unit(way)].add(used, size, way)
        done.size = sum(each.size for each in units.values())
        oldest = (now - keep).timestamp() if keep is not None else None
        for each in sorted(units.values(), key=lambda each: each.used):
            is_old = oldest is not None and each.used < oldest
            is_over = quota is not None and done.size > quota
            if not is_old and not is_over:
                break
            if not each.size and not is_old:
                continue  # a link, say: it makes no room
            if wanted():
                done.is_whole = False
                break
            if not spared(each.ways[0], each.used):
                _remove(top, each, done)
        if done.removed and done.is_whole:
            _remove_empty(top, spared)
    finally:
        os.close(top)
    return done


def _files(top: int, done: Swept, wanted: Callable[[], bool]) -> Iterator[tuple[float, int, Way]]:
    """Yield when each file was used, how much room it takes, and its way."""
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
                    yield used, seen.st_blocks * _BLOCK, (*way, entry.name)
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


def _remove(top: int, unit: _Unit, done: Swept) -> None:
    is_gone = True
    for way in unit.ways:
        try:
            here = _opened(top, way[:-1])
            try:
                os.unlink(way[-1], dir_fd=here)
            finally:
                os.close(here)
            done.removed += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            _note(done, error, way)
            is_gone = False
    if is_gone:
        done.size -= unit.size
        done.freed += unit.size


def _remove_empty(top: int, spared: Spared) -> None:
    """Remove directories that became empty, from the inside out; a full one refuses by itself."""
    directories: list[Way] = [()]
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
        if spared(way, math.inf):
            continue
        with suppress(OSError):
            here = _opened(top, way[:-1])
            try:
                os.rmdir(way[-1], dir_fd=here)
            finally:
                os.close(here)


def _note(done: Swept, error: OSError, way: tuple[str, ...]) -> None:
    if error.errno != errno.ENOENT and len(done.errors) < 5:
        done.errors.append(f"{'/'.join(way) or '.'}: {error.strerror}")
