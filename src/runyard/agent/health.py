"""
Looks at the agent's own host: is there room on its disks, do they take a file, are the engines,
the tools and the GPUs there that were there when the agent started.

A look changes nothing and raises nothing; what cannot be looked at is found wanting. It runs
before the first lease, when the agent was set aside, and by hand: `runyard agent check`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from runyard.agent.environments import find_uv
from runyard.domain.errors import RunyardError
from runyard.drivers.base import Driver
from runyard.wire.health import Check

logger = structlog.get_logger(__name__)

MIN_FREE: Final = 256 << 20  # bytes on each disk that jobs fill
MIN_INODES: Final = 2000
SAMPLE: Final = 1 << 16  # bytes written, read and deleted
LIMIT: Final = 30.0  # seconds for one check; a dead network disk never answers


def tools() -> dict[str, str]:
    """Return the programs that the agent's own work needs, by name; those that are there."""
    found = {"python": sys.executable if os.access(sys.executable, os.X_OK) else ""}
    with contextlib.suppress(RunyardError):
        found["uv"] = find_uv()
    found["git"] = shutil.which("git") or ""
    return {name: path for name, path in found.items() if path}


@dataclass(frozen=True, slots=True)
class Host:
    """
    This host, as it was when the agent started: `tools` and `gpus` must still be there.
    `drivers` gives those in use, `gpus_now` the devices by index; both are asked at each look.
    """

    root: Path
    drivers: Callable[[], Sequence[Driver]]
    gpus_now: Callable[[], Iterable[str]]
    gpus: tuple[str, ...] = ()
    tools: dict[str, str] = field(default_factory=tools)

    async def look(self) -> list[Check]:
        """Check everything, and log what is bad of it."""
        checks = await self.found()
        for check in checks:
            if not check.ok:
                logger.warning("check failed", check=check.name, found=check.detail)
        return checks

    async def found(self) -> list[Check]:
        """Check everything; return what was found, the good with the bad."""
        checks = [
            await _checked("disk", partial(asyncio.to_thread, room, self.root)),
            await _checked("write", partial(asyncio.to_thread, takes_a_file, self.root)),
            await _checked("tools", partial(asyncio.to_thread, self._has_tools)),
        ]
        if self.gpus:
            checks.append(await _checked("gpus", partial(asyncio.to_thread, self._has_gpus)))
        for driver in self.drivers():
            checks.append(await _checked(driver.name, partial(_answers, driver)))
            checks += await self._disks_of(driver)
        return checks

    async def _disks_of(self, driver: Driver) -> list[Check]:
        try:
            async with asyncio.timeout(LIMIT):
                disks = [d for d in await driver.disks() if not d.is_relative_to(self.root)]
        except Exception:  # it has failed the check before this one, or has no disk to speak of
            return []
        name = f"{driver.name} disk"
        return [await _checked(name, partial(asyncio.to_thread, room, disk)) for disk in disks]

    def _has_tools(self) -> str:
        missing = [name for name, path in self.tools.items() if not os.access(path, os.X_OK)]
        if missing:
            raise LookupError(f"not there any more: {', '.join(missing)}")
        return ", ".join(self.tools)

    def _has_gpus(self) -> str:
        missing = sorted(set(self.gpus) - set(self.gpus_now()))
        if missing:
            raise LookupError(f"not there any more: {', '.join(missing)}")
        return ", ".join(self.gpus)


def room(path: Path) -> str:
    """Return how much is free on the disk of `path`, or of what it will be made in.

    Raises:
        OSError: too little, or it cannot be asked.
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    if free < MIN_FREE:
        raise OSError(f"{free >> 20} MiB free on {there}; {MIN_FREE >> 20} MiB are needed")
    if found.f_files and found.f_favail < MIN_INODES:  # some file systems do not count them
        raise OSError(f"{found.f_favail} files can be made on {there}; {MIN_INODES} are needed")
    return f"{free / (1 << 30):.1f} GiB free on {there}"


def takes_a_file(directory: Path) -> str:
    """Write, read and delete a file.

    Raises:
        OSError: it cannot be done, or other bytes were read.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, sample = directory / f".check-{secrets.token_hex(8)}", os.urandom(SAMPLE)
    try:
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as opened:
            opened.write(sample)
            opened.flush()
            os.fsync(opened.fileno())
            opened.seek(0)
            if opened.read() != sample:
                raise OSError(f"{directory} gives back other bytes than it was given")
    finally:
        file.unlink(missing_ok=True)
    return f"{directory} takes files"


async def _answers(driver: Driver) -> str:
    await driver.check()
    return "answers"


async def _checked(name: str, work: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(LIMIT):
            return Check(name=name, ok=True, detail=await work())
    except TimeoutError:
        return Check(name=name, ok=False, detail=f"no answer within {LIMIT:.0f} s")
    except RunyardError as error:
        return Check(name=name, ok=False, detail=error.message)
    except (OSError, LookupError) as error:
        return Check(name=name, ok=False, detail=str(error))
    except Exception as error:  # somebody's driver: no reason for the agent to end
        return Check(name=name, ok=False, detail=f"the check is broken: {error!r}")
