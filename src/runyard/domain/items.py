"""
The run queue item: its states, its moves, and nothing that does I/O.

    PENDING ──lease──▶ LEASED ──claim──▶ CLAIMED ──finish──▶ FINISHED
       ▲ ▲               │                 │ │
       │ └─expire,release┘                 │ └────fail─────▶ FAILED  ◀─fail─ LEASED, PENDING
       └──────────requeue, retry───────────┘
    PENDING, LEASED ──cancel──▶ CANCELLED

An item is handed out again only when nothing runs for it: a LEASED one, because agents
claim before they start anything; a preempted one, because its agent saw it end. A claim
whose agent fell silent proves neither: it stays CLAIMED until a process of the same agent
adopts it or its time is up, and then it fails.

Waiting has two reasons of its own, which are no states: `parked` says that an item is not to be
leased, because somebody holds it or because it backs off before a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType

from runyard.domain.errors import IllegalMove, Invalid, StaleLease

ItemId = NewType("ItemId", str)
AgentId = NewType("AgentId", str)
QueueId = NewType("QueueId", str)
RunId = NewType("RunId", str)
LeaseToken = NewType("LeaseToken", str)

LEASE_TTL: Final = timedelta(seconds=60)  # the peer's agents count on one minute
CLAIM_TTL: Final = timedelta(minutes=15)  # an agent may be away for a reboot
MAX_REQUEUES: Final = 5  # after preemption, unless the queue's policy says otherwise


class ItemState(StrEnum):
    PENDING = "PENDING"
    LEASED = "LEASED"
    CLAIMED = "CLAIMED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        return self not in MOVES


MOVES: Final[Mapping[ItemState, frozenset[ItemState]]] = {
    ItemState.PENDING: frozenset({ItemState.LEASED, ItemState.CANCELLED, ItemState.FAILED}),
    ItemState.LEASED: frozenset(
        {ItemState.PENDING, ItemState.CLAIMED, ItemState.FAILED, ItemState.CANCELLED}
    ),
    ItemState.CLAIMED: frozenset({ItemState.PENDING, ItemState.FINISHED, ItemState.FAILED}),
}


class Parked(StrEnum):
    """Why a waiting item is not handed out."""

    HELD = "held"  # by a person, until a person releases it
    BACKOFF = "backoff"  # until `ready_at`


class Stage(StrEnum):
    """Where an item came to grief: the first question of whoever reads the failure."""

    AGENT = "agent"  # before anything of the job was touched, or the agent itself
    FETCH = "fetch"  # source, requirements
    BUILD = "build"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one agent to write to one item until a deadline."""

    agent_id: AgentId
    token: LeaseToken
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item failed, for its submitter."""

    stage: str
    message: str


@dataclass(frozen=True, slots=True)
class Item:
    """
    `attempt` counts claims: 0 before the first. `requeues` counts preemptions, `retries` failures
    that the policy made up for, `host_faults` those that were an agent's own, `aged` the levels of
    priority gained by waiting. `expires_at` ends its time in the queue, `run_deadline` that of the
    present attempt. `turn` is its place by fair share, `charged` the seconds that its author's
    share was booked with.
    """

    id: ItemId
    queue_id: QueueId
    state: ItemState
    priority: int  # 0 is the most urgent
    enqueued_at: datetime
    run_id: RunId
    attempt: int = 0
    requeues: int = 0
    lease: Lease | None = None
    failure: Failure | None = None
    claim_ttl: timedelta = CLAIM_TTL
    ended_at: datetime | None = None
    parked: Parked | None = None
    parked_why: str = ""
    ready_at: datetime | None = None
    expires_at: datetime | None = None
    run_deadline: datetime | None = None
    retries: int = 0
    host_faults: int = 0
    aged: int = 0
    turn: float = 0.0
    charged: float | None = None

    @property
    def key(self) -> str:
        """Name the present attempt's workload, for every backend alike."""
        return f"ry-{self.id}-{self.attempt}"

    def held_by(self, agent_id: AgentId, token: LeaseToken, now: datetime) -> Item:
        """Return the item if this agent still holds it with `token`.

        Raises:
            StaleLease: somebody else holds it, nobody does, or time is up.
        """
        if self.lease is None or (self.lease.agent_id, self.lease.token) != (agent_id, token):
            raise StaleLease(f"item {self.id} is not held with this token")
        if self.lease.expires_at <= now:
            raise StaleLease(f"the lease on item {self.id} expired at {self.lease.expires_at}")
        return self

    def leased(self, lease: Lease) -> Item:
        if self.parked is not None:
            raise IllegalMove(f"item {self.id} is not to be leased: {self.parked}")
        return self._move(ItemState.LEASED, lease=lease)

    def claimed(self, now: datetime) -> Item:
        return self._move(ItemState.CLAIMED, attempt=self.attempt + 1)._until(now + self.claim_ttl)

    def adopted(self, lease: Lease) -> Item:
        """Pass a claim to a new process of its agent; the old token is worth nothing now."""
        if self.state is not ItemState.CLAIMED:
            raise IllegalMove(f"item {self.id} is {self.state}; only a claim can be adopted")
        return replace(self, lease=lease)

    def released(self) -> Item:
        """Give back what was leased and not begun, to its old place in the queue."""
        if self.state is not ItemState.LEASED:
            raise IllegalMove(f"item {self.id} is {self.state}; only a lease can be given back")
        return self._move(ItemState.PENDING, lease=None)

    def renewed(self, now: datetime) -> Item:
        return self._until(now + (self.claim_ttl if self.state is ItemState.CLAIMED else LEASE_TTL))

    def finished(self, now: datetime) -> Item:
        return self._end(ItemState.FINISHED, now)

    def failed(self, failure: Failure, now: datetime) -> Item:
        return self._end(ItemState.FAILED, now, failure=failure)

    def cancelled(self, now: datetime) -> Item:
        return self._end(ItemState.CANCELLED, now)

    def requeued(self, now: datetime, *, at_most: int = MAX_REQUEUES, to_end: bool = True) -> Item:
        """Return to the queue after a preemption, keeping the run: to its end, or its old place.

        Raises:
            Invalid: it was requeued `at_most` times already.
        """
        if self.requeues >= at_most:
            raise Invalid(f"preempted {self.requeues + 1} times; the queue allows {at_most}")
        at = now if to_end else self.enqueued_at
        return self._back(enqueued_at=at, requeues=self.requeues + 1)

    def retried(self, now: datetime, wait: timedelta, why: str) -> Item:
        """Return to the end of the queue after a failure, to be run again in `wait`."""
        back = self._back(enqueued_at=now, retries=self.retries + 1)
        if not wait:
            return back
        return replace(back, parked=Parked.BACKOFF, parked_why=why, ready_at=now + wait)

    def spared(self) -> Item:
        """Return to its old place: what failed was the agent's host."""
        return self._back(host_faults=self.host_faults + 1)

    def held(self, why: str) -> Item:
        """Keep a waiting item from being leased.

        Raises:
            IllegalMove: it does not wait.
        """
        self._need_pending("held")
        return replace(self, parked=Parked.HELD, parked_why=why, ready_at=None)

    def freed(self) -> Item:
        """Let a held item, or one that backs off, go at once."""
        self._need_pending("released")
        return replace(self, parked=None, parked_why="", ready_at=None)

    def reprioritised(self, priority: int) -> Item:
        self._need_pending("given another priority")
        return replace(self, priority=priority, aged=0)

    def started(self, now: datetime, run_timeout: int) -> Item:
        """Note that the attempt runs: from here on its time counts. Repeatable."""
        if not run_timeout or self.run_deadline is not None:
            return self
        return replace(self, run_deadline=now + timedelta(seconds=run_timeout))

    def _need_pending(self, what: str) -> None:
        if self.state is not ItemState.PENDING:
            raise IllegalMove(f"item {self.id} is {self.state}; only what waits can be {what}")

    def _back(self, **changes: object) -> Item:
        return self._move(ItemState.PENDING, lease=None, run_deadline=None, **changes)

    def _end(self, to: ItemState, now: datetime, **changes: object) -> Item:
        return self._move(
            to, lease=None, ended_at=now, run_deadline=None, parked=None, parked_why="",
            ready_at=None, **changes,
        )  # fmt: skip

    def _until(self, deadline: datetime) -> Item:
        if self.lease is None:
            raise IllegalMove(f"item {self.id} is {self.state} and holds no lease")
        return replace(self, lease=replace(self.lease, expires_at=deadline))

    def _move(self, to: ItemState, **changes: object) -> Item:
        if to not in MOVES.get(self.state, ()):
            raise IllegalMove(f"item {self.id} cannot go from {self.state} to {to}")
        return replace(self, state=to, **changes)  # type: ignore[arg-type]
