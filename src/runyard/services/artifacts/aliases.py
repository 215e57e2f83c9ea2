"""
Aliases: names that one version of a collection has at a time, and that move.

`latest` goes to whatever comes newest into a collection. People may move it; the next version
takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain import artifacts as rules
from runyard.domain.access import Action
from runyard.domain.artifacts import LATEST
from runyard.domain.errors import Invalid, NotFound
from runyard.services.artifacts import jobs, reach
from runyard.services.artifacts.reach import Version
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import collections, writing
from runyard.store.db import Row

_MOST: Final = 1_000  # of one collection


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias as requests name it, with its collection."""

    entity: str
    project: str
    collection: str
    alias: str


def add(call: Call, artifact_id: int, wanted: Sequence[Alias]) -> None:
    """Give a version aliases, in collections that it is in.

    Raises:
        NotFound: no such version or collection, or it is not in there. Forbidden. Invalid.
    """
    version = reach.to_read(call, artifact_id)
    reach.need_state(version, writing.COMMITTED)
    for collection, names in _by_collection(call, version, wanted):
        give(call, collection["id"], artifact_id, rules.check_aliases(names))


def remove(call: Call, artifact_id: int, wanted: Sequence[Alias]) -> None:
    """Take aliases from a version; those that it has not are no error.

    Raises:
        NotFound, Forbidden: as `add`.
    """
    version = reach.to_read(call, artifact_id)
    for collection, names in _by_collection(call, version, wanted):
        for name in names:
            collections.remove_alias(call.tx, collection["id"], name, artifact_id)
        jobs.follow_aliases(call, collection["id"])


def replace(call: Call, version: Version, wanted: Sequence[str]) -> None:
    """Give a version these aliases and no others in its sequence, which the caller holds and may
    write."""
    names = rules.check_aliases(wanted)
    sequence = version.row["sequence_id"]
    for row in collections.aliases_of(call.tx, version.id, sequence):
        if row["alias"] not in names:
            collections.remove_alias(call.tx, sequence, row["alias"], version.id)
    give(call, sequence, version.id, names)


def give(call: Call, collection_id: str, artifact_id: int, names: Iterable[str]) -> None:
    """Give a version aliases in a collection that is held and that it is in."""
    given = False
    for name in names:
        collections.set_alias(call.tx, collection_id, name, artifact_id, call.now)
        given = True
    if given and collections.alias_count(call.tx, collection_id) > _MOST:
        raise Invalid(
            f"the collection has more than {_MOST} aliases",
            hint="delete some, or use tags: any number of versions can have the same",
        )
    jobs.follow_aliases(call, collection_id)


def follow_newest(call: Call, collection_id: str) -> None:
    """Let `latest` be the newest version of a collection, if nothing has it."""
    newest = collections.newest_member(call.tx, collection_id)
    if newest is None or collections.has_alias(call.tx, collection_id, LATEST):
        return
    give(call, collection_id, newest["artifact_id"], (LATEST,))


def _by_collection(
    call: Call, version: Version, wanted: Sequence[Alias]
) -> list[tuple[Row, list[str]]]:
    """Return the collections, held, with the aliases that are wanted there."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for one in wanted:
        key = (one.entity, one.project, one.collection)
        grouped.setdefault(key, []).append(one.alias)
    found = []
    for (entity, project, name), names in sorted(grouped.items()):
        place = places.find(call, entity, project, Action.TRACK)
        row = collections.named(call.tx, place.id, name)
        if row is None or collections.member(call.tx, row["id"], version.id) is None:
            raise NotFound(f"artifact {version.name} is in no collection {project}/{name}")
        places.need_run(call, version.row["run_id"] or "", f"artifact {version.name}")
        found.append((row, names))
    return found
