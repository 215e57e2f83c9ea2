"""
Deleting versions and collections, on demand and by time.

What a version held is let go here; content that no version holds is removed from the store later,
by garbage collection. The row of a deleted version remains, so that what used it can say so.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from runyard.domain.access import Action
from runyard.domain.artifacts import LATEST
from runyard.domain.errors import Conflict
from runyard.services import audit
from runyard.services.artifacts import aliases, reach
from runyard.services.artifacts.reach import Collection
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import collections, writing
from runyard.store.artifacts.collections import PORTFOLIO, SEQUENCE
from runyard.store.db import Row

_ABANDONED: Final = timedelta(days=2)  # of a version that nobody goes on with
_BATCH: Final = 500


def delete(call: Call, artifact_id: int, *, with_aliases: bool) -> Row:
    """Delete a version; return what remains of it.

    Raises:
        NotFound, Forbidden. Conflict: it has aliases, and they are not to go with it.
    """
    version = reach.to_write(call, artifact_id)
    names = {
        row["alias"] for row in collections.aliases_of(call.tx, artifact_id)
    } - {LATEST}  # fmt: skip
    if names and not with_aliases:
        raise Conflict(
            f"artifact {version.name} has aliases: {', '.join(sorted(names)[:20])}",
            hint="delete it with delete_aliases=True, or take the aliases from it first",
        )
    _delete(call, artifact_id)
    audit.note(
        call, "artifact.delete", version.name, entity_id=version.place.entity_id,
        before={"digest": version.row["digest"], "aliases": sorted(names)},
    )  # fmt: skip
    row = writing.get(call.tx, artifact_id)
    assert row is not None
    return row


def delete_logged(call: Call, project_id: str, run_id: str) -> None:
    """Delete all versions that a run logged, with their aliases.

    Raises:
        NotFound, Forbidden.
    """
    place = places.by_id(call, project_id, "project", Action.TRACK)
    for artifact_id in writing.logged_by(call.tx, run_id):
        row = writing.held(call.tx, artifact_id)
        if row is None or row["state"] == writing.DELETED:
            continue
        _delete(call, artifact_id)
        audit.note(
            call, "artifact.delete", reach.Version(row, place).name, entity_id=place.entity_id,
            before={"digest": row["digest"]},
        )  # fmt: skip


def delete_sequence(call: Call, sequence_id: str) -> Collection:
    """Delete a sequence with all versions that were born in it, wherever they are linked.

    Raises:
        NotFound, Forbidden.
    """
    sequence = reach.to_edit(call, sequence_id, kind=SEQUENCE)
    linked: set[str] = set()
    total = 0
    while ids := writing.versions_of(call.tx, sequence_id, _BATCH):
        linked |= collections.holding(call.tx, ids)
        writing.remove(call.tx, ids)
        total += len(ids)
    for collection_id in sorted(linked - {sequence_id}):
        aliases.follow_newest(call, collection_id)
    collections.remove(call.tx, sequence_id)
    _note(call, sequence, total)
    return sequence


def delete_portfolio(call: Call, portfolio_id: str) -> Collection:
    """Delete a collection of links; what was linked stays where it was born.

    Raises:
        NotFound, Forbidden.
    """
    portfolio = reach.to_edit(call, portfolio_id, kind=PORTFOLIO)
    collections.remove(call.tx, portfolio_id)
    _note(call, portfolio, 0)
    return portfolio


def expire_artifacts(call: Call) -> int:
    """Delete versions whose time to live is over, unless a portfolio keeps them, and those that
    were begun and left."""
    expired = writing.expired(call.tx, call.now)
    for artifact_id in expired:
        _delete(call, artifact_id)
    abandoned = writing.abandoned(call.tx, call.now - _ABANDONED)
    if abandoned:
        writing.remove(call.tx, abandoned)
    return len(expired) + len(abandoned)


def _delete(call: Call, artifact_id: int) -> None:
    homes = sorted(collections.holding(call.tx, [artifact_id]))
    for collection_id in homes:  # no version is committed to them meanwhile
        collections.held(call.tx, collection_id)
    writing.empty(call.tx, [artifact_id])
    writing.change(call.tx, artifact_id, call.now, state=writing.DELETED, expires_at=None)
    for collection_id in homes:
        aliases.follow_newest(call, collection_id)


def _note(call: Call, of: Collection, versions: int) -> None:
    audit.note(
        call, "collection.delete", of.path, entity_id=of.place.entity_id,
        before={"kind": of.row["kind"], "type": of.row["type"], "versions": versions},
    )  # fmt: skip
