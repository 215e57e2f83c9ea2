"""
The lines that users stand in: one for each queue, user and priority, while something waits there.

A line is made active by whatever puts an item into it, in the same transaction, and is found to be
empty by whoever wants to lease from it. `version` keeps the two apart: a line is closed only if
nothing was put into it since it was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, bindparam, exists, select, text, update

from runyard.domain.sharing import FIRST_GUESS, NEVER, added, typical
from runyard.store import tables as t
from runyard.store.db import Row, Tx

_S, _I = t.shares.c, t.items.c

# Whoever comes to a new priority brings along what they used at the others.
_ACTIVATE: Final = text(
    f"""
    WITH line AS (SELECT CAST(:queue AS varchar) AS queue_id, CAST(:user AS varchar) AS user_id),
         own AS (SELECT max(level) AS level, max(typical_s) AS typical_s FROM shares, line
                 WHERE shares.queue_id = line.queue_id AND shares.user_id = line.user_id)
    INSERT INTO shares (queue_id, user_id, priority, level, typical_s, active, version)
    SELECT line.queue_id, line.user_id, :priority, coalesce(own.level, {NEVER}),
           coalesce(own.typical_s, {FIRST_GUESS}), true, 1
    FROM line, own WHERE true
    ON CONFLICT (queue_id, user_id, priority)
    DO UPDATE SET active = true, version = shares.version + 1
    """  # noqa: S608 - two constants
)
_LINES: Final = (
    select(_S.user_id, _S.priority, _S.level, _S.typical_s, _S.version)
    .where(
        _S.queue_id == bindparam("queue"),
        _S.active,
        _S.user_id.not_in(bindparam("without", expanding=True)),
    )
    .order_by(_S.priority, _S.level, _S.user_id)
    .limit(bindparam("limit", type_=Integer))
)
_WAITS: Final = exists().where(
    _I.queue_id == _S.queue_id,
    _I.author_id == _S.user_id,
    _I.priority == _S.priority,
    _I.state == "PENDING",
    _I.parked.is_(None),
)
_CLOSE: Final = (
    update(t.shares)
    .where(
        _S.queue_id == bindparam("queue"),
        _S.user_id == bindparam("user"),
        _S.priority == bindparam("at"),
        _S.version == bindparam("seen"),
        ~_WAITS,
    )
    .values(active=False)
)
_OF_USERS: Final = (
    select(_S.user_id, _S.level, _S.typical_s)
    .where(_S.queue_id == bindparam("queue"), _S.user_id.in_(bindparam("users", expanding=True)))
    .order_by(_S.user_id, _S.priority)
)
_CHARGE: Final = (
    update(t.shares)
    .where(_S.queue_id == bindparam("queue"), _S.user_id == bindparam("user"))
    .values(level=bindparam("to"))
)
_SETTLE: Final = (
    update(t.shares)
    .where(_S.queue_id == bindparam("queue"), _S.user_id == bindparam("user"))
    .values(level=bindparam("to"), typical_s=bindparam("typical"))
)


def activate(tx: Tx, lines: Iterable[tuple[str, str, int]]) -> None:
    """Note that something waits in these lines: (queue id, user id, priority)."""
    # In one order, so that two transactions over the same lines cannot wait for each other.
    if rows := [{"queue": q, "user": u, "priority": p} for q, u, p in sorted(lines)]:
        tx.connection.execute(_ACTIVATE, rows)


def lines(tx: Tx, queue_id: str, *, limit: int, without: Collection[str] = ()) -> Sequence[Row]:
    """Return lines in which something may wait, the most urgent first, then who used least."""
    return tx.all(_LINES, {"queue": queue_id, "limit": limit, "without": list(without)})


def close(tx: Tx, queue_id: str, line: Row) -> None:
    """Close a line that was found empty, unless something has come into it since."""
    tx.run(
        _CLOSE,
        {"queue": queue_id, "user": line["user_id"], "at": line["priority"],
         "seen": line["version"]},
    )  # fmt: skip


def charge(tx: Tx, queue_id: str, levels: Mapping[str, float]) -> None:
    """Write the levels of users, who were read under the queue's lock."""
    tx.run(
        _CHARGE,
        [{"queue": queue_id, "user": user, "to": to} for user, to in sorted(levels.items())],
    )


def settle(
    tx: Tx,
    queue_id: str,
    used: Mapping[str, Sequence[tuple[float, float | None]]],
    *,
    half_life: float,
    now: datetime,
) -> None:
    """Correct what was charged: for each user (seconds to add, length of the run or None)."""
    found = select_for_update(tx, queue_id, sorted(used))
    at = now.timestamp()
    changes = []
    for user, (level, length) in found.items():
        for seconds, ran in used[user]:
            level = added(level, seconds, half_life, at)
            length = length if ran is None else typical(length, ran)
        changes.append({"queue": queue_id, "user": user, "to": level, "typical": length})
    if changes:
        tx.run(_SETTLE, changes)


def select_for_update(
    tx: Tx, queue_id: str, users: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return (level, typical seconds) of users, held for writing."""
    rows = tx.all(_OF_USERS.with_for_update(), {"queue": queue_id, "users": list(users)})
    return {row["user_id"]: (row["level"], row["typical_s"]) for row in rows}
