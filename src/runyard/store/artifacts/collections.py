"""Types of artifacts, and the collections that versions are in, for those who write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_C, _T, _P, _E, _M, _L = (
    t.collections.c, t.artifact_types.c, t.projects.c, t.entities.c, t.members.c, t.aliases.c,
)  # fmt: skip

SEQUENCE: Final = "sequence"
PORTFOLIO: Final = "portfolio"

_COLLECTIONS: Final = (
    select(
        t.collections, _T.name.label("type"), _P.name.label("project"), _P.entity_id,
        _E.name.label("entity"),
    )
    .join(t.artifact_types, _T.id == _C.type_id)
    .join(t.projects, _P.id == _C.project_id)
    .join(t.entities, _E.id == _P.entity_id)
)  # fmt: skip
_NAMED: Final = _COLLECTIONS.where(
    _C.project_id == bindparam("project_id"), _C.name == bindparam("name")
)
_BY_ID: Final = _COLLECTIONS.where(_C.id == bindparam("id"))
_TYPE: Final = select(t.artifact_types).where(
    _T.project_id == bindparam("project_id"), _T.name == bindparam("name")
)


def named(tx: Tx, project_id: str, name: str) -> Row | None:
    """Return a collection of either kind, held for writing: its number and aliases may move."""
    held = _NAMED.with_for_update(of=[t.collections])
    return tx.one(held, {"project_id": project_id, "name": name})


def held(tx: Tx, collection_id: str) -> Row | None:
    """Return a collection, held for writing."""
    return tx.one(_BY_ID.with_for_update(of=[t.collections]), {"id": collection_id})


def type_id(
    tx: Tx, new_id: str, project_id: str, name: str, description: str, now: datetime
) -> str:
    """Return the id of a type, made if it is new."""
    key = {"project_id": project_id, "name": name}
    row = tx.one(_TYPE, key)
    if row is None:
        new = {**key, "id": new_id, "description": description, "created_at": to_ms(now)}
        tx.run(_unless_there(tx, t.artifact_types), new)
        row = tx.one(_TYPE, key)
        assert row is not None
    return str(row["id"])


def add(
    tx: Tx, new_id: str, project_id: str, type_id: str, kind: str, name: str, author: str,
    now: datetime,
) -> None:  # fmt: skip
    """Make a collection, unless another was a moment faster with its name."""
    at = to_ms(now)
    tx.run(
        _unless_there(tx, t.collections),
        {"id": new_id, "project_id": project_id, "type_id": type_id, "kind": kind, "name": name,
         "created_by": author, "created_at": at, "updated_at": at},
    )  # fmt: skip


def change(tx: Tx, collection_id: str, now: datetime, **values: Any) -> None:
    tx.run(
        update(t.collections).where(_C.id == collection_id).values(updated_at=to_ms(now), **values)
    )


def next_version(tx: Tx, of: Row, now: datetime) -> int:
    """Return the number of the next version of a collection that is held."""
    n = int(of["next_version"])
    change(tx, of["id"], now, next_version=n + 1)
    return n


def add_member(
    tx: Tx, new_id: str, collection_id: str, artifact_id: int, version: int, now: datetime
) -> None:
    tx.run(
        insert(t.members),
        {"id": new_id, "collection_id": collection_id, "artifact_id": artifact_id,
         "version": version, "created_at": to_ms(now)},
    )  # fmt: skip


def member(tx: Tx, collection_id: str, artifact_id: int) -> Row | None:
    return tx.one(
        select(t.members).where(_M.collection_id == collection_id, _M.artifact_id == artifact_id)
    )


def newest_member(tx: Tx, collection_id: str) -> Row | None:
    return tx.one(
        select(t.members)
        .where(_M.collection_id == collection_id)
        .order_by(_M.version.desc())
        .limit(1)
    )


def memberships(tx: Tx, artifact_id: int) -> Sequence[Row]:
    """Return all collections that a version is in."""
    return tx.all(
        _COLLECTIONS.join(t.members, _M.collection_id == _C.id)
        .where(_M.artifact_id == artifact_id)
        .order_by(_C.id)
    )


def holding(tx: Tx, artifact_ids: Sequence[int]) -> set[str]:
    """Return the ids of all collections that versions are in."""
    found = select(_M.collection_id).where(_M.artifact_id.in_(artifact_ids)).distinct()
    return {row["collection_id"] for row in tx.all(found)}


def remove_member(tx: Tx, collection_id: str, artifact_id: int) -> int:
    """Take a version out of a collection, with its aliases there; return whether it was in."""
    tx.run(
        delete(t.aliases).where(_L.collection_id == collection_id, _L.artifact_id == artifact_id)
    )
    return tx.run(
        delete(t.members).where(_M.collection_id == collection_id, _M.artifact_id == artifact_id)
    )


def remove(tx: Tx, collection_id: str) -> None:
    """Remove a collection; no version may have been born in it, or they are gone."""
    tx.run(delete(t.aliases).where(_L.collection_id == collection_id))
    tx.run(delete(t.members).where(_M.collection_id == collection_id))
    tx.run(delete(t.collections).where(_C.id == collection_id))


def aliases_of(tx: Tx, artifact_id: int, collection_id: str | None = None) -> Sequence[Row]:
    """Return a version's aliases, those in one collection or all."""
    found = select(t.aliases).where(_L.artifact_id == artifact_id).order_by(_L.alias)
    if collection_id is not None:
        found = found.where(_L.collection_id == collection_id)
    return tx.all(found)


def alias_count(tx: Tx, collection_id: str) -> int:
    counted = select(func.count()).select_from(t.aliases)
    return int(tx.scalar(counted.where(_L.collection_id == collection_id)))


def has_alias(tx: Tx, collection_id: str, alias: str) -> bool:
    found = select(_L.artifact_id).where(_L.collection_id == collection_id, _L.alias == alias)
    return tx.scalar(found) is not None


def set_alias(tx: Tx, collection_id: str, alias: str, artifact_id: int, now: datetime) -> None:
    """Give a version an alias; another that had it in this collection loses it."""
    dialect = postgresql if tx.is_postgres else sqlite
    new = dialect.insert(t.aliases).on_conflict_do_update(
        index_elements=["collection_id", "alias"],
        set_={"artifact_id": artifact_id, "created_at": to_ms(now)},
    )
    tx.run(
        new,
        {"collection_id": collection_id, "alias": alias, "artifact_id": artifact_id,
         "created_at": to_ms(now)},
    )  # fmt: skip


def remove_alias(tx: Tx, collection_id: str, alias: str, artifact_id: int) -> None:
    """Take an alias from a version, if it is this one that has it."""
    tx.run(
        delete(t.aliases).where(
            _L.collection_id == collection_id,
            _L.alias == alias,
            _L.artifact_id == artifact_id,
        )
    )


def _unless_there(tx: Tx, table: Any) -> Any:
    dialect = postgresql if tx.is_postgres else sqlite
    return dialect.insert(table).on_conflict_do_nothing()
