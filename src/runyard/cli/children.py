"""
Our own commands as child processes: the server and the agent that `up` and direct runs start.

A child has a process group of its own, so that Ctrl-C reaches us alone and we end things in
order. It watches its parent, so that nothing is left behind even if we are killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from runyard.domain.errors import RunyardError

PARENT: Final = "RUNYARD_PARENT_PID"
_LAST_LINES: Final = 12
_LOOK_AT_PARENT: Final = 0.5  # seconds


class Child:
    """A running `runyard` command whose output goes to a file."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        environ: Mapping[str, str],
        log: Path,
        detached: bool = False,
        keep: Sequence[int] = (),
    ) -> None:
        """Start it. One that is `detached` outlives us, and our terminal.

        `keep` are open files that it inherits, with the locks on them.
        """
        self.name = words[0]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        env = dict(environ)
        if not detached:
            env[PARENT] = str(os.getpid())
        with log.open("ab") as out:
            self._log_start = out.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runyard.cli.main", *words],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=None if detached else 0,
                start_new_session=detached,
                pass_fds=tuple(keep),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code; None if it still runs after that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def failure(self) -> RunyardError:
        """Return the error for an end that nobody asked for, with what it printed last."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
        said = "\n".join(f"  {line}" for line in lines)
        return RunyardError(
            f"runyard {self.name} ended with exit code {self.exit_code}"
            + f":\n{said}" * bool(said),
            hint=f"its whole output: {self.log}",
        )

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def end_with_parent() -> None:
    """In a child: go when the process that started us is gone, without its orderly end.

    Asked twice, an agent does not wait for its jobs: they go on, for the next one to adopt. To
    wait would be in vain, since the server goes as well.
    """
    parent = int(os.environ.pop(PARENT, "0"))
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_AT_PARENT)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_LOOK_AT_PARENT)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def free_port(host: str) -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    with socket.socket(_family(host)) as probe:
        # As servers do it, or a port that was left a moment ago would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
