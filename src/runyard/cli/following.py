"""
Staying with a run: its log on stdout, its states and builds on stderr, its exit code as ours.

The run does not depend on who watches it: an interrupt ends the watching only.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from runyard.cli import build_output
from runyard.cli.edge import INTERRUPTED
from runyard.cli.output import print_model, say
from runyard.client import follow as following
from runyard.client.printable import Printable
from runyard.domain.errors import RunyardError
from runyard.domain.runs import RunState
from runyard.domain.status import Shown

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.wire.rest import RunOut, RunRef

_STOPPED: Final = 130


def follow(
    api: Api,
    run: RunRef,
    *,
    raw: bool = False,
    as_json: bool = False,
    offset: int = 0,
    here: bool = False,
) -> int:
    """Print the log until the run has ended; return the exit code for it.

    Until its program runs, what the build of its image prints is shown on stderr. With `as_json`
    the log goes to stderr, and the ended run is printed as JSON. An interrupt leaves the run
    alone; one that runs `here`, by an agent of our own, is stopped by it.
    """
    path = f"{run.entity}/{run.project}/{run.run_id}"
    states = _States(api, run, here=here)
    try:
        build_output.show(api, run)
        _log(api, run, offset, raw=raw, to_stderr=as_json)
        ended = following.wait(api, run)
    except KeyboardInterrupt:
        states.quiet()
        if not here:
            say(f"\nRun {path} goes on.")
            say(f"  See it:  runyard logs -f {path}")
            say(f"  Stop it: runyard run stop {path}")
            return INTERRUPTED
        say(f"\nStopping {path}; interrupt again to leave it alone.")
        return _stop(api, run)
    states.end(ended)
    if ended.log_truncated:
        say(f"note: the server kept the first {ended.log_bytes:,} bytes of the log")
    if not ended.log_bytes and (where := build_output.where(ended)):
        say(f"The build's log: {where}")
    if as_json:
        print_model(ended)
    return exit_code(ended)


def exit_code(run: RunOut) -> int:
    """Return the exit code that stands for the end of a run: its own, where it has one."""
    state = RunState(run.state)
    if state is RunState.KILLED:
        return _STOPPED
    if run.exit_code is None:
        return 0 if state is RunState.FINISHED else 1
    if run.exit_code < 0:
        return 128 - run.exit_code  # ended by a signal, as a shell says it
    failed_with_zero = run.exit_code == 0 and state is not RunState.FINISHED
    return 1 if failed_with_zero else min(run.exit_code, 255)


def write(chunks: Iterator[bytes], *, raw: bool, to_stderr: bool = False) -> None:
    """Print output as it comes."""
    stream = sys.stderr if to_stderr else sys.stdout
    plain = Printable()
    for chunk in chunks:
        if raw:
            stream.buffer.write(chunk)
        else:
            stream.write(plain.feed(chunk))
        stream.flush()
    stream.write(plain.rest())
    stream.flush()


def _log(api: Api, run: RunRef, offset: int, *, raw: bool, to_stderr: bool) -> None:
    write(following.log(api, run, offset=offset, follow=True), raw=raw, to_stderr=to_stderr)


def _stop(api: Api, run: RunRef) -> int:
    try:
        api.stop_run(run, "interrupted")
        ended = following.wait(api, run)
    except KeyboardInterrupt:
        return INTERRUPTED
    say(f"{ended.status}: {ended.reason}")
    return INTERRUPTED


class _States:
    """Prints each new state, from a thread of its own: the log may be silent for hours."""

    def __init__(self, api: Api, run: RunRef, *, here: bool) -> None:
        self._api, self._run = api, run
        # Where an agent of our own is about to come, nobody needs to be told that it is not there.
        self._untold = {Shown.IDLE, Shown.QUEUED} if here else set()
        self._lock = threading.Lock()
        self._last = ""
        self._open = True
        threading.Thread(target=self._watch, daemon=True, name="states").start()

    def quiet(self) -> None:
        with self._lock:
            self._open = False

    def end(self, run: RunOut) -> None:
        """Print how it ended, and nothing afterwards."""
        self._show(run)
        self.quiet()

    def _watch(self) -> None:
        try:
            for run in following.changes(self._api, self._run):
                if not following.is_over(run):  # the end is told after the last of the log
                    self._show(run)
        except RunyardError:
            return  # whoever reads the log meets the same trouble, and tells

    def _show(self, run: RunOut) -> None:
        with self._lock:
            if not self._open or run.status in {self._last, *self._untold}:
                return
            if run.status == Shown.STARTING and self._last == Shown.BUILDING:
                return  # between the build and what follows from it: a program, or a failure
            self._last = run.status
            say(_sentence(run))


def _sentence(run: RunOut) -> str:
    if run.status == Shown.IDLE and run.queue:
        return (
            f"Idle: no agent serves the queue {run.queue}. Serve it: runyard agent -q {run.queue}"
        )
    if not following.is_over(run):
        return run.status
    reason = f": {run.reason}" if run.reason else ""
    if run.started_at and run.ended_at:
        took = (run.ended_at - run.started_at).total_seconds()
        return f"{run.status}{reason} (ran {took:.1f} s)"
    return f"{run.status}{reason}"
