"""
Lists of versions and collections: filtered, ordered, page by page.

A page begins behind a `Place`: the values of its order's column and of what breaks ties there.
Lists of several collections are read with one statement (`first_of_each`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from runyard.store import tables as t
from runyard.store.artifacts.reading import ARTIFACTS, COLLECTIONS, COMMITTED
from runyard.store.db import Row, Tx

_A, _C, _M = t.artifacts.c, t.collections.c, t.members.c

Columns = Mapping[str, ColumnElement[Any]]
# What versions can be ordered and filtered by, under the names that programs use for it.
VERSIONS: Final[Columns] = {
    "version_index": _M.version,
    "versionIndex": _M.version,
    "created_at": _A.created_at,
    "createdAt": _A.created_at,
    "updated_at": _A.updated_at,
    "updatedAt": _A.updated_at,
    "size": _A.size,
    "file_count": _A.file_count,
    "fileCount": _A.file_count,
    "digest": _A.digest,
    "state": _A.state,
    "description": _A.description,
    "tags": _A.tags,
}
GROUPS: Final[Columns] = {
    "name": _C.name,
    "id": _C.id,
    "created_at": _C.created_at,
    "createdAt": _C.created_at,
    "updated_at": _C.updated_at,
    "updatedAt": _C.updated_at,
    "description": _C.description,
    "tags": _C.tags,
}
_VERSIONS: Final = ARTIFACTS.add_columns(
    _M.version.label("member_version"), _M.collection_id.label("member_of")
).join(t.members, _M.artifact_id == _A.id)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """By one column, and by the number or id where two are the same."""

    column: str
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """What is asked for: `wanted` is None for all. `place` is where the page before ended."""

    order: Order
    wanted: ColumnElement[bool] | None = None
    place: tuple[Any, Any] | None = None
    limit: int = 50


def versions(tx: Tx, collection_id: str, listing: Listing) -> Sequence[Row]:
    """Return committed versions of a collection."""
    found = _wanted(_VERSIONS.where(_M.collection_id == collection_id), listing)
    return tx.all(_page(found, VERSIONS[listing.order.column], _M.version, listing))


def first_of_each(tx: Tx, ids: Sequence[str], listing: Listing) -> dict[str, list[Row]]:
    """Return the first page of each of these collections, with one statement."""
    column = VERSIONS[listing.order.column]
    ordered = [c.desc() if listing.order.descending else c.asc() for c in (column, _M.version)]
    place = func.row_number().over(partition_by=_M.collection_id, order_by=ordered)
    found = _wanted(_VERSIONS.where(_M.collection_id.in_(ids)), listing)
    ranked = found.add_columns(place.label("place")).subquery()
    rows = tx.all(
        select(ranked)
        .where(ranked.c.place <= listing.limit)
        .order_by(ranked.c.member_of, ranked.c.place)
    )
    pages: dict[str, list[Row]] = {each: [] for each in ids}
    for row in rows:
        pages[row["member_of"]].append(row)
    return pages


def count_versions(
    tx: Tx, ids: Sequence[str], wanted: ColumnElement[bool] | None
) -> dict[str, int]:
    """Return how many such versions each of these collections has."""
    found = (
        select(_M.collection_id, func.count().label("n"))
        .join(t.artifacts, _A.id == _M.artifact_id)
        .where(_M.collection_id.in_(ids), _A.state == COMMITTED)
        .group_by(_M.collection_id)
    )
    found = found if wanted is None else found.where(wanted)
    return {row["collection_id"]: row["n"] for row in tx.all(found)}


def groups(tx: Tx, project_id: str, type_id: str | None, listing: Listing) -> Sequence[Row]:
    """Return collections of a project, of one type or all."""
    found = _of(COLLECTIONS, project_id, type_id)
    found = found if listing.wanted is None else found.where(listing.wanted)
    return tx.all(_page(found, GROUPS[listing.order.column], _C.id, listing))


def count_groups(
    tx: Tx, project_id: str, type_id: str | None, wanted: ColumnElement[bool] | None
) -> int:
    found = _of(select(func.count()).select_from(t.collections), project_id, type_id)
    return int(tx.scalar(found if wanted is None else found.where(wanted)))


def _of(found: Select[Any], project_id: str, type_id: str | None) -> Select[Any]:
    found = found.where(_C.project_id == project_id)
    return found if type_id is None else found.where(_C.type_id == type_id)


def _wanted(found: Select[Any], listing: Listing) -> Select[Any]:
    found = found.where(_A.state == COMMITTED)
    return found if listing.wanted is None else found.where(listing.wanted)


def _page(
    found: Select[Any], column: ColumnElement[Any], tie: ColumnElement[Any], listing: Listing
) -> Select[Any]:
    down = listing.order.descending
    if listing.place is not None:
        value, last = listing.place
        beyond = (column < value, tie < last) if down else (column > value, tie > last)
        found = found.where(or_(beyond[0], and_(column == value, beyond[1])))
    return found.order_by(
        column.desc() if down else column.asc(), tie.desc() if down else tie.asc()
    ).limit(listing.limit)
