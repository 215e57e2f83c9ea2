"""
Python environments for jobs: one per content of their requirements, made once, used by many.

An environment knows its own path, so it is built where it stays; a marker file, written last,
tells that it is whole. A lock file orders those who want the same one, in this process and in
others. uv does the work; the variables that it gets are chosen, since requirements may name
variables and installing a package may run its code.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from runyard.agent.faults import uv_blames_host
from runyard.client.requirements import Requirements, read_requirements
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.sources import check_runtime
from runyard.host.commands import running

Log = Callable[[bytes], Awaitable[None] | None]
_READY: Final = ".runyard-ready"
_PRIVATE: Final = ".runyard/venv"
_FORMAT: Final = "1"  # part of the name, so that a change of how they are made makes new ones
_SECONDS: Final = 3600.0
_HOST: Final = (
    "PATH", "HOME", "TMPDIR", "LANG", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "NETRC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "LD_LIBRARY_PATH", "CUDA_HOME",
)  # fmt: skip
_NETWORK: Final = (
    "dns error", "failed to lookup address", "connection refused", "connection reset",
    "timed out", "network is unreachable", "error sending request", "tcp connect error",
    "failed to fetch", "failed to download", "503 service", "502 bad", "504 gateway",
)  # fmt: skip
_FOR_GOOD: Final = (
    "status client error", "invalid peer certificate", "no such file",
    "network connectivity is disabled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Environment:
    """`bin` holds `python`; `env` is what activating it sets: VIRTUAL_ENV and the whole PATH."""

    bin: Path
    env: Mapping[str, str] = field(default_factory=dict)


class Environments:
    """The environments below `root`. `host_env` is the agent's own environment."""

    def __init__(
        self, root: Path, uv: str | None = None, *, host_env: Mapping[str, str] | None = None
    ) -> None:
        self._root = root.absolute()
        self._uv = uv
        self._host = dict(os.environ if host_env is None else host_env)

    async def for_directory(
        self, directory: Path, *, python: str | None, log: Log
    ) -> Environment | None:
        """Return the environment for the code in `directory`, making it if there is none yet.

        `python` is "3.N"; None takes the agent's own version. None comes back for code that
        asks for no packages: it runs with what the host has.

        Raises:
            Rejected: uv refuses: no such package or Python; its last lines are the message.
            HostFault: no room for it; or uv or the agent's own Python is not there any more.
            Unavailable: the package index could not be reached.
        """
        wanted = await asyncio.to_thread(read_requirements, directory)
        if wanted is None:
            return None
        version = check_runtime(python) if python else _own_version()
        if wanted.shared:
            place = self._root / _name(wanted, version)
        else:
            place = Path(os.path.abspath(directory), _PRIVATE)  # noqa: ASYNC240  # asks no disk
        ready = place / _READY
        if not _used(ready):
            async with _locked(place):
                if not _used(ready):
                    await self._make(place, directory, wanted, version, log)
        path = os.pathsep.join((str(place / "bin"), self._host.get("PATH", os.defpath)))
        return Environment(place / "bin", {"VIRTUAL_ENV": str(place), "PATH": path})

    async def prune(self, *, unused_since: datetime) -> int:
        """Remove shared environments that no job has asked for since then; count them."""
        return await asyncio.to_thread(self._prune, unused_since.timestamp())

    def _prune(self, unused_since: float) -> int:
        removed = 0
        for place in self._root.glob("*") if self._root.is_dir() else ():
            ready = place / _READY
            if not ready.is_file() or ready.stat().st_mtime >= unused_since:
                continue
            with open(_lock_file(place), "wb") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ready.unlink()
                shutil.rmtree(place, ignore_errors=True)
                removed += 1
        return removed

    async def _make(
        self, place: Path, directory: Path, wanted: Requirements, version: str, log: Log
    ) -> None:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)  # half of an earlier one
        uv = self._uv or find_uv()
        check_python()
        interpreter = sys.executable if version == _own_version() else version
        install = ("pip", "install", "--python", str(place / "bin" / "python"), "-r", wanted.file)
        try:
            async with asyncio.timeout(_SECONDS):
                await _say(log, f"making a Python {version} environment from {wanted.file}\n")
                await self._run(
                    (uv, "venv", "--no-project", "--python", interpreter, str(place)),
                    directory,
                    log,
                )
                await self._run((uv, *install), directory, log)
            (place / _READY).touch()
        except TimeoutError as error:
            raise Unavailable(
                f"installing {wanted.file} took more than {_SECONDS:.0f} s"
            ) from error
        finally:
            if not (place / _READY).exists():
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _run(self, argv: tuple[str, ...], directory: Path, log: Log) -> None:
        last: deque[bytes] = deque(maxlen=20)
        try:
            async with running(argv, directory=directory, env=self._env()) as process:
                assert process.stdout is not None
                while line := await process.stdout.readline():
                    last.append(line[:2000])
                    await _say(log, line)
                code = await process.wait()
        except FileNotFoundError as error:
            raise HostFault(f"{argv[0]} is not on the agent's host any more") from error
        if code:
            raise _refused(argv[1], b"".join(last).decode(errors="replace").strip())

    def _env(self) -> dict[str, str]:
        chosen = {
            name: value
            for name, value in self._host.items()
            if name in _HOST or (name.startswith("UV_") and name != "UV_PROJECT_ENVIRONMENT")
        }
        return chosen | {"UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def _refused(step: str, said: str) -> HostFault | Rejected | Unavailable:
    if uv_blames_host(said):
        return HostFault(f"the agent's host cannot make the job's environment: {said}")
    if step == "venv":  # even if a download failed: few hosts that lack a Python get it later
        return Rejected(
            f"the job's Python cannot be had on the agent's host: {said}",
            hint="Install that Python on the host, or make the job with --runtime 3.N of one that "
            "is there.",
        )
    lower = said.lower()
    if any(sign in lower for sign in _NETWORK) and not any(sign in lower for sign in _FOR_GOOD):
        return Unavailable(f"the package index cannot be reached: {said}")
    return Rejected(f"the job's packages cannot be installed: {said}")


def _name(wanted: Requirements, version: str) -> str:
    parts = (_FORMAT, version, platform.machine(), platform.system(), *wanted.texts)
    made = hashlib.sha256()
    for part in parts:
        made.update(b"%d:" % len(part.encode()) + part.encode())
    return made.hexdigest()[:32]


def _own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find_uv() -> str:
    """Return the path of uv. Raises: HostFault: it is not there any more."""
    from uv import find_uv_bin  # 15 ms that only the first environment pays

    try:
        return find_uv_bin()
    except FileNotFoundError as error:
        raise HostFault(
            "uv is not on the agent's host any more", hint="install it again"
        ) from error


def check_python() -> None:
    """Pass if the Python that runs this could be started again. Raises: HostFault."""
    if not os.access(sys.executable, os.X_OK):
        raise HostFault(f"{sys.executable} is not on the agent's host any more")


def _used(ready: Path) -> bool:
    try:
        os.utime(ready)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _lock_file(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


@contextlib.asynccontextmanager
async def _locked(place: Path) -> AsyncIterator[None]:
    lock_file = _lock_file(place)
    await asyncio.to_thread(lock_file.parent.mkdir, parents=True, exist_ok=True)
    with open(lock_file, "wb") as lock:  # noqa: ASYNC230  # opening does not wait, locking does
        # Asked again and again, since a thread that waits in flock cannot be cancelled.
        while not _try_lock(lock.fileno()):  # noqa: ASYNC110  # the other may be a process
            await asyncio.sleep(0.1)
        yield


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _say(log: Log, text: str | bytes) -> None:
    waiting = log(text.encode() if isinstance(text, str) else text)
    if waiting is not None:
        await waiting
