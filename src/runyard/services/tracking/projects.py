"""Projects of the tracking protocol: looked at, made, described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain.access import Action, Kind
from runyard.domain.errors import NotFound
from runyard.services.call import Call
from runyard.services.launching import queues
from runyard.services.tracking import places
from runyard.services.tracking.places import QUEUES_PROJECT, Place
from runyard.store.db import Row
from runyard.store.tracking import projects as rows

MOST: Final = 500  # of one page
FIRST: Final = "~"  # sorts behind every id: a page from here begins with the newest


@dataclass(frozen=True, slots=True)
class Found:
    """A project. Without a row it is the one of the queues, which is made when it is written."""

    place: Place
    row: Row | None


def look(call: Call, entity: str | None, name: str | None) -> Found:
    """Return a project that the caller may see; that of the queues is always there.

    Raises:
        NotFound.
    """
    try:
        place = places.find(call, entity, name)
    except NotFound:
        if name != QUEUES_PROJECT:
            raise
        if call.actor.kind is Kind.RUN:  # one that drives a sweep looks after what it has queued
            return Found(Place("", name, *queues.owner_of_own(call, entity)), None)
        owner = call.entity(entity, Action.SEE)
        return Found(Place("", name, owner["id"], owner["name"]), None)
    return Found(place, rows.get(call.tx, place.id))


def page(call: Call, entity: str | None, *, before: str, limit: int) -> Sequence[Found]:
    """Return projects of an entity, the newest first.

    Raises:
        NotFound: no entity that the caller may see.
    """
    if call.actor.kind is Kind.RUN:
        place = places.find(call, entity, None)
        return [look(call, place.entity, place.name)] if before == FIRST else []
    owner = call.entity(entity, Action.SEE)
    found = rows.page(call.tx, owner["id"], before=before, limit=min(limit, MOST + 1))
    return [Found(places.place_of(row), row) for row in found]
