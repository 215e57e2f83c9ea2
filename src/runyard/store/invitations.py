"""Invitations to rows and back. Of a token only the hash is stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_I, _E = t.invitations.c, t.entities.c
_WITH_TEAM: Final = select(t.invitations, _E.name.label("team")).outerjoin(
    t.entities, _E.id == _I.team_id
)


def add(
    tx: Tx,
    invitation_id: str,
    token_hash: str,
    *,
    team_id: str | None,
    role: str | None,
    email: str,
    created_by: str,
    now: datetime,
    expires_at: datetime,
) -> None:
    tx.run(
        insert(t.invitations),
        {
            "id": invitation_id, "hash": token_hash, "team_id": team_id, "role": role,
            "email": email, "created_by": created_by, "created_at": to_ms(now),
            "expires_at": to_ms(expires_at),
        },
    )  # fmt: skip


def get(tx: Tx, invitation_id: str) -> Row | None:
    return tx.one(_WITH_TEAM.where(_I.id == invitation_id))


def page(tx: Tx, team_id: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return the invitations of a team, or of all and none, in order of their ids."""
    found = _WITH_TEAM.where(_I.id > after).order_by(_I.id).limit(limit)
    return tx.all(found if team_id is None else found.where(_I.team_id == team_id))


def open_one(tx: Tx, token_hash: str, now: datetime) -> Row | None:
    """Return the invitation of a token, if it can be used now."""
    return tx.one(
        _WITH_TEAM.where(_I.hash == token_hash, _I.used_at.is_(None), _I.expires_at > to_ms(now))
    )


def count_open(tx: Tx, team_id: str | None, now: datetime, *, role: str | None = None) -> int:
    """Return how many of a team's invitations, of those to `role` if given, can still be used."""
    found = select(func.count()).select_from(t.invitations).where(
        _I.team_id.is_(None) if team_id is None else _I.team_id == team_id,
        _I.used_at.is_(None),
        _I.expires_at > to_ms(now),
    )  # fmt: skip
    counted: int = tx.scalar(found if role is None else found.where(_I.role == role))
    return counted


def use(tx: Tx, invitation_id: str, user_id: str, now: datetime) -> bool:
    """Mark an invitation as used; False if somebody was faster."""
    changed = tx.run(
        update(t.invitations)
        .where(_I.id == invitation_id, _I.used_at.is_(None))
        .values(used_at=to_ms(now), used_by=user_id)
    )
    return changed == 1


def drop(tx: Tx, invitation_id: str) -> int:
    return tx.run(delete(t.invitations).where(_I.id == invitation_id))
