"""
Where users stand in queues with fair share. Rows are held for writing while they are used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, select, text

from runyard.domain.sharing import Standing
from runyard.store import tables as t
from runyard.store.bulk import change
from runyard.store.db import Row, Tx

_S = t.shares.c
_ADD: Final = text(
    "INSERT INTO shares (queue_id, user_id, used, level, typical_s, moved) "
    "VALUES (:queue, :user, :used, :level, :typical, false) "
    "ON CONFLICT (queue_id, user_id) DO NOTHING"
)
_OF_USERS: Final = (
    select(_S.user_id, _S.used, _S.level, _S.typical_s)
    .where(_S.queue_id == bindparam("queue"), _S.user_id.in_(bindparam("users", expanding=True)))
    .order_by(_S.user_id)
)
_MOVED: Final = (
    select(_S.queue_id, _S.user_id)
    .where(_S.moved)
    .order_by(_S.queue_id, _S.user_id)
    .limit(50)
    .with_for_update(skip_locked=True)
)
_FOUND_BY: Final = {"queue": "queue_id", "user": "user_id"}
_WRITE: Final = change(t.shares, found_by=_FOUND_BY, sets=("used", "level", "typical_s"))
_MARK: Final = change(t.shares, found_by=_FOUND_BY, sets=("moved",))


def locked(tx: Tx, queue_id: str, users: Collection[str]) -> dict[str, Standing]:
    """Return the standing of users, held for writing; made for those who have none."""
    # In one order, so that two transactions over the same users cannot wait for each other.
    asked = {"queue": queue_id, "users": sorted(set(users))}
    found = _standings(tx.all(_OF_USERS.with_for_update(), asked))
    new = Standing()
    if missing := [user for user in asked["users"] if user not in found]:
        tx.connection.execute(
            _ADD,
            [
                {
                    "queue": queue_id,
                    "user": u,
                    "used": new.used,
                    "level": new.level,
                    "typical": new.typical_s,
                }
                for u in missing
            ],
        )
        found = _standings(tx.all(_OF_USERS.with_for_update(), asked))
    return found


def everybody(tx: Tx, queue_id: str) -> list[str]:
    """Return the ids of all who have a standing in a queue."""
    rows = tx.all(select(_S.user_id).where(_S.queue_id == queue_id).order_by(_S.user_id))
    return [row["user_id"] for row in rows]


def of_users(tx: Tx, queue_id: str, users: Collection[str]) -> dict[str, Standing]:
    """Return the standing of users who have one."""
    return _standings(tx.all(_OF_USERS, {"queue": queue_id, "users": sorted(users)}))


def _standings(rows: Sequence[Row]) -> dict[str, Standing]:
    return {row["user_id"]: Standing(row["used"], row["level"], row["typical_s"]) for row in rows}


def write(tx: Tx, queue_id: str, standings: Mapping[str, Standing]) -> None:
    if standings:
        _WRITE.run(
            tx,
            [
                {
                    "queue": queue_id,
                    "user": u,
                    "b_used": s.used,
                    "b_level": s.level,
                    "b_typical_s": s.typical_s,
                }
                for u, s in sorted(standings.items())
            ],
        )


def mark(tx: Tx, queue_id: str, users: Collection[str], *, moved: bool) -> None:
    """Note that what waits of users is to be placed anew, or has been."""
    if users:
        rows = [{"queue": queue_id, "user": user, "b_moved": moved} for user in sorted(users)]
        _MARK.run(tx, rows)


def moved(tx: Tx) -> list[tuple[str, str]]:
    """Return some (queue id, user id) whose items are to be placed anew, held for writing."""
    return [(row["queue_id"], row["user_id"]) for row in tx.all(_MOVED)]
