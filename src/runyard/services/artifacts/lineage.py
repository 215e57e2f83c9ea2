"""Which run made a version, which runs used it, and what a run made and used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from runyard.domain.errors import NotFound
from runyard.services.artifacts.finding import may_see
from runyard.services.call import Call
from runyard.services.tracking import runs
from runyard.store.artifacts import reading as rows
from runyard.store.db import Row

MOST_USERS: Final = 5_000
_WHICH: Final = {"input": rows.inputs, "output": rows.outputs}
Side = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """A page of what a run made or used; the next one begins behind the version `last`."""

    versions: Sequence[Row]
    last: int
    has_more: bool


def maker(call: Call, artifact: Row) -> Row | None:
    """Return the run that logged a version; None if no run did that is still to be seen."""
    if artifact["run_id"] is None:
        return None
    try:
        return runs.by_pk(call, artifact["run_id"])
    except NotFound:
        return None


def users(call: Call, artifact_id: int) -> list[Row]:
    """Return the runs that took a version as input, those that the caller may see."""
    kept = call.actor.queues
    return [
        row
        for row in rows.users(call.tx, artifact_id, limit=MOST_USERS)
        if may_see(call, row)
        and (kept is None or row["queue"] in kept or row["author_id"] == call.actor.user_id)
    ]


def page(call: Call, run_id: str, side: Side, *, after: int, limit: int) -> Lineage:
    """Return what a run that the caller may see has used or made, the oldest first.

    What it used may be of a project that the caller does not see; that is left out.
    """
    found = rows.of_run(call.tx, _WHICH[side](run_id=run_id), after=after, limit=limit + 1)
    shown = found[:limit]
    last = shown[-1]["id"] if shown else after
    return Lineage([row for row in shown if may_see(call, row)], last, len(found) > limit)


def count(call: Call, run_id: str, side: Side) -> int:
    return rows.count_of_run(call.tx, _WHICH[side](run_id=run_id))
