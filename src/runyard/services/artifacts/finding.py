"""
Finding versions and collections, as far as the caller may see them.

A version belongs to the project in which it was born, and may be linked into collections of other
projects. Whoever may see one of these projects may see the version, and its files. Everything else
is as good as not there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain import artifacts as names
from runyard.domain.access import Action, Kind
from runyard.domain.errors import NotFound
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.services.tracking.places import Place
from runyard.store.artifacts import reading as rows
from runyard.store.db import Row

_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Member:
    """A version where it was found: `row` is of the collection, and of its place there."""

    row: Row
    artifact: Row


def may_see(call: Call, row: Row) -> bool:
    """Whether the caller may look into the project of a row that has it and its entity."""
    return places.may_look(call, place_of(row))


def place_of(row: Row) -> Place:
    """Return the project of such a row."""
    return Place(row["project_id"], row["project"], row["entity_id"], row["entity"])


def by_id(call: Call, artifact_id: int) -> Row:
    """Return a version, in whatever state, from where it was born or from where it is linked.

    Raises:
        NotFound: no such version that the caller may see.
    """
    row = rows.get(call.tx, artifact_id)
    if row is not None:
        if may_see(call, row):
            return row
        if any(may_see(call, each) for each in rows.memberships(call.tx, artifact_id)):
            return row
    raise NotFound("no artifact of this id that you may see")


def collection_by_id(call: Call, collection_id: str) -> Row:
    """Raises: NotFound."""
    row = rows.collection(call.tx, collection_id)
    if row is None or not may_see(call, row):
        raise NotFound("no collection of this id that you may see")
    return row


def collection_named(call: Call, place: Place, name: str) -> Row:
    """Raises: NotFound."""
    places.need_look(call, place)
    row = rows.collection_named(call.tx, place.id, name)
    if row is None:
        raise NotFound(f"no collection {place.entity}/{place.name}/{name} that you may see")
    return row


def type_named(call: Call, place: Place, name: str) -> Row:
    """Raises: NotFound."""
    places.need_look(call, place)
    row = rows.type_named(call.tx, place.id, name)
    if row is None:
        raise NotFound(f"no type {name!r} in {place.entity}/{place.name} that you may see")
    return row


def member_named(call: Call, place: Place, name: str) -> Member:
    """Return what `collection:alias` means in a project; without an alias, the latest.

    Raises:
        NotFound.
    """
    collection, _, alias = name.partition(":")
    return member(call, collection_named(call, place, collection), alias or names.LATEST)


def member(call: Call, collection: Row, alias: str) -> Member:
    """Return what an alias, `v3` or a digest means in a collection that the caller may see.

    Raises:
        NotFound.
    """
    number = names.version_of(alias)
    if number is not None:
        row = rows.numbered(call.tx, collection["id"], number)
    else:
        row = rows.called(call.tx, collection["id"], alias)
        if row is None and len(alias) == 32 and set(alias) <= _HEX:
            row = rows.digested(call.tx, collection["id"], alias)
    found = None if row is None else rows.get(call.tx, row["artifact_id"])
    if row is None or found is None or found["state"] != rows.COMMITTED:
        raise NotFound(
            f"no version {alias!r} of {collection['entity']}/{collection['project']}/"
            f"{collection['name']}"
        )
    return Member(row, found)


def aliases(call: Call, ids: Collection[int]) -> dict[int, list[Row]]:
    """Return the aliases of versions wherever the caller may look."""
    found: dict[int, list[Row]] = {each: [] for each in ids}
    for row in rows.aliases(call.tx, ids):
        if may_see(call, row):
            found[row["artifact_id"]].append(row)
    return found


def memberships(call: Call, artifact_id: int) -> Sequence[Row]:
    """Return the collections that a version is in, those that the caller may see."""
    return [row for row in rows.memberships(call.tx, artifact_id) if may_see(call, row)]


def holder(
    call: Call, entity: str, md5: str, project: str | None = None, collection: str | None = None
) -> str:
    """Return the id of the entity in whose files content lies, that some version holds.

    With names of a project and a collection: a version in that collection.

    Raises:
        NotFound: no such version that the caller may see.
    """
    if project is not None and collection is not None:
        place = places.find(call, entity, project)
        row = collection_named(call, place, collection)
        found = rows.holder_in_collection(call.tx, row["id"], md5)
    elif call.actor.kind is Kind.RUN:
        place = places.find(call, entity, None)
        found = rows.holder_in_project(call.tx, place.id, md5)
    else:
        found = rows.holder_in_entity(call.tx, call.entity(entity, Action.SEE)["id"], md5)
    if found is None:
        raise NotFound("no artifact that you may see holds this content")
    return found
