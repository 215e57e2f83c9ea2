"""Projects, joined with their entity and with who made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_P, _E = t.projects.c, t.entities.c
_MAKER: Final = t.entities.alias("maker")
_PROJECTS: Final = (
    select(t.projects, _E.name.label("entity"), _MAKER.c.id.label("maker_id"))
    .join(t.entities, _E.id == _P.entity_id)
    .outerjoin(_MAKER, _MAKER.c.name == _P.created_by)
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


def lock(tx: Tx, project_id: str) -> None:
    """Let what is decided of a project follow one another until this commits."""
    tx.one(select(_P.id).where(_P.id == project_id).with_for_update())


def edit(tx: Tx, project_id: str, values: Mapping[str, Any]) -> None:
    """Raises: Duplicate: the entity has another project of that name."""
    tx.run(update(t.projects).where(_P.id == project_id).values(**values))


def drop(tx: Tx, project_id: str) -> None:
    """Raises: Duplicate: something refers to it still."""
    tx.run(delete(t.projects).where(_P.id == project_id))


def is_busy(tx: Tx, project_id: str) -> bool:
    """Whether a run of the project waits or runs."""
    live = select(t.runs.c.id).where(
        t.runs.c.project_id == project_id,
        t.runs.c.ended_at.is_(None),
        t.runs.c.deleted_at.is_(None),
    )
    return tx.one(live.limit(1)) is not None
