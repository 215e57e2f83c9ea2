"""Versions, their manifests and entries, for those who write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.bulk import insertion
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_A, _C, _T, _P, _E, _K, _M, _N = (
    t.artifacts.c, t.collections.c, t.artifact_types.c, t.projects.c, t.entities.c,
    t.artifact_clients.c, t.manifests.c, t.entries.c,
)  # fmt: skip

PENDING: Final = "PENDING"
COMMITTED: Final = "COMMITTED"
DELETED: Final = "DELETED"

_ARTIFACTS: Final = (
    select(
        t.artifacts, _C.name.label("collection"), _T.name.label("type"), _C.project_id,
        _P.name.label("project"), _P.entity_id, _E.name.label("entity"),
    )
    .join(t.collections, _C.id == _A.sequence_id)
    .join(t.artifact_types, _T.id == _C.type_id)
    .join(t.projects, _P.id == _C.project_id)
    .join(t.entities, _E.id == _P.entity_id)
)  # fmt: skip
_BY_ID: Final = _ARTIFACTS.where(_A.id == bindparam("id"))
_OF_CLIENT: Final = (
    _ARTIFACTS.join(t.artifact_clients, _K.artifact_id == _A.id)
    .where(_K.client_id == bindparam("client_id"), _A.state != DELETED)
    .order_by(_A.id.desc())
    .limit(20)
)
_SAME: Final = (
    select(_A.id)
    .where(
        _A.sequence_id == bindparam("sequence_id"),
        _A.digest == bindparam("digest"),
        _A.state == COMMITTED,
    )
    .order_by(_A.version.desc())
    .limit(1)
)
_SHARED: Final = (
    select(_A.id)
    .where(
        _A.sequence_id == bindparam("sequence_id"),
        _A.version.is_(None),
        _A.state == PENDING,
        _A.distributed_id == bindparam("distributed_id"),
    )
    .order_by(_A.id.desc())
    .limit(1)
)
_MANIFESTS: Final = (
    select(t.manifests).where(_M.artifact_id == bindparam("artifact_id")).order_by(_M.id)
)
_linked = exists().where(
    t.members.c.artifact_id == _A.id, t.members.c.collection_id != _A.sequence_id
)
_EXPIRED: Final = (
    select(_A.id)
    .where(_A.expires_at <= bindparam("now"), ~_linked)
    .order_by(_A.expires_at)
    .limit(50)
)
_ABANDONED: Final = (
    select(_A.id)
    .where(
        _A.state == literal_column(f"'{PENDING}'"),  # as the index says it
        _A.created_at < bindparam("before"),
        _A.updated_at < bindparam("before"),
    )
    .order_by(_A.created_at)
    .limit(50)
)
_NEW_ENTRIES: Final = insertion(
    t.entries, "artifact_id", "path", "digest", "md5", "size", "ref", "extra", "birth_artifact_id"
)


def get(tx: Tx, artifact_id: int) -> Row | None:
    """Return a version with the names of its sequence, type, project and entity."""
    return tx.one(_BY_ID, {"id": artifact_id})


def held(tx: Tx, artifact_id: int) -> Row | None:
    """Return a version, held for writing."""
    return tx.one(_BY_ID.with_for_update(of=[t.artifacts]), {"id": artifact_id})


def of_client(tx: Tx, client_id: str) -> Sequence[Row]:
    """Return the versions that programs know under this id, the newest first."""
    return tx.all(_OF_CLIENT, {"client_id": client_id})


def note_client(tx: Tx, client_id: str, artifact_id: int, now: datetime) -> None:
    dialect = postgresql if tx.is_postgres else sqlite
    tx.run(
        dialect.insert(t.artifact_clients).on_conflict_do_nothing(),
        {"client_id": client_id, "artifact_id": artifact_id, "created_at": to_ms(now)},
    )


def same(tx: Tx, sequence_id: str, digest: str) -> int | None:
    """Return the newest committed version of a sequence that has this digest."""
    found = tx.scalar(_SAME, {"sequence_id": sequence_id, "digest": digest})
    return None if found is None else int(found)


def shared(tx: Tx, sequence_id: str, distributed_id: str) -> int | None:
    """Return the version that several writers are making together."""
    found = tx.scalar(_SHARED, {"sequence_id": sequence_id, "distributed_id": distributed_id})
    return None if found is None else int(found)


def add(tx: Tx, values: Mapping[str, Any], now: datetime) -> int:
    """Add a version that is not committed yet; return its id."""
    at = to_ms(now)
    new = insert(t.artifacts).values(**values, state=PENDING, created_at=at, updated_at=at)
    return int(tx.scalar(new.returning(_A.id)))


def change(tx: Tx, artifact_id: int, now: datetime, **values: Any) -> None:
    tx.run(update(t.artifacts).where(_A.id == artifact_id).values(updated_at=to_ms(now), **values))


def manifests(tx: Tx, artifact_id: int) -> Sequence[Row]:
    """Return the manifests of a version, the newest last."""
    return tx.all(_MANIFESTS, {"artifact_id": artifact_id})


def manifest(tx: Tx, manifest_id: str) -> Row | None:
    return tx.one(select(t.manifests).where(_M.id == manifest_id))


def manifest_count(tx: Tx, artifact_id: int) -> int:
    counted = select(func.count()).select_from(t.manifests).where(_M.artifact_id == artifact_id)
    return int(tx.scalar(counted))


def add_manifest(tx: Tx, values: Mapping[str, Any], now: datetime) -> None:
    tx.run(insert(t.manifests), {**values, "created_at": to_ms(now)})


def change_manifest(tx: Tx, manifest_id: str, **values: Any) -> None:
    tx.run(update(t.manifests).where(_M.id == manifest_id).values(**values))


def add_entries(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        _NEW_ENTRIES.run(tx, rows)


def use(tx: Tx, run_id: str, artifact_id: int, used_as: str | None, now: datetime) -> None:
    """Note that a run took a version as its input; the first time counts."""
    dialect = postgresql if tx.is_postgres else sqlite
    tx.run(
        dialect.insert(t.uses).on_conflict_do_nothing(),
        {"run_id": run_id, "artifact_id": artifact_id, "used_as": used_as, "at": to_ms(now)},
    )


def expired(tx: Tx, now: datetime) -> list[int]:
    return [row["id"] for row in tx.all(_EXPIRED, {"now": to_ms(now)})]


def abandoned(tx: Tx, before: datetime) -> list[int]:
    """Return versions that were begun before a time, and not touched since."""
    return [row["id"] for row in tx.all(_ABANDONED, {"before": to_ms(before)})]


def logged_by(tx: Tx, run_id: str) -> list[int]:
    """Return versions that a run logged and that are not deleted."""
    found = select(_A.id).where(_A.run_id == run_id, _A.state != DELETED).order_by(_A.id)
    return [row["id"] for row in tx.all(found)]


def versions_of(tx: Tx, sequence_id: str, limit: int) -> list[int]:
    """Return versions of a sequence, in any state."""
    found = select(_A.id).where(_A.sequence_id == sequence_id).limit(limit)
    return [row["id"] for row in tx.all(found)]


def empty(tx: Tx, artifact_ids: Iterable[int]) -> None:
    """Remove what versions hold, and their names; rows that say they were there remain."""
    ids = list(artifact_ids)
    for table in (t.aliases, t.members, t.entries, t.manifests, t.artifact_clients):
        tx.run(delete(table).where(table.c.artifact_id.in_(ids)))


def remove(tx: Tx, artifact_ids: Iterable[int]) -> None:
    """Remove versions with all that belongs to them."""
    ids = list(artifact_ids)
    empty(tx, ids)
    tx.run(delete(t.uses).where(t.uses.c.artifact_id.in_(ids)))
    tx.run(delete(t.artifacts).where(_A.id.in_(ids)))
