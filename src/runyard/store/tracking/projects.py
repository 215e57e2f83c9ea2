"""Projects, joined with their entity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_P, _E = t.projects.c, t.entities.c
_PROJECTS: Final = select(t.projects, _E.name.label("entity")).join(
    t.entities, _E.id == _P.entity_id
)
_NAMED: Final = _PROJECTS.where(
    _P.entity_id == bindparam("entity_id"), _P.name == bindparam("name")
)
_BY_ID: Final = _PROJECTS.where(_P.id == bindparam("id"))
_PAGE: Final = _PROJECTS.where(
    _P.entity_id == bindparam("entity_id"), _P.id < bindparam("before")
).order_by(_P.id.desc())


def named(tx: Tx, entity_id: str, name: str) -> Row | None:
    return tx.one(_NAMED, {"entity_id": entity_id, "name": name})


def get(tx: Tx, project_id: str) -> Row | None:
    return tx.one(_BY_ID, {"id": project_id})


def page(tx: Tx, entity_id: str, *, before: str, limit: int) -> Sequence[Row]:
    """Return an entity's projects, the newest first; `before` "~" begins with the newest."""
    return tx.all(_PAGE.limit(limit), {"entity_id": entity_id, "before": before})
