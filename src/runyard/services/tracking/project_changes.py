"""
Projects made, described, renamed and deleted.

Whoever may log runs makes projects, as `wandb.init` does. To rename or delete one takes an admin of
its user or team: every address of what is in it has its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.services import audit
from runyard.services.call import Call
from runyard.services.naming import check_project_name
from runyard.services.tracking import places
from runyard.services.tracking.places import QUEUES_PROJECT, Place
from runyard.store.db import Duplicate
from runyard.store.tracking import projects as rows

_LONGEST: Final = 65_536  # characters of a description


def upsert(
    call: Call, entity: str | None, name: str | None, description: str | None
) -> tuple[Place, bool]:
    """Return a project, made if it is new, and whether it was; None leaves a description.

    Raises:
        NotFound, Forbidden: the entity.
        Invalid: the name, or a description that is too long.
        TooMuch: the entity has as many projects as it can.
    """
    was = _found(call, entity, name)
    place = places.need(call, entity, name, Action.TRACK)
    if description is not None:
        places.need_run(call, "", f"project {_shown(place)}")  # it is no run's own
        if len(description) > _LONGEST:
            raise Invalid(f"description: longer than {_LONGEST} characters")
        rows.edit(call.tx, place.id, {"description": description})
    return place, was is None


def rename(call: Call, entity: str, name: str, new_name: str) -> Place:
    """Raises: NotFound, Forbidden, Invalid (the name), Conflict (it is taken, or in use)."""
    place = places.find(call, entity, name, Action.MANAGE_MEMBERS)
    check_project_name(new_name)
    _not_of_queues(place.name, new_name)
    if new_name == place.name:
        return place
    rows.lock(call.tx, place.id)
    if rows.is_busy(call.tx, place.id):
        raise Conflict(
            f"{_shown(place)} has runs that are not over: their programs know it by this name",
            hint="wait until they are over, or stop them",
        )
    if rows.named(call.tx, place.entity_id, new_name) is not None:
        raise Conflict(f"{place.entity} has a project {new_name!r} already")
    rows.edit(call.tx, place.id, {"name": new_name})
    _note(call, "project.rename", place, before={"name": place.name}, after={"name": new_name})
    return Place(place.id, new_name, place.entity_id, place.entity)


def delete(call: Call, entity: str, name: str) -> None:
    """Delete a project in which there is nothing, nor ever was: nothing is lost by it.

    Raises:
        NotFound, Forbidden.
        Conflict: it holds runs, artifacts, jobs or sweeps, deleted ones included.
    """
    place = places.find(call, entity, name, Action.MANAGE_MEMBERS)
    _not_of_queues(place.name)
    try:
        rows.drop(call.tx, place.id)
    except Duplicate:
        raise Conflict(
            f"{_shown(place)} is not empty: a project keeps its name while it has runs, "
            "artifacts, jobs or sweeps, deleted ones included",
            hint="delete its runs and artifacts instead",
        ) from None
    _note(call, "project.delete", place, before={"name": place.name})


def _found(call: Call, entity: str | None, name: str | None) -> Place | None:
    try:
        return places.find(call, entity, name)
    except NotFound:
        return None


def _not_of_queues(*names: str) -> None:
    if QUEUES_PROJECT in names:
        raise Invalid(f"{QUEUES_PROJECT!r} is where wandb finds queues; it stays")


def _shown(place: Place) -> str:
    return f"{place.entity}/{place.name}"


def _note(call: Call, action: str, place: Place, **values: Mapping[str, object]) -> None:
    audit.note(call, action, _shown(place), entity_id=place.entity_id, **values)
