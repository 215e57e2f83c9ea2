"""Sweeps of a project, and what is in them. The caller has found the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.services.tracking.places import Place
from runyard.store import sweeps as rows
from runyard.store.db import Row
from runyard.store.tracking import run_search


def page(
    call: Call, place: Place, filters: str | None, *, before: str, limit: int
) -> Sequence[Row]:
    """Return sweeps of a project, the newest first. Raises: NotFound. Invalid: the filters."""
    places.need_look(call, place)
    return rows.page(call.tx, place.id, filters, before=before, limit=limit)


def count(call: Call, place: Place, filters: str | None) -> int:
    """Raises: NotFound. Invalid: the filters."""
    places.need_look(call, place)
    return rows.count(call.tx, place.id, filters)


def place(call: Call, entity: str, project: str) -> Place:
    """Return a project that the caller may look into. Raises: NotFound."""
    return places.find(call, entity, project)


def counts(call: Call, sweeps: Sequence[Row]) -> Mapping[str, int]:
    """Return how many runs each of these sweeps has, by its id."""
    return rows.run_counts(call.tx, [row["id"] for row in sweeps])


def scheduler(call: Call, sweep: Row) -> str | None:
    """Return the name of the run that drives a sweep."""
    run = rows.run(call.tx, sweep["scheduler_run_id"]) if sweep["scheduler_run_id"] else None
    return None if run is None else str(run["name"])


def count_runs(call: Call, sweep: Row, agent_id: str | None = None) -> int:
    """Return how many runs of a sweep, or of one of its agents, there are to be seen."""
    totals = rows.totals(call.tx, sweep["id"])
    return sum(totals.values()) if agent_id is None else totals.get(agent_id, 0)


def agents(call: Call, sweep: Row) -> list[tuple[Row, int]]:
    """Return the agents of a sweep with the number of runs that each has had."""
    totals = rows.totals(call.tx, sweep["id"])
    found = rows.agents(call.tx, sweep["id"])
    return [(row, totals.get(row["id"], 0)) for row in found]


def agent(call: Call, sweep: Row, agent_id: str) -> tuple[Row, int] | None:
    row = rows.agent(call.tx, agent_id)
    if row is None or row["sweep_id"] != sweep["id"]:
        return None
    return row, count_runs(call, sweep, agent_id)


def prior_runs(call: Call, sweep: Row, *, after: str, limit: int) -> Sequence[Row]:
    """Return the runs that were attached to a sweep when it was made, those that the caller sees.

    Raises:
        Invalid: the filter that was given for them.
    """
    if not sweep["prior_runs"] or sweep["prior_runs"] == "null":
        return []
    return rows.prior_runs(
        call.tx,
        sweep["project_id"],
        sweep["prior_runs"],
        seen=run_search.seen(call.actor.queues, call.actor.user_id),
        after=after,
        limit=limit,
    )
