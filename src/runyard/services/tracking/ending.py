"""Stopping, deleting and relabelling runs, by the hand of people."""

from __future__ import annotations

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.domain.items import RunId
from runyard.domain.run_names import deleted_name
from runyard.domain.runs import RunState
from runyard.services import audit
from runyard.services import runs as launched
from runyard.services.artifacts import deleting
from runyard.services.call import Call
from runyard.services.tracking import history, life, places, runs
from runyard.store.db import Row
from runyard.store.tracking import runs as rows
from runyard.store.values import to_ms

_SETTABLE = (RunState.PENDING, RunState.FAILED)
_STEPS = 2**63


def stop(call: Call, entity: str, project: str, name: str) -> None:
    """Ask a run to end; its program learns of it with its next word. Repeatable, and without
    effect on what has ended.

    Raises:
        NotFound, Forbidden.
    """
    row = runs.find(call, entity, project, name, Action.CANCEL)
    if not RunState(row["state"]).is_final and row["stop_requested_at"] is None:
        launched.end(call, row["item_id"], RunId(row["pk"]))


def delete(
    call: Call, entity: str, project: str, name: str, *, with_artifacts: bool = False
) -> None:
    """Take a run away, and free its name. What still waits or runs for it is ended. Repeatable.

    The artifacts that it logged stay, unless they are to go with it.

    Raises:
        NotFound: the project. Forbidden.
    """
    places.find(call, entity, project)
    try:
        row = runs.find(call, entity, project, name, Action.CANCEL)
    except NotFound:
        return  # as after the first of two
    pk = row["pk"]
    if not RunState(row["state"]).is_final:
        launched.end(call, row["item_id"], RunId(pk), "the run was deleted")
    life.abandon(call, pk)
    if with_artifacts:
        deleting.delete_logged(call, row["project_id"], pk)
    values = {"deleted_at": to_ms(call.now), "name": deleted_name(name, pk)}
    rows.change(call.tx, pk, values)
    path = f"{row['entity']}/{row['project']}/{name}"
    audit.note(call, "run.delete", path, entity_id=row["entity_id"])


def set_state(call: Call, entity: str, project: str, name: str, state: str) -> None:
    """Say that a run is to be run again, or is given up.

    Raises:
        NotFound, Forbidden. Invalid: there is no such move, or others say what state it is in.
    """
    row = runs.find(call, entity, project, name, Action.TRACK)
    if state not in _SETTABLE:
        raise Invalid(f"state {state[:40]!r}: it can be set to {' or '.join(_SETTABLE)}")
    if row["sweep_id"] is not None:
        raise Invalid(f"run {name} is of a sweep, which says what state it is in")
    if row["state"] == state:
        return
    try:
        life.relabel(call, row["pk"], RunState(state))
    except Conflict as error:
        raise Invalid(error.message, hint=error.hint) from error


def rewind(
    call: Call, entity: str | None, project: str | None, name: str, metric: str, value: float
) -> Row:
    """Take a run back to a step, to be logged anew from there; return its row.

    Raises:
        NotFound, Forbidden. Invalid: another metric than the step, or no step.
    """
    row = runs.find(call, entity, project, name, Action.TRACK)
    if metric != "_step":
        raise Invalid(f"metric {metric[:40]!r}: a run can be taken back by _step only")
    if not 0 <= value < _STEPS or value != int(value):
        raise Invalid(f"{value} is no step")
    history.truncate_after(call, row["pk"], int(value))
    return runs.by_pk(call, row["pk"])
