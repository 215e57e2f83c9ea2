"""
Sweeps that a program of their author's controls (`controller: {type: local}`).

It writes what it proposes into the sweep's `controller`, and reads in `scheduler` which run came
of which proposal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from runyard.services.call import Call
from runyard.services.sweeps.suggesting import object_of, plain
from runyard.store import sweeps as rows
from runyard.store.db import Row

_KEPT: Final = 1000  # proposals whose runs are told


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal; without arguments it says that there is nothing left to propose."""

    id: str
    args: dict[str, Any] | None


def proposed(sweep: Row) -> Proposed | None:
    """Return the first proposal of which no run was made."""
    done = {entry.get("id") for entry in _scheduled(sweep)}
    for entry in _entries(object_of(sweep["controller"]).get("schedule")):
        data = entry.get("data")
        if not isinstance(entry.get("id"), str) or entry["id"] in done:
            continue
        args = data.get("args") if isinstance(data, dict) else None
        if not isinstance(args, dict):
            return Proposed(entry["id"], None)
        return Proposed(entry["id"], plain(args))
    return None


def note(call: Call, sweep: Row, proposal: Proposed, run: str) -> None:
    """Tell the controller which run came of a proposal. The caller holds the sweep's row."""
    scheduled = [*_scheduled(sweep), {"id": proposal.id, "runid": run}][-_KEPT:]
    told = {**object_of(sweep["scheduler"]), "scheduled": scheduled}
    rows.change(call.tx, sweep["id"], {"scheduler": json.dumps(told)}, call.now)


def unwanted(sweep: Row) -> frozenset[str]:
    """Return the names of the runs that the controller wants stopped."""
    names = object_of(sweep["controller"]).get("earlystop")
    return frozenset(n for n in names if isinstance(n, str)) if isinstance(names, list) else _NONE


_NONE: Final[frozenset[str]] = frozenset()


def _scheduled(sweep: Row) -> list[dict[str, Any]]:
    return _entries(object_of(sweep["scheduler"]).get("scheduled"))


def _entries(found: object) -> list[dict[str, Any]]:
    return [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []
