"""
How far those who follow `item_events` have read, and which process may do what only one may do.

Both are one number under a name, moved by compare-and-swap: of any number of processes that try,
one succeeds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Tx
from runyard.store.values import to_ms

_C = t.cursors.c


def place(tx: Tx, name: str) -> int | None:
    found = tx.scalar(select(_C.seq).where(_C.name == name))
    return None if found is None else int(found)


def swap(tx: Tx, name: str, was: int | None, becomes: int) -> bool:
    """Move a cursor from where it was, None being nowhere; False if somebody else moved it."""
    if was is None:
        dialect = postgresql if tx.is_postgres else sqlite
        new = dialect.insert(t.cursors).on_conflict_do_nothing()
        new = new.execution_options(preserve_rowcount=True)
        return tx.run(new, {"name": name, "seq": becomes}) == 1
    moved = update(t.cursors).where(_C.name == name, _C.seq == was).values(seq=becomes)
    return tx.run(moved) == 1


def lease(tx: Tx, name: str, held: int | None, now: datetime, lasts: timedelta) -> int | None:
    """Take a lease or renew the one `held`; return what to hold, None if another process has it.

    The number is the lease's end. Whoever takes it from another makes it greater, so no two
    processes ever hold the same.
    """
    until = to_ms(now + lasts)
    if held is not None and swap(tx, name, held, until):
        return until
    other = place(tx, name)
    if other is not None and other > to_ms(now):
        return None
    return until if swap(tx, name, other, until) else None


def holds(tx: Tx, name: str, held: int) -> bool:
    """Tell whether nobody has taken the lease over."""
    return place(tx, name) == held
