"""
What monitoring counts, read off the events of items.

The servers of one database share a cursor: each event is counted once, by whichever of them
moved the cursor over it. So the sum over all servers is right, however many there are, and what
happened while one was being restarted is counted by the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from runyard.domain.items import ItemState
from runyard.domain.timeline import Ending, Part, Stretch, Tale, failure_class
from runyard.services.call import Call
from runyard.store import cursors, timelines, views

CURSOR: Final = "counts"
BATCH: Final = 1000  # events
# A gap in the numbers may be a transaction that has not committed. After so long it is one that
# was taken back.
PATIENCE: Final = timedelta(seconds=30)
_ENDED: Final = frozenset({ItemState.FINISHED, ItemState.FAILED, ItemState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to count in a queue. `seconds` only where it is a time."""

    name: str  # submitted, wait, start, run, returned, ended, failure
    queue_id: str
    entity: str
    queue: str
    words: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Unread:
    """The events above `after` up to `to`; `last` is the newest there is."""

    after: int
    to: int
    last: int

    @property
    def behind(self) -> int:
        return self.last - self.to


def unread(call: Call, name: str, *, limit: int = BATCH) -> Unread | None:
    """Return what a follower has not read; None before it began: see `begin`."""
    after = cursors.place(call.tx, name)
    if after is None:
        return None
    to, _ = views.settled(call.tx, after, now=call.now, limit=limit, patience=PATIENCE)
    return Unread(after, to, max(to, views.last_event(call.tx)))


def begin(call: Call, name: str) -> None:
    """Let a follower begin with what happens from now on."""
    if cursors.place(call.tx, name) is None:
        cursors.swap(call.tx, name, None, views.last_event(call.tx))


def count(call: Call) -> list[Fact]:
    """Move the cursor over the next events and return what is to be counted of them.

    An empty list may also mean that another server was faster.
    """
    begin(call, CURSOR)
    there = unread(call, CURSOR)
    if there is None or there.to == there.after:
        return []
    if not cursors.swap(call.tx, CURSOR, there.after, there.to):
        return []
    moves = timelines.moves(call.tx, there.after, there.to)
    facts = [
        Fact("submitted", row["queue_id"], row["entity"], row["queue"])
        for row in moves
        if row["was"] is None
    ]
    telling = {row["item_id"] for row in moves if row["became"] in _ENDED or _tells(row["was"])}
    for tale in timelines.tales(call.tx, telling).values():
        facts += _facts(tale, there)
    return facts


def _tells(was: str | None) -> bool:
    """Whether a move away from this state ends something that is measured."""
    return was in (ItemState.LEASED, ItemState.CLAIMED)


def _facts(tale: Tale, there: Unread) -> list[Fact]:
    place = (tale.queue_id, tale.entity, tale.queue)
    facts: list[Fact] = []
    for stretch in tale.stretches():
        if there.after < stretch.seq <= there.to:
            facts += _measured(place, stretch)
    last = tale.events[-1]
    if there.after < last.seq <= there.to and last.became in _ENDED:
        facts += _ended(place, tale)
    return facts


def _measured(place: tuple[str, str, str], stretch: Stretch) -> list[Fact]:
    """Return times, and why an attempt's item went back to the queue."""
    lasted = (stretch.end - stretch.begin).total_seconds()
    match stretch.part, stretch.ending:
        case Part.LEASED, Ending.WENT_ON:
            waited = max(0.0, (stretch.end - stretch.waiting_since).total_seconds())
            return [Fact("wait", *place, seconds=waited)]
        case Part.STARTING, Ending.WENT_ON:
            return [Fact("start", *place, seconds=lasted)]
        case Part.RUNNING, ending:
            facts = [Fact("run", *place, (ending,), lasted)]
            return [*facts, *_returned(place, ending)]
        case Part.STARTING, ending:
            return _returned(place, ending)
    return []


def _returned(place: tuple[str, str, str], ending: Ending) -> list[Fact]:
    if ending in (Ending.PREEMPTED, Ending.RETRIED, Ending.GIVEN_BACK):
        return [Fact("returned", *place, (ending,))]
    return []


def _ended(place: tuple[str, str, str], tale: Tale) -> list[Fact]:
    ending = tale.ending
    facts = [Fact("ended", *place, (ending,))]
    if failure := failure_class(ending, tale.stage, tale.last):
        facts.append(Fact("failure", *place, failure))
    return facts
