"""
Why an item waits, in one sentence, and about when it will start: from facts, without a guess.

The first thing that keeps an item from starting is the answer; what would come after it is not
told, since it may be gone by then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from runyard.domain.items import Item, Parked
from runyard.domain.queues import Mode, Queue

MOST_AHEAD = 10_000  # places are counted up to here


@dataclass(frozen=True, slots=True)
class Serving:
    """
    The agents of a queue: how many live, how many of those lease, the slots of these and how
    many are taken (by whatever queue). `slots` None is without limit. `aside` says why the last
    of those that are set aside is.
    """

    live: int = 0
    leasing: int = 0
    slots: int | None = 0
    taken: int = 0
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What runs of the queue, and of the item's author there; how long its runs usually take."""

    running: int = 0
    of_author: int = 0
    typical_s: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """`ahead`: how many items leave before this one, `MOST_AHEAD` meaning that many or more."""

    why: str
    ahead: int | None = None
    starts_at: datetime | None = None


def explain(
    item: Item,
    queue: Queue,
    *,
    author: str,
    pinned_to: str | None,
    pinned_is_live: bool,
    serving: Serving,
    load: Load,
    ahead: int,
    now: datetime,
) -> Waiting:
    """Say why a waiting item waits."""
    if item.parked is Parked.HELD:
        return Waiting(f"{item.parked_why}; release it: runyard item release {item.id}")
    if item.parked is Parked.BACKOFF and item.ready_at is not None:
        left = max(0, math.ceil((item.ready_at - now).total_seconds()))
        return Waiting(f"{item.parked_why}; {left} s left", starts_at=item.ready_at)
    if queue.mode is Mode.PAUSED:
        said = f": {queue.mode_why}" if queue.mode_why else ""
        return Waiting(f"queue {queue.path} is paused by {queue.mode_by}{said}", ahead)
    if pinned_to is not None and not pinned_is_live:
        return Waiting(f"it waits for agent {pinned_to}, which is not there", ahead)
    if not serving.live:
        start = f"runyard agent -q {queue.name} -e {queue.entity}"
        return Waiting(f"no live agent serves queue {queue.path}; start one: {start}", ahead)
    if not serving.leasing:
        return Waiting(f"every live agent of the queue is set aside: {serving.aside}", ahead)
    why = _limit(queue, author, load) or _busy(serving) or _behind(ahead)
    return Waiting(why, ahead, _start(queue, serving, load, ahead, now))


def _limit(queue: Queue, author: str, load: Load) -> str:
    policy = queue.policy
    if policy.max_running and load.running >= policy.max_running:
        return (
            f"queue {queue.path} has {load.running} of {policy.max_running} items running "
            "(max_running)"
        )
    if policy.max_running_per_user and load.of_author >= policy.max_running_per_user:
        return (
            f"{author} has {load.of_author} of {policy.max_running_per_user} items running in "
            f"queue {queue.path} (max_running_per_user)"
        )
    return ""


def _busy(serving: Serving) -> str:
    if serving.slots is None or serving.taken < serving.slots:
        return ""
    agents = "the agent is" if serving.leasing == 1 else f"all {serving.leasing} agents are"
    return f"{agents} full: {serving.taken} of {serving.slots} slots are taken"


def _behind(ahead: int) -> str:
    if not ahead:
        return "it is next, and about to be taken"
    number = f"{ahead:,} or more" if ahead >= MOST_AHEAD else f"{ahead:,}"
    return f"it is behind {number} other item{'' if ahead == 1 else 's'}"


def _start(
    queue: Queue, serving: Serving, load: Load, ahead: int, now: datetime
) -> datetime | None:
    """Return about when it starts, None if nobody can know."""
    slots = serving.slots
    if most := queue.policy.max_running:
        slots = most if slots is None else min(slots, most)
    if slots is None:
        return now
    free = max(0, slots - max(load.running, min(serving.taken, slots)))
    if ahead < free:
        return now
    if load.typical_s is None or not slots or ahead >= MOST_AHEAD:
        return None
    # Each slot falls free once in a typical length, halfway through it on average from now.
    rounds = (ahead - free) / slots
    return now + timedelta(seconds=load.typical_s * (0.5 + rounds))
