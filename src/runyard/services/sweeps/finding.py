"""Finding sweeps, with the right to do something to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden, NotFound
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.services.tracking.places import Place
from runyard.store import sweeps as rows
from runyard.store.db import Row
from runyard.store.tracking import run_search

MOST: Final = 1000  # runs of a sweep in one answer


def find(
    call: Call, entity: str | None, project: str | None, name: str, action: Action = Action.SEE
) -> Row:
    """Return a sweep, joined, to which the caller may do this.

    Raises:
        NotFound: no such sweep that the caller may see. Forbidden: it may see, not do.
    """
    return within(call, places.find(call, entity, project), name, action)


def within(call: Call, place: Place, name: str, action: Action = Action.SEE) -> Row:
    """Return a sweep of a project that the caller may look into. Raises as `find`."""
    thing = f"sweep {place.entity}/{place.name}/{name}"
    row = rows.named(call.tx, place.id, name)
    if row is None:
        raise NotFound(f"no {thing} that you may see", hint="wandb sweep sweep.yaml makes one")
    return allowed(call, row, thing, action)


def by_pk(call: Call, sweep_pk: str, action: Action = Action.SEE) -> Row:
    """Return a sweep by its id in the tables. Raises as `find`."""
    row = rows.get(call.tx, sweep_pk)
    if row is None:
        raise NotFound("no sweep that you may see")
    return allowed(call, row, "sweep", action)


def allowed(call: Call, row: Row, thing: str, action: Action) -> Row:
    places.by_id(call, row["project_id"], thing, action)
    if action is not Action.SEE and call.actor.kind is Kind.RUN:
        _need_scheduler(call, row)
    return row


def need_to_end(call: Call, row: Row) -> None:
    """Pass if the caller may hold up or end a sweep: its author, its scheduler, and whoever may
    stop the runs of others.

    Raises:
        Forbidden.
    """
    if call.actor.kind is Kind.RUN:
        _need_scheduler(call, row)
        return
    if row["author_id"] != call.actor.user_id:
        thing = f"sweep {row['name']}"
        call.actor.need(Action.CANCEL, row["entity_id"], row["entity"], thing)


def _need_scheduler(call: Call, row: Row) -> None:
    """A run's token drives the sweep whose scheduler the run is, and no other."""
    if row["scheduler_run_id"] is None or row["scheduler_run_id"] != call.actor.run_id:
        raise Forbidden(
            f"run {call.actor.run_name} is not the scheduler of sweep {row['name']}",
            hint="use a key of your own to drive other sweeps: runyard key create",
        )


def agent(call: Call, agent_id: str, action: Action) -> tuple[Row, Row]:
    """Return an agent and its sweep. Raises: NotFound, Forbidden."""
    found = rows.agent(call.tx, agent_id)
    if found is None:
        raise NotFound("no sweep that you may see")  # as for one of a sweep of others
    return found, by_pk(call, found["sweep_id"], action)


def runs_of(
    call: Call, sweep: Row, *, agent_id: str | None, after: str, newest_first: bool, limit: int
) -> Sequence[Row]:
    """Return runs of a sweep that the caller has found, those that it may see, joined
    (`store.tracking.runs.RUNS`)."""
    return rows.run_page(
        call.tx,
        sweep["id"],
        agent_id=agent_id,
        seen=run_search.seen(call.actor.queues, call.actor.user_id),
        after=after,
        newest_first=newest_first,
        limit=min(limit, MOST),
    )
