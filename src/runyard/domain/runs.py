"""
The run: what its owner sees, from the queue to the end, through requeues and retries.

    PENDING ──▶ RUNNING ──▶ FINISHED | FAILED | KILLED | CRASHED ─ ─▶ RUNNING, by the program only
       ▲           │
       └─ PREEMPTED ◀─┘ (or a retry)   CRASHED is a guess: another end may take its place

A run exists from the moment its item is queued, or from its program's first word. Two reporters
see it, the agent and the program itself, and the program's word on its end counts. While an agent
of ours holds the item, that word is kept as `said_exit` until the agent sees the workload end: the
item and its run end together. `MOVES` are open to both; what ended goes on only when its program
speaks again (`RESUMES`). A wish to stop is no state: it is `stop_requested_at`, and decides how
the end is called.
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
# A program that speaks runs, whatever was thought of it: it is resumed, or was started by hand.
RESUMES: Final[Mapping[RunState, frozenset[RunState]]] = {
    state: frozenset({RunState.RUNNING}) for state in RunState
}
# What a person may make of a run that no agent has to do with: it is to be run again, or given up.
RELABELS: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.PENDING, RunState.FAILED}),
    RunState.FAILED: frozenset({RunState.PENDING}),
    RunState.CRASHED: frozenset({RunState.PENDING}),
    RunState.PREEMPTED: frozenset({RunState.PENDING}),
}


@dataclass(frozen=True, slots=True)
class Run:
    """
    `reason` is one sentence for people: why it ended, or who asked it to. `exit_code` is None
    if nobody knows it. `said_exit` is the exit code that the program itself has told.
    """

    id: RunId
    state: RunState
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    stop_requested_at: datetime | None = None
    said_exit: int | None = None

    def began(self, now: datetime) -> Run:
        """Follow the program's first word, or its first after an end: then all of that is over."""
        if self.state is RunState.RUNNING:
            return self if self.said_exit is None else replace(self, said_exit=None)
        wanted = None if self.state.is_final else self.stop_requested_at
        return self._move(
            RunState.RUNNING, RESUMES, started_at=self.started_at or now, ended_at=None,
            exit_code=None, said_exit=None, stop_requested_at=wanted,
            reason="" if wanted is None else self.reason,
        )  # fmt: skip

    def said(self, exit_code: int) -> Run:
        """Keep the program's word on its end, for when the end is seen."""
        return replace(self, said_exit=exit_code)

    def relabelled(self, to: RunState, reason: str, now: datetime) -> Run:
        """Follow a person's word. Raises: IllegalMove."""
        ended = now if to.is_final else None
        return self._move(
            to, RELABELS, reason=reason, ended_at=ended, exit_code=None, said_exit=None
        )

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
        return self._move(RunState.PREEMPTED, reason=reason, said_exit=None)

    def resumed(self) -> Run:
        """Wait for the next attempt's start."""
        if self.state is RunState.PENDING:
            return self if self.stop_requested_at or not self.reason else replace(self, reason="")
        return self._move(RunState.PENDING, reason="", said_exit=None)

    def retried(self, reason: str) -> Run:
        """Wait for another attempt after one that failed; `reason` says so to people."""
        if self.state is RunState.PENDING:
            return replace(self, reason=reason)
        return self._move(RunState.PENDING, reason=reason, said_exit=None)

    def asked_to_stop(self, now: datetime) -> Run:
        if self.state.is_final:
            raise IllegalMove(f"run {self.id} has ended already: {self.state}")
        return replace(self, stop_requested_at=self.stop_requested_at or now)

    def _end(self, to: RunState, reason: str, now: datetime, exit_code: int | None) -> Run:
        return self._move(to, reason=reason, exit_code=exit_code, ended_at=now)

    def _move(
        self,
        to: RunState,
        moves: Mapping[RunState, frozenset[RunState]] = MOVES,
        **changes: object,
    ) -> Run:
        if to not in moves.get(self.state, ()):
            raise IllegalMove(f"run {self.id} cannot go from {self.state} to {to}")
        return replace(self, state=to, **changes)  # type: ignore[arg-type]


def told_state(
    state: RunState, said_exit: int | None, exit_code: int | None, *, preempting: bool | None
) -> str:
    """Return the state as readers of the tracking protocol are told it.

    The program's word is told at once, not only when the agent has seen the end. A killed run is
    told by its exit, as if by itself: clients that wait for an end do not know "killed".
    """
    if state is RunState.RUNNING and said_exit is not None:
        return _by_exit(said_exit)
    if state is RunState.RUNNING and preempting:
        return "preempting"
    return _by_exit(exit_code) if state is RunState.KILLED else state.value


def _by_exit(exit_code: int | None) -> str:
    return (RunState.FINISHED if exit_code == 0 else RunState.FAILED).value
