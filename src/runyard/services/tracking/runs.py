"""Runs of the tracking protocol: finding them, with the right to do something to them."""

from __future__ import annotations

from runyard.domain.access import Action, Kind
from runyard.domain.errors import NotFound
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.db import Row
from runyard.store.tracking import runs as rows


def find(
    call: Call, entity: str | None, project: str | None, name: str, action: Action = Action.SEE
) -> Row:
    """Return a run to which the caller may do this, joined (`store.tracking.runs.RUNS`).

    Raises:
        NotFound: no such run that the caller may see. Forbidden: it may see, not do.
    """
    place = places.find(call, entity, project)
    row = rows.named(call.tx, place.id, name)
    thing = f"run {place.entity}/{place.name}/{name}"
    return allowed(call, row, thing, action)


def by_pk(call: Call, run_pk: str, action: Action = Action.SEE) -> Row:
    """Return a run by its id in the tables; what `find` says holds here, too.

    Raises:
        NotFound, Forbidden.
    """
    row = rows.get(call.tx, run_pk)
    if row is not None:
        places.by_id(call, row["project_id"], "run")
    return allowed(call, row, "run", action)


def allowed(call: Call, row: Row | None, thing: str, action: Action) -> Row:
    """Return a run's row if the caller may do this to the run. It needs `pk`, `project_id`,
    `entity_id`, `entity`, `author_id` and `queue`.

    Raises:
        NotFound, Forbidden.
    """
    if row is None or not _may_see(call, row):
        raise NotFound(f"no {thing} that you may see")
    if action is Action.SEE:
        return row
    if call.actor.kind is Kind.RUN:
        places.by_id(call, row["project_id"], thing, action)
        places.need_run(call, row["pk"], thing)
        return row
    call.actor.need(action, row["entity_id"], row["entity"], thing, author_id=row["author_id"])
    return row


def _may_see(call: Call, row: Row) -> bool:
    """A service account that is kept to queues sees their runs, and its own."""
    kept = call.actor.queues
    return kept is None or row["queue"] in kept or row["author_id"] == call.actor.user_id
