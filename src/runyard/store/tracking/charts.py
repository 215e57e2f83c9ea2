"""Charts that people define for the pages of their runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_C: Final = t.custom_charts.c
_CHANGING: Final = ("display_name", "kind", "access", "spec")


def save(tx: Tx, entity_id: str, name: str, now: datetime, **values: Any) -> None:
    """Add a chart, or change the one of that name; who made it and when stays."""
    dialect = postgresql if tx.is_postgres else sqlite
    new = dialect.insert(t.custom_charts)
    tx.run(
        new.on_conflict_do_update(
            index_elements=["entity_id", "name"],
            set_={column: new.excluded[column] for column in _CHANGING},
        ),
        {"entity_id": entity_id, "name": name, "created_at": to_ms(now), **values},
    )


def get(tx: Tx, entity_id: str, name: str) -> Row | None:
    return tx.one(select(t.custom_charts).where(_C.entity_id == entity_id, _C.name == name))


def count(tx: Tx, entity_id: str) -> int:
    found: int = tx.scalar(select(func.count(_C.name)).where(_C.entity_id == entity_id))
    return found
