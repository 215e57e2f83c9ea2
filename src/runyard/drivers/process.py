"""
Workloads as processes of the agent's own host.

Everything that must outlive the agent is on disk, under `root/workloads/KEY`, written by a
wrapper that is a few shell builtins (`process_home`). The driver starts wrappers, reads what
they wrote, and learns of their end from the kernel (`process_tree`), so nothing is asked over
and over, and a job costs two small processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from runyard.domain.errors import HostFault, Invalid, Rejected, Unavailable, Violation
from runyard.domain.workloads import Handle, Observation, Phase, Workload
from runyard.drivers import process_tree as tree
from runyard.drivers.base import Capabilities
from runyard.drivers.process_home import Home
from runyard.drivers.process_links import check_unwritable, link
from runyard.drivers.process_request import MARK, ProcessRequest, process_request
from runyard.drivers.roots import check_key, key_of, root_id

CHUNK: Final = 256 * 1024  # bytes of log at once
BIRTH: Final = 30.0  # seconds a wrapper may take to come up before it is kept from it
KILLED: Final = 5.0  # seconds the kernel may take to end what was killed
_BUSY, _SILENT = 0.01, 0.25  # seconds between two looks at a log
_BRIEF = 0.001  # seconds; then doubled
_TOO_BUSY = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # passes by itself
_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class ProcessDriver:
    name = "local-process"
    capabilities = Capabilities(needs_image=False, takes_gpus=True, takes_volumes=True)

    def __init__(
        self,
        root: Path,
        *,
        host_env: Mapping[str, str] | None = None,
        env_passthrough: Collection[str] = (),
    ) -> None:
        """`env_passthrough` names what jobs may have of the agent's environment on request."""
        self._root = root.absolute()
        self._homes = self._root / "workloads"
        self._host_env = dict(os.environ if host_env is None else host_env)
        self._allowed = frozenset(env_passthrough)
        self._id: str | None = None
        self._children: set[int] = set()  # wrappers of ours that nobody has waited for yet

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], root: Path) -> ProcessDriver:
        """Make a driver from the agent's file: `{env_passthrough: [NAME, …]}`.

        Raises:
            Invalid: a setting is unknown or of the wrong kind.
        """
        faults = [
            Violation(key, "unknown; local-process takes env_passthrough")
            for key in settings
            if key != "env_passthrough"
        ]
        names = settings.get("env_passthrough", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            faults.append(Violation("env_passthrough", f"{names!r} is no list of names"))
        if faults:
            raise Invalid("; ".join(map(str, faults)), violations=faults)
        return cls(root, env_passthrough=names)

    async def check(self) -> None:
        self._root_id()
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise Rejected(f"the agent's directory {self._root} is not writable")

    async def disks(self) -> Collection[Path]:
        return [self._root]

    def render(self, workload: Workload, /) -> Mapping[str, Any]:
        return self._request(workload).masked()

    async def submit(self, workload: Workload, /) -> Handle:
        request, root = self._request(workload), self._root_id()
        home = Home(self._homes / check_key(workload.key))
        self._reap()
        try:
            home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if home.wrapper() is None:
                self._start(home, request)
        except OSError as error:
            if error.errno in _TOO_BUSY:
                raise Unavailable(f"the process cannot be started: {error.strerror}") from error
            kind = HostFault if error.errno in _BROKEN else Rejected
            raise kind(f"the process cannot be started: {error.strerror}") from error
        return Handle(self.name, 1, {"key": workload.key, "root": root})

    async def watch(self, handle: Handle, /) -> AsyncGenerator[Observation, None]:
        home = self._home(handle)
        seen = home.observe()
        if seen.phase is Phase.QUEUED:
            yield seen
            await self._born(home)
            seen = home.observe()
        yield seen
        if not seen.phase.is_final:
            with home.ending() as ending:
                await ending.wait()
            self._reap()
            yield home.observe()

    async def stop(self, handle: Handle, /, *, grace: timedelta) -> None:
        home = self._home(handle)
        if not home.path.exists() or home.take():
            return
        with contextlib.suppress(HostFault):  # no wrapper came: nothing runs
            await self._born(home)
        if pid := home.wrapper():
            await self._end(home, pid, grace.total_seconds())
        self._reap()

    async def logs(self, handle: Handle, /, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        home = self._home(handle)
        if home.observe().phase is Phase.QUEUED:
            await self._born(home)
        pause = _BUSY
        with home.ending() as ending, contextlib.ExitStack() as files:
            log = None
            while True:
                over = ending.is_over  # before reading, or the tail is lost
                if log is None:
                    with contextlib.suppress(FileNotFoundError):
                        log = files.enter_context(home.log.open("rb", buffering=0))
                while log is not None and (chunk := os.pread(log.fileno(), CHUNK, offset)):
                    yield chunk
                    offset, pause = offset + len(chunk), _BUSY
                if over:
                    return
                await ending.wait(pause)
                pause = min(pause * 2, _SILENT)

    async def discard(self, handle: Handle, /) -> None:
        """Delete what is on disk, and end what the workload left running in its group.

        What made a session of its own and outlived a natural end is let go; `stop` ends it.
        """
        home = self._home(handle)
        self._reap()
        if (pid := home.wrapper()) and (home.has_wrapper() or tree.group_exists(pid)):
            await self.stop(handle, grace=timedelta())
        await asyncio.to_thread(shutil.rmtree, home.path, ignore_errors=True)

    async def leftovers(self, keep: Collection[str], /) -> Collection[Handle]:
        self._reap()
        root = self._root_id()
        found = sorted(os.listdir(self._homes)) if self._homes.exists() else []
        return [Handle(self.name, 1, {"key": k, "root": root}) for k in found if k not in keep]

    async def close(self) -> None:
        self._reap()

    def _request(self, workload: Workload) -> ProcessRequest:
        return process_request(workload, self._host_env, self._allowed)

    def _root_id(self) -> str:
        if self._id is None:
            self._id = root_id(self._root)
        return self._id

    def _home(self, handle: Handle) -> Home:
        return Home(self._homes / key_of(handle, driver=self.name, root=self._root_id()))

    def _start(self, home: Home, request: ProcessRequest) -> None:
        env = {**request.env, **request.secrets}
        base = _base(home, request)
        check_unwritable(request.unwritable)
        link(base, request.links)
        process = subprocess.Popen(
            home.wrapped([_program(request.argv[0], env), *request.argv[1:]]),
            cwd=_directory(base, request),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._children.add(process.pid)
        process.returncode = 0  # we wait for it, and it may outlive us: no warning on deletion

    def _reap(self) -> None:
        """Wait for children that have ended, so that no zombies gather."""
        for pid in list(self._children):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(pid)

    async def _born(self, home: Home) -> None:
        """Return when the key has an owner; take it if none comes in time.

        Raises:
            HostFault: a wrapper could not write that it owns the key; so it left.
        """
        loop, pause = asyncio.get_running_loop(), _BRIEF
        deadline = loop.time() + BIRTH
        while home.wrapper() is None and home.path.exists():
            if loop.time() > deadline and not home.take():
                raise HostFault(f"{home.path / 'born'} is empty: is the disk full?")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _SILENT)

    async def _end(self, home: Home, pid: int, grace: float) -> None:
        """Ask everybody once, then insist; the wrapper comes last, since it has to write."""
        loop, pause, asked = asyncio.get_running_loop(), _BRIEF, False
        polite = loop.time() + grace
        with home.ending() as wrapper:
            while True:
                self._reap()  # the dead still count as members where there is no /proc
                left = await asyncio.to_thread(self._members, home, pid)
                if wrapper.is_over and not left:
                    return
                overdue = loop.time() - polite
                if overdue >= 0:
                    wrapper_hangs = not left and overdue > KILLED / 2 and home.has_wrapper()
                    tree.send([pid] if wrapper_hangs else left, signal.SIGKILL)
                elif not asked and left:
                    tree.send(left, signal.SIGTERM)
                    asked = True
                if overdue > KILLED:
                    raise Unavailable(f"processes {left} of {home.path.name} do not end")
                patience = min(pause, -overdue) if overdue < 0 else pause
                if wrapper.is_over:
                    await asyncio.sleep(patience)
                else:
                    await wrapper.wait(patience)
                pause = min(pause * 2, _SILENT)

    @staticmethod
    def _members(home: Home, pid: int) -> list[int]:
        mark = f"{MARK}={home.path.name}".encode()
        return tree.members(pid, mark, leader_is_ours=home.has_wrapper())


def _base(home: Home, request: ProcessRequest) -> Path:
    """Return the job's directory."""
    if request.directory is not None:
        return Path(request.directory)
    base = home.path / "work"
    base.mkdir(exist_ok=True)
    return base


def _directory(base: Path, request: ProcessRequest) -> Path:
    """Return where the process starts: in the job's directory, links followed and checked."""
    there = (base / request.working_dir).resolve()
    if not there.is_relative_to(base.resolve()):
        raise Rejected(f"working_dir: {request.working_dir!r} leaves the job's directory")
    if not there.is_dir():
        raise Rejected(f"working_dir: the job has no directory {request.working_dir!r}")
    return there


def _program(word: str, env: Mapping[str, str]) -> str:
    """Return the program for `word`: hosts with an agent have a Python, if not by that name."""
    if word not in ("python", "python3") or shutil.which(word, path=env.get("PATH", os.defpath)):
        return word
    base = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
    return str(base) if base.exists() else sys.executable
