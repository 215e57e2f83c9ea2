"""What people see of a submission: derived from item, run and agents, and never stored."""

from __future__ import annotations

from enum import StrEnum

from runyard.domain.items import ItemState, Parked
from runyard.domain.runs import RunState


class Shown(StrEnum):
    IDLE = "Idle"  # waits, and no live agent serves the queue
    HELD = "Held"  # by a person
    QUEUED = "Queued"
    STARTING = "Starting"
    BUILDING = "Building"  # the image that it runs, then; who waits for another's build is Starting
    RUNNING = "Running"
    STOPPING = "Stopping"
    FINISHED = "Finished"
    FAILED = "Failed"
    KILLED = "Killed"
    CRASHED = "Crashed"
    PREEMPTED = "Preempted"  # waits again
    AGENT_LOST = "Agent lost"


_ENDS = {
    RunState.FINISHED: Shown.FINISHED,
    RunState.FAILED: Shown.FAILED,
    RunState.KILLED: Shown.KILLED,
    RunState.CRASHED: Shown.CRASHED,
}


def shown(
    item: ItemState | None,
    run: RunState,
    *,
    parked: Parked | None = None,
    stopping: bool = False,
    queue_served: bool = True,
    agent_live: bool = True,
    building: bool = False,
) -> Shown:
    """Name what a submission is doing.

    `item` is None for a run that no queue knows. `queue_served`: a live agent polls the
    queue. `agent_live`: the agent that holds the item was heard of lately. `building`: its
    attempt builds an image.
    """
    if run.is_final:
        return _ENDS[run]
    if item is None or item.is_final:  # its program goes on, as it can when its item has ended
        return Shown.STOPPING if stopping else _without_item(run)
    if item is ItemState.PENDING:
        if parked is Parked.HELD:
            return Shown.HELD
        if run is RunState.PREEMPTED:
            return Shown.PREEMPTED
        return Shown.QUEUED if queue_served else Shown.IDLE
    if not agent_live:
        return Shown.AGENT_LOST
    if stopping:
        return Shown.STOPPING
    if run is RunState.RUNNING:
        return Shown.RUNNING
    return Shown.BUILDING if building else Shown.STARTING


def _without_item(run: RunState) -> Shown:
    if run is RunState.PREEMPTED:
        return Shown.PREEMPTED
    return Shown.RUNNING if run is RunState.RUNNING else Shown.STARTING
