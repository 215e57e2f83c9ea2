"""The next point of a search."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Mapping
from typing import Any

from runyard.domain.runs import RunState
from runyard.domain.sweeps.config import Method, Metric, SweepConfig, metric_value
from runyard.domain.sweeps.space import Arguments
from runyard.services.call import Call
from runyard.services.sweeps import bayes, listing
from runyard.services.sweeps.bayes import Trial
from runyard.store import sweeps as rows
from runyard.store.db import Row


def next_point(call: Call, row: Row, config: SweepConfig) -> Arguments | None:
    """Take the next point of a sweep whose row the caller holds; None: there is none left.

    The dice are thrown anew from the sweep's own id and the point's number, so that a server
    that was restarted goes on where it was.
    """
    if config.run_cap is not None and rows.count_runs(call.tx, row["id"]) >= config.run_cap:
        return None
    n = row["cursor"]
    if config.method is Method.GRID:
        points = config.space.points
        if points is None or n >= points:
            return None
        args = config.space.point(n)
    elif config.method is Method.BAYES and config.metric is not None:
        args = bayes.propose(
            config.space,
            _trials(call, row, config.metric),
            maximize=config.metric.maximize,
            seed=zlib.crc32(f"{row['id']}:{n}".encode()),
        )
    else:
        dice = random.Random(f"{row['id']}:{n}")
        args = config.space.sample(dice)
    rows.took_suggestion(call.tx, row["id"], n + 1)
    return args


def _trials(call: Call, row: Row, metric: Metric) -> list[Trial]:
    """Return what the model learns from, the oldest first: runs with a value, and those that may
    still come to one."""
    found = []
    prior = listing.prior_runs(call, row, after="", limit=bayes.MOST_TRIALS)
    newest = rows.trials(call.tx, row["id"], limit=bayes.MOST_TRIALS)
    for run in (*prior, *reversed(newest)):
        args = object_of(run["config"])
        if RunState(run["state"]).is_final:
            value = metric_value(object_of(run["summary"]), metric.name)
            if value is not None:
                found.append(Trial(args, value))
        else:
            found.append(Trial(args, None))
    return found


def object_of(text: str | None) -> dict[str, Any]:
    """Return a JSON object that a program wrote, NaN and all; {} for anything else."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments without the `{"value": …}` that programs may put around each."""
    return {
        name: value["value"] if isinstance(value, dict) and set(value) == {"value"} else value
        for name, value in args.items()
    }


def note_best(call: Call, row: Row, metric: Metric | None, run_pk: str | None) -> None:
    """Keep the best value of the metric, when an agent is through with a run."""
    if metric is None or run_pk is None:
        return
    value = metric_value(object_of(rows.summary(call.tx, run_pk)), metric.name)
    if value is None:
        return
    best: float | None = row["best_loss"]
    if best is None or (value > best if metric.maximize else value < best):
        rows.note_best(call.tx, row["id"], value)


def best_of(call: Call, row: Row, metric: Metric | None) -> float | None:
    """Return the best value of the metric so far, of the runs that are not noted yet, too."""
    if metric is None:
        return None
    summaries = [object_of(text) for text in rows.last_summaries(call.tx, row["id"])]
    values = [metric_value(summary, metric.name) for summary in summaries]
    noted: float | None = row["best_loss"]
    known = [value for value in (noted, *values) if value is not None]
    if not known:
        return None
    return max(known) if metric.maximize else min(known)
