"""
Versions of artifacts, where they are and what they hold, for those who read them.

Rows of versions and collections are joined with the names of what they are in. What is shown of
many is read for many: functions that take ids answer for all of them with one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.tracking.runs import RUNS

_A, _C, _T, _P, _E, _M, _L, _F, _N, _U = (
    t.artifacts.c, t.collections.c, t.artifact_types.c, t.projects.c, t.entities.c, t.members.c,
    t.aliases.c, t.manifests.c, t.entries.c, t.uses.c,
)  # fmt: skip
_BATCH: Final = 5_000
COMMITTED: Final = "COMMITTED"

ARTIFACTS: Final[Select[Any]] = (
    select(
        t.artifacts, _C.name.label("collection"), _T.name.label("type"), _C.project_id,
        _P.name.label("project"), _P.entity_id, _E.name.label("entity"),
    )
    .select_from(t.artifacts)
    .join(t.collections, _C.id == _A.sequence_id)
    .join(t.artifact_types, _T.id == _C.type_id)
    .join(t.projects, _P.id == _C.project_id)
    .join(t.entities, _E.id == _P.entity_id)
)  # fmt: skip
COLLECTIONS: Final[Select[Any]] = (
    select(
        t.collections, _T.name.label("type"), _P.name.label("project"), _P.entity_id,
        _E.name.label("entity"),
    )
    .select_from(t.collections)
    .join(t.artifact_types, _T.id == _C.type_id)
    .join(t.projects, _P.id == _C.project_id)
    .join(t.entities, _E.id == _P.entity_id)
)  # fmt: skip
# A version in a collection: the collection's columns, and where the version stands there.
MEMBERS: Final[Select[Any]] = COLLECTIONS.add_columns(
    _M.id.label("member_id"), _M.version.label("member_version"),
    _M.created_at.label("member_at"), _M.artifact_id,
).join(t.members, _M.collection_id == _C.id)  # fmt: skip
_ALIASES: Final = (
    select(
        _L.alias, _L.artifact_id, _L.collection_id, _C.kind, _C.name.label("collection"),
        _C.project_id, _P.name.label("project"), _P.entity_id, _E.name.label("entity"),
    )
    .join(t.collections, _C.id == _L.collection_id)
    .join(t.projects, _P.id == _C.project_id)
    .join(t.entities, _E.id == _P.entity_id)
    .order_by(_L.collection_id, _L.alias)
)  # fmt: skip

_BY_ID: Final = ARTIFACTS.where(_A.id == bindparam("id"))
_BY_IDS: Final = ARTIFACTS.where(_A.id.in_(bindparam("ids", expanding=True)))
_COLLECTION: Final = COLLECTIONS.where(_C.id == bindparam("id"))
_COLLECTION_NAMED: Final = COLLECTIONS.where(
    _C.project_id == bindparam("project_id"), _C.name == bindparam("name")
)
_TYPE: Final = select(t.artifact_types).where(
    _T.project_id == bindparam("project_id"), _T.name == bindparam("name")
)
_IN: Final = MEMBERS.where(_M.artifact_id == bindparam("artifact_id")).order_by(_M.id)
_HERE: Final = MEMBERS.where(_M.collection_id == bindparam("collection_id"))
_NUMBERED: Final = _HERE.where(_M.version == bindparam("version"))
_CALLED: Final = _HERE.join(
    t.aliases, (_L.collection_id == _M.collection_id) & (_L.artifact_id == _M.artifact_id)
).where(_L.alias == bindparam("alias"))
_DIGESTED: Final = (
    _HERE.join(t.artifacts, _A.id == _M.artifact_id)
    .where(_A.digest == bindparam("digest"), _A.state == COMMITTED)
    .order_by(_M.version.desc())
    .limit(1)
)
_ALIASES_OF: Final = _ALIASES.where(_L.artifact_id.in_(bindparam("ids", expanding=True)))
_NEWEST: Final = ARTIFACTS.where(
    _A.sequence_id == bindparam("sequence_id"), _A.state == COMMITTED
).order_by(_A.version.desc()).limit(1)  # fmt: skip
_MANIFEST: Final = (
    select(t.manifests)
    .where(_F.artifact_id == bindparam("artifact_id"), _F.kind == "FULL", _F.md5 != "")
    .order_by(_F.id.desc())
    .limit(1)
)
_ENTRIES: Final = (
    select(t.entries)
    .where(_N.artifact_id == bindparam("artifact_id"), _N.path > bindparam("after"))
    .order_by(_N.path)
)
_ENTRIES_NAMED: Final = _ENTRIES.where(_N.path.in_(bindparam("names", expanding=True)))
_HOLDER: Final = (
    select(_P.entity_id)
    .select_from(t.entries)
    .join(t.artifacts, _A.id == _N.artifact_id)
    .join(t.collections, _C.id == _A.sequence_id)
    .join(t.projects, _P.id == _C.project_id)
    .where(_N.md5 == bindparam("md5"), _A.state == COMMITTED)
    .limit(1)
)
_HOLDER_IN_ENTITY: Final = _HOLDER.where(_P.entity_id == bindparam("entity_id"))
_HOLDER_IN_PROJECT: Final = _HOLDER.where(_C.project_id == bindparam("project_id"))
_HOLDER_IN_COLLECTION: Final = _HOLDER.join(t.members, _M.artifact_id == _A.id).where(
    _M.collection_id == bindparam("collection_id")
)
_USERS: Final = (
    RUNS.join(t.uses, _U.run_id == t.runs.c.id)
    .where(_U.artifact_id == bindparam("artifact_id"))
    .order_by(_U.run_id)
)

_USER_NAME: Final = select(_E.name).where(_E.id == bindparam("id"))


def get(tx: Tx, artifact_id: int) -> Row | None:
    return tx.one(_BY_ID, {"id": artifact_id})


def many(tx: Tx, ids: Collection[int]) -> dict[int, Row]:
    return {row["id"]: row for batch in _batches(ids) for row in tx.all(_BY_IDS, {"ids": batch})}


def collection(tx: Tx, collection_id: str) -> Row | None:
    return tx.one(_COLLECTION, {"id": collection_id})


def collection_named(tx: Tx, project_id: str, name: str) -> Row | None:
    return tx.one(_COLLECTION_NAMED, {"project_id": project_id, "name": name})


def type_named(tx: Tx, project_id: str, name: str) -> Row | None:
    return tx.one(_TYPE, {"project_id": project_id, "name": name})


def types(tx: Tx, project_id: str, *, after: str, limit: int) -> Sequence[Row]:
    """Return the types of a project by name, those behind `after`."""
    found = select(t.artifact_types).where(_T.project_id == project_id, _T.name > after)
    return tx.all(found.order_by(_T.name).limit(limit))


def numbered(tx: Tx, collection_id: str, version: int) -> Row | None:
    """Return what has this number in a collection (a row of MEMBERS)."""
    return tx.one(_NUMBERED, {"collection_id": collection_id, "version": version})


def called(tx: Tx, collection_id: str, alias: str) -> Row | None:
    """Return what has this alias in a collection (a row of MEMBERS)."""
    return tx.one(_CALLED, {"collection_id": collection_id, "alias": alias})


def digested(tx: Tx, collection_id: str, digest: str) -> Row | None:
    """Return what has this digest in a collection, the newest (a row of MEMBERS)."""
    return tx.one(_DIGESTED, {"collection_id": collection_id, "digest": digest})


def memberships(tx: Tx, artifact_id: int) -> Sequence[Row]:
    """Return all collections that a version is in (rows of MEMBERS)."""
    return tx.all(_IN, {"artifact_id": artifact_id})


def aliases(tx: Tx, ids: Collection[int]) -> Sequence[Row]:
    """Return the aliases of versions, in all of their collections."""
    return [row for batch in _batches(ids) for row in tx.all(_ALIASES_OF, {"ids": batch})]


def aliases_in(tx: Tx, collection_id: str, *, after: str, limit: int) -> Sequence[Row]:
    """Return the aliases of a collection by name, those behind `after`."""
    found = _ALIASES.where(_L.collection_id == collection_id, _L.alias > after)
    return tx.all(found.limit(limit))


def newest(tx: Tx, sequence_id: str) -> Row | None:
    return tx.one(_NEWEST, {"sequence_id": sequence_id})


def manifest(tx: Tx, artifact_id: int) -> Row | None:
    """Return the full manifest that says what a version holds."""
    return tx.one(_MANIFEST, {"artifact_id": artifact_id})


def entries(tx: Tx, artifact_id: int, *, after: str, limit: int) -> Sequence[Row]:
    """Return what a version holds by path, what stands behind `after`."""
    return tx.all(_ENTRIES.limit(limit), {"artifact_id": artifact_id, "after": after})


def entries_named(tx: Tx, artifact_id: int, names: Collection[str]) -> list[Row]:
    """Return what a version holds under these paths, by path."""
    return [
        row
        for batch in _batches(names)
        for row in tx.all(_ENTRIES_NAMED, {"artifact_id": artifact_id, "after": "", "names": batch})
    ]


def holder_in_entity(tx: Tx, entity_id: str, md5: str) -> str | None:
    """Return in whose files content lies that a version of this entity holds, None without one."""
    return _text(tx.scalar(_HOLDER_IN_ENTITY, {"entity_id": entity_id, "md5": md5}))


def holder_in_project(tx: Tx, project_id: str, md5: str) -> str | None:
    return _text(tx.scalar(_HOLDER_IN_PROJECT, {"project_id": project_id, "md5": md5}))


def holder_in_collection(tx: Tx, collection_id: str, md5: str) -> str | None:
    """The same of a collection: what is linked into it counts."""
    return _text(tx.scalar(_HOLDER_IN_COLLECTION, {"collection_id": collection_id, "md5": md5}))


def users(tx: Tx, artifact_id: int, *, limit: int) -> Sequence[Row]:
    """Return the runs that took a version as input (rows of RUNS)."""
    return tx.all(_USERS.limit(limit), {"artifact_id": artifact_id})


def user_name(tx: Tx, user_id: str) -> str:
    return str(tx.scalar(_USER_NAME, {"id": user_id}) or "")


def outputs(*, run_id: str) -> ColumnElement[bool]:
    """What a run logged."""
    return _A.run_id == run_id


def inputs(*, run_id: str) -> ColumnElement[bool]:
    """What a run used."""
    return _A.id.in_(select(_U.artifact_id).where(_U.run_id == run_id))


def of_run(tx: Tx, which: ColumnElement[bool], *, after: int, limit: int) -> Sequence[Row]:
    """Return the committed versions that a run logged or used, the oldest first."""
    found = ARTIFACTS.where(which, _A.state == COMMITTED, _A.id > after)
    return tx.all(found.order_by(_A.id).limit(limit))


def count_of_run(tx: Tx, which: ColumnElement[bool]) -> int:
    found = select(func.count()).select_from(t.artifacts).where(which, _A.state == COMMITTED)
    return int(tx.scalar(found))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _batches(ids: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(sorted(set(ids)))
    while batch := list(islice(rest, _BATCH)):
        yield batch
