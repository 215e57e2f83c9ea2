"""People, as the tracking client looks for them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, or_, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_E, _U = t.entities.c, t.users.c


def search(tx: Tx, text: str, *, limit: int) -> Sequence[Row]:
    """Return people whose name or address begins or ends with a text, an exact match first."""
    asked = text.lower()
    columns = (_E.name, func.lower(func.coalesce(_U.email, "")))
    fits = [way(asked, autoescape=True) for c in columns for way in (c.startswith, c.endswith)]
    return tx.all(
        select(_E.id, _E.name)
        .join(t.users, _U.id == _E.id)
        .where(_U.kind == "person", or_(*fits))
        .order_by(*(c != asked for c in columns), _E.name)
        .limit(limit)
    )  # fmt: skip


def of_email(tx: Tx, email: str, *, limit: int) -> Sequence[Row]:
    """Return people with an address, whoever said that it is theirs."""
    return tx.all(
        select(_E.id, _E.name)
        .join(t.users, _U.id == _E.id)
        .where(func.lower(_U.email) == email.lower())
        .order_by(_E.name)
        .limit(limit)
    )
