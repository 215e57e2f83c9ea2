"""Entries of the audit log to rows and back. They are added and read, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, insert, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms, to_text

_C = t.audit.c


def add(
    tx: Tx,
    *,
    at: datetime,
    actor: str,
    actor_kind: str,
    entity_id: str | None,
    action: str,
    thing: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    tx.run(
        insert(t.audit),
        {
            "at": to_ms(at), "actor": actor, "actor_kind": actor_kind, "entity_id": entity_id,
            "action": action, "thing": thing,
            "before": None if before is None else to_text(before),
            "after": None if after is None else to_text(after),
        },
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; None is any. `action` without a dot is all that was done to such things."""

    entity_id: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(tx: Tx, wanted: Filter, *, before: int | None, limit: int) -> Sequence[Row]:
    """Return entries, the newest first, with numbers below `before`."""
    found = _found(wanted).order_by(_C.seq.desc()).limit(limit)
    return tx.all(found if before is None else found.where(_C.seq < before))


def forward(tx: Tx, wanted: Filter, *, after: int, limit: int) -> Sequence[Row]:
    """Return entries, the oldest first, with numbers above `after`."""
    return tx.all(_found(wanted).where(_C.seq > after).order_by(_C.seq).limit(limit))


def _found(wanted: Filter) -> Select[Any]:
    found = select(t.audit, t.entities.c.name.label("entity")).outerjoin(
        t.entities, t.entities.c.id == _C.entity_id
    )
    for column, value in ((_C.entity_id, wanted.entity_id), (_C.actor, wanted.actor)):
        if value is not None:
            found = found.where(column == value)
    if wanted.action is not None:
        is_noun = "." not in wanted.action
        found = found.where(
            _C.action.startswith(f"{wanted.action}.", autoescape=True)
            if is_noun
            else _C.action == wanted.action
        )
    if wanted.since is not None:
        found = found.where(_C.at >= to_ms(wanted.since))
    if wanted.until is not None:
        found = found.where(_C.at < to_ms(wanted.until))
    return found
