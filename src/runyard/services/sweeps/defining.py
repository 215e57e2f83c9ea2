"""Making sweeps, changing them, and moving them to another state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, TooMuch
from runyard.domain.items import RunId
from runyard.domain.runs import RunState
from runyard.domain.sweeps import states
from runyard.domain.sweeps.config import Method, Proposer, SweepConfig
from runyard.domain.sweeps.states import SweepState
from runyard.services import audit
from runyard.services import runs as launched
from runyard.services.call import Call
from runyard.services.sweeps import bayes, finding, yaml_text
from runyard.services.tracking import places
from runyard.store import items
from runyard.store import sweeps as rows
from runyard.store.db import Row

_NAME_LENGTH: Final = 8
_LONGEST: Final = {
    "description": 64 << 10, "display_name": 512, "controller": 256 << 10, "scheduler": 256 << 10,
    "prior_runs": 64 << 10,
}  # fmt: skip
_MOST_ENDED: Final = 5000  # runs that one cancelling ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is told of a sweep; None leaves as it is. JSON is text, as it came."""

    config: str | None = None
    description: str | None = None
    display_name: str | None = None
    controller: str | None = None
    scheduler: str | None = None
    prior_runs: str | None = None
    state: str | None = None


def create(
    call: Call, entity: str | None, project: str | None, told: Told
) -> tuple[Row, Sequence[str]]:
    """Make a sweep; return its row and what is odd in its configuration.

    Raises:
        Invalid: with every violation. NotFound, Forbidden: the entity.
    """
    if call.actor.kind is Kind.RUN:
        raise Forbidden(
            "a launched job's token makes no sweeps", hint="use a key of your own in the job"
        )
    place = places.need(call, entity, project, Action.TRACK)
    if not told.config:
        raise Invalid("config: a sweep takes a configuration", hint="wandb sweep sweep.yaml")
    config = yaml_text.read(told.config)
    _check(told)
    _check_extra(config)
    state = states.parse(told.state) if told.state else SweepState.PENDING
    sweep_id, name = call.new_id(), call.new_id()[-_NAME_LENGTH:].lower()
    rows.add(
        call.tx,
        {
            "id": sweep_id, "project_id": place.id, "name": name,
            "display_name": told.display_name or config.name,
            "description": told.description or config.description or "",
            "config": told.config, "method": config.method.value, "state": state.value,
            "run_cap": config.run_cap, "controller": told.controller,
            "scheduler": told.scheduler, "prior_runs": told.prior_runs,
            "author_id": call.actor.user_id,
        },
        call.now,
    )  # fmt: skip
    audit.note(
        call, "sweep.create", f"{place.entity}/{place.name}/{name}", entity_id=place.entity_id,
        after={"method": config.method.value},
    )  # fmt: skip
    return finding.by_pk(call, sweep_id), config.warnings


def edit(call: Call, sweep_pk: str, told: Told) -> tuple[Row, Sequence[str]]:
    """Change a sweep, and then its state; return its row and what is odd in its configuration.

    Raises:
        NotFound, Forbidden. Invalid. Conflict: the state cannot be reached.
    """
    finding.by_pk(call, sweep_pk, Action.TRACK)
    row = rows.locked(call.tx, sweep_pk)
    assert row is not None
    _check(told)
    values: dict[str, Any] = {
        "description": told.description,
        "display_name": told.display_name,
        "controller": told.controller,
        "scheduler": told.scheduler,
        "prior_runs": told.prior_runs,
    }
    values = {key: value for key, value in values.items() if value is not None}
    warnings: Sequence[str] = ()
    if told.config is not None and told.config != row["config"]:
        config = yaml_text.read(told.config)
        _check_extra(config)
        _check_same_search(call, row, told.config)
        warnings = config.warnings
        values |= {
            "config": told.config, "method": config.method.value, "run_cap": config.run_cap,
        }  # fmt: skip
    if values:
        rows.change(call.tx, sweep_pk, values, call.now)
    if told.state is not None:
        _move(call, row, states.parse(told.state))
    return finding.by_pk(call, sweep_pk), warnings


def set_state(call: Call, sweep_pk: str, state: str) -> Row:
    """Raises: NotFound, Forbidden, Invalid, Conflict."""
    return edit(call, sweep_pk, Told(state=state))[0]


def move(call: Call, row: Row, to: SweepState) -> None:
    """Move a sweep whose row the caller holds; nothing is asked of the caller's rights."""
    was = SweepState(row["state"])
    states.moved(row["name"], was, to)
    if was is to:
        return
    rows.change(call.tx, row["id"], {"state": to.value}, call.now)
    if to.is_final:
        _end_runs(call, row, all_of_them=to.stops_runs)


def _move(call: Call, row: Row, to: SweepState) -> None:
    finding.need_to_end(call, row)
    if to.value == row["state"]:
        return
    move(call, row, to)
    path = f"{row['entity']}/{row['project']}/{row['name']}"
    audit.note(
        call, "sweep.state", path, entity_id=row["entity_id"],
        before={"state": row["state"]}, after={"state": to.value},
    )  # fmt: skip


def _end_runs(call: Call, row: Row, *, all_of_them: bool) -> None:
    """End the runs of a sweep, or only those that wait for an agent."""
    for run in rows.alive(call.tx, row["id"], limit=_MOST_ENDED):
        waits = run["state"] == RunState.PENDING and run["item_id"] is None
        if waits and (all_of_them or run["sweep_agent_id"] is None):
            kill(call, run["id"], f"the sweep ended: {call.actor.name}")
        elif all_of_them and run["id"] != row["scheduler_run_id"]:
            launched.end(call, run["item_id"], RunId(run["id"]), f"sweep {row['name']} was ended")


def kill(call: Call, run_pk: str, reason: str) -> None:
    """End a run that no program and no agent has to do with."""
    run = items.locked_run(call.tx, RunId(run_pk))
    if run is not None and run.state is RunState.PENDING:
        items.save_runs(call.tx, [(run, run.killed(reason, call.now))])


def _check(told: Told) -> None:
    for field, longest in _LONGEST.items():
        value = getattr(told, field)
        if value is not None and len(value) > longest:
            raise TooMuch(f"{field} of the sweep is over {longest} characters")
    for field in ("controller", "scheduler", "prior_runs"):
        value = getattr(told, field)
        if value is None:
            continue
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            raise Invalid(f"{field}: is no JSON") from None
        if found is not None and not isinstance(found, dict):
            raise Invalid(f"{field}: must be a JSON object")


def _check_extra(config: SweepConfig) -> None:
    if config.method is Method.BAYES and config.proposer is Proposer.SERVER:
        bayes.need()


def _check_same_search(call: Call, row: Row, text: str) -> None:
    """The search goes on from a number of its old space: a new one would mean other points."""
    if not rows.count_runs(call.tx, row["id"]):
        return
    old, new = yaml_text.load(row["config"]), yaml_text.load(text)
    changed = [key for key in ("method", "parameters") if old.get(key) != new.get(key)]
    if changed:
        raise Conflict(
            f"sweep {row['name']} has runs already, so its {' and '.join(changed)} cannot change",
            hint="make a new sweep; --prior_run takes the runs of this one along",
        )
