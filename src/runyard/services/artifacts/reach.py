"""
Which versions and collections a caller may read and write.

A version belongs to the project of the sequence that it was born in; a link into a collection of
another project lets those who see that one read it. A run's token writes what that run logged.
"""

from __future__ import annotations

from dataclasses import dataclass

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, NotFound
from runyard.services.artifacts.finding import may_see, place_of
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.services.tracking.places import Place
from runyard.store.artifacts import collections, writing
from runyard.store.db import Row


@dataclass(frozen=True, slots=True)
class Version:
    """A version that the caller may reach, with the project it was born in."""

    row: Row
    place: Place

    @property
    def id(self) -> int:
        return int(self.row["id"])

    @property
    def name(self) -> str:
        """How people call it: `entity/project/collection:v3`."""
        number = self.row["version"]
        path = f"{self.place.entity}/{self.place.name}/{self.row['collection']}"
        return path if number is None else f"{path}:v{number}"


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that the caller may reach, and its project."""

    row: Row
    place: Place

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def path(self) -> str:
        return f"{self.place.name}/{self.row['name']}"


def to_read(call: Call, artifact_id: int) -> Version:
    """Return a version that the caller may see, where it was born or where it is linked.

    Raises:
        NotFound: no such version, or nowhere that the caller may see.
    """
    row = writing.get(call.tx, artifact_id)
    if row is None or row["state"] == writing.DELETED:
        raise _unknown()
    if may_see(call, row):
        return Version(row, place_of(row))
    linked = collections.memberships(call.tx, artifact_id)
    if any(may_see(call, collection) for collection in linked):
        return Version(row, place_of(row))
    raise _unknown()


def to_write(call: Call, artifact_id: int) -> Version:
    """Return a version that the caller may change, held for writing.

    Raises:
        NotFound, Forbidden.
    """
    return writable(call, writing.held(call.tx, artifact_id))


def writable(call: Call, row: Row | None) -> Version:
    """Return a version that was found if the caller may change it.

    Raises:
        NotFound, Forbidden.
    """
    if row is None or row["state"] == writing.DELETED:
        raise _unknown()
    place = places.by_id(call, row["project_id"], "artifact", Action.TRACK)
    # Several runs make a version with a distributed id together, until it is committed.
    if not (row["state"] == writing.PENDING and row["distributed_id"]):
        places.need_run(call, row["run_id"] or "", f"artifact {row['collection']}")
    return Version(row, place)


def to_edit(call: Call, collection_id: str, *, kind: str | None = None) -> Collection:
    """Return a collection that the caller may change, held for writing.

    Raises:
        NotFound: none of this kind that the caller may see. Forbidden.
    """
    row = collections.held(call.tx, collection_id)
    if row is None or kind not in (None, row["kind"]):
        raise NotFound("no collection of artifacts that you may see")
    return editable(call, row)


def editable(call: Call, row: Row) -> Collection:
    """Raises: NotFound, Forbidden: a collection is nobody's own, so a run's token changes none."""
    place = places.by_id(call, row["project_id"], "collection of artifacts", Action.TRACK)
    places.need_run(call, "", f"collection {row['name']}")
    return Collection(row, place)


def need_state(version: Version, state: str) -> None:
    """Raises: Conflict: the version is in another state."""
    if version.row["state"] != state:
        wanted = {
            writing.PENDING: "is committed already; log a new version to change its files",
            writing.COMMITTED: "is not committed yet",
        }[state]
        raise Conflict(f"artifact {version.name} {wanted}")


def _unknown() -> NotFound:
    return NotFound("no artifact that you may see")
