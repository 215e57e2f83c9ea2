"""What waits: finding what leaves next, and what has waited, backed off or run for too long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    lateral,
    literal_column,
    or_,
    select,
    text,
    true,
)
from sqlalchemy import Text as SqlText
from sqlalchemy import cast as sql_cast
from sqlalchemy import column as sql_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import JSON

from runyard.domain.items import QueueId
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.items import PAIRS, Pair, for_writing, pair_of
from runyard.store.values import to_ms

_I, _Q, _R = t.items.c, t.queues.c, t.runs.c

# Written out, not bound: SQLite would plan the statement anew for each value that is bound where
# the condition of a partial index is asked for.
_PENDING: Final = _I.state == literal_column("'PENDING'")
_FREE: Final = and_(_PENDING, _I.parked.is_(None))
_MINE: Final = or_(_I.pinned_agent.is_(None), _I.pinned_agent == bindparam("agent"))
_LIMIT: Final = bindparam("limit", type_=Integer)
_NEXT: Final = for_writing(
    PAIRS.where(_I.queue_id == bindparam("queue_id"), _FREE, _MINE)
    .order_by(_I.priority, _I.enqueued_at, _I.id)
    .limit(_LIMIT),
    skip_locked=True,
)
_WINDOW: Final = (
    select(_I.id, _I.author_id)
    .where(_I.queue_id == bindparam("queue_id"), _FREE, _MINE)
    .order_by(_I.priority, _I.enqueued_at, _I.id)
    .limit(_LIMIT)
)
_CHOSEN: Final = for_writing(
    PAIRS.where(_I.id.in_(bindparam("ids", expanding=True)), _FREE), skip_locked=True
)
_RUNNING: Final = (
    select(_I.author_id, func.count().label("n"))
    .where(_I.queue_id == bindparam("queue_id"), _I.state.in_(["LEASED", "CLAIMED"]))
    .group_by(_I.author_id)
)
_LOCK: Final = text("SELECT id FROM queues WHERE id = :queue_id FOR NO KEY UPDATE")
_OVERDUE: Final = for_writing(
    PAIRS.where(_I.token.is_not(None), _I.lease_expires_at <= bindparam("now"))
    .order_by(_I.lease_expires_at)
    .limit(500),
    skip_locked=True,
)
_OVERWAITED: Final = for_writing(
    PAIRS.where(_PENDING, _I.expires_at <= bindparam("now")).order_by(_I.expires_at).limit(500),
    skip_locked=True,
)
_READY: Final = for_writing(
    PAIRS.where(_I.ready_at <= bindparam("now")).order_by(_I.ready_at).limit(500),
    skip_locked=True,
)
_OVERRUN: Final = for_writing(
    PAIRS.where(_I.run_deadline <= bindparam("now"), _R.stop_requested_at.is_(None))
    .order_by(_I.run_deadline)
    .limit(500),
    skip_locked=True,
)
_OF_QUEUE: Final = for_writing(
    PAIRS.where(_I.queue_id == bindparam("queue_id"), _I.state == "PENDING")
    .order_by(_I.id)
    .limit(1000)
)
_PINNED_TO: Final = for_writing(
    PAIRS.where(
        _I.queue_id.in_(bindparam("queue_ids", expanding=True)),
        _I.state == "PENDING",
        _I.pinned_agent == bindparam("agent"),
    ).order_by(_I.id)
)
_COUNT: Final = select(func.count()).select_from(
    select(_I.id).where(_I.queue_id == bindparam("queue_id"), _PENDING).limit(_LIMIT).subquery()
)
_COUNT_OF: Final = select(func.count()).select_from(
    select(_I.id)
    .where(
        _I.queue_id == bindparam("queue_id"),
        _I.state == "PENDING",
        _I.author_id == bindparam("author"),
    )
    .limit(_LIMIT)
    .subquery()
)
_NOW: Final = bindparam("now", type_=BigInteger)
_STEP: Final = bindparam("step", type_=BigInteger)
_AGED: Final = for_writing(
    PAIRS.where(
        _I.queue_id == bindparam("queue_id"),
        _FREE,
        _I.priority == bindparam("level"),
        _I.enqueued_at <= _NOW - _STEP,  # said only for the index
        _I.enqueued_at <= _NOW - _STEP * (_I.aged + 1),
    )
    .order_by(_I.enqueued_at)
    .limit(500),
    skip_locked=True,
)
_AGING_QUEUES: Final = select(_Q.id, _Q.policy).where(
    _Q.deleted_at.is_(None), _Q.policy.contains('"aging":')
)


def next_waiting(tx: Tx, queue_id: QueueId, *, agent: str, limit: int) -> list[Pair]:
    """Return up to `limit` items by priority and time, held for writing."""
    params = {"queue_id": queue_id, "agent": agent, "limit": limit}
    return [pair_of(row) for row in tx.all(_NEXT, params)]


def window(tx: Tx, queue_id: QueueId, *, agent: str, limit: int) -> Sequence[Row]:
    """Return (id, author_id) of what is first by priority and time."""
    return tx.all(_WINDOW, {"queue_id": queue_id, "agent": agent, "limit": limit})


def lock_queue(tx: Tx, queue_id: QueueId) -> None:
    """Let leases of a queue with limits wait for each other. SQLite has one writer anyway."""
    if tx.is_postgres:
        tx.connection.execute(_LOCK, {"queue_id": queue_id})


def running(tx: Tx, queue_id: QueueId) -> dict[str, int]:
    """Return how many items of each user are held by agents."""
    return {row["author_id"]: row["n"] for row in tx.all(_RUNNING, {"queue_id": queue_id})}


def take(tx: Tx, ids: Sequence[str]) -> list[Pair]:
    """Return those of the items that still are free, held for writing, in the order of `ids`."""
    found = {row["id"]: row for row in tx.all(_CHOSEN, {"ids": list(ids)})}
    return [pair_of(found[item_id]) for item_id in ids if item_id in found]


def _of_line(user: Any, priority: Any, limit: Any) -> Select[Any]:
    return (
        select(_I.id, _I.enqueued_at)
        .where(
            _I.queue_id == bindparam("queue_id"),
            _I.author_id == user,
            _I.priority == priority,
            _FREE,
            _MINE,
        )
        .order_by(_I.enqueued_at, _I.id)
        .limit(limit)
    )


def _compiled(statement: Select[Any]) -> tuple[str, Sequence[str], Mapping[str, Any]]:
    """Return the statement for SQLite, the order of its parameters, and those it came with."""
    made = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return str(made), made.positiontup or (), made.params


_HEADS_SQLITE: Final = _compiled(
    _of_line(bindparam("user"), bindparam("priority"), bindparam("most", type_=Integer))
)
_asked = (
    func.json_to_recordset(sql_cast(bindparam("asked", type_=SqlText), JSON))
    .table_valued(
        sql_column("user", t.shares.c.user_id.type),
        sql_column("priority", Integer),
        sql_column("most", Integer),
    )
    .render_derived(name="asked", with_types=True)
)
_head = lateral(_of_line(_asked.c.user, _asked.c.priority, _asked.c.most)).alias("head")
_HEADS_POSTGRES: Final = select(
    _asked.c.user, _asked.c.priority, _head.c.id, _head.c.enqueued_at
).join(_head, true())


def heads(
    tx: Tx, queue_id: QueueId, lines: Sequence[tuple[str, int, int]], *, agent: str
) -> dict[tuple[str, int], list[tuple[int, str]]]:
    """Return the first items of lines (user id, priority, how many): (enqueued at in ms, id)."""
    found: dict[tuple[str, int], list[tuple[int, str]]] = {(u, p): [] for u, p, _ in lines}
    if tx.is_postgres:
        asked = [{"user": u, "priority": p, "most": most} for u, p, most in lines]
        params = {"queue_id": queue_id, "agent": agent,
                  "asked": msgspec.json.encode(asked).decode()}  # fmt: skip
        for row in tx.all(_HEADS_POSTGRES, params):
            found[row["user"], row["priority"]].append((row["enqueued_at"], row["id"]))
        for line in found.values():
            line.sort()
        return found
    # SQLite has no LATERAL; and a statement costs it nothing but its own work.
    sql, names, own = _HEADS_SQLITE
    for user, priority, most in lines:
        values = {**own, "queue_id": queue_id, "user": user, "priority": priority, "agent": agent,
                  "most": most}  # fmt: skip
        rows = tx.connection.exec_driver_sql(sql, tuple(values[name] for name in names))
        found[user, priority] = [(at, item_id) for item_id, at in rows]
    return found


def overdue(tx: Tx, now: datetime) -> list[Pair]:
    """Return what is held under a lease that has run out."""
    return [pair_of(row) for row in tx.all(_OVERDUE, {"now": to_ms(now)})]


def overwaited(tx: Tx, now: datetime) -> list[Pair]:
    """Return what has waited longer than it may."""
    return [pair_of(row) for row in tx.all(_OVERWAITED, {"now": to_ms(now)})]


def ready(tx: Tx, now: datetime) -> list[Pair]:
    """Return what has backed off for long enough."""
    return [pair_of(row) for row in tx.all(_READY, {"now": to_ms(now)})]


def overrun(tx: Tx, now: datetime) -> list[Pair]:
    """Return what runs longer than it may and was not asked to stop."""
    return [pair_of(row) for row in tx.all(_OVERRUN, {"now": to_ms(now)})]


def aging_queues(tx: Tx) -> Sequence[Row]:
    """Return (id, policy) of queues whose policy speaks of aging."""
    return tx.all(_AGING_QUEUES)


def aged(tx: Tx, queue_id: str, *, step_s: int, level: int, now: datetime) -> list[Pair]:
    """Return items at a level that have waited for another one."""
    params = {"queue_id": queue_id, "level": level, "now": to_ms(now), "step": step_s * 1000}
    return [pair_of(row) for row in tx.all(_AGED, params)]


def of_queue(tx: Tx, queue_id: QueueId) -> list[Pair]:
    """Return up to 1000 waiting items, held ones too; call again until there are none."""
    return [pair_of(row) for row in tx.all(_OF_QUEUE, {"queue_id": queue_id})]


def pinned_to(tx: Tx, queue_ids: Sequence[QueueId], agent: str) -> list[Pair]:
    return [pair_of(r) for r in tx.all(_PINNED_TO, {"queue_ids": queue_ids, "agent": agent})]


def count(tx: Tx, queue_id: QueueId, *, author_id: str | None = None, up_to: int) -> int:
    """Return how many items wait, of one author or of all; counting stops at `up_to`."""
    params: dict[str, Any] = {"queue_id": queue_id, "limit": up_to}
    if author_id is None:
        return int(tx.scalar(_COUNT, params))
    return int(tx.scalar(_COUNT_OF, {**params, "author": author_id}))
