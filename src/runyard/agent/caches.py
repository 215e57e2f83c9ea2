"""
Caches that jobs share without their queues asking: of each kind, every team has one of its own.

    <root>/<team>/<kind>        what the team's jobs are given, one directory of each kind
    <root>/<team>/.runyard      the agents' own: locks, and files that are still coming

Jobs of one team believe what they find in a cache, so no job of another team is ever given it
(T21). The root is closed to all users but the agent's; the caches within are open to whoever a
container runs as. That a team has jobs is known to all agents of the directory, those of other
hosts too, from a shared lock that each of them holds.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from runyard.agent.cache_settings import CacheSettings
from runyard.agent.sweeping import Swept, Way, sweep, unit_of
from runyard.domain.errors import HostFault
from runyard.domain.volumes import Shared, shared_of

logger = structlog.get_logger(__name__)

OURS: Final = ".runyard"
INCOMING: Final = "incoming"  # files that are still coming
SWEEP_EVERY: Final = 3600.0  # seconds between two sweeps
SWEEP_AFTER: Final = 600.0  # seconds, at least, if jobs began or ended since
IN_USE: Final = timedelta(days=1)  # what was used in that time stays as long as its team has jobs
_OPEN: Final = 0o777
_NO_LINK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# "Whoever may enter may write", for what is made within: a tool makes its directories for its own
# user only, and the next container may be another one.
_ACL: Final = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (0x01, 0x04, 0x20)
)


@dataclass(slots=True)
class _Team:
    """Who of ours uses a team's caches, and the lock that tells other agents so."""

    users: set[str] = field(default_factory=set)
    lock: int | None = None  # a file descriptor
    guard: threading.Lock = field(default_factory=threading.Lock)


class TeamCaches:
    def __init__(
        self,
        settings: CacheSettings,
        root: Path,
        *,
        every: float = SWEEP_EVERY,
        after: float = SWEEP_AFTER,
    ) -> None:
        """Take the settings; without a path there, the caches live in `root`."""
        self.root = Path(settings.path) / "teams" if settings.path else root
        self.shared = Shared(str(self.root), tuple(settings.shared))
        self._settings, self._every, self._after = settings, every, after
        self._teams: dict[str, _Team] = {}
        self._changed = asyncio.Event()

    async def hold(self, key: str, mounts: Collection[str]) -> None:
        """Make a team's caches ready for a workload; none of it is swept in use until `free`.

        Raises:
            HostFault: a directory cannot be made.
        """
        for folder, kinds in _by_team(mounts).items():
            team = self._teams.setdefault(folder, _Team())
            team.users.add(key)  # first: a sweep that is under way lets the team go
            self._changed.set()
            await asyncio.to_thread(self._take, team, self.root / folder, kinds)

    def recall(self, key: str, mounts: Collection[str]) -> None:
        """Note what an adopted workload uses."""
        for folder in _by_team(mounts):
            team = self._teams.setdefault(folder, _Team())
            team.users.add(key)
            with team.guard:
                if team.lock is None:
                    team.lock = _lock(self.root / folder, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def free(self, key: str) -> None:
        for team in self._teams.values():
            if key in team.users:
                team.users.remove(key)
                self._changed.set()
                with team.guard:
                    if not team.users and team.lock is not None:
                        os.close(team.lock)
                        team.lock = None

    async def carry(self) -> None:
        """Hold the limits, now and then, for ever; what was left by earlier settings too."""
        while True:
            self._changed.clear()
            try:
                await self.sweep(datetime.now(UTC))
            except OSError as error:
                logger.warning("cannot sweep the shared caches", why=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._changed.wait()
                    await asyncio.sleep(self._after)  # several jobs may end, and begin, at once

    async def sweep(self, now: datetime) -> Swept | None:
        """Bring the caches of all teams within their limits; None if there are none.

        Raises:
            OSError: their directory cannot be read.
        """
        try:
            done = await asyncio.to_thread(self._sweep, now)
        except FileNotFoundError:
            return None
        limit, left = self._settings.shared_mb, done.size >> 20
        if done.removed:
            logger.info("swept the shared caches", files=done.removed, left_mb=left)
        if done.errors:
            logger.warning("not all could go from the shared caches", why=done.errors)
        if done.size > limit << 20:
            logger.warning("the shared caches are in use beyond their limit", mb=left, limit=limit)
        return done

    def _sweep(self, now: datetime) -> Swept:
        idle = _Idle(self.root, self._teams)
        recent = (now - IN_USE).timestamp()
        days = self._settings.shared_days

        def spared(way: Way, used: float) -> bool:
            if way[1:2] == (OURS,):
                return way[2:3] != (INCOMING,) or used >= recent
            return len(way) <= 2 or (used >= recent and not idle.has(way[0]))

        try:
            return sweep(
                self.root,
                quota=self._settings.shared_mb << 20,
                keep=None if days is None else timedelta(days=days),
                now=now,
                wanted=idle.look,
                unit=lambda way: (*way[:2], *unit_of(way[1], way[2:])) if len(way) > 2 else way,
                spared=spared,
            )
        finally:
            idle.close()

    def _take(self, team: _Team, folder: Path, kinds: Collection[str]) -> None:
        try:
            (folder / OURS / INCOMING).mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self.root, folder, folder / OURS):
                path.chmod(0o700)  # also one that was there before
            for kind in kinds:
                open_to_all(folder / kind)
        except OSError as error:
            raise HostFault(
                f"the shared cache {error.filename or folder} cannot be made: {error.strerror}",
                hint="`cache.path` in the agent's settings is a directory that its user may write, "
                "and that no agent of another user has",
            ) from error
        with team.guard:
            if team.lock is None:
                team.lock = _lock(folder, fcntl.LOCK_SH)


class _Idle:
    """The teams without jobs, each under a lock that keeps new ones waiting; held no longer than
    until one of ours comes."""

    def __init__(self, root: Path, teams: dict[str, _Team]) -> None:
        self._teams, self._locks = teams, dict[str, int]()
        for folder in os.listdir(root):
            lock = None
            if not self._is_used(folder):
                lock = _lock(root / folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock is not None:
                self._locks[folder] = lock

    def has(self, folder: str) -> bool:
        """Whether nobody uses a team's caches. Where there are no locks, that cannot be told."""
        self.look()
        return folder in self._locks

    def look(self) -> bool:
        """Let go of the teams that have got jobs of ours. The sweep goes on: never true."""
        for folder in [each for each in self._locks if self._is_used(each)]:
            os.close(self._locks.pop(folder))
        return False

    def close(self) -> None:
        for lock in self._locks.values():
            os.close(lock)

    def _is_used(self, folder: str) -> bool:
        team = self._teams.get(folder)
        return team is not None and bool(team.users)


def open_to_all(path: Path) -> None:
    """Make a directory that whoever is given it may write, and what is made in it later."""
    with suppress(FileExistsError):
        path.mkdir()
    here = os.open(path, _NO_LINK)
    try:
        with suppress(PermissionError):  # another user of ours has made it, and opened it
            os.fchmod(here, _OPEN)
        with suppress(OSError):  # or a file system without such lists
            os.setxattr(here, "system.posix_acl_default", _ACL)
    finally:
        os.close(here)


def _lock(folder: Path, kind: int) -> int | None:
    """Return a file descriptor that holds a lock; None if another one does, or there are none."""
    descriptor = None
    try:
        descriptor = os.open(folder / OURS / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, kind)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _by_team(mounts: Collection[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for mount in mounts:
        if told := shared_of(mount):
            found.setdefault(told[0], []).append(told[1])
    return found
