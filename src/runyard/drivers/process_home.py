"""
What is on disk of one workload that is a process, and the shell that puts it there.

Only a parent can wait() for an exit status, and the agent may be gone by then, so a wrapper
stays beside the workload and writes the status down. Whoever creates the file `born` owns the
key: a second wrapper finds it and leaves, so starting twice is harmless, and a stop that comes
too early creates it to keep the workload from ever starting.

    born   the wrapper's pid; 0 if stopped before a wrapper came
    log    stdout and stderr as they came
    exit   the exit code, when it has ended
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.domain.errors import Unavailable
from runyard.domain.workloads import Observation, Phase
from runyard.drivers.process_tree import Ending, has_word

# Builtins alone, so that a job costs two small processes and no more. noclobber (-C) makes `>`
# fail on a file that exists. The subshell's `exec` runs programs only: without it, a job
# called `exit` or `eval` would be obeyed by the wrapper itself. The wrapper outlives polite
# signals, for somebody has to write the code down; programs that it starts do not inherit that.
WRAPPER: Final = """\
trap : TERM INT HUP
set -C
{ echo $$ >"$0/born"; } 2>/dev/null || exit 0
(exec "$@") >"$0/log" 2>&1
code=$?
echo $code >"$0/exit"
exit $code
"""
_NEVER: Final = 0


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    def wrapped(self, argv: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", WRAPPER, str(self.path), *argv]

    @property
    def log(self) -> Path:
        return self.path / "log"

    def wrapper(self) -> int | None:
        """Return the pid that owns the key; 0 if none ever will, None if none does yet."""
        return _number(self.path / "born")

    def has_wrapper(self) -> bool:
        """Whether the wrapper lives, and the pid has not gone to a stranger."""
        pid = self.wrapper()
        return bool(pid) and has_word(pid or 0, os.fsencode(self.path))

    def ending(self) -> Ending:
        return Ending(self.wrapper() or 0, lambda: self.observe().phase is Phase.RUNNING)

    def take(self) -> bool:
        """Own the key, so that no wrapper can start. False if one owns it already."""
        try:
            with (self.path / "born").open("x") as file:
                file.write(f"{_NEVER}\n")
        except FileExistsError:
            return False
        return True

    def observe(self) -> Observation:
        pid = self.wrapper()
        if pid is None:
            if self.path.exists():
                return Observation(Phase.QUEUED)
            return Observation(Phase.GONE, reason="nothing is left of it on this host")
        if pid == _NEVER:
            return Observation(Phase.EXITED, reason="stopped before it started")
        lives = self.has_wrapper()  # before the exit file, which is written last
        code = _number(self.path / "exit")
        if code is not None:
            return Observation(Phase.EXITED, exit_code=code)
        if lives:
            return Observation(Phase.RUNNING)
        if self.wrapper() is None:
            return self.observe()  # discarded while we looked
        return Observation(
            Phase.EXITED,
            reason="nobody recorded its exit code: its wrapper was killed, "
            "the machine was restarted, or the disk was full",
        )


def _number(file: Path) -> int | None:
    """Return the number in `file`, or None if it is not there or not all there yet.

    Raises:
        Unavailable: the disk could not be asked.
    """
    try:
        text = file.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"{file} cannot be read: {error.strerror}") from error
    return int(text) if text.endswith("\n") else None
