"""
Sweeps whose scheduler is itself an item of a queue: `wandb launch-sweep`.

The client sends the spec of the scheduler with the sweep, before there is a sweep to name in it.
The run of that item drives the sweep, with its own token and no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain import wandb_specs
from runyard.domain.errors import Invalid
from runyard.domain.sweeps.states import SweepState
from runyard.services.call import Call
from runyard.services.launching import pushing
from runyard.services.sweeps import defining, finding
from runyard.store import sweeps as rows
from runyard.store import views
from runyard.store.db import Row

_PLACEHOLDER: Final = "WANDB_SWEEP_ID"  # the client's word for the sweep that is being made


@dataclass(frozen=True, slots=True)
class Launch:
    """Where the scheduler is to run, and its spec as the client wrote it."""

    queue: str
    spec_text: str
    values: Mapping[str, Any]


def read(text: str | None, values: str | None) -> Launch | None:
    """Read `launchScheduler` and `templateVariableValues`. Raises: Invalid, TooMuch."""
    if text is None:
        return None
    said = wandb_specs.read_json(text, "launchScheduler")
    queue, spec = said.get("queue"), said.get("run_spec")
    if not isinstance(queue, str) or not queue:
        raise Invalid("launchScheduler.queue: must name the queue that the scheduler waits in")
    if isinstance(spec, Mapping):
        spec = json.dumps(spec)
    if not isinstance(spec, str):
        raise Invalid("launchScheduler.run_spec: must be the scheduler's launch spec, as JSON")
    wandb_specs.read_json(spec, "launchScheduler.run_spec")
    has_values = values not in (None, "", "null")
    given = wandb_specs.read_json(values or "", "templateVariableValues") if has_values else {}
    return Launch(queue, spec, given)


def launch(call: Call, sweep: Row, asked: Launch) -> Row:
    """Queue the scheduler of a sweep; return the sweep's row.

    Raises:
        NotFound: the queue. What submitting raises.
    """
    text = asked.spec_text.replace(_PLACEHOLDER, sweep["name"])
    spec = _unquoted(wandb_specs.read_json(text, "launchScheduler.run_spec"))
    spec |= {"entity": sweep["entity"], "project": sweep["project"]}
    if sweep["scheduler_run_id"] is not None:  # resumed: the first one keeps its run
        spec["run_id"] = f"{sweep['name']}-{call.new_id()[-4:].lower()}"
    queue_entity = spec.get("queue_entity") or sweep["entity"]
    queued = pushing.by_name(
        call, queue_entity, asked.queue, spec, values=asked.values, priority=None
    )
    item = views.item(call.tx, queued.id)
    held = rows.locked(call.tx, sweep["id"])
    assert item is not None
    assert held is not None
    values = {
        "scheduler_run_id": item["run_pk"],
        "scheduler": json.dumps({"run_spec": json.dumps(spec)}),
    }
    rows.change(call.tx, sweep["id"], values, call.now)
    if SweepState(held["state"]).is_final:
        defining.move(call, held, SweepState.PENDING)
    return finding.by_pk(call, sweep["id"])


def _unquoted(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec without the quotes that the client puts around the scheduler's arguments:
    its own agent quotes them once more, and ours passes them as they are."""
    over = spec.get("overrides")
    args = over.get("args") if isinstance(over, Mapping) else None
    if not isinstance(args, list):
        return spec
    bare = [_bare(word) if isinstance(word, str) else word for word in args]
    return {**spec, "overrides": {**over, "args": bare}}  # type: ignore[dict-item]


def _bare(word: str) -> str:
    is_quoted = len(word) > 1 and word[0] == word[-1] == "'"
    return word[1:-1] if is_quoted else word
