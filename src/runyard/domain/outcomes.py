"""
What an agent's observation means for the item and for its run: one decision, both together.

Pure, so that a test can go through every phase, state and wish in a table. The services
only load, ask here, and save.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runyard.domain.errors import Invalid
from runyard.domain.items import Failure, Item, ItemState, Stage
from runyard.domain.queues import QueuePolicy
from runyard.domain.runs import Run
from runyard.domain.workloads import Observation, Phase


@dataclass(frozen=True, slots=True)
class Outcome:
    """An item and its run, moved together."""

    item: Item
    run: Run


def claimed(item: Item, run: Run, now: datetime) -> Outcome:
    return Outcome(item.claimed(now), run.resumed())


def observed(
    item: Item, run: Run, seen: Observation, policy: QueuePolicy, now: datetime
) -> Outcome:
    """Follow one observation of the item's workload."""
    match seen.phase:
        case Phase.QUEUED:
            return Outcome(item, run)
        case Phase.RUNNING:
            return Outcome(item, run.started(now))
        case Phase.EXITED:
            ended = run.started(now).ended(seen.exit_code, seen.reason, now)
            return Outcome(item.finished(now), ended)
        case Phase.GONE:
            why = seen.reason or "the backend no longer knows the workload"
            return Outcome(item.failed(Failure(Stage.RUN, why), now), run.crashed(why, now))
        case Phase.PREEMPTED:
            return _preempted(item, run, seen.reason or "preempted", policy, now)


def failed(item: Item, run: Run, failure: Failure, now: datetime) -> Outcome:
    return Outcome(item.failed(failure, now), run.failed(failure.message, now))


def cancelled(item: Item, run: Run, now: datetime, *, why: str = "") -> Outcome:
    return Outcome(item.cancelled(now), run.killed(why or run.reason or "cancelled", now))


def released(item: Item, run: Run, now: datetime) -> Outcome:
    """Nothing was begun: back to the queue, unless its owner no longer wants it."""
    if run.stop_requested_at is not None:
        return cancelled(item, run, now)
    return Outcome(item.released(), run)


def expired(item: Item, run: Run, now: datetime) -> Outcome:
    """An agent fell silent: a lease goes back to the queue, a claim fails."""
    if item.state is ItemState.LEASED:
        return released(item, run, now)
    why = "the agent stopped reporting"
    return Outcome(item.failed(Failure(Stage.AGENT, why), now), run.crashed(why, now))


def _preempted(item: Item, run: Run, why: str, policy: QueuePolicy, now: datetime) -> Outcome:
    if run.stop_requested_at is not None:  # the owner wanted it gone: it is
        return Outcome(item.finished(now), run.killed(run.reason or why, now))
    try:
        return Outcome(item.requeued(now, at_most=policy.max_requeues), run.preempted(why))
    except Invalid as error:
        return failed(item, run, Failure(Stage.RUN, f"{why}: {error.message}"), now)
