"""
Which items have ended and were not traced yet. What a trace is made of comes from rows alone, so
a restart loses nothing and any server can go on where another left off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from runyard.domain.items import ItemState
from runyard.domain.timeline import Tale
from runyard.services import counting
from runyard.services.call import Call
from runyard.services.counting import Unread
from runyard.store import cursors, timelines

CURSOR: Final = "traces"
LEASE: Final = "traces-lease"
LEASE_LASTS: Final = timedelta(seconds=60)  # longer than one export takes
BATCH: Final = 500  # events


def unread(call: Call) -> Unread | None:
    """Return what was not exported; None before it was begun."""
    return counting.unread(call, CURSOR, limit=BATCH)


def begin(call: Call) -> None:
    """Trace what ends from now on, unless this was begun before."""
    counting.begin(call, CURSOR)


def lease(call: Call, held: int | None) -> int | None:
    """Return what to hold while exporting, None if another server exports."""
    return cursors.lease(call.tx, LEASE, held, call.now, LEASE_LASTS)


def ended(call: Call, there: Unread) -> list[Tale]:
    """Return the items that ended in these events, in the order of their ends."""
    ends = {
        row["item_id"]: None
        for row in timelines.moves(call.tx, there.after, there.to)
        if ItemState(row["became"]).is_final
    }
    tales = timelines.tales(call.tx, ends)
    return [tales[item_id] for item_id in ends]


def done(call: Call, there: Unread, held: int | None) -> bool:
    """Note that these were exported, unless another server has taken over meanwhile."""
    if held is not None and not cursors.holds(call.tx, LEASE, held):
        return False
    return cursors.swap(call.tx, CURSOR, there.after, there.to)
