"""
Which runs of a sweep end early: hyperband on the values of its metric.

What a run had at a rung is written down once, so that only the histories of runs that have come
farther since are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from runyard.domain.sweeps import hyperband
from runyard.domain.sweeps.config import SweepConfig
from runyard.services.call import Call
from runyard.services.sweeps.series import values_of
from runyard.store import sweeps as rows
from runyard.store.db import Row


def hopeless(call: Call, sweep: Row, config: SweepConfig, going: Sequence[Row]) -> list[Row]:
    """Return those of an agent's runs that should end now."""
    band, metric = config.band, config.metric
    if band is None or metric is None:
        return []
    own = {run["id"]: note_rungs(call, sweep, config, run["id"]) for run in going}
    reached = {rung for bests in own.values() for rung in bests}
    if not reached:
        return []
    everyones = rows.bests_at(call.tx, sweep["id"], sorted(reached))
    return [
        run
        for run in going
        if hyperband.stops(band, own[run["id"]], everyones, maximize=metric.maximize)
    ]


def note_rungs(call: Call, sweep: Row, config: SweepConfig, run_pk: str) -> dict[int, float]:
    """Write down what a run had at the rungs that it has come to since; return all of them."""
    band, metric = config.band, config.metric
    if band is None or metric is None:
        return {}
    known = rows.rungs_of(call.tx, sweep["id"], run_pk)
    open_rungs = [rung for rung in band.rungs if rung not in known]
    has_lines = rows.lines(call.tx, run_pk)
    if not open_rungs or has_lines < open_rungs[0]:
        return known
    farthest = max(rung for rung in open_rungs if rung <= has_lines)
    values = values_of(call.tx, run_pk, metric.name, most=farthest)
    found = hyperband.bests(values, open_rungs, maximize=metric.maximize)
    if found:
        rows.add_rungs(call.tx, sweep["id"], run_pk, found)
    return known | found
