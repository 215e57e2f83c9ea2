"""
Which processes belong to a workload, and how to learn of an end without asking again and again.

A workload is its wrapper's session, plus whatever carries the workload's key in its
environment: a program that made a session of its own still inherits its environment. Linux
tells both in /proc, and a pidfd becomes readable when a process ends, be it our child or not.
Elsewhere there is the process group, and asking again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")
HAS_PROC = (PROC / "self" / "stat").exists()
_ASK_AGAIN = 0.05  # seconds, where there are no pidfds


def has_word(pid: int, word: bytes) -> bool:
    """Whether process `pid` lives and has `word` among its arguments.

    A dead process that nobody has waited for yet has no arguments any more.
    """
    if not HAS_PROC:
        return _exists(pid)
    try:
        return word in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def group_exists(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def members(session: int, mark: bytes, *, leader_is_ours: bool) -> list[int]:
    """Return the living processes of a workload, without its wrapper.

    `session` is the wrapper's pid, `mark` a `NAME=value` of the workload's environment. When
    the number has gone to a stranger (`leader_is_ours` is False and it lives), only the mark
    counts. Takes milliseconds on a busy host: call it in a thread.
    """
    if not HAS_PROC:
        return [-session] if group_exists(session) else []  # a group, to os.kill
    counts = leader_is_ours or not _exists(session)
    return [
        pid
        for pid in _pids()
        if pid not in (session, os.getpid())
        and ((counts and _session(pid) == session) or (_lives(pid) and _has_mark(pid, mark)))
    ]


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Ending:
    """Waits for the end of one process. A context manager, to be entered in a running loop."""

    def __init__(self, pid: int, is_it: Callable[[], bool]) -> None:
        """`is_it` tells whether `pid` still is the process that is meant, and lives."""
        self._pid, self._is_it = pid, is_it
        self._over = asyncio.Event()
        self._fd: int | None = None

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def __enter__(self) -> Ending:
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # gone already, or a kernel without pidfds
                self._fd = os.pidfd_open(self._pid)
                asyncio.get_running_loop().add_reader(self._fd, self._ended)
        if not self._is_it():  # after opening: so the descriptor cannot be a stranger's
            self._ended()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end, at most `seconds`; return whether it has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self._fd is not None:
                    await self._over.wait()
                while not self._over.is_set():
                    await asyncio.sleep(_ASK_AGAIN)
                    if not self._is_it():
                        self._ended()
        return self._over.is_set()

    def _ended(self) -> None:
        self._over.set()
        if self._fd is not None:  # it stays readable, and would wake the loop for ever
            asyncio.get_running_loop().remove_reader(self._fd)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not HAS_PROC or _lives(pid)


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the command's name, which may itself hold anything."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _session(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[3]) if fields and fields[0] not in "ZX" else None


def _lives(pid: int) -> bool:
    return _session(pid) is not None


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        return mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
