"""
What every service is given: the transaction, who asks, and what only the edge may make.

Clock, identifiers and secrets come from outside, so a test can play an hour of traffic in a
millisecond and knows every id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runyard.domain.access import Action, Actor
from runyard.domain.errors import Forbidden, NotFound
from runyard.services.sealing import Sealer
from runyard.store import accounts
from runyard.store.db import Row, Tx

KEY_PREFIX: Final = "ry_"  # of people's keys; scanners of leaked secrets look for it
AGENT_PREFIX: Final = "rya_"
RUN_PREFIX: Final = "ryr_"


@dataclass(frozen=True, slots=True)
class Call:
    """
    One request on its way through the services. `new_id` gives ids ordered by time; `seal`
    encrypts what the database must not show.
    """

    tx: Tx
    actor: Actor
    now: datetime
    new_id: Callable[[], str]
    new_secret: Callable[[], str]
    seal: Sealer | None = None

    def entity(self, name: str | None, action: Action) -> Row:
        """Return the entity in which the caller may act: by default its own, or, as a service
        account owns nothing, its team.

        Raises:
            NotFound, Forbidden: as `Actor.need`.
        """
        row = None if name else self._home()
        wanted = name or (self.actor.name if row is None else row["name"])
        row = row or accounts.entity(self.tx, wanted)
        if row is None:
            raise NotFound(f"no user or team {wanted!r} that you may see")
        self.actor.need(action, row["id"], wanted, f"user or team {wanted!r}")
        return row

    def _home(self) -> Row | None:
        return accounts.home_of(self.tx, self.actor.user_id) if self.actor.is_service else None

    def visible(self) -> list[str] | None:
        """Return the ids of the entities that the caller may see; None is all of them."""
        if self.actor.is_admin:
            return None
        return [e for e in self.actor.grants if self.actor.may(Action.SEE, e)]

    def as_agent(self, agent_id: str) -> None:
        """Pass if the caller is this very agent.

        Raises:
            Forbidden: anybody else, other agents included.
        """
        if not self.actor.is_agent(agent_id):
            raise Forbidden("only the agent itself may do this, with the token of its registration")


def token_hash(secret: str) -> str:
    """Return what is stored of a token. It is 256 random bits, so one round is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()
