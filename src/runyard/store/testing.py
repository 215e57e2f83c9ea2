"""What the testing switch does to the tables beside what services do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_E, _K, _M = t.entities.c, t.credentials.c, t.memberships.c
_MADE: Final = select(_E.id, _E.name, _K.hash).join(t.credentials, _K.user_id == _E.id)


def keys_of(tx: Tx, user_id: str) -> Sequence[Row]:
    return tx.all(_MADE.where(_E.id == user_id))


def keys_named(tx: Tx, label: str) -> Sequence[Row]:
    """Return users with the hashes of their keys of this name."""
    return tx.all(_MADE.where(_K.name == label).order_by(_E.id))


def free_name(tx: Tx, entity_id: str) -> None:
    """Give an entity a name that nobody asks for, so that its own can be used anew."""
    tx.run(update(t.entities).where(_E.id == entity_id).values(name=f"gone-{entity_id}"))


def drop_memberships(tx: Tx, entity_id: str) -> None:
    """Take a user out of all teams, or everybody out of a team."""
    tx.run(delete(t.memberships).where((_M.user_id == entity_id) | (_M.team_id == entity_id)))
