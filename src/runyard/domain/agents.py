"""
The agent as the server knows it: who it is, which process of it counts, whether it lives.

Registering a name gives it a new epoch. A call with an older one is refused, and that
process exits; so two processes with one name cannot both act. "Lost" is never stored: it is
`last_seen_at` longer ago than `LOST_AFTER`, seen by the server's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from runyard.domain.errors import StaleEpoch
from runyard.domain.items import AgentId

LOST_AFTER: Final = timedelta(seconds=60)


class AgentStatus(StrEnum):
    """What the agent says of itself; the peer's words."""

    POLLING = "POLLING"
    RUNNING = "RUNNING"
    KILLED = "KILLED"


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
