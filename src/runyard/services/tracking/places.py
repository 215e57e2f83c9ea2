"""
Projects as the tracking client names them, and who may do what there.

People act by their role in the project's entity. A run's token acts in the run's own project: it
reads what is there, and writes what belongs to that run (decision 10 of the architecture).
"""

from __future__ import annotations

from dataclasses import dataclass

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden, NotFound
from runyard.services import accounts
from runyard.services.call import Call
from runyard.store.db import Row
from runyard.store.tracking import projects

# Where the tracking client keeps queues; every entity has it as soon as somebody asks.
QUEUES_PROJECT = "model-registry"
DEFAULT = "uncategorized"  # the client's name for no project


@dataclass(frozen=True, slots=True)
class Place:
    """A project that the caller may look into."""

    id: str
    name: str
    entity_id: str
    entity: str


def find(call: Call, entity: str | None, project: str | None, action: Action = Action.SEE) -> Place:
    """Return a project in which the caller may do this. Without names: those of the caller.

    Raises:
        NotFound: no such project that the caller may see. Forbidden: it may see, not do.
    """
    if call.actor.kind is Kind.RUN:
        return _own(call, entity, project, action)
    owner = call.entity(entity, action)
    row = projects.named(call.tx, owner["id"], project or DEFAULT)
    if row is None:
        raise NotFound(f"no project {owner['name']}/{project or DEFAULT} that you may see")
    return place_of(row)


def need(call: Call, entity: str | None, project: str | None, action: Action) -> Place:
    """Return a project in which the caller may do this; it is made if it is not there.

    Raises:
        NotFound: no such entity. Forbidden. Invalid: its name.
    """
    if call.actor.kind is Kind.RUN:
        return _own(call, entity, project, action)
    owner = call.entity(entity, action)
    name = project or DEFAULT
    return Place(accounts.project(call, owner, name), name, owner["id"], owner["name"])


def by_id(call: Call, project_id: str, thing: str, action: Action = Action.SEE) -> Place:
    """Return the project of something that was found by its id; `thing` is what was asked for.

    Raises:
        NotFound, Forbidden.
    """
    row = projects.get(call.tx, project_id)
    if row is None:
        raise NotFound(f"no {thing} that you may see")
    place = place_of(row)
    if call.actor.kind is Kind.RUN:
        if place.id != call.actor.project_id:
            raise NotFound(f"no {thing} that you may see")
        _need_of_run(action)
        return place
    call.actor.need(action, place.entity_id, place.entity, thing)
    return place


def may_look(call: Call, place: Place) -> bool:
    """Whether the caller may look into a project that it was told of, as the home of something
    that is linked elsewhere, say. Its names are no secret then; what is in it is."""
    if call.actor.kind is Kind.RUN:
        return place.id in ("", call.actor.project_id)  # without a row, nothing is in it
    return call.actor.may(Action.SEE, place.entity_id)


def need_look(call: Call, place: Place) -> None:
    """Pass if the caller may look into a project. Raises: NotFound."""
    if not may_look(call, place):
        raise NotFound(f"no project {place.entity}/{place.name} that you may see")


def need_run(call: Call, run_id: str, thing: str) -> None:
    """Pass unless the caller is another run's token: a run writes what is its own.

    Raises:
        Forbidden.
    """
    if call.actor.kind is Kind.RUN and call.actor.run_id != run_id:
        raise Forbidden(
            f"{thing} belongs to another run; this token is good for run {call.actor.run_name}",
            hint="use a key of your own to write other runs: runyard key create",
        )


def place_of(row: Row) -> Place:
    return Place(row["id"], row["name"], row["entity_id"], row["entity"])


def _own(call: Call, entity: str | None, project: str | None, action: Action) -> Place:
    row = projects.get(call.tx, call.actor.project_id)
    if row is None or (entity or row["entity"], project or row["name"]) != (
        row["entity"],
        row["name"],
    ):
        raise NotFound(f"no project {entity}/{project} that this run's token opens")
    _need_of_run(action)
    return place_of(row)


def _need_of_run(action: Action) -> None:
    if action not in (Action.SEE, Action.TRACK):
        raise Forbidden(f"a run's token does not let you {action}", hint="use a key of your own")
