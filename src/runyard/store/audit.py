"""Entries of the audit log to rows and back. They are added and read, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

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


def page(
    tx: Tx,
    *,
    entity_id: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> Sequence[Row]:
    """Return entries, the newest first, with numbers below `before`; of all entities with None."""
    found = (
        select(t.audit, t.entities.c.name.label("entity"))
        .outerjoin(t.entities, t.entities.c.id == _C.entity_id)
        .order_by(_C.seq.desc())
        .limit(limit)
    )
    for column, value in ((_C.entity_id, entity_id), (_C.actor, actor), (_C.action, action)):
        if value is not None:
            found = found.where(column == value)
    if since is not None:
        found = found.where(_C.at >= to_ms(since))
    if until is not None:
        found = found.where(_C.at < to_ms(until))
    if before is not None:
        found = found.where(_C.seq < before)
    return tx.all(found)
