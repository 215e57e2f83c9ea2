"""
The run: what its owner sees, from the queue to the end, through requeues and retries.

    PENDING ──▶ RUNNING ──▶ FINISHED | FAILED | KILLED | CRASHED
       ▲           │
       └─ PREEMPTED ◀─┘ (or a retry)   CRASHED is a guess, the only end that may be taken back

A run exists from the moment its item is queued. Two reporters see it, the agent and the
program itself; the table says which moves there are, the callers who may make them. A wish
to stop is no state: it is `stop_requested_at`, and decides how the end is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from runyard.domain.errors import IllegalMove
from runyard.domain.items import RunId


class RunState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    CRASHED = "crashed"

    @property
    def is_final(self) -> bool:
        return self in (self.FINISHED, self.FAILED, self.KILLED, self.CRASHED)


_ENDS: Final = frozenset({RunState.FINISHED, RunState.FAILED, RunState.KILLED, RunState.CRASHED})

MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.PREEMPTED} | _ENDS),
    RunState.RUNNING: frozenset({RunState.PREEMPTED, RunState.PENDING} | _ENDS),
    RunState.PREEMPTED: frozenset({RunState.PENDING} | _ENDS),
    RunState.CRASHED: frozenset({RunState.RUNNING, RunState.FINISHED, RunState.FAILED}),
}


@dataclass(frozen=True, slots=True)
class Run:
    """
    `reason` is one sentence for people: why it ended, or who asked it to. `exit_code` is None
    if nobody knows it.
    """

    id: RunId
    state: RunState
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    stop_requested_at: datetime | None = None

    def started(self, now: datetime) -> Run:
        if self.state is RunState.RUNNING:
            return self
        return self._move(RunState.RUNNING, started_at=self.started_at or now)

    def ended(self, exit_code: int | None, reason: str, now: datetime) -> Run:
        """End by the program's exit; a run that was asked to stop was killed, however it left."""
        if self.stop_requested_at is not None:
            return self.killed(self.reason or reason, now, exit_code=exit_code)
        to = RunState.FINISHED if exit_code == 0 else RunState.FAILED
        if not reason and exit_code != 0:
            reason = "exit code unknown" if exit_code is None else f"exit code {exit_code}"
        return self._end(to, reason, now, exit_code)

    def failed(self, reason: str, now: datetime) -> Run:
        """End without the program's own exit: it could not be started, or was given up."""
        if self.stop_requested_at is not None:
            return self.killed(self.reason or reason, now)
        return self._end(RunState.FAILED, reason, now, None)

    def crashed(self, reason: str, now: datetime) -> Run:
        if self.stop_requested_at is not None:
            return self.killed(self.reason or reason, now)
        return self._end(RunState.CRASHED, reason, now, None)

    def killed(self, reason: str, now: datetime, *, exit_code: int | None = None) -> Run:
        return self._end(RunState.KILLED, reason, now, exit_code)

    def preempted(self, reason: str) -> Run:
        return self._move(RunState.PREEMPTED, reason=reason)

    def resumed(self) -> Run:
        """Wait for the next attempt's start."""
        if self.state is RunState.PENDING:
            return self if self.stop_requested_at or not self.reason else replace(self, reason="")
        return self._move(RunState.PENDING, reason="")

    def retried(self, reason: str) -> Run:
        """Wait for another attempt after one that failed; `reason` says so to people."""
        if self.state is RunState.PENDING:
            return replace(self, reason=reason)
        return self._move(RunState.PENDING, reason=reason)

    def asked_to_stop(self, now: datetime) -> Run:
        if self.state.is_final:
            raise IllegalMove(f"run {self.id} has ended already: {self.state}")
        return replace(self, stop_requested_at=self.stop_requested_at or now)

    def _end(self, to: RunState, reason: str, now: datetime, exit_code: int | None) -> Run:
        return self._move(to, reason=reason, exit_code=exit_code, ended_at=now)

    def _move(self, to: RunState, **changes: object) -> Run:
        if to not in MOVES.get(self.state, ()):
            raise IllegalMove(f"run {self.id} cannot go from {self.state} to {to}")
        return replace(self, state=to, **changes)  # type: ignore[arg-type]
