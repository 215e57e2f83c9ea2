"""
What became of an item, told from its events and attempts: where its time went, and how it ended.

    PENDING      LEASED     CLAIMED
    ├─ queued ───┼─ leased ─┼─ starting ─┬─ running ─┤   once for each attempt, and for each
                                         started        lease that was given back

Pure, and the same whoever asks and whenever: figures and traces are both made of it, by any
server, from rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from runyard.domain.items import ItemState, Stage
from runyard.domain.runs import RunState
from runyard.domain.workloads import Phase


class Part(StrEnum):
    QUEUED = "queued"  # in the queue, held and backing off included
    LEASED = "leased"
    STARTING = "starting"  # claimed: fetching, building, waiting for the backend
    RUNNING = "running"


class Ending(StrEnum):
    """What a part ended with. Few words, since they become labels."""

    WENT_ON = "went_on"  # to the part after it
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    CRASHED = "crashed"  # nobody saw the end
    EXPIRED = "expired"  # it waited longer than its queue allows
    RETRIED = "retried"
    PREEMPTED = "preempted"
    GIVEN_BACK = "given_back"  # nothing was begun, or the agent's host was at fault


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    at: datetime
    was: str | None
    became: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt. `exit_code` is None where none was seen."""

    n: int
    agent: str
    claimed_at: datetime
    started_at: datetime | None = None
    phase: str | None = None
    exit_code: int | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of an item's life; `seq` is the event that ended it.

    `attempt` is the number of the attempt that it was, or that it waited for. `waiting_since` is
    when the item last came to the queue.
    """

    part: Part
    begin: datetime
    end: datetime
    attempt: int
    ending: Ending
    seq: int
    waiting_since: datetime


@dataclass(frozen=True, slots=True)
class Tale:
    """
    An item with all that happened to it. Nothing here is a secret or free text: no arguments, no
    configuration, no messages. `team` owns the project, `entity` the queue.
    """

    item_id: str
    queue_id: str
    entity: str
    queue: str
    resource: str
    priority: int
    author: str
    team: str
    project: str
    run: str
    job: str
    run_state: str
    stage: str | None
    ended_at: datetime | None
    expires_at: datetime | None
    events: tuple[Event, ...]
    tries: Mapping[int, Try]

    @property
    def is_expired(self) -> bool:
        ended, expires = self.ended_at, self.expires_at
        return ended is not None and expires is not None and expires <= ended

    @property
    def last(self) -> Try | None:
        return self.tries[max(self.tries)] if self.tries else None

    @property
    def ending(self) -> Ending:
        """How it ended, once its item is over."""
        if self.is_expired and not self.tries:
            return Ending.EXPIRED
        return ended_as(self.run_state, self.events[-1].became if self.events else "")

    def stretches(self) -> list[Stretch]:
        return stretches(self.events, self.tries, self.run_state, is_expired=self.is_expired)


def stretches(
    events: Iterable[Event],
    tries: Mapping[int, Try],
    run_state: str,
    *,
    is_expired: bool = False,
) -> list[Stretch]:
    """Return what lies between the events, in order; what has not ended is left out.

    `run_state` is the run's state now; `is_expired`, whether the item's time in the queue was
    over when it ended.
    """
    walk = _Walk(tries, run_state, is_expired)
    for event in events:
        walk.step(event)
    return walk.found


class _Walk:
    def __init__(self, tries: Mapping[int, Try], run_state: str, is_expired: bool) -> None:
        self.found: list[Stretch] = []
        self._tries, self._run_state, self._is_expired = tries, run_state, is_expired
        self._claims = 0
        self._since: datetime | None = None  # when the part that is open began
        self._queued_at: datetime | None = None

    def step(self, event: Event) -> None:
        if self._since is None or self._queued_at is None:
            self._since = self._queued_at = event.at  # submitted
            return
        if event.became == event.was:  # held, released, backing off: it waits all the same
            return
        match event.was:
            case ItemState.PENDING:
                self._add(Part.QUEUED, event, self._since, event.at)
            case ItemState.LEASED:
                self._add(Part.LEASED, event, self._since, event.at)
                if ItemState(event.became).is_final and self._claims + 1 in self._tries:
                    self._claims += 1  # claimed and ended in one breath
                    self._since = event.at
                    self._end_attempt(event)
            case ItemState.CLAIMED:
                self._end_attempt(event)
        if event.became == ItemState.CLAIMED:
            self._claims = self._claimed_at(event.at)
        elif event.became == ItemState.PENDING and event.was == ItemState.CLAIMED:
            self._queued_at = event.at
        self._since = event.at

    def _claimed_at(self, at: datetime) -> int:
        """Return the number of the attempt that began then, should an event ever be missing."""
        later = (n for n, t in self._tries.items() if n > self._claims and t.claimed_at == at)
        return min(later, default=self._claims + 1)

    def _end_attempt(self, event: Event) -> None:
        assert self._since is not None
        tried = self._tries.get(self._claims)
        started = tried.started_at if tried else None
        if started is None:
            self._add(Part.STARTING, event, self._since, event.at)
            return
        started = min(max(started, self._since), event.at)
        self._add(Part.STARTING, event, self._since, started, Ending.WENT_ON)
        self._add(Part.RUNNING, event, started, event.at)

    def _add(
        self, part: Part, event: Event, begin: datetime, end: datetime, ending: Ending | None = None
    ) -> None:
        assert self._queued_at is not None
        waits = part in (Part.QUEUED, Part.LEASED)
        self.found.append(
            Stretch(
                part=part,
                begin=begin,
                end=max(begin, end),
                attempt=self._claims + 1 if waits else self._claims,
                ending=ending or self._ending(event, waits=waits),
                seq=event.seq,
                waiting_since=self._queued_at,
            )
        )

    def _ending(self, event: Event, *, waits: bool) -> Ending:
        match event.became:
            case ItemState.LEASED | ItemState.CLAIMED:
                return Ending.WENT_ON
            case ItemState.PENDING:
                return Ending.GIVEN_BACK if waits else self._returned(event)
            case ItemState.CANCELLED if self._is_expired:
                return Ending.EXPIRED
        return ended_as(self._run_state, event.became)

    def _returned(self, event: Event) -> Ending:
        tried = self._tries.get(self._claims)
        if tried is not None and tried.phase == Phase.PREEMPTED:
            return Ending.PREEMPTED
        return Ending.RETRIED if event.detail.startswith("retry ") else Ending.GIVEN_BACK


_ENDINGS: Final[Mapping[str, Ending]] = {
    RunState.FINISHED: Ending.FINISHED,
    RunState.FAILED: Ending.FAILED,
    RunState.KILLED: Ending.KILLED,
    RunState.CRASHED: Ending.CRASHED,
}
# Where the run's program went on after its item had ended, only the item still tells of the end.
_ITEM_ENDINGS: Final[Mapping[str, Ending]] = {
    ItemState.FINISHED: Ending.FINISHED,
    ItemState.CANCELLED: Ending.KILLED,
}


def ended_as(run_state: str, item_state: str) -> Ending:
    """Return how a submission ended whose item is over."""
    return _ENDINGS.get(run_state) or _ITEM_ENDINGS.get(item_state, Ending.FAILED)


_SIGNALS: Final = 128  # exit codes above it stand for a signal


def failure_class(ending: Ending, stage: str | None, last: Try | None) -> tuple[str, str] | None:
    """Return stage and reason of a failed item in words of a fixed list; None if it did not fail.

    The sentences that people read are not among them: they may hold anything.
    """
    if ending not in (Ending.FAILED, Ending.CRASHED):
        return None
    known = stage if stage in set(Stage) else Stage.RUN.value
    if last is None:
        return known, "never_claimed"
    match last.phase:
        case Phase.EXITED:
            code = last.exit_code
            if code is None:
                return known, "exit_unknown"
            return known, "signal" if code > _SIGNALS or code < 0 else "exit_code"
        case Phase.PREEMPTED | Phase.GONE:
            return known, last.phase
    if ending is Ending.CRASHED and known == Stage.AGENT:
        return known, "agent_lost"
    return known, "not_started" if last.started_at is None else "agent_error"
