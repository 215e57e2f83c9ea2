"""
The agent as the server knows it: who it is, which process of it counts, whether it lives.

Registering a name gives it a new epoch. A call with an older one is refused, and that
process exits; so two processes with one name cannot both act. "Lost" is never stored: it is
`last_seen_at` longer ago than `LOST_AFTER`, seen by the server's clock.

An agent whose own host makes one start after the other fail is set aside: what it runs goes on,
and it takes nothing more. So one broken machine does not eat a queue.

    in use ─── STRIKES failed starts in a row ──▶ set aside ── a check passes ──▶ on probation
      ▲  ▲                                          │   ▲                           │  │
      │  └───────────── an admin's word ────────────┘   └─── one more failed start ─┘  │
      └─────────────────────── a start that succeeds ──────────────────────────────────┘

A person may set it aside, too; then no check brings it back, only a person does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from runyard.domain.errors import StaleEpoch
from runyard.domain.items import AgentId

LOST_AFTER: Final = timedelta(seconds=60)
STRIKES: Final = 3  # failed starts in a row, by the host's own fault, that set an agent aside
MAX_WHY: Final = 1000  # characters of the sentence that says why
_CHECKED: Final = "; its last check of the host: "


class AgentStatus(StrEnum):
    """What the agent says of itself; the peer's words."""

    POLLING = "POLLING"
    RUNNING = "RUNNING"
    KILLED = "KILLED"


class AgentKind(StrEnum):
    """Whose program it is: ours, or the tracking client's own, which tells no end of a workload."""

    RUNYARD = "runyard"
    WANDB = "wandb"


@dataclass(frozen=True, slots=True)
class Agent:
    id: AgentId
    entity_id: str
    entity: str
    name: str
    epoch: int
    hostname: str
    version: str
    status: AgentStatus
    max_jobs: int  # -1 is without limit
    registered_at: datetime
    last_seen_at: datetime
    stop_requested_at: datetime | None = None
    strikes: int = 0
    set_aside_at: datetime | None = None
    set_aside_why: str = ""  # one sentence for people
    kind: AgentKind = AgentKind.RUNYARD

    @property
    def is_set_aside(self) -> bool:
        return self.set_aside_at is not None

    @property
    def may_lease(self) -> bool:
        return self.stop_requested_at is None and not self.is_set_aside

    @property
    def was_set_aside_by_hand(self) -> bool:
        """Whether a person did it: then no check brings the agent back, a person does."""
        return self.is_set_aside and self.strikes < STRIKES

    def struck(self, why: str, now: datetime) -> Agent:
        """Count a start that failed by the host's fault; at `STRIKES` the agent is set aside."""
        if self.is_set_aside:  # by what it had begun before: nothing that is not known already
            return self
        strikes = self.strikes + 1
        if strikes < STRIKES:
            return replace(self, strikes=strikes)
        said = why.strip().splitlines()[0] if why.strip() else "no reason given"
        return replace(
            self,
            strikes=strikes,
            set_aside_at=now,
            set_aside_why=f"{strikes} starts in a row failed by this host's fault, "
            f"the last one with: {said}"[:MAX_WHY],
        )

    def started_well(self) -> Agent:
        """Forgive earlier strikes. What is set aside stays so until its host was checked."""
        return self if self.is_set_aside else replace(self, strikes=0)

    def set_aside_by_hand(self, why: str, now: datetime) -> Agent:
        at = self.set_aside_at or now
        return replace(self, strikes=0, set_aside_at=at, set_aside_why=why[:MAX_WHY])

    def checked(self, faults: Sequence[str]) -> Agent:
        """Follow a check of the host. Passed, the agent is on probation: one strike is enough."""
        if not self.is_set_aside or self.was_set_aside_by_hand:
            return self
        if not faults:
            return replace(self, strikes=STRIKES - 1, set_aside_at=None, set_aside_why="")
        why = self.set_aside_why.partition(_CHECKED)[0]
        return replace(self, set_aside_why=f"{why}{_CHECKED}{', '.join(faults)}"[: 2 * MAX_WHY])

    def readmitted(self) -> Agent:
        return replace(self, strikes=0, set_aside_at=None, set_aside_why="")

    def is_live(self, now: datetime) -> bool:
        return self.status is not AgentStatus.KILLED and now - self.last_seen_at < LOST_AFTER

    def of_epoch(self, epoch: int) -> Agent:
        """Return the agent if `epoch` is its present one.

        Raises:
            StaleEpoch: a newer process registered this name.
        """
        if epoch != self.epoch:
            raise StaleEpoch(
                f"agent {self.name} was registered again by another process",
                hint="give each agent a name of its own: runyard agent --name NAME",
            )
        return self
