"""Artifacts for people without the tracking client: collections, versions, files, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.services.artifacts import finding
from runyard.services.artifacts.finding import Member
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import listing
from runyard.store.artifacts import reading as rows
from runyard.store.artifacts.listing import Listing, Order
from runyard.store.db import Row


@dataclass(frozen=True, slots=True)
class Version:
    """A version in a collection: its number and aliases there."""

    number: int
    artifact: Row
    aliases: Sequence[str]


@dataclass(frozen=True, slots=True)
class Files:
    """Some files of a version."""

    artifact: Row
    entries: Sequence[Row]


def collections(
    call: Call, entity: str, project: str, kind: str | None, *, after: str, limit: int
) -> list[tuple[Row, int]]:
    """Return collections of a project, of one type or all, the newest first, and how many
    versions each has.

    Raises:
        NotFound.
    """
    place = places.find(call, entity, project)
    type_id = None
    if kind is not None:
        row = rows.type_named(call.tx, place.id, kind)
        if row is None:
            return []
        type_id = row["id"]
    behind = (after, after) if after else None
    found = listing.groups(call.tx, place.id, type_id, Listing(Order("id"), None, behind, limit))
    counts = listing.count_versions(call.tx, [row["id"] for row in found], None)
    return [(row, counts.get(row["id"], 0)) for row in found]


def versions(
    call: Call, entity: str, project: str, name: str, *, before: int | None, limit: int
) -> list[Version]:
    """Return versions of a collection, the newest first.

    Raises:
        NotFound.
    """
    collection = finding.collection_named(call, places.find(call, entity, project), name)
    behind = None if before is None else (before, before)
    asked = Listing(Order("version_index"), None, behind, limit)
    found = listing.versions(call.tx, collection["id"], asked)
    names = finding.aliases(call, [row["id"] for row in found])
    return [
        Version(row["member_version"], row, _here(collection["id"], names[row["id"]]))
        for row in found
    ]


def version(call: Call, entity: str, project: str, name: str, alias: str) -> Version:
    """Raises: NotFound."""
    found = _member(call, entity, project, name, alias)
    names = finding.aliases(call, [found.artifact["id"]])[found.artifact["id"]]
    return Version(found.row["member_version"], found.artifact, _here(found.row["id"], names))


def files(
    call: Call, entity: str, project: str, name: str, alias: str, *, after: str, limit: int
) -> Files:
    """Return files of a version by path, those behind `after`.

    Raises:
        NotFound.
    """
    found = _member(call, entity, project, name, alias).artifact
    return Files(found, rows.entries(call.tx, found["id"], after=after, limit=limit))


def _member(call: Call, entity: str, project: str, name: str, alias: str) -> Member:
    place = places.find(call, entity, project)
    return finding.member(call, finding.collection_named(call, place, name), alias)


def _here(collection_id: str, aliases: Sequence[Row]) -> list[str]:
    return [row["alias"] for row in aliases if row["collection_id"] == collection_id]
