"""
The volumes of an agent: who uses them, and keeping them within their limits.

A directory is swept only while no job uses it. Who uses it is known from the attempts at hand,
those that an earlier process began too; and, since several agents of a host may name the same
directory, from a shared lock on it that each job's agent holds.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from runyard.agent.cache_settings import CacheSettings
from runyard.agent.caches import TeamCaches
from runyard.agent.sweeping import Swept, sweep, unit_of
from runyard.agent.volume_settings import VolumeSettings
from runyard.domain.errors import HostFault, Invalid
from runyard.domain.volumes import Volume, shared_of

logger = structlog.get_logger(__name__)

SWEEP_EVERY: Final = 3600.0  # seconds between two sweeps of a volume that nobody uses
SWEEP_AFTER: Final = 600.0  # seconds, at least, if jobs used it since


@dataclass(slots=True)
class _Place:
    """A volume's directory, who uses it, and the lock that tells other agents so."""

    volume: Volume
    path: Path
    settings: VolumeSettings
    users: set[str] = field(default_factory=set)
    lock: int | None = None  # a file descriptor
    guard: threading.Lock = field(default_factory=threading.Lock)  # of the lock's own making
    is_touched: bool = True  # since it was swept
    swept_at: float = float("-inf")  # by the event loop's clock

    @property
    def is_limited(self) -> bool:
        return self.settings.quota_mb is not None or self.settings.keep_days is not None


class Volumes:
    def __init__(
        self,
        settings: Mapping[str, VolumeSettings] | None = None,
        root: Path = Path("volumes"),
        *,
        caches: TeamCaches | None = None,
        every: float = SWEEP_EVERY,
        after: float = SWEEP_AFTER,
    ) -> None:
        """Take the settings; volumes without a path live under `root`. `caches` are held with them.

        What was used is swept `after` seconds, at the soonest, after it was swept before, and
        everything `every` seconds.

        Raises:
            Invalid: two directories are within each other, or one holds the agent's own.
        """
        self._places = {
            name: _Place(_volume(name, each, root), Path(each.path or root / name), each)
            for name, each in (settings or {}).items()
        }
        self._root, self._every, self._after = root, every, after
        self._caches = caches or TeamCaches(CacheSettings(), root.parent / "caches")
        apart = {f"volumes.{name}": place.path for name, place in self._places.items()}
        if self._caches.shared.kinds:
            apart["cache.path"] = self._caches.root
        _check_apart(apart, root)
        self._changed = asyncio.Event()

    @property
    def table(self) -> dict[str, Volume]:
        return {name: place.volume for name, place in self._places.items()}

    async def hold(self, key: str, names: Collection[str]) -> None:
        """Make the directories ready for a workload; they are its own until `free`.

        Raises:
            HostFault: a directory is not there, or cannot be made.
        """
        await self._caches.hold(key, names)
        for name in names:
            if shared_of(name):
                continue
            place = self._places[name]
            place.users.add(key)  # first: a sweep that is under way is called off
            place.is_touched = True
            await asyncio.to_thread(self._take, place)

    def recall(self, key: str, names: Collection[str]) -> None:
        """Note what an adopted workload uses."""
        self._caches.recall(key, names)
        for name in names:
            if place := self._places.get(name):
                place.users.add(key)
                place.is_touched = True
                if place.lock is None:
                    place.lock = _locked(place.path, wait=False)

    def free(self, key: str) -> None:
        self._caches.free(key)
        for place in self._places.values():
            if key in place.users:
                place.users.remove(key)
                _let_go(place)
                self._changed.set()

    async def carry(self) -> None:
        """Sweep whatever has limits and no users, now and then, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry())
            group.create_task(self._caches.carry())

    async def _carry(self) -> None:
        if not any(place.is_limited for place in self._places.values()):
            return
        while True:
            for place in self._places.values():
                await self._sweep_if_due(place)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._every):
                    await self._changed.wait()
                await asyncio.sleep(self._after)  # several jobs may end, and begin, at once
            except TimeoutError:
                pass

    async def sweep(self, name: str, now: datetime) -> Swept | None:
        """Bring one volume within its limits; None if it is in use, or not there."""
        place = self._places[name]
        try:
            return await asyncio.to_thread(self._sweep, place, now)
        except FileNotFoundError:
            return None

    async def _sweep_if_due(self, place: _Place) -> None:
        clock = asyncio.get_running_loop().time()
        waited = self._after if place.is_touched else self._every
        if not place.is_limited or place.users or clock - place.swept_at < waited:
            return
        place.swept_at, place.is_touched = clock, False
        try:
            done = await self.sweep(place.volume.name, datetime.now(UTC))
        except OSError as error:
            logger.warning("cannot sweep", volume=place.volume.name, why=str(error))
            return
        if done is None:
            return
        if done.removed:
            freed = done.freed >> 20
            logger.info(
                "swept", volume=place.volume.name, files=done.removed, freed_mb=freed,
                left_mb=done.size >> 20,
            )  # fmt: skip
        if done.errors:
            logger.warning("not all could go", volume=place.volume.name, why=done.errors)

    def _sweep(self, place: _Place, now: datetime) -> Swept | None:
        _let_go(place)
        if place.users:
            return None
        lock = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None  # another agent's job uses it
            except OSError:
                pass  # a file system without locks; our own jobs are known anyway
            quota, days = place.settings.quota_mb, place.settings.keep_days
            return sweep(
                place.path,
                quota=None if quota is None else quota << 20,
                keep=None if days is None else timedelta(days=days),
                now=now,
                wanted=lambda: bool(place.users),
                unit=partial(unit_of, place.volume.preset or place.volume.name),
            )
        finally:
            os.close(lock)

    def _take(self, place: _Place) -> None:
        self._ready(place)
        with place.guard:
            if place.lock is None:
                place.lock = _locked(place.path)

    def _ready(self, place: _Place) -> None:
        path, is_ours = place.path, place.settings.path is None
        try:
            if is_ours:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not place.volume.read_only and not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                if is_ours:  # for whoever a container runs as; `root` keeps all others out
                    path.chmod(0o777)
        except OSError as error:
            raise HostFault(
                f"volume {place.volume.name}: {path} cannot be made: {error.strerror}"
            ) from error
        if not path.is_dir():
            raise HostFault(
                f"volume {place.volume.name}: {path} is not there on the agent's host",
                hint="its operator names it in the agent's settings, under `volumes`",
            )


def _volume(name: str, settings: VolumeSettings, root: Path) -> Volume:
    path = settings.path or str(root / name)
    return Volume(name, path, settings.read_only, tuple(settings.queues), settings.preset)


def _locked(path: Path, *, wait: bool = True) -> int | None:
    """Return a file descriptor that holds a shared lock; None where there are no locks."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_SH | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _let_go(place: _Place) -> None:
    """Give the lock back if nobody uses the place any more."""
    with place.guard:
        if not place.users and place.lock is not None:
            os.close(place.lock)
            place.lock = None


def _check_apart(places: Mapping[str, Path], root: Path) -> None:
    """A job that could write above another volume could put a link in its place."""
    real = [(name, path.resolve()) for name, path in places.items()]
    own = root.parent.resolve()
    for name, path in real:
        if own.is_relative_to(path):
            raise Invalid(f"{name}: {path} holds the agent's own directory {own}")
        for other, below in real:
            if name != other and below.is_relative_to(path):
                whose = name.removeprefix("volumes.")
                raise Invalid(f"{other}: {below} is within the volume {whose}, {path}")
